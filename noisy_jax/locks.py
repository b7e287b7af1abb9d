"""Who writes in a folder: a lock that the system releases when a process is killed, and that says who holds it."""

import contextlib
import errno
import os
import pathlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from noisy_jax import files
from noisy_jax.errors import MEND, InputError, warn_once

try:
    import fcntl
except ImportError:  # Windows has none: nothing is locked there
    fcntl = None

_BY = 'process '  # how its text begins
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # on some network disks


@contextlib.contextmanager
def locked(lock: pathlib.Path, of: pathlib.Path, field: str) -> Iterator[Callable[[], None]]:
    """Keeps other commands from writing a file or folder until the end of the block.

    Yields a check that raises InputError once the folder of the lock was moved or removed, whose name another may have,
    or another command has taken the lock all the same.

    The system releases the lock when the process is killed. Where a file system has none, nothing keeps others out, and
    a warning says so.

    Args:
      lock: the file to lock, with the folders above it; it says who writes, and is removed at the end.
      of: what is written.
      field: how an error names that.

    Raises:
      InputError: another process holds the lock, or the file cannot be made.
    """
    lock = lock.absolute()  # also where the current folder is renamed
    with files.folders(lock.parent, field):
        try:
            file = _locked(lock)
        except BlockingIOError as error:
            by = holder(lock)
            raise InputError(
                f'{field}: {of} is in use{f": {by}" if by else ""}; wait until that has ended, or take another'
            ) from error
        except OSError as error:
            what = f'{lock}, by which a command says that it writes {of},' if os.path.lexists(lock) else of
            raise InputError(f'{field}: {what} cannot be written ({error.strerror or error})') from error
        said, number = lock.read_bytes(), lock.parent.stat().st_ino

        def fault() -> str:
            """What has become of the lock; '' if it is held."""
            gone = 'was moved or removed while a command wrote it'
            try:  # somebody may have removed the lock; not all file systems keep numbers
                if not lock.exists():
                    return '' if lock.parent.stat().st_ino == number else gone
                if lock.stat().st_dev != os.fstat(file.fileno()).st_dev:  # a copy on another disk is another one
                    return gone
                if lock.read_bytes() == said:
                    return ''
                is_same = lock.parent.stat().st_ino == number
                return f'is written by another command too, {holder(lock)}' if is_same else gone
            except (FileNotFoundError, NotADirectoryError):
                return gone
            except OSError:  # such as a permission that was taken back
                return ''

        def check() -> None:
            if found := fault():
                raise InputError(f'{field}: {of} {found}; {MEND}')

        with file:
            try:
                yield check
            finally:
                if not fault():
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
            left = f'; it may be there now: {by}' if (by := holder(path)) else ''
            warn_once(f'{path.parent}: this disk has no locks; see to it that no other command writes there{left}')
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()  # who had it has just removed it
    else:
        raise BlockingIOError(errno.EAGAIN, 'others take it and release it')
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
