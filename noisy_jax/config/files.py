"""What the command line says of a config: its file, the argument of the file, single settings; and configs as JSON."""

import ast
import os
import pathlib
import re
import runpy
import traceback
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, FrozenConfigDict
from ml_collections.config_dict import RequiredValueError

from noisy_jax.config.setting import flatten, nearest, unknown
from noisy_jax.errors import InputError, check_reachable, short

_PACKAGE = pathlib.Path(__file__).resolve().parents[1]
_SHIPPED = (_PACKAGE / 'configs', _PACKAGE.parent / 'configs')  # of an installed package, of a checkout
_FIELDS = re.compile(r' Other fields present: ".*\}"(\\n)?')  # ml_collections' whole config, about one unknown key
_BOOLEANS = {'': True, 'true': True, '1': True, 'false': False, '0': False}


def load(path_and_argument: str, renamed: Mapping[str, str] | None = None) -> ConfigDict:
    """The config of 'path/to/file.py', 'path/to/file.py:argument' or, for a config of the package, 'name:argument'.

    Args:
      path_and_argument: as the command line has it.
      renamed: earlier prefixes of keys and today's, to explain why a file cannot be loaded.

    Raises:
      InputError: no such file, no `get_config` in it, an argument that it does not take, or an error inside it.
    """
    name, _, argument = path_and_argument.partition(':')
    path = _find(name)
    try:
        config = runpy.run_path(str(path))['get_config'](*([argument] if argument else []))
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a config file is code, which may call sys.exit
        missing = isinstance(error, KeyError) and error.args == ('get_config',)
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where, source = (f', line {frames[-1].lineno}', frames[-1].line or '') if frames else ('', '')
        if path.suffix == '.json':
            where = '; a Python file with get_config is needed, such as those in configs/'
        text = _FIELDS.sub(' ', ' '.join(f'{type(error).__name__}: {error}'.split()))
        said = 'no get_config in it' if missing else f'{text}{where}'
        moved = [f'{old}* is now {new}*' for old, new in (renamed or {}).items() if old in source]
        raise InputError(f'--config: {path} cannot be loaded ({"; ".join([said, *moved])})') from error
    if not isinstance(config, ConfigDict):
        raise InputError(f'--config: get_config of {path} returned a {type(config).__name__}; a ConfigDict is needed')
    return thawed(config, f'--config: {path}')


def _placeholder(config: ConfigDict) -> str:
    """The key of the first value that is required and not there; '' if none is."""
    for name in config:
        try:
            value = config[name]
        except RequiredValueError:
            return name
        if isinstance(value, ConfigDict) and (found := _placeholder(value)):
            return f'{name}.{found}'
    return ''


def _fault(config: ConfigDict) -> str | None:
    """What no setting can be, in a config that somebody's code has made."""
    try:
        values = dict(flatten(config))
    except RecursionError:
        return 'a config is a part of itself'
    except TypeError:  # names are sorted
        return 'the names of settings are texts'
    except RequiredValueError:
        return f'config.{_placeholder(config)} is a placeholder; its value must stand in the file'
    for key, value in values.items():
        if not isinstance(value, (bool, int, float, str, tuple, list)):
            return f'config.{key} is of type {type(value).__name__}; a setting is a number, a text or a tuple of them'
    return None


def thawed(config: ConfigDict, source: object) -> ConfigDict:
    """The config, or, of a FrozenConfigDict, one like it that can be changed.

    Raises:
      InputError: it holds what no setting can be; names the `source`.
    """
    config = config.as_configdict() if isinstance(config, FrozenConfigDict) else config
    if fault := _fault(config):
        raise InputError(f'{source}: {fault}')
    return config


def _find(name: str) -> pathlib.Path:
    path = pathlib.Path(os.path.expanduser(name))
    if os.path.isfile(path):  # not path.is_file, which raises an error at a name that is too long
        return path
    check_reachable('--config', path)
    folder = next((folder for folder in _SHIPPED if folder.is_dir()), _SHIPPED[0])
    shipped = {file.stem: file for file in sorted(folder.glob('[!_]*.py'))}
    if path.parent == pathlib.Path() and path.suffix in ('', '.py') and path.stem in shipped:
        return shipped[path.stem]
    raise InputError(f'--config: no file {short(name)}; give the path of a config file, or one of {", ".join(shipped)}')


def parse_argument(argument: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the text behind `--config=file.py:`, e.g. 'loss=elr,rate=0.8,smoke', into the types of `defaults`.

    Raises:
      InputError: an unknown name or a value of another type.
    """
    values = dict(defaults)
    for item in filter(None, argument.split(',')):
        name, _, text = item.partition('=')
        if name not in defaults:
            raise InputError(
                f'config argument {short(name)} is unknown{nearest(name, defaults)}; allowed: {", ".join(defaults)}'
            )
        try:
            values[name] = _parse(text, type(defaults[name]))
        except ValueError:
            raise InputError(f'config argument {name}={short(text)} is not a {type(defaults[name]).__name__}') from None
    return values


def override(config: ConfigDict, key: str, text: str, renamed: Mapping[str, str] | None = None) -> None:
    """Sets what `--config.key=text` says.

    Raises:
      InputError: an unknown key, or text that is not of the type of the value there.
    """
    values = dict(flatten(config))
    if key not in values:
        raise InputError(unknown(key, values, renamed))
    kind = type(values[key])
    try:
        config.update_from_flattened_dict({key: _parse(text, kind)})
    except ValueError:
        raise InputError(f'config.{key}: {short(text)} is not of type {kind.__name__}, as {values[key]!r} is') from None


def _parse(text: str, kind: type) -> Any:
    """The value of a text, or ValueError; a tuple is written as in Python, or as words with commas between them."""
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(text)
        return _BOOLEANS[text.lower()]
    if kind is not tuple:
        return kind(text)
    if all(word.isidentifier() for word in text.split(',')):
        return tuple(text.split(','))
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, TypeError, RecursionError, MemoryError):  # all that it raises, by its documentation
        raise ValueError(text) from None
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def from_json(values: Mapping[str, Any]) -> ConfigDict:
    """The config that was saved as JSON, e.g. in config.json; lists become tuples again."""

    return ConfigDict(
        {
            name: from_json(value) if isinstance(value, Mapping) else tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
    )
