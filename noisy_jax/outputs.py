"""What a command leaves behind: its exit status; files, under their name only when whole, never in another's place."""

import contextlib
import os
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

from noisy_jax.errors import InputError


def check_new(path: str | os.PathLike) -> None:
    """Whether --out can be made.

    Raises:
      InputError: it is there already, or the folder that it would be in is not.
    """
    path = pathlib.Path(path)
    for taken in (path, _part(path)):
        if taken.exists() or taken.is_symlink():
            left = ', left by a command that was ended' if taken != path else ''
            raise InputError(f'--out: {taken} is there already{left}; take another name, or remove it')
    if not path.parent.is_dir():
        raise InputError(f'--out: there is no folder {path.parent} to put {path.name} in')


@contextlib.contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A folder to fill; it takes the name `path` at the end of the block, and is removed where that fails.

    Raises:
      InputError: as `check_new`; or the disk does not take what the block writes.
    """
    check_new(path)
    part = _part(pathlib.Path(path))
    with _kept_whole(part, path):
        part.mkdir()
        yield part
        part.rename(path)


@contextlib.contextmanager
def new_file(path: str | os.PathLike) -> Iterator[TextIO]:
    """A text file to fill, as `new_folder`."""
    check_new(path)
    part = _part(pathlib.Path(path))
    with _kept_whole(part, path):
        # Names of files may hold bytes that are no UTF-8.
        with part.open('w', encoding='utf-8', errors='surrogateescape', newline='') as file:
            yield file
        part.rename(path)


def exit_status(work: Callable[[], int | None], stopped: str = 'stopped; nothing was written') -> int:
    """Of a command that does `work`: what that returns (None: 0), or the status of how it failed.

    2: something that a person can mend, said in one line; 130: Ctrl-C, `stopped` is said; 141: the reader of standard
    output (`| head`) has gone.
    """
    try:
        return work() or 0
    except InputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _part(path: pathlib.Path) -> pathlib.Path:
    """A sibling: a rename within a folder takes one step."""
    return path.with_name(f'{path.name}.part')


@contextlib.contextmanager
def _kept_whole(part: pathlib.Path, path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise InputError(f'--out: {path} cannot be written ({error})') from error
        raise
