"""A setting, and what follows from a tree of them: the default config and what is refused."""

import dataclasses
import difflib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from noisy_jax.errors import InputError, is_utf8, short

_LONGEST_KEY = 100  # characters; more than any setting has
_LARGEST = 3e38  # beyond it a number is infinite in float32


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting: the only place for its default, its meaning and what is allowed.

    Attributes:
      default: a bool, int, float, str or tuple, whose type every value must have (an int may stand for a float).
      meaning: one line that begins with a noun or a verb.
      least: the least number allowed, also of each number of a tuple; None: any.
      most: the greatest, in the same way.
      choices: the words allowed, also for each word of a tuple; None: any text.
      is_path: whether it names a file or folder.
    """

    default: Any
    meaning: str
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] | None = None
    is_path: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """All values, as text, where they can be listed."""
        return ('True', 'False') if isinstance(self.default, bool) else self.choices or ()

    @property
    def allowed(self) -> str:
        """What it may be, e.g. 'whole number from 1 to 100' or 'sgd, adam, adamw'."""
        if self.words:
            return f'{"a tuple of " if isinstance(self.default, tuple) else ""}{", ".join(self.words)}'
        if isinstance(self.default, str):
            return 'path' if self.is_path else 'text'
        kind = {int: 'whole number', float: 'number', tuple: 'a tuple of numbers'}[type(self.default)]
        if self.least is None:
            return kind
        return f'{kind} of at least {self.least}' if self.most is None else f'{kind} from {self.least} to {self.most}'

    def accepts(self, value: Any) -> bool:
        """Whether a config may have this value."""
        if isinstance(self.default, tuple):
            kind = str if self.choices else float
            return isinstance(value, (tuple, list)) and all(self._accepts(item, kind) for item in value)
        return self._accepts(value, type(self.default))

    def at_home(self, value: Any) -> Any:
        """The value, in a path with the home folder for `~`."""
        return os.path.expanduser(value) if self.is_path and isinstance(value, str) else value

    def _accepts(self, value: Any, kind: type) -> bool:
        if kind is str:
            is_name = isinstance(value, str) and '\0' not in value and is_utf8(value, or_bytes=True)
            return is_name and (self.choices is None or value in self.choices)
        if kind is bool or isinstance(value, bool):
            return kind is bool and isinstance(value, bool)
        if not isinstance(value, (int, kind)) or not abs(value) <= _LARGEST:  # NaN is not
            return False
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


Section = dict[str, 'Setting | Section']


def flatten(tree: ConfigDict | Section, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """All values of a config, as ('pretrain.optimizer.name', 'sgd'), or all settings of a section."""
    for name, item in tree.items():
        if isinstance(item, (ConfigDict, dict)):
            yield from flatten(item, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', item


def defaults(section: Section) -> ConfigDict:
    """The config of all defaults."""
    return ConfigDict(
        {name: item.default if isinstance(item, Setting) else defaults(item) for name, item in section.items()}
    )


def completed(saved: ConfigDict, section: Section, source: object) -> ConfigDict:
    """The settings of `section` in a config that was saved; those that were added since have their default.

    Raises:
      InputError: a value that is not allowed; names the `source` too.
    """
    config = _completed(saved, section)
    try:
        validate(config, section)
    except InputError as error:
        raise InputError(f'{source}: {error}') from error
    return config


def _completed(saved: Any, section: Section) -> ConfigDict:
    found = saved if isinstance(saved, ConfigDict) else {}
    return ConfigDict(
        {
            name: found.get(name, item.default) if isinstance(item, Setting) else _completed(found.get(name), item)
            for name, item in section.items()
        }
    )


def validate(
    config: ConfigDict, section: Section, *, renamed: Mapping[str, str] | None = None, unchecked: Collection[str] = ()
) -> None:
    """Checks every key and value.

    Args:
      config: the config to check.
      section: the settings that it must have.
      renamed: see `unknown`.
      unchecked: keys whose values may be anything.

    Raises:
      InputError: naming the key, what was given and what is allowed.
    """
    settings, given = dict(flatten(section)), dict(flatten(config))
    for key in sorted(given.keys() - settings.keys()):
        raise InputError(unknown(key, settings, renamed))
    for key in sorted(settings.keys() - given.keys()):
        raise InputError(f'config.{key} is missing')
    for key, value in given.items():
        if key not in unchecked and not settings[key].accepts(value):
            raise InputError(f'config.{key}: {short(value)} is not allowed; allowed: {settings[key].allowed}')


def unknown(key: str, known: Iterable[str], renamed: Mapping[str, str] | None = None) -> str:
    """The message about a key that does not exist; `renamed` maps earlier prefixes of keys to today's."""
    for old, new in (renamed or {}).items():
        if key.startswith(old):
            return f'config.{key} is now {new}{key.removeprefix(old)}'
    inside = sorted(name for name in known if name.startswith(f'{key}.'))
    if inside:
        return f'config.{key} is a group of settings; set one of them, such as config.{inside[0]}'
    return f'config.{key[:_LONGEST_KEY]} is unknown{nearest(key, known)}'


def nearest(key: str, keys: Iterable[str]) -> str:
    """'; did you mean ...?', or nothing."""
    close = difflib.get_close_matches(key[:_LONGEST_KEY], list(keys), n=1)
    return f'; did you mean {close[0]!r}?' if close else ''
