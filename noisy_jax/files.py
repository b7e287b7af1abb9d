"""Writing without traces of a failure: a file takes its name when it is whole, `NAME.part` until then."""

import contextlib
import errno
import hashlib
import io
import json
import os
import pathlib
import re
import shutil
import stat
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO, TextIO

import numpy as np

from noisy_jax.errors import InputError, named, some

_ADDRESS = re.compile(r'[A-Za-z][\w+.-]+:/')  # gs://bucket; pathlib takes one / away, and C:/ is a disk
_WORKBOOKS = b'PK\x03\x04', b'\xd0\xcf\x11\xe0'  # of today and of before 2007
_UTF_16 = b'\xff\xfe', b'\xfe\xff'
_HEAD = 2**16  # bytes in which a file shows that it is no text


def partial(path: str | os.PathLike) -> pathlib.Path:
    """The name that `path` has until it is whole; beside it, so that renaming it is one step."""
    path = pathlib.Path(path)
    return path.with_name(f'{path.name}.part')


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes or replaces a file: after a crash, the old or the new content stands there. Makes its folder."""
    write_all(path.parent, {path.name: content})


def write_all(folder: pathlib.Path, contents: Mapping[str, bytes]) -> None:
    """Writes or replaces files of a folder, which it makes; where the disk refuses one, all stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = {partial(folder / name): content for name, content in contents.items()}
    try:
        for part, content in parts.items():
            part.unlink(missing_ok=True)  # a link would lead into a file of a user's
            with named(part.with_suffix('')), part.open('xb') as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
    except OSError:
        for part in parts:
            part.unlink(missing_ok=True)
        raise
    for part in parts:
        part.replace(part.with_suffix(''))


def own(path: pathlib.Path) -> None:
    """Takes a file that is to be changed in place apart from others by links, such as those of a snapshot."""
    if path.is_symlink() or path.stat().st_nlink > 1:
        copy = path.with_name(f'.{path.name}.own')
        try:
            shutil.copyfile(path, copy)
        except OSError:
            copy.unlink(missing_ok=True)
            raise
        copy.replace(path)


def as_npy(array: np.ndarray) -> bytes:
    """The content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def as_json(value: dict[str, Any], *, sort_keys: bool = False) -> bytes:
    """The content of a .json file."""
    return (json.dumps(value, indent=1, sort_keys=sort_keys) + '\n').encode()


def sync(path: pathlib.Path) -> None:
    """Returns when a file, or all of a folder, stands on the disk, and would outlast a loss of power."""
    if not path.is_dir():
        return _sync(path)
    for place, _, names in os.walk(path):
        for file in (os.path.join(place, name) for name in names):
            if os.path.isfile(file):
                _sync(file)
        with contextlib.suppress(OSError):  # some file systems sync no folders
            _sync(place)


def _sync(path: str | os.PathLike) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def reserve(path: pathlib.Path) -> None:
    """Allocates the space of a file that will be written by a memory map: a full disk would end the process by SIGBUS.

    Raises:
      OSError: the disk has no space for it; the file is removed.
    """
    if not hasattr(os, 'posix_fallocate'):
        return
    try:
        with path.open('r+b') as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # some file systems cannot
            return
        path.unlink()
        raise


def open_bytes(path: str | os.PathLike, buffering: int = -1) -> BinaryIO:
    """A file to read; OSError: it is a pipe or a device, for which a reader may wait for ever."""
    return open(path, 'rb', buffering, opener=_at_once)


def _at_once(path: str, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))
    except BlockingIOError:  # a file that a server of files has lent to another, and takes back now
        descriptor = os.open(path, flags)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # the latter Python refuses
        os.close(descriptor)
        raise OSError(errno.ENOTSUP, 'no file, but a pipe or a device', path)
    return descriptor


def open_text(path: pathlib.Path, mode: str = 'w') -> TextIO:
    """A text file to write, whose lines may hold file names: bytes that are not UTF-8 stay."""
    return path.open(mode, encoding='utf-8', errors='surrogateescape', newline='')


def lines(path: str | os.PathLike) -> Iterator[str]:
    """The lines, with their ends, of a text file that may hold file names: bytes that are not UTF-8 stay.

    Raises:
      InputError: it cannot be read, or is no text.
    """
    try:
        with open_bytes(path) as file:
            head = file.read(_HEAD)
        is_binary = b'\0' in head
        with open(path, encoding='utf-8-sig', errors='surrogateescape', newline='') as text:
            for line in text:
                if is_binary or '\0' in line:
                    raise InputError(f'{path}: cannot be read as text ({other_form(head) or "a byte of it is 0"})')
                yield line
    except OSError as error:
        raise InputError(f'{path}: cannot be read as text ({error.strerror})') from error


def other_form(head: bytes) -> str:
    """What a spreadsheet has saved instead of a text, by its first bytes, and what to do; '' if it is none of these."""
    if head.startswith(_WORKBOOKS):
        return 'a workbook or an archive; save it as CSV UTF-8'
    if head.startswith(_UTF_16):
        return 'it is in UTF-16; save it in UTF-8, from Excel as CSV UTF-8'
    return ''


def read_text(path: str | os.PathLike) -> TextIO:
    """A text file to read as `open_text` wrote it, or a spreadsheet that begins it with a byte order mark."""
    return open(path, encoding='utf-8-sig', errors='surrogateescape', newline='')


def is_local(path: str | os.PathLike) -> bool:
    """Whether a path can be that of a file: it is no address such as gs://bucket, nor empty, nor has it a NUL."""
    name = os.fspath(path)
    return bool(name) and '\0' not in name and not _ADDRESS.match(name)


def check_free(folder: pathlib.Path, mark: str, field: str, spare: Collection[str] = ()) -> None:
    """Checks that writing in a folder takes nothing of a user's: it is new, empty, or one that was begun before.

    Args:
      folder: the folder.
      mark: the file that those have that were begun before.
      field: how an error names the folder.
      spare: names that may be there without it; hidden files always may.

    Raises:
      InputError: other files are in it, or it is no folder, or cannot be read; names what was found.
    """
    try:
        if (folder / mark).exists() or not os.path.lexists(folder):
            return
        found = sorted(name for name in os.listdir(folder) if name not in spare and not name.startswith('.'))
    except (OSError, ValueError) as error:
        raise InputError(f'{field}: {folder} cannot be used ({_reason(error)})') from error
    if found:
        raise InputError(f'{field}: {folder} holds other files ({some(found, 3)}); take a new or an empty folder')


def lies_in(path: str | os.PathLike, folder: str | os.PathLike) -> pathlib.Path | None:
    """Where in `folder` the path is, whether it exists or not; None: elsewhere.

    Links are followed. A folder is known by what it is: a disk may take its name in any case, or be mounted twice.
    """
    real, root = (pathlib.Path(os.path.realpath(each)) for each in (path, folder))
    for above in (real, *real.parents):
        with contextlib.suppress(OSError, ValueError):  # it does not exist
            if above == root or os.path.samefile(above, root):
                return real.relative_to(above)
    return None


@contextlib.contextmanager
def folders(path: pathlib.Path, field: str) -> Iterator[None]:
    """Makes a folder and those above it; removes those that it made if the block fails and left nothing in them.

    Raises:
      InputError: the disk refuses them; `field` is how it names the folder.
    """
    missing = [folder for folder in (path, *path.parents) if not os.path.exists(folder)]  # the innermost first
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            nowhere = [each for each in (path, *path.parents) if os.path.islink(each) and not os.path.exists(each)]
            reason = f'{nowhere[0]} is a link that leads nowhere' if nowhere else _reason(error)
            raise InputError(f'{field}: {path} cannot be made ({reason})') from error
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError, ValueError):  # never made, or something has been put there
                folder.rmdir()
        raise


def _reason(error: OSError | ValueError) -> str:
    """Why a path cannot be used: of the system, or of Python, which refuses those with a NUL."""
    return error.strerror if isinstance(error, OSError) else str(error)
