"""Features from outside (data.embeddings): an .npy file [N, D], or a folder of .npy files, a vector [D] per image.

Row i of a file belongs to image i of the loader, labelled or not, without data.limit: `Dataset.row` says which rows the
images at hand are. `python -m noisy_jax.embed` writes the ids of the rows beside its file; they are then compared.
A folder is looked up by id instead: `cat/1.npy` is the vector of the image `cat/1.jpg`.
"""

import functools
import os
import pathlib
from collections.abc import Callable

import numpy as np

from noisy_jax import json_files
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError, first_line

Reader = Callable[[Dataset], np.ndarray | None]

_SETTING = 'data.embeddings'
_NEEDED = 'an .npy file of numbers [N, D], or a folder of .npy files [D], is needed'


def reader(path: str) -> Reader:
    """What reads the embeddings of images: a function `(images) -> float32 [len(images), D]`, or -> None for ''.

    All that can be said without the images is checked now, since these may take minutes to decode.

    Args:
      path: config.data.embeddings.

    Raises:
      InputError: a file that does not exist or holds no numbers [N, D]. The function raises it for wrong numbers of
        rows, rows of other images, missing vectors, vectors of different lengths, and values that are not finite in
        float32.
    """
    if not path:
        return lambda images: None
    place = pathlib.Path(path)
    if place.is_dir():
        return functools.partial(_of_folder, place)
    if not place.is_file():
        raise InputError(f'{_SETTING}: {path!r} is neither a file nor a folder; {_NEEDED}')
    return functools.partial(_of_table, place, _numbers(place, ndim=2), _ids(place))


def origin(file: pathlib.Path) -> pathlib.Path:
    """The JSON file beside the embeddings `file` that has the ids of its rows, `{"ids": [...]}`; it may be absent."""
    return file.with_name(f'{file.name}.json')


def _ids(file: pathlib.Path) -> list[str] | None:
    place = origin(file)
    if not place.exists():
        return None
    return json_files.read(place, {'ids': [str]}, 'make both files of data.embeddings anew with noisy_jax.embed')['ids']


def _of_table(file: pathlib.Path, table: np.memmap, ids: list[str] | None, images: Dataset) -> np.ndarray:
    if len(table) != images.available:
        raise InputError(
            f'{_SETTING}: {file} has {len(table)} rows; {images.available} are needed, one for each training image, '
            'labelled or not, without data.limit'
        )
    if ids is not None:
        _check_ids(file, ids, images)
    found = _float32(table[images.row])
    for row in np.flatnonzero(~np.isfinite(found).all(1)):
        raise _not_finite(f'row {images.row[row]} of {file}')
    return found


def _check_ids(file: pathlib.Path, ids: list[str], images: Dataset) -> None:
    if len(ids) != images.available:
        raise InputError(
            f'{_SETTING}: {origin(file)} has {len(ids)} ids, {file.name} has {images.available} rows; '
            'make both anew with noisy_jax.embed'
        )
    for row, image in zip(images.row.tolist(), images.id.tolist(), strict=True):
        if ids[row] != image:
            raise InputError(
                f'{_SETTING}: by {origin(file).name}, row {row} of {file} is of {ids[row]}, here it is of {image}; '
                'make both files anew with noisy_jax.embed, or remove the first where the order is right'
            )


def _of_folder(folder: pathlib.Path, images: Dataset) -> np.ndarray:
    names = [f'{os.path.splitext(name)[0]}.npy' for name in images.id]
    owner: dict[str, str] = {}
    for name, image in zip(names, images.id, strict=True):
        if name in owner:
            raise InputError(
                f'{_SETTING}: {folder / name} is the vector of {owner[name]} and {image}; take an .npy file'
            )
        owner[name] = image
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f'{_SETTING}: {folder / missing[0]} does not exist ({len(missing)} of {len(names)} vectors are missing); '
            'each labelled image needs one, at its id with the suffix .npy'
        )
    found = np.empty((len(names), len(_numbers(folder / names[0], ndim=1))), np.float32)
    for row, name in enumerate(names):
        vector = _float32(_numbers(folder / name, ndim=1))
        if len(vector) != found.shape[1]:
            raise InputError(
                f'{_SETTING}: {folder / name} has length {len(vector)}, {names[0]} has {found.shape[1]}; '
                'vectors of one length are needed'
            )
        if not np.isfinite(vector).all():
            raise _not_finite(str(folder / name))
        found[row] = vector
    return found


def _numbers(file: pathlib.Path, ndim: int) -> np.memmap:
    """The array of an .npy file, memory-mapped: only the header is read, and nothing is ever unpickled."""
    try:
        array = np.lib.format.open_memmap(file, mode='r')
    except Exception as error:  # damaged bytes raise many kinds
        raise InputError(f'{_SETTING}: {file} cannot be read as .npy ({first_line(error)}); {_NEEDED}') from error
    if array.ndim != ndim or array.dtype.kind not in 'iuf' or not array.shape[-1]:
        raise InputError(f'{_SETTING}: {file} holds {array.dtype} {array.shape}; {_NEEDED}')
    return array


def _float32(array: np.ndarray) -> np.ndarray:
    """In memory; what is too large becomes infinite."""
    with np.errstate(over='ignore'):
        return np.array(array, np.float32)


def _not_finite(what: str) -> InputError:
    return InputError(f'{_SETTING}: {what} holds NaN or an infinite value; finite float32 numbers are needed')
