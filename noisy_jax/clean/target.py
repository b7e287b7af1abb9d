"""The place of a corrected copy: what may be its name, and the folders above it."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from noisy_jax.errors import InputError
from noisy_jax.files import check_new


def check(out: str, data: str | os.PathLike) -> None:
    """Checks that `out` can be made, with the folders above it.

    Args:
      out: a new folder, or a new .csv file.
      data: path of the originals; a folder `out` may not lie in it.

    Raises:
      InputError: it is no name, exists already, or has a file above it.
    """
    path, root = pathlib.Path(out), pathlib.Path(data)
    if path.name in ('', '..'):
        raise InputError(f'--out: {out!r} is not allowed; the name of a new folder or of a new .csv file')
    try:
        above = next(folder for folder in path.parents if folder.exists() or folder.is_symlink())
        if not above.is_dir():
            raise InputError(f'--out: {above} is not a folder, so that {out} cannot be made in it')
        if above == path.parent:
            check_new(path)
        if not out.endswith('.csv') and root.is_dir() and path.resolve().is_relative_to(root.resolve()):
            raise InputError(f'--out: {out} lies in {root}, inside the data; choose another place')
    except OSError as error:
        raise InputError(f'--out: {out} cannot be made ({error.strerror})') from error


@contextlib.contextmanager
def folders_above(out: str) -> Iterator[None]:
    """Makes the folders above `out`; removes those it made if the block fails.

    Raises:
      InputError: the disk refuses them.
    """
    parents = pathlib.Path(out).parents
    missing = [folder for folder in parents if not folder.exists()]  # the nearest first
    try:
        try:
            parents[0].mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f'--out: {parents[0]} cannot be made ({error.strerror})') from error
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # never made, or another program has put something there
                folder.rmdir()
        raise
