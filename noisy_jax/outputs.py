"""What a command writes: a new file or folder, which takes its name when it is whole; `NAME.part` until then."""

import contextlib
import errno
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import TextIO, TypeVar

from noisy_jax.errors import MEND, InputError
from noisy_jax.files import is_local, open_text, partial, sync
from noisy_jax.interrupts import cleans_up, undisturbed

Made = TypeVar('Made')
_COMPRESSED = '.gz', '.bz2', '.xz', '.zst', '.zip'
OTHER_TABLES = ('.xlsx', '.xls', '.ods', '.tsv', '.json', '.parquet', *_COMPRESSED)  # suffixes of what is no CSV


def check_new(path: str | os.PathLike, *, resumes: bool = False) -> None:
    """Checks that the output `path` of a command can be created; one that `resumes` takes what it left unfinished.

    Raises:
      InputError: it is no name, it exists already, or the folder that it would be in does not or may not be written.
    """
    check_name(path)
    path = pathlib.Path(path)
    try:
        for taken in (path,) if resumes else (path, partial(path)):
            if taken.exists() or taken.is_symlink():
                left = '' if taken == path else ': another command writes it, or has been ended'
                raise InputError(f'--out: {taken} already exists{left}; choose another name or remove it')
        if not path.parent.is_dir():
            raise InputError(f'--out: there is no folder {path.parent} to put {path.name} in')
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise InputError(f'--out: {path} cannot be made (no permission to write in {path.parent})')
    except OSError as error:
        raise InputError(f'--out: {path} cannot be made ({error.strerror})') from error


def check_name(path: str | os.PathLike) -> None:
    """InputError: an output `path` that names nothing new on this machine, such as '', '/', '.', '..' and gs://bucket."""
    if pathlib.Path(path).name in ('', '..') or not is_local(path):
        raise InputError(f'--out: {os.fspath(path)!r} is not allowed; the name of a new local file or folder is needed')


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A new folder to fill; it gets the name `path` at the end of the block, and is removed if the block fails.

    Raises:
      InputError: as `check_new`; or the disk refuses what the block writes.
    """

    def make(part: pathlib.Path) -> pathlib.Path:
        part.mkdir()
        return part

    with _new(path, make) as part:
        yield part


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[TextIO]:
    """A new text file to fill, as `new_folder`."""
    if os.fspath(path).endswith(os.sep):
        raise InputError(f'--out: {path} is the name of a folder; that of a file is needed')
    with _new(path, lambda part: open_text(part, 'x')) as file, file:
        yield file


def give(part: pathlib.Path, path: pathlib.Path) -> None:
    """Gives what is whole its name; FileExistsError: somebody else has taken it meanwhile."""
    if not part.is_dir():
        try:
            os.link(part, path)  # unlike a new name, it replaces no file
            return part.unlink()
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            pass
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    part.rename(path)


@contextlib.contextmanager
def _new(path: str | os.PathLike, make: Callable[[pathlib.Path], Made]) -> Iterator[Made]:
    """What `make` makes; it fails where another command has just made the same, whose work stays."""
    check_new(path)
    part = partial(path)  # which somebody may remove and another command make anew
    with cleans_up():
        try:
            made = make(part)
            with _known(part) as is_same:
                try:
                    yield made
                    if not is_same():
                        raise InputError(f'--out: {part} was moved or removed while a command wrote it; {MEND}')
                    sync(part)
                    give(part, pathlib.Path(path))
                finally:
                    with undisturbed():
                        if is_same():
                            shutil.rmtree(part, ignore_errors=True)
                            with contextlib.suppress(OSError):  # what cannot be removed hides no error
                                part.unlink()
        except OSError as error:
            raise InputError(f'--out: {path} cannot be written ({error})') from error


@contextlib.contextmanager
def _known(path: pathlib.Path) -> Iterator[Callable[[], bool]]:
    """Tells within the block whether `path` is still what it is now."""
    descriptor = os.open(path, os.O_RDONLY)  # while it is open, nothing else gets its number

    def is_same() -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(path))
        except OSError:
            return False

    try:
        yield is_same
    finally:
        os.close(descriptor)
