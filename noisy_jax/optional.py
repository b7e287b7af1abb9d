"""Packages that a run can do without."""

import importlib
import importlib.util

from noisy_jax.errors import first_line, warn_once


def is_usable(module: str, lost: str) -> bool:
    """Whether a module of an optional package can be imported; of a broken one a warning says what is `lost`."""
    if importlib.util.find_spec(module.partition('.')[0]) is None:
        return False
    try:
        importlib.import_module(module)
    except Exception as error:  # of any kind, such as where packages that it needs are of other versions
        warn_once(f'{module} cannot be imported ({first_line(error)}); {lost}')
        return False
    return True
