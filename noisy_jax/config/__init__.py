"""The mechanics of configs: what a setting is, what follows from a tree of them, and how config files are read."""

from noisy_jax.config.files import from_json, load, override, parse_argument, thawed
from noisy_jax.config.setting import Section, Setting, completed, defaults, flatten, nearest, validate

__all__ = [
    'Section',
    'Setting',
    'completed',
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
