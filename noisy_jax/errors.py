"""The exception for user errors, which a command tells in one line, the texts in it, and warnings."""

import contextlib
import errno
import functools
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

MEND = 'mend that, and rerun the command'
# Numbers of errors of the system that are faults of what stands on the disk, and None: others may be over tomorrow.
_DAMAGE = (None, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP)  # a path is not there
_LONG = 200  # characters of a value that are shown
_LONGEST = 2000  # letters of a message
_BYTE = re.compile(r'\\udc([89a-f][0-9a-f])')  # as `repr` has one of a name that is not UTF-8


class InputError(ValueError):
    """A file, setting or command that cannot be used.

    The message is one line: it names the file or setting, says what was found and what is allowed. Line breaks and
    other characters of a name that cannot be shown are escaped; the middle of a very long one is left out.
    """

    def __str__(self) -> str:
        return shortened(one_line(super().__str__()), _LONGEST)


def one_line(text: str) -> str:
    """The text with what cannot be shown, line breaks among it, as escape sequences."""
    shown = ''.join(each if each.isprintable() else escaped(each) for each in text)
    return _BYTE.sub(r'\\x\1', shown)


def warning_line(message: Warning | str, *_: Any, **__: Any) -> str:
    """A warning as one line, instead of `warnings.formatwarning`."""
    return f'warning: {one_line(str(message))}\n'


def escaped(letter: str) -> str:
    """A letter as an escape sequence; one that stands for a byte of a name that is not UTF-8 as that byte, `\\xfc`."""
    byte = ord(letter) - 0xDC00  # as in surrogateescape
    return f'\\x{byte:x}' if 0x80 <= byte <= 0xFF else letter.encode('unicode_escape').decode()


def is_utf8(text: str, *, or_bytes: bool = False) -> bool:
    """Whether a text can be written as UTF-8; `or_bytes`: but for those of a name that has another encoding."""
    try:
        text.encode(errors='surrogateescape' if or_bytes else 'strict')
    except UnicodeEncodeError:
        return False
    return True


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
        text = repr(value.item() if _is_numpy_scalar(value) else value)  # 0, not np.int64(0)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        text = f'a value of type {type(value).__name__} that is too long to show'
    return text if len(text) <= _LONG else f'{text[:_LONG]}... ({len(text):,} characters)'


def _is_numpy_scalar(value: Any) -> bool:
    """Whether `item` gives a value as it is written, which it does not of a time. (Help is quick without NumPy.)"""
    is_scalar = type(value).__module__ == 'numpy' and getattr(value, 'ndim', None) == 0
    return is_scalar and value.dtype.kind not in 'mM'


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where there is none: the reason within an InputError."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def named(what: object) -> Iterator[None]:
    """Errors of the system that name no file, such as those of a full disk, get the name of what is written."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(what)
        raise


def is_memory_short(error: Exception) -> bool:
    """Whether an allocation failed, on the host or on a device; a thread too needs memory, and a permission."""
    said = str(error)
    signs = 'RESOURCE_EXHAUSTED', "can't start new thread", 'failed to map segment'  # the last of a library
    return isinstance(error, MemoryError) or any(sign in said for sign in signs)


def is_damage(number: int | None) -> bool:
    """Whether the error of that `errno`, None where it is not one of the system, says that a file is damaged."""
    return number in _DAMAGE


def remedy_of(number: int | None, remedy: str) -> str:
    """What to do about a file of a run that cannot be read: `remedy`, which may cost it, only where it is damaged.

    Args:
      number: `errno` of the error, None where it is not one of the system; permissions say nothing against the file.
      remedy: what else to do.
    """
    return remedy if is_damage(number) else MEND


def check_reachable(field: str, path: str | os.PathLike) -> None:
    """InputError: the system cannot say whether a path is there, such as on a mount whose server has gone."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise InputError(f'{field}: {os.fspath(path)} cannot be reached ({error.strerror})') from error
    except ValueError:  # a zero byte in it
        pass


def warn_once(text: str) -> None:
    """A warning in one line, once however often it is given; Python's own memory of them is emptied by others."""
    _warn_once(shortened(one_line(text), _LONGEST))


def warn_anew() -> None:
    """Forgets what was warned of: a call of the estimator speaks for itself, whatever an earlier one has said."""
    _warn_once.cache_clear()


@functools.cache
def _warn_once(line: str) -> None:
    warnings.warn(line, stacklevel=4)
