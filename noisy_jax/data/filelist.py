"""Loader of lists of image files: lines of `path label`, as WebVision and Clothing1M have them, or CSV."""

import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from noisy_jax.data import image_files, list_file
from noisy_jax.data.class_names import classes_of, numbers_of
from noisy_jax.data.dataset import Dataset, balanced, warn_of_empty
from noisy_jax.data.encoded import Paths
from noisy_jax.data.list_file import Entries
from noisy_jax.data.reading import DEFAULT, Decoding
from noisy_jax.errors import InputError, check_reachable, warn_once

_UNSEEN, _LINK = -1, -2  # of files in a folder, in place of their row
# What `load` takes of config.data; files are looked up in the folder of the data, then in the current one.
_FILES = ('list', 'test_list', 'labels', 'test_labels', 'class_names')
_LISTS = {**dict.fromkeys(_FILES, ''), 'test_path': '', 'max_classes': 0}


def load(split: str, path: str, limit: int = 0, decoding: Decoding = DEFAULT, **lists: Any) -> Dataset | None:
    """Loads the images of a list, in its order.

    Each line of a list is a path, white space and a label. `.csv` and `.tsv` files have the columns path and label, an
    optional header, and an empty label, or a path alone, for images that only pre-training sees; `.csv` is also read as
    spreadsheets of many languages save it, with ; or tabs. In them, an apostrophe that keeps a spreadsheet from running
    a cell (`noisy_jax.spreadsheet`) is no part of it. Empty lines are skipped. A file may occur once, by whatever path:
    a copy could be held out while the other is trained on, and would count twice.

    Labels are names, as written: 007 and 7 are two classes. The classes are the labels of the training list, by value
    if all are whole numbers, else as text. With `class_names` they are the lines of that file, in its order; where all
    labels of the training list are whole numbers and one is no line there, labels are numbers of lines, from 0; a
    header in a `.csv` or `.tsv` file does not count. JSON, another title above the names, and lines that carry these
    numbers in another order are refused.
    `max_classes` keeps the first classes and their images.

    Args:
      split: 'train' or 'test'.
      path: the folder that paths in the list are relative to, or the training list itself, which lies in that folder.
      limit: as in the folder loader.
      decoding: how images are read.
      lists: settings of config.data: list, test_list, test_path, labels, test_labels, class_names, max_classes.

    Raises:
      InputError: a list or an image is missing, or a label cannot be used; names the list and the line.
    """
    lists = _LISTS | lists
    root, files = _files(path, lists)
    if split == 'test' and 'test_list' not in files:
        return None
    entries = list_file.read(files['list'], files.get('labels'))
    classes = classes_of(entries, files.get('class_names'), lists['max_classes'])
    if split == 'test':
        entries, root = list_file.read(files['test_list'], files.get('test_labels')), root / lists['test_path']
    label, names = numbers_of(entries, classes), classes.names[: lists['max_classes'] or None]
    rows = np.flatnonzero(label < len(names))
    if not len(rows):
        raise InputError(
            f'{entries.file}: it has no image of the first {lists["max_classes"]} classes (data.max_classes)'
        )
    if split == 'train' and 'class_names' in files:
        warn_of_empty(label, names, files['class_names'])
    kept = balanced(label[rows], limit, len(names))
    available, rows = len(rows), rows[kept]
    _check_files(entries, root, rows)
    ids = np.array(entries.paths)[rows]
    columns = {'label': label[rows], 'id': ids, 'row': kept}
    return Dataset.of_files(Paths(root, ids), decoding, names, available=available, **columns)


def labels_are_numbers(path: str, **lists: Any) -> bool:
    """Whether the labels of a training list are numbers of lines of its class_names, and not their names.

    Raises:
      InputError: as `load`.
    """
    lists = _LISTS | lists
    if not lists['class_names']:
        return False
    _, files = _files(path, lists)
    entries = list_file.read(files['list'], files.get('labels'))
    return classes_of(entries, files['class_names'], lists['max_classes']).by_number


def check_test(path: str, **lists: Any) -> None:
    """Warns of images in the test list that the training list gives a label; refuses a test list of such alone.

    Paths are compared, of all images, whatever a limit leaves of them.

    Raises:
      InputError: as `load`; all images of the test list are training images; or there is no test list, but what
        belongs to one.
    """
    lists = _LISTS | lists
    if not lists['test_list']:
        for field in ('test_path', 'test_labels'):
            if lists[field]:
                raise InputError(f'data.{field}: {lists[field]!r} without data.test_list, the list of the test images')
        return
    root, files = _files(path, lists)
    train = list_file.read(files['list'], files.get('labels'))
    test = list_file.read(files['test_list'], files.get('test_labels'))
    known = {place: row for row, place in enumerate(_places(root / lists['test_path'], test.paths))}
    labelled = (path for path, label in zip(train.paths, train.labels, strict=True) if label)
    both = {known[place] for place in _places(root, labelled) if place in known}
    if not both:
        return
    example = f'such as {test.paths[min(both)]} (line {test.lines[min(both)]})'
    if len(both) == len(known):
        raise InputError(
            f'data.test_list: all images of {test.file} are training images, {example}; data.test_path is the folder '
            'of its paths if it is not data.path'
        )
    warn_once(f'{test.file}: {len(both)} of {len(known)} test images are training images too, {example}')


def _places(root: pathlib.Path, paths: Iterable[str]) -> Iterator[str]:
    """The real path of each file; only links, and folders, once each, are looked up."""
    real: dict[str, str] = {}
    links: dict[str, set[str]] = {}
    for path in paths:
        folder, name = os.path.split(os.path.join(root, path))
        if folder not in real:
            real[folder] = os.path.realpath(folder)
            links[folder] = {each for each, kind in _listing(folder).items() if kind == _LINK}
        place = os.path.join(real[folder], name)
        yield os.path.realpath(place) if name in links[folder] else place


def _check_files(entries: Entries, root: pathlib.Path, rows: np.ndarray) -> None:
    """Checks that all images exist, and that no two are one file under two paths.

    Lists each folder once, which is cheaper than to look up each file.
    """
    real: dict[str, str] = {}
    listed: dict[str, dict[str, int]] = {}  # by the real path of a folder, the row of each file in it
    links: dict[str, int] = {}
    for row in rows.tolist():
        folder, name = os.path.split(os.path.join(root, entries.paths[row]))
        if folder not in real:
            real[folder] = os.path.realpath(folder)
            listed.setdefault(real[folder], _listing(folder))
        found = listed[real[folder]]
        if name not in found:
            raise entries.fault(row, f'no file {os.path.join(folder, name)}')
        if found[name] == _LINK:
            first = links.setdefault(os.path.realpath(os.path.join(folder, name)), row)
        else:
            first = found[name] = row if found[name] == _UNSEEN else found[name]
        entries.refuse_copy(row, first)
    for target, row in links.items():
        folder, name = os.path.split(target)
        first = listed.get(folder, {}).get(name, row)
        if first >= 0:
            entries.refuse_copy(max(row, first), min(row, first))


def _listing(folder: str) -> dict[str, int]:
    """The names in a folder, which of them are links; nothing where there is no folder."""
    found = image_files.entries(folder) if os.path.isdir(folder) else ()
    return {entry.name: _LINK if entry.is_symlink() else _UNSEEN for entry in found}


def found_again(settings: dict[str, Any], began: str, place: str) -> dict[str, str]:
    """The lists among `settings` that are not there any more, by the places where they are now.

    Those lay in or beside the data, and moved with it, or are relative to where the run began.

    Args:
      settings: config.data, with the path where the data is now.
      began: data.path as the run was given it.
      place: where that was.
    """
    root, before, found = pathlib.Path(settings['path']), place, {}
    for field in _FILES:
        name = settings[field]
        if not name or os.path.isfile(name) or (root / name).is_file():
            continue
        if os.path.isabs(name):
            places = [root / os.path.relpath(name, before), root / os.path.basename(name)]
        else:  # up from the data to the folder that the run began in
            upwards = [os.pardir] * len(pathlib.Path(began).parts)
            places = [] if os.pardir in began else [pathlib.Path(place, *upwards, name)]
        if there := [file for file in places if file.is_file()]:
            found[field] = str(there[0])
    return found


def _files(path: str, lists: dict[str, Any]) -> tuple[pathlib.Path, dict[str, pathlib.Path]]:
    """The folder that paths are relative to, and the files of those of `lists` that are set, and of the list."""
    check_reachable('data.path', path)
    root, names = pathlib.Path(path), {field: lists[field] for field in _FILES}
    if path and not names['list'] and root.is_file():
        root, names['list'] = root.parent, root.name
    if not path or not root.is_dir():
        raise InputError(
            f'data.path: {path!r} is not a folder; the one that paths in the list are relative to is needed'
        )
    return root, {field: _find(root, field, name) for field, name in names.items() if name or field == 'list'}


def _find(root: pathlib.Path, field: str, name: str) -> pathlib.Path:
    found = [file for file in (root / name, pathlib.Path(name)) if name and file.is_file()]
    if not found:
        raise InputError(f'data.{field}: no file {name!r} in {root} or the current folder')
    if not os.path.samefile(found[0], found[-1]):
        raise InputError(
            f'data.{field}: {name!r} is a file in {root} and another one in the current folder; take the whole path, '
            f'{found[0].absolute()} or {found[1].absolute()}'
        )
    return found[0]
