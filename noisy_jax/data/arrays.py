"""Loader of NumPy files: an .npz file, or a folder of memory-mapped .npy files."""

import difflib
import pathlib
import zipfile
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.data.dataset import (
    NO_LABEL,
    Dataset,
    balanced,
    checksums,
    in_order,
    warn_of_blank,
    warn_of_empty,
    warn_of_missing,
)
from noisy_jax.data.decoding import Levels
from noisy_jax.data.pixels import ROUNDING
from noisy_jax.errors import InputError, first_line, some, warn_once

_LEVELS = 'noisy_jax_levels'  # of deep image files that `pack` read: what predict needs for others
_READ = (
    *('images', 'labels', 'ids', 'true_labels', 'class_names', _LEVELS),
    *('test_images', 'test_labels', 'test_ids', 'test_true_labels'),
)
_IDS = ('ids', 'test_ids')
_LABELS = ('labels', 'true_labels', 'class_names', 'test_labels', 'test_true_labels')
_ALIKE = 0.8  # similarity of names, such as test_image to test_images
_NEEDED = 'an .npz file or a folder of .npy files is needed'


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
    arrays = _read(pathlib.Path(path))
    if split == 'test' and 'test_images' not in arrays:
        return None
    _warn_of_misspelt(pathlib.Path(path))
    images = _images(arrays, f'{prefix}images', path)
    names, numbered = _classes(arrays, path)
    label = _numbers(arrays, f'{prefix}labels', path, len(images), names, numbered=numbered)
    if split == 'train':
        warn_of_empty(label, names, f'{path}: class_names')
    true = None
    if split == 'train' and 'true_labels' in arrays:
        true = _numbers(arrays, 'true_labels', path, len(images), names, numbered=numbered)
    ids = arrays.get(f'{prefix}ids')
    levels = arrays.get(_LEVELS)
    if levels is not None and (levels.shape != (2,) or levels.dtype.kind not in 'iuf'):
        raise InputError(f'{path}: {_LEVELS} is {levels.dtype} {levels.shape}; the two numbers of `pack` are needed')
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


def _check_ids(ids: np.ndarray | None, source: str) -> None:
    """InputError: two images have one id, by which decisions name them."""
    if ids is None:
        return
    values, counts = np.unique(ids, return_counts=True)
    if twice := [repr(str(each)) for each in values[counts > 1]]:
        raise InputError(f'{source}: each image needs its own, found twice: {some(twice, 3)}')


def save_labels(folder: pathlib.Path, splits: Mapping[str, Dataset], like: str = '') -> None:
    """Writes ids, true labels and levels where known, labels and class_names, as `load` reads them.

    Labels are rows of class_names. Those of a copy have the form that they have in the arrays `like`: text stays text,
    and without class_names numbers stay as they are, unless true or test labels are of classes that no label is of.
    So do ids that are whole numbers; others are text.

    Args:
      folder: of the images.
      splits: data sets by prefix: '' for training, maybe 'test_'.
      like: path of the arrays that are copied; '': data of another kind.
    """
    train, given = splits[''], _read(pathlib.Path(like), (*_LABELS, *_IDS)) if like else {}
    numbers = [array for each in splits.values() for array in (each.label, each.true_label) if array is not None]
    named = not given or 'class_names' in given or bool(np.setdiff1d(np.concatenate(numbers), train.label).size)
    if named:
        np.save(folder / 'class_names.npy', np.array(train.class_names))
    for prefix, dataset in reversed(splits.items()):  # the last file makes the folder readable
        if dataset.levels:
            np.save(folder / f'{_LEVELS}.npy', dataset.levels)
        ids = given.get(f'{prefix}ids', dataset.id)
        np.save(folder / f'{prefix}ids.npy', dataset.id.astype(ids.dtype) if ids.dtype.kind in 'iu' else dataset.id)
        for name, label in ((f'{prefix}true_labels', dataset.true_label), (f'{prefix}labels', dataset.label)):
            if label is None:
                continue
            names = np.array([*dataset.class_names, str(NO_LABEL)])  # NO_LABEL is the last
            if name in given and given[name].dtype.kind == 'U':
                label = names[label]
            elif not named:
                label = names[label].astype(np.int64)
            np.save(folder / f'{name}.npy', label)


def form_of_images(path: str, prefix: str = '') -> tuple[int, np.dtype]:
    """The number of axes, and the type, of the images of a split; they are not read."""
    name, place = f'{prefix}images', pathlib.Path(path)
    if place.is_dir():
        images = np.load(place / f'{name}.npy', mmap_mode='r')
        return images.ndim, images.dtype
    with np.load(place) as archive:
        member = name if name in archive.zip.namelist() else f'{name}.npy'
        with archive.zip.open(member) as file:
            is_first = np.lib.format.read_magic(file) == (1, 0)
            read = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    return len(shape), dtype


def are_named(path: str) -> bool:
    """Whether class_names are among the arrays, so that labels that are numbers are rows of them."""
    return 'class_names' in _read(pathlib.Path(path), ('class_names',))


def _read(path: pathlib.Path, wanted: Collection[str] = _READ) -> dict[str, np.ndarray]:
    if path == pathlib.Path() or not path.exists():  # '' is Path('.')
        raise InputError(f'data.path: {str(path)!r} is not set or does not exist; {_NEEDED}')
    if not path.is_dir() and not zipfile.is_zipfile(path):  # np.load would advise to unpickle it
        raise InputError(f'{path}: not a complete .npz file; {_NEEDED}')
    arrays, file, name = {}, path, ''
    try:
        if not path.is_dir():
            with np.load(path) as archive:  # which gives the bytes of members of another kind
                for name in filter(archive.__contains__, wanted):
                    arrays[name] = archive[name]
            return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
        for name in wanted:
            if (file := path / f'{name}.npy').exists():
                arrays[name] = np.load(file, mmap_mode='r')
    except Exception as error:  # damaged bytes raise many kinds, zlib.error and NotImplementedError among them
        if 'allow_pickle' in str(error):
            raise InputError(
                f'{file}: {name} holds objects, as columns of pandas do; an array of numbers (-1: no label) or '
                'of text alone is needed'
            ) from error
        raise InputError(f'{file}: cannot be read as NumPy arrays ({first_line(error)})') from error
    return arrays


def _warn_of_misspelt(path: pathlib.Path) -> None:
    """Warns of arrays whose names are nearly those of arrays that are read."""
    if path.is_dir():
        names = [file.stem for file in path.glob('*.npy')]
    else:
        with np.load(path) as archive:
            names = archive.files
    for name in sorted(set(names) - set(_READ)):
        for meant in difflib.get_close_matches(name, set(_READ) - set(names), 1, _ALIKE):
            warn_once(f'{path}: the array {name} is not read; {meant} would be')


def _get(arrays: dict[str, np.ndarray], key: str, path: str) -> np.ndarray:
    if key not in arrays:
        raise InputError(f'{path}: no array {key!r}; found {", ".join(sorted(arrays)) or "none"}')
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
    return np.round(images * 255).astype(np.uint8)


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
    names = tuple(first)
    labels = arrays.get('labels', given[:0])
    are_numbers = given.dtype.kind != 'U' and labels.dtype.kind in 'iu'
    if are_numbers and in_order(names) != names and set(labels.tolist()) <= {NO_LABEL, *given.tolist()}:
        raise InputError(
            f'{path}: class_names are whole numbers in another order than theirs, and all labels are among them; '
            'labels are rows of class_names: leave these out, or give labels as text'
        )
    return names, True


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
    needed = f'whole numbers of at least 0{none} or text are needed'
    if labels.dtype.kind not in 'Uiuf':
        raise InputError(f'{path}: {key}: found {labels.dtype}; {needed}')
    values, inverse = np.unique(labels, return_inverse=True)
    if labels.dtype.kind == 'U':
        fits = np.array([bool(value.strip()) for value in values.tolist()])
    else:
        fits = (values >= least) & (values < 2**63) & (np.mod(values, 1) == 0)
    for row in np.flatnonzero(~fits[inverse]):
        raise InputError(f'{path}: {key}[{row}] is {labels[row]}; {needed}')
    if labels.dtype.kind == 'U':
        return values.tolist(), inverse
    return ['' if value == NO_LABEL else str(int(value)) for value in values.tolist()], inverse
