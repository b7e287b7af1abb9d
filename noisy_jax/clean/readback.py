"""Whether a copy of class folders is read as it is meant: to the loader, some names say more than a class."""

import os
import pathlib
import tempfile
import warnings
from collections.abc import Mapping

import numpy as np

from noisy_jax import data
from noisy_jax.clean.changes import Changes
from noisy_jax.clean.copies import class_folders
from noisy_jax.clean.originals import Originals
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError

_UNLABELLED = 'no class'
_SETS = 'a folder train, test, val or validation with folders in it can be a set to the loader'
_DISK = 'the disk takes two names for one'

Meant = Mapping[str, Mapping[str, str]]  # for each split, the class of each folder that gets images


def meant(changes: Changes, originals: Originals) -> Meant:
    """What the folders of the copy are meant for."""
    train, test, kept = originals.train, originals.test, changes.kept
    folders = dict(zip(class_folders(changes, originals)[kept], changes.new[kept], strict=True))
    found = {'train': folders | _classes(train, originals.unlabelled)}
    return found if test is None else found | {'test': _classes(test, np.arange(len(test)))}


def check_planned(out: str, wanted: Meant) -> None:
    """Checks the names before anything is written, by folders of these names with an empty file in each.

    Raises:
      InputError: the loader would not find what is meant.
    """
    with tempfile.TemporaryDirectory() as root:
        for folder in {folder for split in wanted.values() for folder in split}:
            place = pathlib.Path(root, folder)
            place.mkdir(parents=True, exist_ok=True)
            os.close(tempfile.mkstemp('.png', dir=place)[0])  # a name that no folder has
        _check(root, out, wanted, _SETS)


def check_written(root: pathlib.Path, out: str, wanted: Meant) -> None:
    """Checks the copy in `root`, which is to become `out`.

    Raises:
      InputError: the loader does not find what is meant, as on a disk where Cat and cat are one folder.
    """
    _check(str(root), out, wanted, _DISK)


def _check(root: str, out: str, wanted: Meant, why: str) -> None:
    for split, folders in wanted.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # they are for who trains on it
                dataset = data.load('folder', split=split, path=root, headers=False)
        except InputError as error:
            raise _refusal(str(error).replace(root, out).partition(';')[0]) from error
        found = {} if dataset is None else _classes(dataset, np.arange(len(dataset)))
        for folder, name in folders.items():
            if found.get(folder) != name:
                now = f'read as {found[folder]}, not as {name}' if folder in found else 'left out'
                raise _refusal(f'images in {folder} would be {now}, since {why}')


def _refusal(why: str) -> InputError:
    return InputError(f'--out: class folders would not be read back as decided: {why}; --out=NAME.csv, a list, works')


def _classes(dataset: Dataset, rows: np.ndarray) -> dict[str, str]:
    """The class of the images in each folder, of those at `rows`."""
    names = np.array([*dataset.class_names, _UNLABELLED])  # NO_LABEL is the last
    return {os.path.dirname(dataset.id[row]): str(names[dataset.label[row]]) for row in rows}
