"""How every command begins and ends: a parser whose errors take one line, and the exit status."""

import argparse
import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from noisy_jax import streams
from noisy_jax.errors import InputError, first_line, is_memory_short, one_line, short, warning_line
from noisy_jax.interrupts import Terminated, ended_by_signals

_CORES = 'LOKY_MAX_CPU_COUNT'
USER_ERROR = 2  # exit status
BROKEN_PIPE = 141  # exit status, as a shell has it for SIGPIPE


class Parser(argparse.ArgumentParser):
    """argparse's, but an error raises InputError, as does an option given twice; parse within `exit_status`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.register('action', None, _Once)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
        self.seen: set[str] = set()
        return super().parse_known_args(args, namespace)

    def print_help(self, file: TextIO | None = None) -> None:
        stream = file or sys.stdout
        stream.write(self.format_help())
        stream.flush()  # here, where it can be said that it cannot be written; argparse would ignore it

    def error(self, message: str) -> NoReturn:
        raise InputError(f'{message}; see --help')


class _Once(argparse.Action):
    """Stores a value; a second one, which would replace it without a word, is refused."""

    def __call__(self, parser: Parser, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        if self.dest in parser.seen:
            raise argparse.ArgumentError(self, f'{short(values)} is a second value; one is allowed')
        if values == []:  # `--out=--`, by some versions of Python
            raise argparse.ArgumentError(self, 'expected one argument')
        parser.seen.add(self.dest)
        setattr(namespace, self.dest, values)


def of_command(name: str, description: str) -> Parser:
    """The parser of `python -m noisy_jax.NAME`, whose --help begins with the docstring of its module as it is."""
    return Parser(
        f'python -m noisy_jax.{name}', formatter_class=argparse.RawDescriptionHelpFormatter, description=description
    )


def import_jax() -> None:
    """What first imports JAX in a command calls this before.

    Raises:
      InputError: JAX does not understand one of its environment variables.
    """
    try:
        importlib.import_module('jax')
    except ValueError as error:
        raise InputError(f'an environment variable that JAX reads: {first_line(error)}') from error


def exit_status(work: Callable[[], int | None], stopped: str = 'stopped; nothing was written') -> int:
    """Does the `work` of a command, which may return an exit status; `stopped` is printed after Ctrl-C and SIGTERM.

    It goes on where nobody reads standard error any more, and where a standard stream is closed, as by `>&-`.

    Warnings take one line each, and names that are not UTF-8 are printed as they are. What the encoding of the
    terminal lacks is escaped.

    Returns:
      What `work` returned, or 0; 2 after a user error, for want of memory or where the system refuses a file, printed
      in one line; 130 after Ctrl-C, 143 after SIGTERM; 141 when the reader of standard output (`| head`) has gone, or
      its terminal.
    """
    streams.open_standard()
    if not os.environ.get(_CORES, 'set'):  # joblib takes '' for a number
        del os.environ[_CORES]
    streams.print_any_name(sys.stdout)
    with (
        contextlib.redirect_stdout(streams.Named(sys.stdout)),
        contextlib.redirect_stderr(streams.unfailing(sys.stderr)),
        ended_by_signals(stopped),
        _short_warnings(),
    ):
        try:
            status = work() or 0
            sys.stdout.flush()  # here, where it can be said that nobody reads it
            return status
        except InputError as error:
            return _refused(str(error))
        except (MemoryError, RuntimeError, ImportError) as error:  # the latter of JAX and threads, and of libraries
            if not is_memory_short(error):
                raise
            return _refused(f'not enough memory ({first_line(error)})')
        except KeyboardInterrupt as error:
            print(stopped, file=sys.stderr, flush=True)
            return 143 if isinstance(error, Terminated) else 130
        except OSError as error:  # permissions, names that are too long, a disk that is full
            if streams.is_unread(error, sys.stdout):
                streams.to_nobody(sys.stdout)
                return BROKEN_PIPE
            where = '' if error.filename is None else f'{error.filename}: '
            try:
                sys.stdout.flush()
            except OSError:  # Python would try once more at the end, with lines of its own
                streams.to_nobody(sys.stdout)
            if not where and not _has_current_folder():
                where = 'the current folder: '
            return _refused(f'{where}{error.strerror or error}')


def _has_current_folder() -> bool:
    """Whether the folder that the command was called in is still there."""
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def end_process(status: int) -> NoReturn:
    """Ends the process with a status of `exit_status`.

    After an error at once: a thread of Orbax may wait for ever for a checkpoint that failed.
    """
    if status != USER_ERROR:
        sys.exit(status)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _refused(why: str) -> int:
    print(f'error: {one_line(why)}', file=sys.stderr, flush=True)
    return USER_ERROR


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Warnings take one line each."""
    usual = warnings.formatwarning
    warnings.formatwarning = warning_line
    try:
        yield
    finally:
        warnings.formatwarning = usual
