"""Refuses outputs within the data: what is written in a folder that is a data set would become a part of it."""

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

from noisy_jax import files
from noisy_jax.config import completed
from noisy_jax.data import identity, image_files, kind_of
from noisy_jax.data.rows import spread
from noisy_jax.data.settings import DATA
from noisy_jax.errors import InputError
from noisy_jax.outputs import check_new
from noisy_jax.workdir import WorkDir

_LOOKED_AT = 10  # images


def check(path: str | os.PathLike, settings: Mapping[str, Any], field: str) -> None:
    """Checks that what is written at `path` does not lie in a folder that is a data set as a whole.

    Class folders and arrays are, and what links in class folders lead to; in the folder of a list only its files are
    data.

    Args:
      path: a file or folder to be written.
      settings: config.data, or a part of it.
      field: how an error names the path.

    Raises:
      InputError: it lies there, links followed: it would be taken for a class or an array.
    """
    place, name = settings['path'], settings['name']
    name = kind_of(place, settings.get('list', '')) if name == 'auto' else name
    if not place or name not in ('folder', 'arrays'):
        return
    for inside in itertools.chain([place], _linked(place) if name == 'folder' else ()):
        if files.lies_in(path, inside) is not None:
            raise InputError(f'{field}: {path} lies in {inside}, inside the data; choose another place')


def check_output(out: str | os.PathLike, folder: WorkDir) -> None:
    """Checks that the output `out` of a command can be created, apart from the run in `folder` and its data.

    Raises:
      InputError: it exists, or lies among the files of the run, or in its data; or config.json is damaged.
    """
    check_new(out)
    folder.check_apart(out, '--out')
    check_of_run(out, folder, '--out')


def check_of_run(path: str | os.PathLike, folder: WorkDir, field: str) -> None:
    """The same for the data of the run in `folder`; InputError: also where a file of that is damaged."""
    config = completed(folder.load_config(), {'data': DATA}, folder.path / 'config.json')
    place = folder.load_json('data').get('place') if (folder.path / 'data.json').exists() else None
    is_known = bool(place) and os.path.exists(place)
    if is_known:
        check(path, {**config.data, 'path': place}, field)
    given = config.data.path  # which may be another place, seen from here
    if not is_known or (os.path.abspath(given) != place and (os.path.isabs(given) or holds(given, folder))):
        check(path, config.data, field)


def holds(place: str, folder: WorkDir) -> bool:
    """Whether it looks as the data of the run in `folder`, or a copy of it, by some of the images."""
    if os.path.isfile(place):  # a list in the folder of its images, or arrays
        if place.lower().endswith('.npz'):
            return True
        place = os.path.dirname(place)
    noted = identity.recorded(folder)
    ids = noted['train']['id'] if noted else []
    names = [*(ids[row] for row in spread(len(ids), _LOOKED_AT)), 'images.npy']
    return any(os.path.lexists(os.path.join(place, name)) for name in names)


def _linked(root: str | os.PathLike) -> Iterator[str]:
    """The links to folders within a folder, and within what they lead to, that its images are looked for in."""
    places, seen = [os.fspath(root)], set()
    while places:
        place = places.pop()
        if (real := os.path.realpath(place)) in seen:
            continue
        seen.add(real)
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if image_files.is_hidden(entry.name) or not _is_folder(entry):
                    continue
                if files.lies_in(root, entry.path) is not None:
                    continue  # a link upwards holds all that is beside the data; `image_files.search` leaves it out
                places.append(entry.path)
                if entry.is_symlink():
                    yield entry.path


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether it is a folder, or a link to one; images are asked no more than the list of their folder says."""
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where one may not look
        return False
