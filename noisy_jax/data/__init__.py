"""Images and labels: loaders by name, label noise, augmentation."""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

from noisy_jax.data.dataset import Dataset
from noisy_jax.data.filelist import Lists
from noisy_jax.data.lazy import Decoding
from noisy_jax.errors import InputError


def _names(group: type) -> dict[str, str]:
    return {field.name: field.name for field in dataclasses.fields(group)}


# Arguments of each loader beside `split` and `limit`, and the settings (of config.data) that they come from.
ARGUMENTS = {
    'digits': {},
    'arrays': {'path': 'path', 'image_size': 'image_size'},
    'folder': {'path': 'path', **_names(Decoding)},
    'filelist': {'path': 'path', **_names(Lists), **_names(Decoding)},
    'tfds': {'name': 'dataset', 'data_dir': 'path', 'label_key': 'label_key', **_names(Decoding)},
}
LOADERS = tuple(ARGUMENTS)
# Arguments of a loader that are one object.
_GROUPS = {'folder': {'decoding': Decoding}, 'tfds': {'decoding': Decoding}}
_GROUPS['filelist'] = {'lists': Lists, 'decoding': Decoding}


def load(name: str, /, *, split: str, **settings: Any) -> Dataset | None:
    """Loads the split 'train' or 'test' with the loader `name`, whose arguments are `settings`.

    Returns:
      The data set; None where there is no test set.

    Raises:
      InputError: the loader is unknown, or the data cannot be used.
    """
    if name not in LOADERS:
        raise InputError(f'data.name: {name!r} is unknown; allowed: {", ".join(LOADERS)}')
    for argument, group in _GROUPS.get(name, {}).items():
        settings[argument] = group(**{field: settings.pop(field) for field in _names(group) if field in settings})
    return importlib.import_module(f'noisy_jax.data.{name}').load(split, **settings)


def load_split(settings: Mapping[str, Any], split: str) -> Dataset | None:
    """Loads a split by `settings` as in config.data; 'limit' bounds training images, 'test_limit' test images.

    Raises:
      InputError: as `load`.
    """
    limit = settings['limit' if split == 'train' else 'test_limit']
    given = {argument: settings[setting] for argument, setting in ARGUMENTS.get(settings['name'], {}).items()}
    return load(settings['name'], split=split, limit=limit, **given)
