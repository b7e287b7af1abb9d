"""Images and labels: loaders by name, noise, augmentation."""

import importlib
from typing import Any

from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError

LOADERS = ('digits', 'arrays', 'folder', 'tfds')


def load(name: str, /, *, split: str, **settings: Any) -> Dataset | None:
    """The data set of that loader's `load`; None where it has no such split ('test' only).

    Raises:
      InputError: an unknown loader, or data that cannot be used.
    """
    if name not in LOADERS:
        raise InputError(f'data.name: {name!r} is unknown; allowed: {", ".join(LOADERS)}')
    return importlib.import_module(f'noisy_jax.data.{name}').load(split, **settings)
