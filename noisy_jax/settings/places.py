"""Where the files of a run lie: those that its settings name, and its work directory apart from them."""

import contextlib
from collections.abc import Iterator

from ml_collections import ConfigDict

from noisy_jax import config as config_lib
from noisy_jax import data
from noisy_jax.settings import sections
from noisy_jax.workdir import WorkDir


def at_home(config: ConfigDict) -> ConfigDict:
    """The config with the home folder for `~` in its paths."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(_paths(config))
    return config


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
        data.check_outside(folder.path, config.data, 'workdir')
    folder.check_free(config.compile_cache)
    for key, path in _paths(config).items():
        folder.check_apart(path, f'config.{key}')
    with folder.held():
        yield


def _paths(config: ConfigDict) -> dict[str, str]:
    """The settings that name a file or folder, by key, where they are set."""
    known, values = dict(config_lib.flatten(sections())), dict(config_lib.flatten(config))
    return {key: each.at_home(values[key]) for key, each in known.items() if each.is_path and values[key]}
