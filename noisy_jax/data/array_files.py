"""NumPy files of images and labels: an .npz file, or a folder of .npy files; reading, and what a copy keeps of them."""

import difflib
import os
import pathlib
import zipfile
from collections.abc import Collection, Mapping

import numpy as np

from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.errors import InputError, first_line, some, warn_once

LEVELS = 'noisy_jax_levels'  # of deep image files that `pack` read: what predict needs for others
_READ = (
    *('images', 'labels', 'ids', 'true_labels', 'class_names', LEVELS),
    *('test_images', 'test_labels', 'test_ids', 'test_true_labels'),
)
_IDS = ('ids', 'test_ids')
_LABELS = ('labels', 'true_labels', 'class_names', 'test_labels', 'test_true_labels')
_BESIDE = 'pack.json', 'changes.csv'  # what our commands write beside arrays
_ALIKE = 0.8  # similarity of names, such as test_image to test_images
_NEEDED = 'an .npz file or a folder of .npy files is needed'


def read(path: pathlib.Path, wanted: Collection[str] = _READ) -> dict[str, np.ndarray]:
    """The arrays of these names that are there; those of a folder stay on disk.

    Raises:
      InputError: there are no such files, or one cannot be read.
    """
    if path == pathlib.Path() or not (path.is_file() or path.is_dir()):  # '' is Path('.'); a pipe would be waited for
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
            if (file := path / f'{name}.npy').is_file():
                arrays[name] = np.load(file, mmap_mode='r')
                if not isinstance(arrays[name], np.ndarray):
                    raise InputError(f'{file}: holds an archive (.npz), where one array (.npy) is needed')
    except InputError:
        raise
    except Exception as error:  # damaged bytes raise many kinds, zlib.error and NotImplementedError among them
        if 'allow_pickle' in str(error) and (path.is_dir() and file.read_bytes()[:6] != np.lib.format.MAGIC_PREFIX):
            raise InputError(f'{file}: no .npy file, but another one of this name') from error
        if 'allow_pickle' in str(error):
            raise InputError(
                f'{file}: {name} holds objects, as columns of pandas do; an array of numbers (-1: no label) or '
                'of text alone is needed'
            ) from error
        raise InputError(f'{file}: cannot be read as NumPy arrays ({first_line(error)})') from error
    return arrays


def names_in(path: pathlib.Path) -> list[str]:
    """Names of all arrays there."""
    if path.is_dir():
        return sorted(file.stem for file in path.glob('*.npy'))
    with np.load(path) as archive:
        return sorted(archive.files)


def warn_of_unread(path: pathlib.Path) -> None:
    """Warns of arrays that are not read, and where their names are nearly those of arrays that are."""
    names, unread = names_in(path), []
    for name in sorted(set(names) - set(_READ)):
        if meant := difflib.get_close_matches(name, set(_READ) - set(names), 1, _ALIKE):
            warn_once(f'{path}: the array {name} is not read; {meant[0]} would be')
        else:
            unread.append(name)
    if 'test_images' not in names:
        unread += [name for name in names if name in _READ and name.startswith('test_')]
    if unread:
        warn_once(f'{path}: not read: {some(unread, 5)}; a test set is test_images and test_labels')


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
            header = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
    return len(shape), dtype


def is_ours(path: str) -> bool:
    """Whether `pack` or `clean` has written these arrays."""
    return any(os.path.isfile(os.path.join(path, name)) for name in _BESIDE)


def are_named(path: str) -> bool:
    """Whether class_names are among the arrays, so that labels that are numbers are rows of them."""
    return 'class_names' in read(pathlib.Path(path), ('class_names',))


def save_labels(folder: pathlib.Path, splits: Mapping[str, Dataset], like: str = '') -> None:
    """Writes ids, true labels and levels where known, labels and class_names, as the loader reads them.

    Labels are rows of class_names. Those of a copy have the form that they have in the arrays `like`: text stays text,
    and without class_names numbers stay as they are, unless true or test labels are of classes that no label is of.
    So do ids that are whole numbers; others are text.

    Args:
      folder: of the images.
      splits: data sets by prefix: '' for training, maybe 'test_'.
      like: path of the arrays that are copied; '': data of another kind.
    """
    train, given = splits[''], read(pathlib.Path(like), (*_LABELS, *_IDS)) if like else {}
    numbers = [array for each in splits.values() for array in (each.label, each.true_label) if array is not None]
    named = not given or 'class_names' in given or bool(np.setdiff1d(np.concatenate(numbers), train.label).size)
    if named:
        np.save(folder / 'class_names.npy', np.array(train.class_names))
    for prefix, dataset in reversed(splits.items()):  # the last file makes the folder readable
        if dataset.levels:
            np.save(folder / f'{LEVELS}.npy', dataset.levels)
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
