"""Trains on images whose labels are partly wrong.

  noisy-jax --config=own_images --config.data.path=photos --workdir=runs/photos    a folder per class, labels untrusted
  noisy-jax --config=digits --workdir=runs/digits [--config.seed=1 ...]            a first try

(the same as python -m noisy_jax.main)

--config=FILE or --config=FILE:ARGUMENT   a config file, or just the name of one in configs/; it is Python that is run,
                                          so take only one that you trust
--config.KEY=VALUE                        changes one setting; configs/README.md lists them all
--workdir=FOLDER                          gets everything the run writes: a new or empty folder outside of the data;
                                          rerun the same command to resume
--quiet                                   prints only warnings, errors and the table at the end

Ctrl-C (or SIGTERM) once: saves, stops, and prints the command that resumes; twice: stops at once.

On several hosts run the same command on each, with a --workdir that all of them see. Cloud TPU and Slurm are found
automatically; elsewhere:

--coordinator=HOST:PORT                   address of process 0
--num_processes=N --process_id=I          how many there are, and which this is, from 0
"""

import argparse
import shlex
import sys

from noisy_jax.cli import BROKEN_PIPE, Parser, end_process, exit_status, import_jax
from noisy_jax.errors import InputError, short, warn_once

_STOPPED = (130, 143)  # exit statuses, as a shell has them for Ctrl-C and SIGTERM


def main(argv: list[str] | None = None) -> int:
    """Parses the command line (default: sys.argv) and runs.

    Returns:
      The exit status; 2: user error, 130 or 143: stopped.
    """
    argv = sys.argv[1:] if argv is None else argv[1:]
    if '--help' in argv or '-h' in argv:
        return exit_status(lambda: print((__doc__ or '').strip()))
    return exit_status(lambda: _run(*_parse(argv)))


def _run(options: argparse.Namespace, changes: list[tuple[str, str]]) -> int:
    import_jax()
    from noisy_jax.training.signals import Stopped, end_at_signal, say_at_the_end  # here: --help needs no JAX

    again = f'rerun to resume:\n{shlex.join(sys.orig_argv)}'
    end_at_signal(f'stopped; {again}')
    from noisy_jax import config as config_lib
    from noisy_jax.settings import RENAMED

    config = config_lib.load(options.config, RENAMED)
    for key, text in changes:
        config_lib.override(config, key, text, RENAMED)
    from noisy_jax import pipeline
    from noisy_jax.report import tables
    from noisy_jax.training import hosts, mesh

    def train() -> int:
        hosts.join(options.coordinator, options.num_processes, options.process_id)
        try:
            with hosts.together():
                summary = pipeline.run(config, options.workdir, quiet=options.quiet)
        except Stopped as stop:
            say_at_the_end(f'{stop}; {again}')
            return 128 + stop.number
        if options.quiet and mesh.is_main():
            print(tables.render(summary))
        return 0

    status = exit_status(train)
    if status not in (0, *_STOPPED, BROKEN_PIPE):
        hosts.leave(status)
    return status


def _parse(argv: list[str]) -> tuple[argparse.Namespace, list[tuple[str, str]]]:
    """The options, and the changes of settings as (key, text)."""
    parser = Parser(add_help=False, allow_abbrev=False)
    for name in ('config', 'workdir', 'coordinator'):
        parser.add_argument(f'--{name}')
    for name in ('num_processes', 'process_id'):
        parser.add_argument(f'--{name}', type=int)
    parser.add_argument('--quiet', action='store_true')
    options, others = parser.parse_known_args(argv)
    changes = []
    while others:
        argument = others.pop(0)
        if not argument.startswith('--config.'):
            raise InputError(f'argument {argument!r} is not understood; see --help')
        key, has_value, text = argument.removeprefix('--config.').partition('=')
        if not has_value and others and not others[0].startswith('--'):
            text = others.pop(0)
        earlier = dict(changes).get(key, text)
        if earlier != text:  # scripts append theirs to others
            warn_once(f'--config.{key} is given twice: {short(text)} is taken, not {short(earlier)}')
        changes.append((key, text))
    for name in ('config', 'workdir'):
        if getattr(options, name) is None:
            raise InputError(f'--{name} is missing; see --help')
    return options, changes


if __name__ == '__main__':
    end_process(main(sys.argv))
