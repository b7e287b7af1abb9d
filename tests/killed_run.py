"""python killed_run.py WORKDIR [PHASE STEP [SIGNAL]]: the tiny run; ends itself before that step of that phase.

The environment variable CHANGES, JSON, changes its config.
"""

import json
import os
import signal
import sys

from tiny import config

from noisy_jax import phases, pipeline
from noisy_jax.training import loop
from noisy_jax.training.signals import Stopped

workdir, *fate = sys.argv[1:]
if fate:
    phase, step = fate[0], int(fate[1])
    number = getattr(signal, fate[2] if len(fate) > 2 else 'SIGKILL')
    steps = iter(range(10**6))
    original, stop_asked = phases.PHASES[phase], loop._stop_asked

    def counted(method, inputs, journal):
        """From here on every step counts."""

        def ask_or_die(session, at):
            if next(steps) == step:
                os.kill(os.getpid(), number)
            return stop_asked(session, at)

        loop._stop_asked = ask_or_die
        return original(method, inputs, journal)

    phases.PHASES[phase] = counted
try:
    changes = {'checkpoint_every': 1} | json.loads(os.environ.get('CHANGES', '{}'))
    pipeline.run(config(**changes), workdir)
except Stopped:
    sys.exit(130)
