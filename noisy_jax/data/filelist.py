"""Loader of lists of image files: lines of `path label`, as WebVision and Clothing1M have them, or CSV."""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.data.dataset import MAX_CLASSES, NO_LABEL, Dataset, balanced
from noisy_jax.errors import InputError

_HEADS = ('path', 'file', 'filename', 'image')  # names of the first column
_SEPARATORS = {'.csv': ',', '.tsv': '\t'}
# What `load` takes of config.data; files are looked up in the folder of the data, then in the current one.
_FILES = ('list', 'test_list', 'labels', 'test_labels', 'class_names')
_LISTS = {**dict.fromkeys(_FILES, ''), 'test_path': '', 'max_classes': 0}


def load(split: str, path: str, limit: int = 0, decoding: lazy.Decoding = lazy.DEFAULT, **lists: Any) -> Dataset | None:
    """Loads the images of a list, in its order.

    Each line of a list is a path, white space and a label. `.csv` and `.tsv` files have the columns path and label, an
    optional header, and an empty label for images that only pre-training sees. Empty lines are skipped. Labels are
    whole numbers from 0; if one of the training list is no number, all are class names. A path may occur once: a copy
    could be held out while the other is trained on, and would count twice.

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
    names, known = _classes(entries, files.get('class_names'), lists['max_classes'])
    if split == 'test':
        entries, root = _entries(files['test_list'], files.get('test_labels')), root / lists['test_path']
    label = _numbers(entries, MAX_CLASSES if lists['max_classes'] else len(names), known)
    rows = np.flatnonzero(label < len(names))
    if not len(rows):
        raise InputError(
            f'{entries.file}: it has no image of the first {lists["max_classes"]} classes (data.max_classes)'
        )
    kept = balanced(label[rows], limit, len(names))
    available, rows = len(rows), rows[kept]
    _refuse_missing(entries, root, rows)
    ids = np.array(entries.paths)[rows]
    columns = {'label': label[rows], 'id': ids, 'row': kept}
    return Dataset.of_files(lazy.Paths(root, ids), decoding, names, available=available, **columns)


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
    if labels:
        known = {path: label for _, path, label in _parse(labels)}
    first: dict[str, int] = {}
    for row, path in enumerate(entries.paths):
        if first.setdefault(path, row) != row:
            raise entries.fault(row, f'{path} is in line {entries.lines[first[path]]} too; each path may occur once')
        if labels:
            if path not in known:
                raise entries.fault(row, f'{path} has no label in {labels}')
            entries.labels[row] = known[path]
    return entries


def _parse(file: pathlib.Path, *, labelled: bool = True) -> list[tuple[int, str, str]]:
    """(line number, path, label) of each line that is not empty; label is '' in a list of paths only."""
    rows = list(_rows(file, labelled=labelled))
    if not rows:
        raise InputError(
            f'{file}: the list is empty; {"a path and a label" if labelled else "text"} per line is needed'
        )
    return rows


def _rows(file: pathlib.Path, *, labelled: bool) -> Iterator[tuple[int, str, str]]:
    separator, wanted = _SEPARATORS.get(file.suffix.lower()), 2 if labelled else 1
    try:
        with file.open(encoding='utf-8-sig', newline='') as text:
            if separator:
                rows = csv.reader(text, delimiter=separator)
            else:
                rows = (line.rsplit(maxsplit=1) if labelled else [line] for line in text)
            for line, row in enumerate(rows, 1):
                row = [word.strip() for word in row]
                if not any(row) or (separator and line == 1 and row[0].lower() in _HEADS):
                    continue
                needed = row[:1] if separator else row  # the label of a table may be empty
                if len(row) != wanted or not all(needed):
                    need = 'a path and a label' if labelled else 'a single path'
                    raise InputError(f'{file}, line {line}: {" ".join(row)!r} is not {need}')
                yield line, row[0], row[1] if labelled else ''
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{file}: cannot be read as text ({error})') from error


def _classes(
    entries: _Entries, file: pathlib.Path | None, max_classes: int
) -> tuple[tuple[str, ...], dict[str, int] | None]:
    """Names of the classes to keep, and the number of every class name if labels are names."""
    labels = {label for label in entries.labels if label}
    numeric = all(map(_is_number, labels))
    if file:
        names = tuple(name for _, name, _ in _parse(file, labelled=False))
        if len(set(names)) < len(names):
            raise InputError(f'{file}: a name for each class is needed, one per line, no two alike')
    elif not labels:
        raise InputError(f'{entries.file}: the list has no labels; a path and a label per line are needed')
    elif numeric:
        highest = _numbers(entries, MAX_CLASSES, None).max()
        names = tuple(map(str, range(max_classes or highest + 1)))
    else:
        names = tuple(sorted(labels))
    known = None if numeric else {name: number for number, name in enumerate(names)}
    return names[: max_classes or None], known


def _is_number(text: str) -> bool:
    return text.removeprefix('-').isdecimal()


def _numbers(entries: _Entries, count: int, known: dict[str, int] | None) -> np.ndarray:
    """Labels as int [N] below `count`, by the numbers of `known` names; NO_LABEL where there is none."""
    numbers = np.full(len(entries.labels), NO_LABEL, np.int64)
    for row, text in enumerate(entries.labels):
        if not text:
            continue
        if known is not None:
            number, allowed = known.get(text, -1), f'one of {len(known)} class names'
        else:
            number, allowed = int(text) if _is_number(text) else -1, f'whole numbers from 0 to {count - 1}'
        if not 0 <= number < count:
            raise entries.fault(row, f'label {text!r} is not allowed; {allowed}')
        numbers[row] = number
    return numbers


def _refuse_missing(entries: _Entries, root: pathlib.Path, rows: np.ndarray) -> None:
    """Checks that all images exist; lists each folder once, which is cheaper than to look up each file."""
    listed: dict[str, set[str]] = {}
    for row in rows:
        folder, name = os.path.split(os.path.join(root, entries.paths[row]))
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listed[folder]:
            raise entries.fault(row, f'no file {os.path.join(folder, name)}')


def _find(root: pathlib.Path, field: str, name: str) -> pathlib.Path:
    for file in (root / name, pathlib.Path(name)):
        if name and file.is_file():
            return file
    raise InputError(f'data.{field}: no file {name!r} in {root} or the current folder')
