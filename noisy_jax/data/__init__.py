"""Images and labels: loaders by name, label noise, augmentation."""

import contextlib
import importlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from noisy_jax.data import image_files
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.faults import BrokenImages
from noisy_jax.data.reading import Decoding
from noisy_jax.errors import InputError, short, some, warn_once

LOADERS = ('digits', 'arrays', 'folder', 'filelist', 'tfds')  # modules of this folder
_OF_LISTS = ('list', 'test_list', 'test_path', 'labels', 'test_labels', 'class_names', 'max_classes')
_ARCHIVES = '.zip', '.tar', '.gz', '.tgz', '.bz2', '.xz', '.zst', '.7z', '.rar'
_OTHER_ARRAYS = '.npy', '.mat', '.pkl', '.pickle', '.h5', '.hdf5', '.parquet', '.tfrecord', '.pt', '.pth'
_OTHERS = {'digits': 'the digits', 'arrays': 'arrays', 'folder': 'class folders', 'tfds': 'data sets of TFDS'}


def kind_of(path: str, listed: str = '') -> str:
    """The loader for config.data.path and config.data.list of own images; InputError: none reads such a file."""
    place, is_file = pathlib.Path(path), os.path.isfile(path)
    if place.suffix.lower() in _ARCHIVES and is_file:
        raise InputError(f'data.path: {path} is an archive; unpack it, and take the folder')
    if place.suffix.lower() in _OTHER_ARRAYS and is_file:
        raise InputError(
            f'data.path: {path} is not read; an .npz file or a folder of .npy files with images and labels is, a list '
            'of images (.txt, .csv), and class folders'
        )
    if path and (place.suffix.lower() == '.npz' or os.path.isfile(place / 'images.npy')):
        _warn_of_folders(place)
        return 'arrays'
    return 'filelist' if listed or is_file else 'folder'


def _warn_of_folders(place: pathlib.Path) -> None:
    """Warns of class folders beside arrays, which are not read."""
    found = []
    with contextlib.suppress(OSError), os.scandir(place) as folders:  # an .npz file, or a folder that may not be read
        for folder in folders:
            if folder.is_dir() and any(map(image_files.is_image, os.listdir(folder))):
                found.append(folder.name)
    if found:
        warn_once(
            f'{place}: images.npy is read, not the folders of images beside it ({some(sorted(found), 3)}), which '
            'data.name=folder reads'
        )


def check_form(settings: Mapping[str, Any], prefix: str = 'config.data.') -> None:
    """Checks that settings of lists are set for lists alone, and no path for digits: they would be ignored.

    Args:
      settings: config.data; nothing is checked while its loader is left to the data.
      prefix: how an error begins the name of a setting.

    Raises:
      InputError: one is set that the loader does not take.
    """
    for field in _OF_LISTS:
        if settings['name'] in _OTHERS and settings[field]:
            empty = type(settings[field])()
            raise InputError(
                f'{prefix}{field}: {_OTHERS[settings["name"]]} take none, found {short(settings[field])}; only lists '
                f'of files do (data.list, or data.path is the list itself); leave it {empty!r}'
            )
    if settings['name'] == 'digits' and settings['path']:
        raise InputError(
            f'{prefix}path: the digits are those of scikit-learn, found {short(settings["path"])}; own images need '
            f'another config, such as configs/own_images.py, or {prefix}name=folder'
        )


def load(name: str, /, *, split: str, **settings: Any) -> Dataset | None:
    """Loads the split 'train' or 'test' with the loader `name`; None where there is no test set.

    `settings` are those of config.data, of which each loader takes its own; `limit` bounds the images.

    Raises:
      InputError: the loader is unknown, or the data cannot be used.
    """
    if name not in LOADERS:
        raise InputError(f'data.name: {name!r} is unknown; allowed: {", ".join(LOADERS)}')
    decoding = Decoding(**{field: settings[field] for field in Decoding._fields if field in settings})
    return importlib.import_module(f'noisy_jax.data.{name}').load(split, decoding=decoding, **settings)


def load_split(settings: Mapping[str, Any], split: str) -> Dataset | None:
    """Loads a split by all of config.data; 'limit' bounds training images, 'test_limit' test images.

    Raises:
      InputError: as `load`.
    """
    limit = settings['limit' if split == 'train' else 'test_limit']
    try:
        return load(settings['name'], split=split, **{**settings, 'limit': limit})
    except BrokenImages as error:
        if split == 'train' and (others := _broken_tests(settings)):
            raise BrokenImages(f'{error.found}; {others.found}') from error
        raise


def _broken_tests(settings: Mapping[str, Any]) -> BrokenImages | None:
    """What is broken in the test set, so that all can be mended at once."""
    try:
        load_split(settings, 'test')
    except BrokenImages as error:
        return error
    except InputError:  # which is told once the training images are whole
        pass
    return None


def load_splits(settings: Mapping[str, Any]) -> tuple[Dataset, Dataset | None]:
    """The training set and the test set (None where there is none), whose deep images have the levels of the first.

    Raises:
      InputError: as `load`, or the test list has training images alone.
    """
    if settings['name'] == 'filelist':
        importlib.import_module('noisy_jax.data.filelist').check_test(**settings)
    train = load_split(settings, 'train')
    return train, load_split({**settings, 'levels': train.levels}, 'test')


def load_undecoded(settings: Mapping[str, Any], split: str) -> Dataset | None:
    """As `load_split`, but files stay files, which may have any sizes, and arrays have their own size."""
    size = 0 if settings['name'] == 'arrays' else 1  # any size tells the loader that those of the files may differ
    return load_split({**settings, 'memory_bytes': 0, 'image_size': size}, split)


def load_unread(path: str) -> Dataset:
    """All training images of own images, in the order of a run; no file is opened, which `lazy.original` does.

    `~` in the path is the home.

    Raises:
      InputError: as `load`.
    """
    path = os.path.expanduser(path)
    return load(kind_of(path), split='train', path=path, headers=False)
