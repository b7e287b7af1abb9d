"""Image classification when the labels are partly wrong."""

import importlib
import signal
import sys
from typing import Any

__all__ = ['NoisyLabelClassifier']

# While `python -m noisy_jax.NAME` is imported, Ctrl-C ends it without a traceback; cli.py takes over.
_is_command = sys.argv[:1] == ['-m'] and any(argument.startswith(f'{__name__}.') for argument in sys.orig_argv)
if _is_command and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def __getattr__(name: str) -> Any:
    """`NoisyLabelClassifier` when it is asked for: the commands need not wait for JAX to say --help."""
    if name == 'NoisyLabelClassifier':
        return importlib.import_module('noisy_jax.estimator').NoisyLabelClassifier
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
