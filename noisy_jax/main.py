"""python -m noisy_jax.main --config=configs/digits.py --workdir=runs/digits [--config.seed=1 ...]"""

import sys

from absl import flags
from ml_collections import config_flags

from noisy_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file('config', None, 'File with get_config(argument).', lock_config=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder for everything the run writes.')


def main(argv: list[str]) -> int:
    """Parses the command line and runs; returns the exit status (2: something a person can mend, 130: stopped)."""
    try:
        _parse(argv)
        from noisy_jax import pipeline  # after parsing: --help and mistakes need no JAX
        from noisy_jax.training.signals import Stopped

        try:
            pipeline.run(_CONFIG.value, _WORKDIR.value)
        except Stopped as stop:
            print(f'stopped in {stop}; the same command goes on from there', file=sys.stderr)
            return 130
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def _parse(argv: list[str]) -> None:
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise InputError(f'argument {rest[1]!r} is not understood; options begin with --')
        for name in ('config', 'workdir'):
            if flags.FLAGS[name].value is None:
                raise InputError(f'--{name} is missing; see --help')
    except InputError:
        raise
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(' '.join(str(error).split())) from error


if __name__ == '__main__':
    sys.exit(main(sys.argv))
