"""The exception for user errors, and how a command ends by it: one line on standard error, exit status 2."""

import contextlib
import gc
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, TextIO

BROKEN_PIPE = 141  # exit status, as a shell has it for SIGPIPE
_LONG = 200  # characters of a value that are shown
_LONGEST = 2000  # letters of a message


class InputError(ValueError):
    """A file, setting or command that cannot be used.

    The message is one line: it names the file or setting, says what was found and what is allowed. Line breaks and
    other characters of a name that cannot be shown are escaped; the middle of a very long one is left out.
    """

    def __str__(self) -> str:
        return shortened(one_line(super().__str__()), _LONGEST)


def one_line(text: str) -> str:
    """The text with what cannot be shown, line breaks among it, as escape sequences."""
    return ''.join(each if each.isprintable() else escaped(each) for each in text)


def escaped(letter: str) -> str:
    """A letter as an escape sequence; one that stands for a byte of a name that is not UTF-8 as that byte, `\\xfc`."""
    byte = ord(letter) - 0xDC00  # as in surrogateescape
    return f'\\x{byte:x}' if 0x80 <= byte <= 0xFF else letter.encode('unicode_escape').decode()


def shortened(text: str, most: int = 80) -> str:
    """The text; of one that is longer than `most`, both ends."""
    half = most // 2
    return text if len(text) <= most else f'{text[: most - half - 1]}…{text[-half:]}'


def some(names: Sequence[str], most: int) -> str:
    """The first `most` of some names, and how many more there are: a list within an InputError."""
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def short(value: Any) -> str:
    """A value as Python writes it, within an InputError; the rest of a long one is left out."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = f'a value of type {type(value).__name__} that is too long to show'
    return text if len(text) <= _LONG else f'{text[:_LONG]}... ({len(text):,} characters)'


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where there is none: the reason within an InputError."""
    return (str(error).splitlines() or [type(error).__name__])[0]


class Unheeded:
    """A stream such as standard error, to which everything can be written after its reader (`2>&1 | head`) has gone."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except BrokenPipeError:
            _to_nobody(self.stream)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            _to_nobody(self.stream)


def _to_nobody(stream: TextIO) -> None:
    """What is still in its buffer, and all that is to come."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Terminated(KeyboardInterrupt):
    """SIGTERM, where it is an exception."""


_cleaning: list[bool] = []  # for every block of `cleans_up`


@contextlib.contextmanager
def cleans_up() -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM are exceptions, so that it can remove what it has begun to write."""
    _cleaning.append(True)
    try:
        yield
    finally:
        _cleaning.pop()


@contextlib.contextmanager
def _ended_by_signals(stopped: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the process at once, unless the program has other plans for them, or `cleans_up`.

    An exception would abort the import of a native library; in a garbage collection JAX would ignore it.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not _cleaning:
            with contextlib.suppress(OSError, ValueError):
                os.write(sys.stderr.fileno(), f'{stopped}\n'.encode())
            os._exit(128 + number)
        if frame and any(frame.f_code is getattr(callback, '__code__', None) for callback in gc.callbacks):
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()  # ask again
            return
        raise KeyboardInterrupt if number == signal.SIGINT else _Terminated

    numbers = []
    if threading.current_thread() is threading.main_thread():
        numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is interrupt:
                signal.signal(number, signal.SIG_DFL)


def exit_status(work: Callable[[], int | None], stopped: str = 'stopped; nothing was written') -> int:
    """Does the `work` of a command, which may return an exit status; `stopped` is printed after Ctrl-C and SIGTERM.

    Nothing ends because nobody reads standard error any more.

    Warnings take one line each, and names that are not UTF-8 are printed as they are.

    Returns:
      What `work` returned, or 0; 2 after a user error, for want of memory or where the system refuses a file, printed
      in one line; 130 after Ctrl-C, 143 after SIGTERM; 141 when the reader of standard output (`| head`) has gone.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='surrogateescape')
    unheeded = sys.stderr if isinstance(sys.stderr, Unheeded) else Unheeded(sys.stderr)
    with contextlib.redirect_stderr(unheeded), _ended_by_signals(stopped), _short_warnings():
        try:
            status = work() or 0
            sys.stdout.flush()  # here, where it can be said that nobody reads it
            return status
        except InputError as error:
            return _refused(str(error))
        except MemoryError as error:
            return _refused(f'not enough memory ({first_line(error)})')
        except KeyboardInterrupt as error:
            print(stopped, file=sys.stderr, flush=True)
            return 143 if isinstance(error, _Terminated) else 130
        except BrokenPipeError:
            _to_nobody(sys.stdout)
            return BROKEN_PIPE
        except OSError as error:  # permissions, names that are too long, a disk that is full
            where = '' if error.filename is None else f'{error.filename}: '
            return _refused(f'{where}{error.strerror or error}')


def _refused(why: str) -> int:
    print(f'error: {one_line(why)}', file=sys.stderr, flush=True)
    return 2


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Warnings take one line each."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f'warning: {one_line(str(message))}\n'
    try:
        yield
    finally:
        warnings.formatwarning = usual
