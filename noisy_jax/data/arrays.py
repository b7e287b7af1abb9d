"""Loader of NumPy files: an .npz file, or a folder of memory-mapped .npy files."""

import pathlib
import zipfile
from typing import Any

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.data.dataset import MAX_CLASSES, Dataset, balanced, whole_numbers
from noisy_jax.errors import InputError, first_line

_NEEDED = 'an .npz file or a folder of .npy files is needed'


def load(split: str, path: str, image_size: int = 0, limit: int = 0, **_: Any) -> Dataset | None:
    """Reads `images` and `labels`, optionally `true_labels`, `ids`, `class_names`, and a test set.

    The test set is `test_images`, `test_labels` and optionally `test_ids`. Images are [N, H, W, C] or [N, H, W], uint8
    or floats in [0, 1]; those of a folder stay on disk where they are uint8. Labels are whole numbers from 0, with the
    same classes in training and test set. Only evaluation and reports read `true_labels`.

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
    images = _images(arrays, f'{prefix}images', path)
    label = _labels(arrays, f'{prefix}labels', path, len(images))
    highest = int(_labels(arrays, 'labels', path).max())
    if 'class_names' not in arrays and highest >= MAX_CLASSES:
        raise InputError(f'{path}: the highest label is {highest}; allowed without class_names: {MAX_CLASSES - 1}')
    names = tuple(str(name) for name in np.atleast_1d(arrays.get('class_names', np.arange(highest + 1))))
    has_true = split == 'train' and 'true_labels' in arrays
    true = _labels(arrays, 'true_labels', path, len(images)) if has_true else None
    ids = arrays.get(f'{prefix}ids')
    try:
        dataset = Dataset(images, label, names, true_label=true, id=None if ids is None else ids.astype(str))
    except InputError as error:
        raise InputError(f'{path}: {prefix}{error}') from error
    dataset = dataset.take(balanced(label, limit, len(names))) if limit else dataset
    return dataset.replace(image=lazy.scaled(dataset.image, image_size))


def save_labels(folder: pathlib.Path, dataset: Dataset, prefix: str = '') -> None:
    """Writes ids, true labels where known and labels as `load` reads them; `prefix` is 'test_' for the test set."""
    for name, array in (('ids', dataset.id), ('true_labels', dataset.true_label), ('labels', dataset.label)):
        if array is not None:
            np.save(folder / f'{prefix}{name}.npy', array)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    if path == pathlib.Path() or not path.exists():  # '' is Path('.')
        raise InputError(f'data.path: {str(path)!r} is not set or does not exist; {_NEEDED}')
    if not path.is_dir() and not zipfile.is_zipfile(path):  # np.load would advise to unpickle it
        raise InputError(f'{path}: not a complete .npz file; {_NEEDED}')
    arrays, file = {}, path
    try:
        if not path.is_dir():
            with np.load(path) as archive:
                return dict(archive)
        for file in sorted(path.glob('*.npy')):
            arrays[file.stem] = np.load(file, mmap_mode='r')
    except Exception as error:  # damaged bytes raise many kinds, zlib.error and NotImplementedError among them
        raise InputError(f'{file}: cannot be read as NumPy arrays ({first_line(error)})') from error
    return arrays


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
        return lazy.Rows.of(images) if isinstance(images, np.memmap) else images
    needed = 'uint8 or floats in [0, 1] are needed'
    if not np.issubdtype(images.dtype, np.floating):
        raise InputError(f'{path}: {key} is {images.dtype}; {needed}')
    low, high = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))  # NaN if an image holds one
    for row in np.flatnonzero(~((low >= 0) & (high <= 1))):
        found = 'NaN' if np.isnan(low[row]) else f'values from {low[row]:g} to {high[row]:g}'
        raise InputError(f'{path}: {key}[{row}] holds {found}; {needed}')
    return np.round(images * 255).astype(np.uint8)


def _labels(arrays: dict[str, np.ndarray], key: str, path: str, count: int | None = None) -> np.ndarray:
    labels = _get(arrays, key, path)
    if labels.ndim != 1 or not len(labels) or (count is not None and len(labels) != count):
        raise InputError(
            f'{path}: {key} has shape {labels.shape}; one label for each of {count or "the"} images is needed'
        )
    return whole_numbers(labels, f'{path}: {key}', least=0)
