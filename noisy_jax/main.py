"""Trains on images whose labels are partly wrong.

  python -m noisy_jax.main --config=configs/digits.py --workdir=runs/digits [--config.seed=1 ...]

--config=FILE or --config=FILE:ARGUMENT   a file of configs/; its docstring tells its arguments
--config.KEY=VALUE                        changes one setting; the keys are those of noisy_jax/config/defaults.py
--workdir=FOLDER                          gets everything the run writes; the same command again goes on from there
--quiet                                   says nothing but warnings, errors and the table at the end

Ctrl-C (or SIGTERM) once: saves, stops, and says the command that goes on; twice: stops at once.

On several hosts the same command runs on each, with a --workdir that all of them see. Cloud TPU and Slurm are found by
themselves; elsewhere:

--coordinator=HOST:PORT                   where process 0 is to be reached
--num_processes=N --process_id=I          how many there are, and which this is, from 0
"""

import shlex
import sys
import warnings

from absl import flags
from ml_collections import config_flags

from noisy_jax import config
from noisy_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file('config', None, 'File with get_config(argument).', lock_config=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder for everything the run writes.')
_QUIET = flags.DEFINE_boolean('quiet', False, 'Says nothing but warnings, errors and the table at the end.')
_COORDINATOR = flags.DEFINE_string('coordinator', None, 'HOST:PORT of process 0, on several hosts.')
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many processes run together.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Which of them this is, from 0.')

_STOPPED = 130  # exit status, as a shell has it for Ctrl-C


def main(argv: list[str]) -> int:
    """Parses the command line and runs; returns the exit status (2: something a person can mend, 130: stopped)."""
    if '--help' in argv or '-h' in argv:
        print(__doc__.strip())
        return 0
    try:
        _parse(argv)
    except InputError as error:
        return _refuse(error)
    warnings.formatwarning = lambda message, *_, **__: f'warning: {message}\n'
    from noisy_jax.training.signals import Stopped, end_at_signal  # after parsing: --help and mistakes need no JAX

    command = shlex.join(sys.orig_argv)
    end_at_signal(_STOPPED, f'stopped; this goes on:\n{command}')
    from noisy_jax import pipeline
    from noisy_jax.report import tables
    from noisy_jax.training import mesh

    try:
        mesh.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
        summary = pipeline.run(_CONFIG.value, _WORKDIR.value, quiet=_QUIET.value)
    except Stopped as stop:
        print(f'stopped in {stop}, saved; this goes on:\n{command}', file=sys.stderr)
        return _STOPPED
    except InputError as error:
        status = _refuse(error)
        mesh.leave(status)
        return status
    if _QUIET.value and mesh.is_main():
        print(tables.render(summary))
    return 0


def _refuse(error: InputError) -> int:
    print(f'error: {error}', file=sys.stderr, flush=True)
    return 2


def _parse(argv: list[str]) -> None:
    argv = _joined(argv)
    _check_config(argv)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        raise InputError(' '.join(str(error).split())) from error
    if len(rest) > 1:
        raise InputError(f'argument {rest[1]!r} is not understood; options begin with --')
    for name in ('config', 'workdir'):
        if flags.FLAGS[name].value is None:
            raise InputError(f'--{name} is missing; see --help')


def _joined(argv: list[str]) -> list[str]:
    """`--option value` as `--option=value`."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1].startswith('-') and '=' not in joined[-1] and not argument.startswith('--'):
            joined[-1] += f'={argument}'
        else:
            joined.append(argument)
    return joined


def _check_config(argv: list[str]) -> None:
    """Loads the config file before absl does, whose reports of a mistake in it are tracebacks."""
    pairs = [argument.lstrip('-').partition('=') for argument in argv[1:] if argument.startswith('-')]
    options = {name: text for name, _, text in pairs}
    if 'config' in options:
        given = config.load(options['config'])
        for name, text in options.items():
            if name.startswith('config.'):
                config.check_override(given, name.removeprefix('config.'), text)


if __name__ == '__main__':
    sys.exit(main(sys.argv))
