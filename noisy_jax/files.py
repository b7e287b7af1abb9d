"""Writing without traces of a failure: a file or folder takes its name when it is whole, `NAME.part` until then."""

import contextlib
import hashlib
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import TextIO

from noisy_jax.errors import InputError


def partial(path: str | os.PathLike) -> pathlib.Path:
    """The name that `path` has until it is whole; beside it, so that renaming it is one step."""
    path = pathlib.Path(path)
    return path.with_name(f'{path.name}.part')


def write(path: pathlib.Path, content: bytes) -> None:
    """Writes or replaces a file: after a crash, the old or the new content stands there. Makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = partial(path)
    with part.open('wb') as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def digest(path: str | os.PathLike) -> str:
    """SHA-256 of a file, in hexadecimal digits; `~` is the home folder."""
    with open(os.path.expanduser(path), 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def open_text(path: pathlib.Path) -> TextIO:
    """A text file to write, whose lines may hold file names: bytes that are not UTF-8 stay."""
    return path.open('w', encoding='utf-8', errors='surrogateescape', newline='')


def check_new(path: str | os.PathLike, *, resumes: bool = False) -> None:
    """Checks that the output `path` of a command can be created; one that `resumes` takes what it left unfinished.

    Raises:
      InputError: it exists already, or the folder that it would be in does not.
    """
    path = pathlib.Path(path)
    for taken in (path,) if resumes else (path, partial(path)):
        if taken.exists() or taken.is_symlink():
            left = ', left by a command that was ended' if taken != path else ''
            raise InputError(f'--out: {taken} already exists{left}; choose another name or remove it')
    if not path.parent.is_dir():
        raise InputError(f'--out: there is no folder {path.parent} to put {path.name} in')


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A new folder to fill; it gets the name `path` at the end of the block, and is removed if the block fails.

    Raises:
      InputError: as `check_new`; or the disk refuses what the block writes.
    """
    with _new(path) as part:
        part.mkdir()
        yield part


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[TextIO]:
    """A new text file to fill, as `new_folder`."""
    with _new(path) as part, open_text(part) as file:
        yield file


@contextlib.contextmanager
def _new(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    check_new(path)
    part = partial(path)
    try:
        yield part
        part.rename(path)
    except OSError as error:
        raise InputError(f'--out: {path} cannot be written ({error})') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
        part.unlink(missing_ok=True)
