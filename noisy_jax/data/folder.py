"""Loader of class folders: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or PATH/CLASS/*.jpg without a test set.

A folder `unlabelled` (or `unlabeled`) in PATH or PATH/train is no class: its images have no label.
"""

import pathlib
from typing import Any

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
UNLABELLED = ('unlabelled', 'unlabeled')
_TEST_NAMES = ('test', 'val', 'validation')


def load(split: str, path: str, limit: int = 0, decoding: lazy.Decoding = lazy.DEFAULT, **_: Any) -> Dataset | None:
    """Loads the images of a split by class, then by file name; those without a label come last.

    Args:
      split: 'train' or 'test'.
      path: the folder.
      limit: greatest number of images, the first of every class; others are not decoded. 0: all.
      decoding: how images are read.

    Returns:
      The data set, with one channel if all images are grey; None for a test set that does not exist.

    Raises:
      InputError: a folder is missing or empty, a name is not UTF-8, or an image cannot be decoded or has another size.
    """
    root = pathlib.Path(path)
    if not path or not root.is_dir():
        raise InputError(f'data.path: {path!r} is not a folder; class folders of images are needed')
    train_root = root / 'train' if (root / 'train').is_dir() else root
    names = tuple(name for name in _folders(train_root) if name not in UNLABELLED)
    if not names:
        raise InputError(f'{train_root}: it has no class folders; one folder of images per class is needed')
    if split == 'train':
        folder = train_root
        unlabelled = [(NO_LABEL, place / name) for place in dict.fromkeys((train_root, root)) for name in UNLABELLED]
    else:
        folder = next((root / name for name in _TEST_NAMES if (root / name).is_dir()), root)
        if root in (train_root, folder):
            return None
        unknown = set(_folders(folder)) - set(names)
        if unknown:
            raise InputError(f'{folder / min(unknown)}: {train_root} has no such class; classes: {", ".join(names)}')
        unlabelled = []
    folders = [*((label, folder / name) for label, name in enumerate(names)), *unlabelled]
    present = [(label, place) for label, place in folders if place.is_dir()]
    found = [(label, rank, file) for label, place in present for rank, file in enumerate(_images(place))]
    most = max(limit // len(names), 1) if limit else len(found)
    kept = np.array([row for row, (_, rank, _) in enumerate(found) if rank < most])
    label = np.array([found[row][0] for row in kept], np.int32)
    ids = np.array([found[row][2].relative_to(root).as_posix() for row in kept])
    for name in ids.tolist():
        if not name.isascii() and name != name.encode(errors='replace').decode():
            raise InputError(f'{root / name}: the name is not UTF-8, as lists and reports need it; rename it')
    columns = {'label': label, 'id': ids, 'row': kept}
    return Dataset.of_files(lazy.Paths(root, ids), decoding, names, available=len(found), **columns)


def _folders(folder: pathlib.Path) -> list[str]:
    names = sorted(child.name for child in folder.iterdir() if child.is_dir() and child.name[0] != '.')
    for name in names:
        if not _images(folder / name):
            raise InputError(f'{folder / name}: it has no images ({", ".join(SUFFIXES)}); fill or remove the folder')
    return names


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    """Images that are not hidden: macOS puts `._name.jpg` beside `name.jpg`."""
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith('.') and file.is_file()
    )
