"""Names of the classes of lists, and the numbers of labels."""

import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from noisy_jax.data.dataset import NO_LABEL, in_order, is_number, number_of, warn_of_missing, warn_of_rows
from noisy_jax.data.list_file import TABLES, Entries, records
from noisy_jax.errors import InputError, some, warn_once
from noisy_jax.files import lines

_HEADS = ('name', 'class', 'class_name', 'label')  # of the only column of class_names
_NO_LISTS = ('.json', '.yaml', '.yml')
_NEEDED = 'a name for each class is needed, one per line, no two alike'
_NUMBERED = (  # lines that carry a number of their own: alone, at the beginning, the end, second, or as their only one
    re.compile(r'([0-9]{1,18})'),
    re.compile(r"""["']?([0-9]{1,18})["']?[\s:=.,;)_-]+\S.*"""),
    re.compile(r"""\S.*[\s:=,;(_-]["']?([0-9]{1,18})["'),]*"""),
    re.compile(r'\S+\s+([0-9]{1,18})\s+\S.*'),
    re.compile(r"""(?=.*[^0-9])[^0-9]*([0-9]{1,18})[^0-9]*"""),
)
_OF_A_TABLE = re.compile(r'x|[0-9]+|(v|column|unnamed:) ?[0-9]+', re.IGNORECASE)  # where a column has no name
_TITLE = re.compile(r'#?[\s_-]*(((name|label)s?|class(es)?|categor(y|ies))[\s_:-]*)+', re.IGNORECASE)


class Classes(NamedTuple):
    """Names of all classes; whether labels are their numbers, and whether there may be greater ones, of no name."""

    names: tuple[str, ...]
    by_number: bool = False
    has_more: bool = False


def classes_of(entries: Entries, file: pathlib.Path | None, max_classes: int) -> Classes:
    """The classes of a training list, or those of the file class_names.

    Raises:
      InputError: there are no labels, one is negative, or the names cannot be used.
    """
    labels = {label for label in entries.labels if label}
    if file:
        names = _names(file)
        by_number = all(map(is_number, labels)) and not labels <= names.keys()
        has_more = 0 < max_classes <= len(names)
        if by_number:
            used = set(map(number_of, labels)) - {None}
            if 0 in used:  # else labels may count from 1, and a title is the name of none
                _refuse_title(file, names, (max(used) + 1, max_classes))
            warn_of_rows(tuple(names), used, file)
            _refuse_other_numbers(file, names, {number for number in used if not has_more or number < len(names)})
        return Classes(tuple(names), by_number, has_more)
    if not labels:
        raise InputError(f'{entries.file}: the list has no labels; a path and a label per line are needed')
    if label := negative(labels):
        none = ', or none in a .csv or .tsv file' if label == '-1' else ''
        row = entries.labels.index(label)
        raise entries.fault(row, f'label {label!r} is not allowed; whole numbers from 0{none}')
    warn_of_missing(labels, entries.file)
    return Classes(in_order(labels))


def negative(labels: Collection[str]) -> str | None:
    """The first label that is a negative number where all are whole ones, as -1 often means that there is none."""
    if not all(is_number(label.removeprefix('-')) for label in labels):
        return None
    return min((label for label in labels if label.startswith('-')), default=None)


def _names(file: pathlib.Path) -> dict[str, int]:
    """The names in the file class_names, and their lines; in a .csv or .tsv file below a header where there is one."""
    _refuse_json(file)
    rows = list(records(file, labelled=False))
    while rows and not any(rows[-1][1]):
        rows.pop()
    while file.suffix.lower() in TABLES and rows and not any(rows[0][1]):
        del rows[0]
    if rows and file.suffix.lower() in TABLES and ' '.join(rows[0][1]).lower() in _HEADS:
        del rows[0]
    first: dict[str, int] = {}
    for line, words in rows:
        if len(words) > 1:
            raise InputError(f'{file}, line {line}: found {len(words)} columns, {words}; {_NEEDED}')
        name = ' '.join(words)
        if not name or first.setdefault(name, line) != line:
            found = f'{name!r} is in line {first[name]} too' if name else 'it is empty'
            raise InputError(f'{file}, line {line}: {found}; {_NEEDED}')
    if not rows:
        raise InputError(f'{file}: it is empty; {_NEEDED}')
    return first


def _refuse_json(file: pathlib.Path) -> None:
    """Refuses JSON, a dictionary of Python and YAML, told by their brackets or the name."""
    text = ''.join(lines(file)).strip()
    if file.suffix.lower() in _NO_LISTS or (text[:1] + text[-1:] in ('[]', '{}') and ('"' in text or "'" in text)):
        raise InputError(f'{file}: it is no plain list of names (JSON or YAML?); {_NEEDED}')


def _refuse_title(file: pathlib.Path, names: Mapping[str, int], counts: Collection[int]) -> None:
    """Refuses a title above the names, told by its words and by one name more than there are classes (`counts`).

    With it, each class would have the name of the one before. Of other first names a warning asks.
    """
    title, *others = names
    if len(others) not in counts or names[title] != 1:
        return
    is_comment = title.startswith('#') and not others[0].startswith('#')
    is_column = _OF_A_TABLE.fullmatch(title) and not any(map(_OF_A_TABLE.fullmatch, others))
    if is_comment or _TITLE.fullmatch(title) or (is_column and file.suffix.lower() in TABLES):
        raise InputError(f'{file}, line 1: {title!r} looks like a header; remove it: line 1 is the name of class 0')
    warn_once(f'{file}: line 1, {title!r}, is the name of class 0, and the last class has no image; is it a header?')


def _refuse_other_numbers(file: pathlib.Path, names: Mapping[str, int], used: set[int]) -> None:
    """Refuses names that carry the numbers which are the labels `used`, if these are not those of their places.

    Names such as `1 star` to `5 stars` for the labels 0 to 4 serve: 0 is the number of none.
    """
    for numbered in _NUMBERED:
        found = [match and int(match[1]) for match in map(numbered.fullmatch, names)]
        if None in found or len(set(found)) < len(names) or not used <= set(found):
            continue
        if found == sorted(found) and all(map(is_number, names)):
            continue  # `warn_of_rows` asks
        for place, (name, number) in enumerate(zip(names, found, strict=True)):
            if number != place:
                raise InputError(
                    f'{file}, line {names[name]}: {name!r} would be class {place}; names alone are needed, one per '
                    'line, in the order of their numbers from 0'
                )


def numbers_of(entries: Entries, classes: Classes) -> np.ndarray:
    """Numbers of the classes of the labels, int [N]; NO_LABEL where there is none.

    Raises:
      InputError: a label is of no class.
    """
    count, known = len(classes.names), {name: number for number, name in enumerate(classes.names)}
    allowed = f'one of {count} class names: {some(classes.names, 5)}'
    if classes.by_number:
        allowed = f'whole numbers from 0 to {count - 1}, since not all labels are class names'
    numbers = np.full(len(entries.labels), NO_LABEL, np.int64)
    for row, text in enumerate(entries.labels):
        if not text:
            continue
        number = number_of(text) if classes.by_number else known.get(text)
        if number is None or (number >= count and not classes.has_more):
            if not classes.by_number and (stray := _stray(entries.labels, known)) is not None:
                row, text = stray, entries.labels[stray]
                allowed = f'whole numbers from 0 to {count - 1}, as most labels are, or all {allowed}'
            raise entries.fault(row, f'label {text!r} is not allowed; {allowed}')
        numbers[row] = number
    return numbers


def _stray(labels: Sequence[str], known: Collection[str]) -> int | None:
    """The first label that is no number, where most labels are numbers and no names; None where that is not so."""
    given = [label for label in labels if label]
    unknown = sum(is_number(label) and label not in known for label in given)
    if 2 * unknown <= len(given):
        return None
    return next((row for row, label in enumerate(labels) if label and not is_number(label)), None)
