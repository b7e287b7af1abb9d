"""What makes a work directory that of one run: where it lies, a lock, its config, data and weights."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
from ml_collections import ConfigDict

from noisy_jax import config as config_lib
from noisy_jax import files, layout, settings
from noisy_jax.data import identity, image_files, output_places
from noisy_jax.errors import InputError, warn_once
from noisy_jax.training import compiling
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.context import Context
from noisy_jax.workdir import WorkDir


def at_home(config: ConfigDict) -> ConfigDict:
    """The config with the home folder for `~` in its paths."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(_paths(config))
    return config


def check_cache(config: ConfigDict) -> None:
    """Checks that compiled programs, and what libraries keep, lie outside of the data; InputError: they do not."""
    places = {'XDG_CACHE_HOME': os.environ.get('XDG_CACHE_HOME')}  # that of Matplotlib, too
    if config.compile_cache in ('auto', 'off'):
        places['JAX_COMPILATION_CACHE_DIR'] = compiling.place_of(config.compile_cache)
    else:
        output_places.check(config.compile_cache, config.data, 'config.compile_cache')
    for field, place in places.items():
        inside = files.lies_in(place, config.data.path) if place and config.data.path else None
        if inside and not any(map(image_files.is_hidden, inside.parts)):  # ~/.cache is, where the home holds the data
            output_places.check(place, config.data, field)


@contextlib.contextmanager
def held(folder: WorkDir, config: ConfigDict, *, reads_data: bool) -> Iterator[None]:
    """Makes the work directory of a run, and keeps other runs out of it until the end of the block.

    Args:
      folder: the work directory.
      config: of the run, with paths of `at_home`.
      reads_data: whether the data is that of config.data.

    Raises:
      InputError: the folder lies in the data, holds other files than those of a run or a file that the run reads, or
        cannot be made or written; or another run goes on there. Nothing in it is changed.
    """
    if reads_data:
        output_places.check(folder.path, config.data, 'workdir')
    folder.check_free(config.compile_cache)
    for key, path in _paths(config).items():
        folder.check_apart(path, f'config.{key}')
    with folder.held():
        yield


def claim(folder: WorkDir, context: Context) -> None:
    """Makes the work directory that of this run, or checks that it is.

    Raises:
      InputError: it belongs to another config or other data, those of another process among them, or is not the same
        folder for all processes.
    """
    mesh_lib.in_main(lambda: _claim(folder, context))
    if not mesh_lib.is_same(folder.holder):
        raise InputError(f'--workdir: {folder.path} is not the same folder for all processes; use one that all share')
    if jax.process_count() > 1:  # what the one that writes has noted holds for all
        mesh_lib.in_all(lambda: _claim_too(folder, context))


def _claim_too(folder: WorkDir, context: Context) -> None:
    try:
        identity.check(folder, context.splits)  # first: settings that are chosen follow the data
        _claim_config(folder, context)
        _claim_data(folder, context)
    except InputError as error:
        found = str(error).removesuffix(f'; {layout.OTHER}')
        who = f'process {jax.process_index()} has other settings or data than process 0'
        raise InputError(f'{who}: {found}; every host needs the same') from error


def _claim(folder: WorkDir, context: Context) -> None:
    _claim_config(folder, context)
    identity.check(folder, context.splits)
    _claim_data(folder, context)


def _claim_config(folder: WorkDir, context: Context) -> None:
    defaults = dict(config_lib.flatten(settings.default()))
    folder.claim(context.config.to_dict(), may_differ=settings.MACHINE, defaults=defaults, meant=meant(folder))


def _claim_data(folder: WorkDir, context: Context) -> None:
    """The weights that the run began with, and what a classifier sees of its images."""
    _check_weights(folder, context.config.model.weights)
    path, now = context.config.data.path, context.splits.description
    before = _described(folder)
    for name, what in (('image_shape', 'the shape of an image'), ('levels', 'the range that is black to white')):
        was, found = before.get(name), now[name] and list(now[name])
        if name in before and was != found:
            raise identity.changed(folder, f'{what} was {was}, is {found}')
    folder.save_json('data', now | ({'place': os.path.abspath(path)} if path else {}))


def meant(folder: WorkDir) -> Callable[[str, Any], Any]:
    """A function of key and value that says what a setting means: a path means a place, however it is written.

    The relative data.path of the run in `folder` means the place that it was when the run began.
    """
    paths = {key for key, each in config_lib.flatten(settings.sections()) if each.is_path}
    place = _described(folder).get('place') if folder.is_claimed else None
    began = folder.load_config().data.path if place else None

    def meaning(key: str, value: Any) -> Any:
        if key == 'data.path' and place and value == began and not os.path.isabs(value):
            value = place
        is_place = key in paths and isinstance(value, str) and value
        return _place(os.path.expanduser(value)) if is_place else value

    return meaning


def _place(path: str) -> str | tuple[int, int]:
    """What is the same for all names of a file or folder, also where a disk takes them in any case."""
    try:
        found = os.stat(path)
    except OSError:
        return os.path.realpath(path)
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _described(folder: WorkDir) -> dict[str, Any]:
    """The content of data.json; {} where there is none, or a damaged one, which the run writes anew."""
    if not (folder.path / 'data.json').exists():
        return {}
    try:
        return folder.load_json('data')
    except InputError:
        warn_once(f'{folder.path}/data.json is damaged; it is written anew')
        return {}


def _check_weights(folder: WorkDir, path: str) -> None:
    """Notes which file of model.weights the run began with; InputError: it has changed since."""
    if not path:
        return
    digest = files.digest(path)
    if not (folder.path / 'weights.json').exists():
        folder.save_json('weights', {'sha256': digest})
    elif folder.load_json('weights') != {'sha256': digest}:
        raise InputError(f'model.weights: {path} has changed since this run began; {layout.OTHER}')


def _paths(config: ConfigDict) -> dict[str, str]:
    """The settings that name a file or folder, by key, where they are set."""
    known, values = dict(config_lib.flatten(settings.sections())), dict(config_lib.flatten(config))
    return {key: each.at_home(values[key]) for key, each in known.items() if each.is_path and values[key]}
