"""Writing without traces of a failure: a file takes its name when it is whole, `NAME.part` until then; locks."""

import contextlib
import errno
import hashlib
import io
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, BinaryIO, TextIO

import numpy as np

from noisy_jax.errors import InputError, some

try:
    import fcntl
except ImportError:  # Windows has none: nothing is locked there
    fcntl = None

LOCK = 'lock'  # the file in a folder that says who writes there
_BY = 'process '  # the begin of its text
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # on some network disks
_ADDRESS = re.compile(r'[A-Za-z][\w+.-]+:/')  # gs://bucket; pathlib takes one / away, and C:/ is a disk
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
    """Makes a file, which is to be changed in place, one of its own where a hard link, as of a snapshot, shares it."""
    if path.stat().st_nlink > 1:
        copy = path.with_name(f'.{path.name}.own')
        shutil.copyfile(path, copy)
        copy.replace(path)


def as_npy(array: np.ndarray) -> bytes:
    """The content of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def as_json(value: dict[str, Any], *, sort_keys: bool = False) -> bytes:
    """The content of a .json file."""
    return (json.dumps(value, indent=1, sort_keys=sort_keys) + '\n').encode()


@contextlib.contextmanager
def named(path: pathlib.Path) -> Iterator[None]:
    """Errors of the system that name no file, such as those of a full disk, get the name of the one that is written."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def reserve(path: pathlib.Path) -> None:
    """Takes the space of a file that is to be written through memory: a full disk would end the process by a signal.

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
            is_binary = b'\0' in file.read(_HEAD)
        with open(path, encoding='utf-8-sig', errors='surrogateescape', newline='') as text:
            for line in text:
                if is_binary or '\0' in line:
                    raise InputError(f'{path}: cannot be read as text (a byte of it is 0)')
                yield line
    except OSError as error:
        raise InputError(f'{path}: cannot be read as text ({error.strerror})') from error


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
    """Where in `folder` the path is, whether it exists or not; links are followed. None: elsewhere."""
    real, root = (pathlib.Path(os.path.realpath(each)) for each in (path, folder))
    return real.relative_to(root) if real.is_relative_to(root) else None


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
            raise InputError(f'{field}: {path} cannot be made ({_reason(error)})') from error
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError, ValueError):  # never made, or something has been put there
                folder.rmdir()
        raise


@contextlib.contextmanager
def locked(lock: pathlib.Path, of: pathlib.Path, field: str) -> Iterator[Callable[[], bool]]:
    """Keeps other commands from writing a file or folder until the end of the block.

    Yields what tells whether the folder of the lock is still that one: it may be moved, and another take its name.

    The system releases the lock when the process is killed. Where a file system has none, nothing keeps others out.

    Args:
      lock: the file to lock, with the folders above it; it says who writes, and is removed at the end.
      of: what is written.
      field: how an error names that.

    Raises:
      InputError: another process holds the lock, or the file cannot be made.
    """
    with folders(lock.parent, field):
        try:
            file = _locked(lock)
        except BlockingIOError as error:
            by = holder(lock)
            raise InputError(
                f'{field}: {of} is in use{f": {by}" if by else ""}; wait until that has ended, or take another'
            ) from error
        except OSError as error:
            raise InputError(f'{field}: {of} cannot be written ({error.strerror or error})') from error
        said, number = lock.read_bytes(), lock.parent.stat().st_ino

        def is_held() -> bool:
            try:  # somebody may have removed the lock; not all file systems keep numbers
                return lock.read_bytes() == said if lock.exists() else lock.parent.stat().st_ino == number
            except OSError:
                return False

        with file:
            try:
                yield is_held
            finally:
                if is_held():
                    with contextlib.suppress(OSError):
                        lock.unlink()


def _locked(path: pathlib.Path) -> TextIO:
    """The open lock file; BlockingIOError: another process holds it, and nothing is changed."""
    for _ in range(3):
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, 'O_NOFOLLOW', 0)  # a link is a user's
        file = os.fdopen(os.open(path, flags, 0o666), 'a+', encoding='utf-8', errors='replace')
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                file.close()
                raise
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # who had it has just removed it
    file.seek(0)
    said = file.read(len(_BY))
    if said and said != _BY:
        file.close()
        raise FileExistsError(errno.EEXIST, f'{path.name} in it is another file, not a lock')
    who = f'{_BY}{os.getpid()} on {socket.gethostname()}, since {time.strftime("%Y-%m-%d %H:%M:%S")}'
    try:
        file.truncate(0)
        file.write(f'{who}\n{secrets.token_hex(8)}\n')  # the second line is that of no other lock
        file.flush()
    except OSError:  # the disk has no room
        path.unlink()
        with contextlib.suppress(OSError):
            file.close()
        raise
    return file


def holder(path: pathlib.Path) -> str:
    """Who holds the lock at `path`, as far as that can be read; else ''."""
    with contextlib.suppress(OSError, ValueError):
        return path.read_text(encoding='utf-8')[:200].partition('\n')[0].strip()
    return ''


def _reason(error: OSError | ValueError) -> str:
    """Why a path cannot be used: of the system, or of Python, which refuses those with a NUL."""
    return error.strerror if isinstance(error, OSError) else str(error)
