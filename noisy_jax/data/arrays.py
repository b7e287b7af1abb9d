"""Loader of NumPy files: an .npz file, or a folder of memory-mapped .npy files."""

import pathlib
from typing import Any

import numpy as np

from noisy_jax.data import array_files, extreme_values, lazy
from noisy_jax.data.array_files import LEVELS
from noisy_jax.data.dataset import (
    NO_LABEL,
    Dataset,
    balanced,
    checksums,
    in_order,
    warn_of_blank,
    warn_of_empty,
    warn_of_missing,
    warn_of_rows,
    warn_of_wrapped,
)
from noisy_jax.data.depth import Levels
from noisy_jax.data.pixels import ROUNDING
from noisy_jax.errors import InputError, some, warn_once

_BLOCK = 2**24  # bytes of floats that are held at a time


def load(split: str, path: str, image_size: int = 0, limit: int = 0, **_: Any) -> Dataset | None:
    """Reads `images` and `labels`, optionally `true_labels`, `ids`, `class_names`, and a test set.

    The test set is `test_images`, `test_labels` and optionally `test_ids`. Images are [N, H, W, C] or [N, H, W], uint8
    or floats in [0, 1]; those of a folder stay on disk where they are uint8. Only evaluation and reports read
    `true_labels`.

    Labels are whole numbers from 0, or text; in `labels` -1 is an image without one. With `class_names` numbers are
    rows of it, and text is one of the names; without, the classes are the values in `labels`, by value: [7, 5, 9] has
    the classes '5', '7', '9'.

    Args:
      split: 'train' or 'test'.
      path: the file or folder.
      image_size: pixels of a side, to which images are scaled by their shorter side and cropped; 0: as they are.
      limit: as in the folder loader.

    Returns:
      The data set; None for a test set that does not exist.

    Raises:
      InputError: a file, array or value that cannot be used.
    """
    prefix = 'test_' if split == 'test' else ''
    arrays = array_files.read(pathlib.Path(path))
    if split == 'test' and 'test_images' not in arrays:
        return None
    array_files.warn_of_unread(pathlib.Path(path))
    images = _images(arrays, f'{prefix}images', path)
    names, numbered = _classes(arrays, path)
    label = _numbers(arrays, f'{prefix}labels', path, len(images), names, numbered=numbered)
    if split == 'train':
        warn_of_empty(label, names, f'{path}: class_names')
    true = None
    if split == 'train' and 'true_labels' in arrays:
        true = _numbers(arrays, 'true_labels', path, len(images), names, numbered=numbered)
    ids = arrays.get(f'{prefix}ids')
    if ids is not None and ids.dtype.kind == 'V':  # bytes, or fields
        raise InputError(f'{path}: {prefix}ids is {ids.dtype}; text or numbers are needed')
    levels = arrays.get(LEVELS)
    if levels is not None:
        _check_levels(levels, f'{path}: {LEVELS}')
    try:
        if ids is not None:
            ids = np.char.decode(ids, 'utf-8') if ids.dtype.kind == 'S' else ids.astype(str)
        '\n'.join((*names, *(() if ids is None else ids.ravel()))).encode(errors='surrogateescape')
        dataset = Dataset(images, label, names, true_label=true, id=ids, mark=checksums(images))
    except UnicodeError as error:
        raise InputError(f'{path}: {prefix}ids or names of classes are no text ({error})') from error
    except InputError as error:
        raise InputError(f'{path}: {prefix}{error}') from error
    _check_ids(ids, f'{path}: {prefix}ids')
    if split == 'train':
        _warn_of_channels(images.shape[-1], path)
    dataset = dataset.take(balanced(label, limit, len(names))) if limit else dataset
    levels = None if levels is None else Levels(*levels.tolist())
    return dataset.replace(image=lazy.scaled(dataset.image, image_size), levels=levels)


def _check_levels(levels: np.ndarray, source: str) -> None:
    """InputError: they are not two finite numbers, the lower one first."""
    if levels.shape != (2,) or levels.dtype.kind not in 'iuf':
        raise InputError(f'{source} is {levels.dtype} {levels.shape}; the two numbers of `pack` are needed')
    if not (np.isfinite(levels).all() and levels[0] <= levels[1]):
        raise InputError(f'{source} is {levels.tolist()}; two finite numbers are needed, the lower one first')


def _check_ids(ids: np.ndarray | None, source: str) -> None:
    """InputError: two images have one id, by which decisions name them."""
    if ids is None:
        return
    values, counts = np.unique(ids, return_counts=True)
    if twice := [repr(str(each)) for each in values[counts > 1]]:
        raise InputError(f'{source}: each image needs its own, found twice: {some(twice, 3)}')


def _get(arrays: dict[str, np.ndarray], key: str, path: str) -> np.ndarray:
    if key not in arrays:
        found = some(array_files.names_in(pathlib.Path(path)), 10) or 'none'
        raise InputError(f'{path}: no array {key!r}; found {found}')
    return arrays[key]


def _images(arrays: dict[str, np.ndarray], key: str, path: str) -> lazy.Images:
    images = _get(arrays, key, path)
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        raise InputError(f'{path}: {key} has shape {images.shape}; [N, H, W, C] or [N, H, W] is needed')
    if images.dtype == np.uint8:
        warn_of_blank(images, 255, f'{path}: {key}')
        return lazy.Rows.of(images) if isinstance(images, np.memmap) else images
    needed = 'uint8 or floats in [0, 1] are needed'
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(f'{path}: {key} is {images.dtype}; {needed}')
    low, high = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))  # NaN if an image holds one
    for row in np.flatnonzero(~((low >= -ROUNDING) & (high <= 1 + ROUNDING))):
        found = 'NaN' if np.isnan(low[row]) else f'values from {low[row]:g} to {high[row]:g}'
        raise InputError(f'{path}: {key}[{row}] holds {found}; {needed}')
    warn_of_blank(images, 1, f'{path}: {key}')
    extreme_values.warn_of_array(images, 0, 1, f'{path}: {key}')
    return _as_bytes(images)


def _as_bytes(images: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] as uint8; a few at a time, since the file may be larger than the memory."""
    found, some_rows = np.empty(images.shape, np.uint8), max(_BLOCK // images[0].nbytes, 1)
    for start in range(0, len(images), some_rows):
        rows = slice(start, start + some_rows)
        found[rows] = np.round(images[rows] * 255)
    return found


def _warn_of_channels(channels: int, path: str) -> None:
    if channels not in (1, 3):
        hint = '; images[..., :3] leaves out transparency' if channels == 4 else ''
        warn_once(f'{path}: images of {channels} channels; predict reads files, which have 1 (grey) or 3{hint}')


def _classes(arrays: dict[str, np.ndarray], path: str) -> tuple[tuple[str, ...], bool]:
    """Names of the classes, and whether labels that are numbers are rows of the names."""
    if 'class_names' not in arrays:
        names = in_order(value for value in _values(arrays, 'labels', path)[0] if value)
        if not names:
            raise InputError(f'{path}: labels are all {NO_LABEL}, which is none; some of each class are needed')
        warn_of_missing(names, path)
        return names, False
    given = np.atleast_1d(arrays['class_names'])
    if given.ndim != 1 or given.dtype.kind not in 'Uiu':
        raise InputError(f'{path}: class_names is {given.dtype} {given.shape}; text or whole numbers [C] are needed')
    first: dict[str, int] = {}
    for row, name in enumerate(map(str, given.tolist())):
        if not name.strip() or first.setdefault(name, row) != row:
            found = f'that of class_names[{first[name]}] too' if name.strip() else 'no name'
            raise InputError(f'{path}: class_names[{row}] is {name!r}, {found}; a name for each class is needed')
    names, labels = tuple(first), arrays.get('labels', given[:0])
    if labels.dtype.kind in 'iuf' and not array_files.is_ours(path):
        _check_order(names, labels, path)
    return names, True


def _check_order(names: tuple[str, ...], labels: np.ndarray, path: str) -> None:
    """Refuses names that are the labels in the order of their appearance, as `unique` of pandas has them.

    Labels that appear as 0, 1, 2, ... are rows, as `factorize` has them; of others a warning asks.
    """
    if str(NO_LABEL) in names and NO_LABEL in labels:
        raise InputError(f'{path}: class_names holds {NO_LABEL}, which is no label in labels; leave it out')
    whole = labels[np.isfinite(labels) & (np.mod(labels, 1) == 0)]  # others are refused later
    seen = [int(label) for label in dict.fromkeys(whole.tolist()) if label != NO_LABEL]
    if seen == list(range(len(seen))):
        return
    if tuple(map(str, seen)) == names and in_order(names) != names:
        raise InputError(
            f'{path}: class_names are the labels in the order of their appearance, but labels are rows of class_names; '
            'leave class_names out'
        )
    warn_of_rows(names, seen, path)


def _numbers(
    arrays: dict[str, np.ndarray], key: str, path: str, count: int, names: tuple[str, ...], *, numbered: bool
) -> np.ndarray:
    """The array `key` of labels as numbers of the classes `names`, int64 [N]."""
    values, inverse = _values(arrays, key, path)
    if len(inverse) != count:
        raise InputError(f'{path}: {key} has shape {inverse.shape}; one label for each of {count} images is needed')
    is_text = arrays[key].dtype.kind == 'U'
    if numbered and not is_text:
        known = {str(row): row for row in range(len(names))}
        allowed = f'0 to {len(names) - 1}, the rows of class_names'
    else:
        known = {name: row for row, name in enumerate(names)}
        allowed = f'{len(names)} classes: {some(names, 5)}'
    known[''], wrong = NO_LABEL, NO_LABEL - 1
    numbers = np.array([known.get(value, wrong) for value in values])[inverse]
    for row in np.flatnonzero(numbers == wrong):
        value = arrays[key][row]
        raise InputError(f'{path}: {key}[{row}] is {str(value)!r}; allowed: {allowed}')
    return numbers


def _values(arrays: dict[str, np.ndarray], key: str, path: str) -> tuple[list[str], np.ndarray]:
    """The different labels as text ('' for none), and which of them each image has, int [N]."""
    labels = _get(arrays, key, path)
    if labels.ndim != 1 or not len(labels):
        raise InputError(f'{path}: {key} has shape {labels.shape}; one label for each image is needed')
    least, none = (NO_LABEL, f' ({NO_LABEL}: no label)') if key == 'labels' else (0, '')
    needed = f'whole numbers of at least 0{none} or text that is not empty are needed'
    if labels.dtype.kind not in 'Uiuf':
        raise InputError(f'{path}: {key}: found {labels.dtype}; {needed}')
    warn_of_wrapped(labels, f'{path}: {key}')
    values, inverse = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == 'U':
        fits = np.array([bool(value.strip()) for value in values.tolist()])
    else:
        fits = (values >= least) & (values < 2**63) & (np.mod(values, 1) == 0)
    for row in np.flatnonzero(~fits[inverse]):
        raise InputError(f'{path}: {key}[{row}] is {labels[row].item()!r}; {needed}')
    if labels.dtype.kind == 'U':
        return values.tolist(), inverse
    return ['' if value == NO_LABEL else str(int(value)) for value in values.tolist()], inverse
