"""Lists of image files with labels: `path label` lines, as WebVision and Clothing1M come."""

import csv
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.data.dataset import NO_LABEL, Dataset, balanced
from noisy_jax.errors import InputError

_MAX_CLASSES = 100_000  # a stray label of 10**9 would else make as many class names
_HEADS = ('path', 'file', 'filename', 'image')  # of the first column
_SEPARATORS = {'.csv': ',', '.tsv': '\t'}


def load(
    split: str,
    path: str,
    list: str = '',
    test_list: str = '',
    test_path: str = '',
    labels: str = '',
    test_labels: str = '',
    class_names: str = '',
    max_classes: int = 0,
    image_size: int = 0,
    limit: int = 0,
    memory_bytes: int = lazy.MEMORY_BYTES,
    workers: int = 0,
) -> Dataset | None:
    """The images of a list, in its order. Lists are looked for in `path`, then in the current folder.

    A list is text, in each line a path, white space, a label; `.csv` and `.tsv` files have the columns path, label (a
    first row that names them is left out), where an empty label is none: an image that only pre-training sees. Empty
    lines are left out. Labels are whole numbers from 0 on; where one of the training list is no number, all are names
    of classes. A path may stand in a list only once: its copy could be held out while it is trained on, and would count
    twice.

    Args:
      split: 'train' or 'test'.
      path: the folder that the paths of the list are in; or the training list itself, which lies in that folder.
      list: the training list; '' where `path` is it.
      test_list: '': there is no test set.
      test_path: the folder that the paths of the test list are in; '': `path`.
      labels: a list with the labels of all paths of `list` (and more), which holds paths alone; '': they are in `list`.
      test_labels: the same for `test_list`.
      class_names: a file with the name of a class a line; '': the numbers, or the sorted names of the training list.
      max_classes: only the images of the first so many classes; 0: of all.
      image_size: as in the folder loader.
      limit: as in the folder loader.
      memory_bytes: as in the folder loader.
      workers: as in the folder loader.

    Raises:
      InputError: a list or a file that is not there, a label that cannot be used; names the list and the line.
    """
    root = pathlib.Path(path)
    if path and not list and root.is_file():
        root, list = root.parent, root.name
    if not path or not root.is_dir():
        raise InputError(f'data.path: {path!r} is no folder; the one that the paths of the list are in is needed')
    if split == 'test' and not test_list:
        return None
    entries = _entries(_find(root, 'list', list), labels and _find(root, 'labels', labels))
    names, known = _classes(entries, class_names and _find(root, 'class_names', class_names), max_classes)
    if split == 'test':
        file = _find(root, 'test_list', test_list)
        entries = _entries(file, test_labels and _find(root, 'test_labels', test_labels))
        root = root / test_path
    label = _numbers(entries, _MAX_CLASSES if max_classes else len(names), known)
    rows = np.flatnonzero(label < len(names))
    if not len(rows):
        raise InputError(f'{entries.file}: no image of the first {max_classes} classes (data.max_classes) in it')
    rows = rows[balanced(label[rows], limit, len(names))]
    _refuse_missing(entries, root, rows)
    ids = np.array(entries.paths)[rows]
    images = lazy.images(lazy.Paths(root, ids), image_size, memory_bytes, workers)
    return Dataset(images, label[rows], names, id=ids)


@dataclasses.dataclass(frozen=True)
class _Entries:
    """What stands in a list: number of the line, path, label as text."""

    file: pathlib.Path
    lines: list[int]
    paths: list[str]
    labels: list[str]

    def fault(self, row: int, text: str) -> InputError:
        return InputError(f'{self.file}, line {self.lines[row]}: {text}')


def _entries(file: pathlib.Path, labels: pathlib.Path | str) -> _Entries:
    entries = _Entries(file, [], [], [])
    known = {path: label for _, path, label in _parse(labels, True)} if labels else None
    first: dict[str, int] = {}
    for line, path, label in _parse(file, known is None):
        entries.lines.append(line)
        entries.paths.append(path)
        entries.labels.append(label if known is None else known.get(path, ''))
        if first.setdefault(path, line) != line:
            raise entries.fault(-1, f'{path} stands in line {first[path]} too; once only')
        if known is not None and path not in known:
            raise entries.fault(-1, f'{path} has no label in {labels}')
    if not entries.lines:
        raise InputError(f'{file}: an empty list; lines of a path and a label are needed')
    return entries


def _parse(file: pathlib.Path, labelled: bool) -> Iterator[tuple[int, str, str]]:
    """(line, path, label) of each line that is not empty; label is '' in a list of paths alone."""
    separator, wanted = _SEPARATORS.get(file.suffix.lower()), 2 if labelled else 1
    try:
        with file.open(encoding='utf-8-sig', newline='') as text:
            rows = csv.reader(text, delimiter=separator) if separator else (_words(line, labelled) for line in text)
            for line, row in enumerate(rows, 1):
                row = [word.strip() for word in row]
                if not any(row) or (separator and line == 1 and row[0].lower() in _HEADS):
                    continue
                bare = labelled and separator is not None and len(row) == wanted and row[0]  # the label may be empty
                if len(row) != wanted or not (all(row) or bare):
                    need = 'a path and a label' if labelled else 'a path alone'
                    raise InputError(f'{file}, line {line}: {" ".join(row)!r} is not {need}')
                yield line, row[0], row[1] if labelled else ''
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{file}: cannot be read as text ({error})') from error


def _words(line: str, labelled: bool) -> list[str]:
    return line.rsplit(maxsplit=1) if labelled else [line]


def _classes(
    entries: _Entries, file: pathlib.Path | str, max_classes: int
) -> tuple[tuple[str, ...], dict[str, int] | None]:
    """Names of the classes that are kept, and the number of every class where labels are names."""
    labels = {label for label in entries.labels if label}
    numeric = all(_is_number(label) for label in labels)
    if file:
        names = tuple(name for _, name, _ in _parse(pathlib.Path(file), False))
        if len(set(names)) < len(names) or not names:
            raise InputError(f'{file}: a name for each class is needed, one a line, no two alike')
    elif not labels:
        raise InputError(f'{entries.file}: no label in it; a path and a label a line are needed')
    elif numeric:
        highest = _numbers(entries, _MAX_CLASSES, None).max()
        names = tuple(str(number) for number in range(max_classes or highest + 1))
    else:
        names = tuple(sorted(labels))
    known = None if numeric else {name: number for number, name in enumerate(names)}
    return names[: max_classes or None], known


def _is_number(text: str) -> bool:
    return text.removeprefix('-').isdecimal()


def _numbers(entries: _Entries, count: int, known: dict[str, int] | None) -> np.ndarray:
    """Labels int [N], below `count`, NO_LABEL where there is none; from names where they are `known`."""
    numbers = np.full(len(entries.labels), NO_LABEL, np.int64)
    for row, text in enumerate(entries.labels):
        if not text:
            continue
        if known is not None:
            number = known.get(text, -1)
        else:
            number = int(text) if _is_number(text) else -1
        if not 0 <= number < count:
            allowed = (
                f'one of {len(known)} class names' if known is not None else f'whole numbers from 0 to {count - 1}'
            )
            raise entries.fault(row, f'label {text!r} is not allowed; {allowed}')
        numbers[row] = number
    return numbers


def _refuse_missing(entries: _Entries, root: pathlib.Path, rows: np.ndarray) -> None:
    """Lists every folder once, which is cheaper than to ask for every file."""
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
