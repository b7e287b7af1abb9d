"""The place of a corrected copy: what may be its name."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any

from noisy_jax.data import output_places
from noisy_jax.errors import InputError
from noisy_jax.outputs import OTHER_TABLES, check_name, check_new

_OTHERS = (*OTHER_TABLES, '.txt', '.npz')  # suffixes of files that are not written here


def is_list(out: str) -> bool:
    """Whether `out` is that of a list alone, not of a folder."""
    return out.rstrip(os.sep).lower().endswith('.csv')


def check(out: str, settings: Mapping[str, Any]) -> None:
    """Checks that `out` can be made, with the folders above it.

    Args:
      out: a new folder, or a new .csv file.
      settings: config.data of the originals; a folder `out` may not lie in theirs.

    Raises:
      InputError: it is no name or that of another kind of file, exists already, or has a file above it.
    """
    check_name(out)
    path = pathlib.Path(out)
    if path.suffix.lower() in _OTHERS or (is_list(out) and (out.endswith(os.sep) or not path.suffix)):
        raise InputError(
            f'--out: {out} is not allowed; a list is written as NAME.csv, a copy into a folder without such a suffix'
        )
    try:
        above = next(folder for folder in path.parents if folder.exists() or folder.is_symlink())
        if not above.is_dir():
            raise InputError(f'--out: {above} is not a folder, so that {out} cannot be made in it')
        if above == path.parent:
            check_new(path)
    except OSError as error:
        raise InputError(f'--out: {out} cannot be made ({error.strerror})') from error
    if not is_list(out):  # a list may lie beside its images
        output_places.check(out, settings, '--out')
