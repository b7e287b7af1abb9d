"""Standard streams of a command that are closed, full, read by nobody, or of another encoding."""

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from noisy_jax.errors import escaped, named

_AS_IT_CAN = 'noisy_jax.as_it_can'  # what `str.encode` calls by this name


class Unfailing:
    """A stream such as standard error, to which everything can be written.

    Also after its reader (`2>&1 | head`) has gone, or where its file is on a full disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:
            self._lose()
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            self._lose()

    def isatty(self) -> bool:
        return hasattr(self.stream, 'isatty') and self.stream.isatty()  # a window's text has none

    def _lose(self) -> None:
        try:
            to_nobody(self.stream)
        except (AttributeError, OSError, ValueError):  # no file
            self.stream = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115


def unfailing(stream: TextIO) -> Unfailing:
    """The stream as one to which everything can be written, which it may be already."""
    return stream if isinstance(stream, Unfailing) else Unfailing(stream)


class Named:
    """Standard output, whose errors name it: a full disk may be that of the work or that of a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with named('standard output'):
            return self._stream.write(text)

    def flush(self) -> None:
        with named('standard output'):
            self._stream.flush()


@contextlib.contextmanager
def unheeded() -> Iterator[None]:
    """Within the block, what is printed is lost where nobody reads it."""
    with contextlib.redirect_stdout(unfailing(sys.stdout)), contextlib.redirect_stderr(unfailing(sys.stderr)):
        yield


def to_nobody(stream: TextIO) -> None:
    """Leads a stream whose reader has gone to os.devnull, with what is still in its buffer."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def is_unread(error: OSError, stream: TextIO) -> bool:
    """Whether a write to the stream failed for want of a reader: of a pipe, or a terminal that was closed."""
    if isinstance(error, BrokenPipeError):
        return True
    try:
        os.write(stream.fileno(), b'')  # which a failing disk takes
    except (OSError, ValueError) as again:
        return error.errno == errno.EIO == getattr(again, 'errno', None)
    return False


def open_standard() -> None:
    """Opens os.devnull for each standard stream that is closed: a later file would get its number, and all prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115


def print_any_name(stream: TextIO) -> None:
    """Names that are not UTF-8 are printed as they are, and what the encoding of the terminal lacks is escaped."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_AS_IT_CAN)


def _as_it_can(error: UnicodeEncodeError) -> tuple[bytes, int]:
    """An error handler of codecs: keeps bytes of a name that is not UTF-8, and escapes what the encoding lacks."""
    letters = error.object[error.start : error.end]
    shown = [each.encode('ascii', 'surrogateescape') if _is_byte(each) else escaped(each).encode() for each in letters]
    return b''.join(shown), error.end


def _is_byte(letter: str) -> bool:
    return 0xDC80 <= ord(letter) <= 0xDCFF


codecs.register_error(_AS_IT_CAN, _as_it_can)
