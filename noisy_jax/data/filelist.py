"""Loader of lists of image files: lines of `path label`, as WebVision and Clothing1M have them, or CSV."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from noisy_jax import spreadsheet
from noisy_jax.data import pictures
from noisy_jax.data.dataset import NO_LABEL, Dataset, balanced, in_order, is_number, warn_of_empty, warn_of_minus_one
from noisy_jax.data.encoded import Paths
from noisy_jax.data.reading import DEFAULT, Decoding
from noisy_jax.errors import InputError, some
from noisy_jax.files import lines

_HEADS = ('path', 'file', 'filename', 'image')  # names of the first column
_NAME_HEADS = ('name', 'class', 'class_name', 'label')  # of the only one of class_names
_TABLES = {'.csv': '', '.tsv': '\t'}  # and their separators; '': that of the first row
_DIGITS = 19  # of numbers that are too large for int64
_UNSEEN, _LINK = -1, -2  # of files in a folder, in place of their row
# What `load` takes of config.data; files are looked up in the folder of the data, then in the current one.
_FILES = ('list', 'test_list', 'labels', 'test_labels', 'class_names')
_LISTS = {**dict.fromkeys(_FILES, ''), 'test_path': '', 'max_classes': 0}


def load(split: str, path: str, limit: int = 0, decoding: Decoding = DEFAULT, **lists: Any) -> Dataset | None:
    """Loads the images of a list, in its order.

    Each line of a list is a path, white space and a label. `.csv` and `.tsv` files have the columns path and label, an
    optional header, and an empty label for images that only pre-training sees; `.csv` is also read as spreadsheets of
    many languages save it, with ; or tabs. In them, an apostrophe that keeps a spreadsheet from running a cell
    (`noisy_jax.spreadsheet`) is no part of it. Empty lines are skipped. A file may occur once, by whatever path: a copy
    could be held out while the other is trained on, and would count twice.

    Labels are names, as written: 007 and 7 are two classes. The classes are the labels of the training list, by value
    if all are whole numbers, else as text. With `class_names` they are the lines of that file, in its order; where all
    labels of the training list are whole numbers and one is no line there, labels are numbers of lines, from 0; a
    header in a `.csv` or `.tsv` file does not count.
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
    root, lists = pathlib.Path(path), _LISTS | lists
    if path and not lists['list'] and root.is_file():
        root, lists['list'] = root.parent, root.name
    if not path or not root.is_dir():
        raise InputError(
            f'data.path: {path!r} is not a folder; the one that paths in the list are relative to is needed'
        )
    if split == 'test' and not lists['test_list']:
        return None
    files = {field: _find(root, field, lists[field]) for field in _FILES if lists[field] or field == 'list'}
    entries = _entries(files['list'], files.get('labels'))
    classes = _classes(entries, files.get('class_names'), lists['max_classes'])
    if split == 'test':
        entries, root = _entries(files['test_list'], files.get('test_labels')), root / lists['test_path']
    label, names = _numbers(entries, classes), classes.names[: lists['max_classes'] or None]
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


@dataclasses.dataclass(frozen=True)
class _Entries:
    """A list, by column: line numbers, paths, labels as text."""

    file: pathlib.Path
    lines: list[int]
    paths: list[str]
    labels: list[str]

    def fault(self, row: int, text: str) -> InputError:
        return InputError(f'{self.file}, line {self.lines[row]}: {text}')


def _entries(file: pathlib.Path, labels: pathlib.Path | None) -> _Entries:
    """A list, with the labels of another one where there is one."""
    entries = _Entries(file, *map(list, zip(*_parse(file, labelled=not labels), strict=True)))
    first: dict[str, int] = {}
    for row, path in enumerate(entries.paths):
        _refuse_copy(entries, row, first.setdefault(path, row))
    if labels:
        known: dict[str, str] = {}
        for line, path, label in _parse(labels):
            if known.setdefault(path, label) != label:
                raise InputError(f'{labels}, line {line}: {path} is {label!r} here, {known[path]!r} before')
        for row, path in enumerate(entries.paths):
            if path not in known:
                raise entries.fault(row, f'{path} has no label in {labels}')
            entries.labels[row] = known[path]
    return entries


def _parse(file: pathlib.Path, *, labelled: bool = True) -> list[tuple[int, str, str]]:
    """(line number, path, label) of each line that is not empty; label is '' in a list of paths only."""
    rows, wanted, is_table = [], 2 if labelled else 1, file.suffix.lower() in _TABLES
    found = _records(file, labelled=labelled, separator='' if labelled else ',')  # a path may hold semicolons
    for number, (line, words) in enumerate((line, words) for line, words in found if any(words)):
        if is_table and number == 0 and words[0].lower() in _HEADS:
            continue
        needed = words[:1] if is_table else words  # the label of a table may be empty
        if len(words) != wanted or not all(needed):
            need = 'a path and a label' if labelled else 'a single path'
            raise InputError(f'{file}, line {line}: {" ".join(words)!r} is not {need}')
        label = words[1] if labelled else ''
        if '\n' in label or '\r' in label:
            raise InputError(f'{file}, line {line}: its label has a line break; a quotation mark may be missing')
        rows.append((line, words[0], label))
    if not rows:
        raise InputError(
            f'{file}: the list is empty; {"a path and a label" if labelled else "a path"} per line is needed'
        )
    return rows


def _records(file: pathlib.Path, *, labelled: bool, separator: str = '') -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of each line, of a table each record; `separator` is that of `.csv`, if it is known."""
    suffix = file.suffix.lower()
    if suffix in _TABLES:
        try:
            for line, row in spreadsheet.read(lines(file), _TABLES[suffix] or separator, loose=True):
                yield line, [word.strip() for word in row]
        except spreadsheet.Error as error:
            raise InputError(f'{file}: cannot be read as a table ({error})') from error
    else:
        for number, line in enumerate(lines(file), 1):
            yield number, [word.strip() for word in (line.rsplit(maxsplit=1) if labelled else [line])]


def labels_are_numbers(path: str, **lists: Any) -> bool:
    """Whether the labels of a training list are numbers of lines of its class_names, and not their names.

    Raises:
      InputError: as `load`.
    """
    root, lists = pathlib.Path(path), _LISTS | lists
    if root.is_file():
        root, lists['list'] = root.parent, lists['list'] or root.name
    if not lists['class_names']:
        return False
    files = {field: _find(root, field, lists[field]) for field in ('list', 'labels', 'class_names') if lists[field]}
    return _classes(_entries(files['list'], files.get('labels')), files['class_names'], lists['max_classes']).by_number


class _Classes(NamedTuple):
    """Names of all classes; whether labels are their numbers, and whether there may be greater ones, of no name."""

    names: tuple[str, ...]
    by_number: bool = False
    has_more: bool = False


def _classes(entries: _Entries, file: pathlib.Path | None, max_classes: int) -> _Classes:
    labels = {label for label in entries.labels if label}
    if file:
        names = _names(file)
        by_number = all(map(is_number, labels)) and not labels <= set(names)
        return _Classes(names, by_number, has_more=0 < max_classes <= len(names))
    if not labels:
        raise InputError(f'{entries.file}: the list has no labels; a path and a label per line are needed')
    if all(is_number(label.removeprefix('-')) for label in labels):
        for row, label in enumerate(entries.labels):
            if label.startswith('-'):  # -1 often means that there is none
                none = ', or none in a .csv or .tsv file' if label == '-1' else ''
                raise entries.fault(row, f'label {label!r} is not allowed; whole numbers from 0{none}')
    warn_of_minus_one(labels, entries.file)
    return _Classes(in_order(labels))


def _names(file: pathlib.Path) -> tuple[str, ...]:
    """Those of the file class_names; in a .csv or .tsv file below a header where there is one."""
    needed = 'a name for each class is needed, one per line, no two alike'
    rows = list(_records(file, labelled=False))
    while rows and not any(rows[-1][1]):
        rows.pop()
    if rows and file.suffix.lower() in _TABLES and ' '.join(rows[0][1]).lower() in _NAME_HEADS:
        del rows[0]
    first: dict[str, int] = {}
    for line, words in rows:
        if len(words) > 1:
            raise InputError(f'{file}, line {line}: found {len(words)} columns, {words}; {needed}')
        name = ' '.join(words)
        if not name or first.setdefault(name, line) != line:
            found = f'{name!r} is in line {first[name]} too' if name else 'it is empty'
            raise InputError(f'{file}, line {line}: {found}; {needed}')
    if not rows:
        raise InputError(f'{file}: it is empty; {needed}')
    return tuple(first)


def _numbers(entries: _Entries, classes: _Classes) -> np.ndarray:
    """Numbers of the classes of the labels, int [N]; NO_LABEL where there is none."""
    count, known = len(classes.names), {name: number for number, name in enumerate(classes.names)}
    allowed = f'one of {count} class names: {some(classes.names, 5)}'
    if classes.by_number:
        allowed = f'whole numbers from 0 to {count - 1}, since not all labels are class names'
    numbers = np.full(len(entries.labels), NO_LABEL, np.int64)
    for row, text in enumerate(entries.labels):
        if not text:
            continue
        if not classes.by_number:
            number = known.get(text, -1)
        else:
            number = int(text) if is_number(text) and len(text) < _DIGITS else -1
        if not 0 <= number < count and not (classes.has_more and number >= count):
            raise entries.fault(row, f'label {text!r} is not allowed; {allowed}')
        numbers[row] = number
    return numbers


def _check_files(entries: _Entries, root: pathlib.Path, rows: np.ndarray) -> None:
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
        _refuse_copy(entries, row, first)
    for target, row in links.items():
        folder, name = os.path.split(target)
        first = listed.get(folder, {}).get(name, row)
        if first >= 0:
            _refuse_copy(entries, max(row, first), min(row, first))


def _refuse_copy(entries: _Entries, row: int, first: int) -> None:
    if row != first:
        path, other, line = entries.paths[row], entries.paths[first], entries.lines[first]
        of = '' if path == other else f', {other}'
        raise entries.fault(row, f'{path} is the file of line {line}{of}; each may occur once')


def _listing(folder: str) -> dict[str, int]:
    """The names in a folder, which of them are links; nothing where there is no folder."""
    found = pictures.entries(folder) if os.path.isdir(folder) else ()
    return {entry.name: _LINK if entry.is_symlink() else _UNSEEN for entry in found}


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
