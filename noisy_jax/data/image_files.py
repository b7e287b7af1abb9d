"""Which files in a folder are images: all that Pillow reads, in all folders in it. What is left out is counted."""

import collections
import functools
import os
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from PIL import Image

from noisy_jax import layout
from noisy_jax.errors import InputError, some, warn_once

# Kinds that Pillow knows by name only, needs another program for, or that are no pictures.
_NO_PICTURES = ('BUFR', 'EPS', 'GRIB', 'HDF5', 'IPTC', 'MPEG', 'WMF')
_MADE = ('.ds_store', 'thumbs.db', 'desktop.ini', 'changes.csv')  # by systems, and by our clean
_OF_SYSTEMS = (
    *('@eadir', '__macosx', 'lost+found', 'system volume information', 'network trash folder', 'temporary items'),
    *('#recycle', '@recycle', '$recycle.bin', 'found.000', '_gsdata_', '@tmp'),
    *('#snapshot', '~snapshot', '@recently-snapshot'),
)
_RUN = (layout.MARK, 'data.json', 'labels')  # what a run leaves
_NAMED = 2  # of each kind that is left out

# What is left out, one and several.
OTHER = 'file of another kind', 'files of other kinds'
HIDDEN = 'hidden file or folder', 'hidden files or folders'
AGAIN = 'link to what is there already', 'links to what is there already'
OF_RUN = 'work directory of a run', 'work directories of runs'

LeftOut = dict[tuple[str, str], list[str]]


@functools.cache
def kinds() -> tuple[str, ...]:
    """Formats, as Pillow names them, that a file may have, whatever its name; in the order in which they are tried."""
    Image.preinit()  # the common ones first, as Pillow has it
    Image.init()
    return tuple(kind for kind in Image.ID if kind not in _NO_PICTURES)


@functools.cache
def suffixes() -> frozenset[str]:
    """Suffixes of image files in lower case, such as '.jpg'."""
    taken = {*kinds(), 'MPO'}  # which is opened as JPEG
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in taken)


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return os.path.splitext(name)[1].lower() in suffixes()


def is_run(folder: str) -> bool:
    """Whether a folder is the work directory of a run."""
    return all(os.path.exists(os.path.join(folder, name)) for name in _RUN)


def refuse_run(folder: str) -> None:
    """InputError: the folder is the work directory of a run, whose plots are no images of the data."""
    if is_run(folder):
        raise InputError(f'{folder}: the work directory of a run, no images; name another folder, or move it away')


class FoundFiles(NamedTuple):
    """What a folder holds, by paths with `/`.

    Attributes:
      images: in the order of their paths, name by name.
      links: those of them that are links themselves.
      left_out: what is no image, by kind.
    """

    images: list[str]
    links: list[str]
    left_out: LeftOut


def search(folder: str, name: str = '') -> FoundFiles:
    """Images in a folder and all folders in it, those behind links too, each folder once.

    Args:
      folder: the folder.
      name: what the paths found begin with, instead of `folder`; '': nothing.

    Raises:
      InputError: a folder cannot be read, or is the work directory of a run.
    """
    found, seen, root = FoundFiles([], [], {OTHER: [], HIDDEN: [], AGAIN: [], OF_RUN: []}), set(), folder
    folders, links = collections.deque([(folder, name)]), collections.deque()
    while folders or links:
        if not folders:  # links come after all that are none
            link, path = links.popleft()
            if os.path.isdir(link):
                upwards = os.path.join(os.path.realpath(link), '')
                if os.path.join(os.path.realpath(root), '').startswith(upwards):
                    found.left_out[AGAIN].append(path)  # it holds all that is beside the folder, such as other classes
                else:
                    folders.append((link, path))
            elif is_image(path) and (os.path.isfile(link) or not os.path.exists(link)):  # the latter cannot be read
                found.images.append(path)
                found.links.append(path)
            else:
                found.left_out[OTHER].append(path)
            continue
        folder, name = folders.popleft()
        if (real := os.path.realpath(folder)) in seen:  # a link that leads in a circle, for example
            found.left_out[AGAIN].append(name)
            continue
        seen.add(real)
        if folder == root:
            refuse_run(folder)
        elif is_run(folder):  # whose plots are no images of a class
            found.left_out[OF_RUN].append(name)
            continue
        for entry in entries(folder):
            path = f'{name}/{entry.name}' if name else entry.name
            if is_hidden(entry.name):
                found.left_out[HIDDEN] += [path] * is_missed(entry.name)
            elif entry.is_symlink():
                links.append((entry.path, path))
            elif entry.is_dir():
                folders.append((entry.path, path))
            elif is_image(entry.name) and entry.is_file():
                found.images.append(path)
            else:
                found.left_out[OTHER] += [path] * is_missed(entry.name)
    if (encoding := sys.getfilesystemencoding()) != 'utf-8':
        for name in filter(lambda name: not name.isascii(), found.images):  # tables would have another one
            raise InputError(f'{root}: Python reads the name {name!r} as {encoding} here; set PYTHONUTF8=1')
    found.images.sort(key=lambda path: path.split('/'))
    return found


def entries(folder: str) -> list[os.DirEntry]:
    """What a folder holds, by name.

    Raises:
      InputError: it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f'{folder}: cannot be read ({error.strerror})') from error


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or one that systems and disk stations put among a user's."""
    return name.startswith('.') or name.lower() in _OF_SYSTEMS


def is_missed(name: str) -> bool:
    """Whether it is worth a word that a file is left out; macOS puts `._a.jpg` beside `a.jpg`."""
    return not name.startswith('._') and name.lower() not in _MADE


def warn(folder: str, left_out: Iterable[LeftOut], notes: Sequence[str] = ()) -> None:
    """Says in one warning what is left out of a folder, after the `notes`."""
    kinds: LeftOut = {}
    for part in left_out:
        for kind, names in part.items():
            kinds.setdefault(kind, []).extend(names)
    counts = [
        f'{len(names):,} {kind[len(names) > 1]} ({some(names, _NAMED)})' for kind, names in kinds.items() if names
    ]
    texts = [*notes, *([f'left out: {", ".join(counts)}'] if counts else [])]
    if texts:
        warn_once(f'{folder}: {"; ".join(texts)}')
