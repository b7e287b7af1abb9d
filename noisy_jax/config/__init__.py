"""The mechanics of configs: what a setting is, what follows from a tree of them, and how config files are read."""

from noisy_jax.config.files import from_json, load, override, parse_argument, thawed
from noisy_jax.config.setting import Section, Setting, defaults, flatten, nearest, validate

__all__ = [
    'Section',
    'Setting',
    'defaults',
    'flatten',
    'from_json',
    'load',
    'nearest',
    'override',
    'parse_argument',
    'thawed',
    'validate',
]
