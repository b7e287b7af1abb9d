"""What becomes of each label: as the run suggests, or as a person decided."""

import collections
import csv
import dataclasses
import os

import numpy as np

from noisy_jax.errors import InputError

DECISIONS_HEADER = ('index', 'id', 'given_label', 'decision', 'label')
CHANGES_HEADER = ('index', 'id', 'given_label', 'new_label', 'reason')
_DECISIONS = ('relabel', 'keep', 'drop')
_DROPPED = ''


@dataclasses.dataclass(frozen=True)
class Changes:
    """The N labelled images of a run, in the order of labels.csv's `index`.

    Attributes:
      id: str [N].
      given: names of classes, str [N].
      new: names of classes, str [N]; '' where the image is left out.
      suspect: bool [N].
      decided: bool [N], whether a person decided.
      class_names: C names.
    """

    id: np.ndarray
    given: np.ndarray
    new: np.ndarray
    suspect: np.ndarray
    decided: np.ndarray
    class_names: tuple[str, ...]

    @property
    def kept(self) -> np.ndarray:
        """Which images stay, with their label or another: bool [N]."""
        return self.new != _DROPPED

    @property
    def relabelled(self) -> np.ndarray:
        """bool [N]."""
        return self.kept & (self.new != self.given)

    @property
    def emptied(self) -> tuple[str, ...]:
        """Classes that had images and have none now."""
        return tuple(sorted(set(self.given) - set(self.new)))

    def pairs(self) -> list[tuple[tuple[str, str], int]]:
        """((given, new), count) of the relabelled images, the most frequent first."""
        changed = self.relabelled
        return collections.Counter(zip(self.given[changed], self.new[changed], strict=True)).most_common()

    def rows(self) -> list[tuple[int, str, str, str, str]]:
        """Rows of changes.csv: every image that is relabelled or left out."""
        return [
            (int(i), self.id[i], self.given[i], self.new[i], 'decision' if self.decided[i] else 'suspect')
            for i in np.flatnonzero(self.new != self.given)
        ]


def suggested(
    labels: dict[str, np.ndarray], class_names: tuple[str, ...], *, drop: bool = False, threshold: float | None = None
) -> Changes:
    """Suspects get the suggested label, or are dropped; the others stay.

    Args:
      labels: `WorkDir.load_labels()`.
      class_names: C names.
      drop: whether suspects are left out.
      threshold: clean probability below which a label is suspect; None: as in the run.
    """
    suspect = labels['is_suspect'] if threshold is None else labels['clean_probability'] < threshold
    given = labels['given_label'].astype(object)  # new names can be longer
    new = np.where(suspect, _DROPPED if drop else labels['suggested_label'].astype(object), given)
    return Changes(labels['id'], given, new, suspect, np.zeros(len(given), bool), class_names)


def unchanged(labels: dict[str, np.ndarray], class_names: tuple[str, ...]) -> Changes:
    """Every label stays."""
    return suggested(labels, class_names, threshold=-1.0)


def decide(changes: Changes, file: str | os.PathLike) -> Changes:
    """`changes` overridden by a CSV of decisions.

    Its columns are index, id, given_label, decision (relabel, keep, drop) and label (the new one of relabel).

    Raises:
      InputError: no such CSV, or one that does not fit the run; names the line.
    """
    new, decided = changes.new.copy(), changes.decided.copy()
    first: dict[int, int] = {}
    for line, row in _rows(file):
        index = _index(row, changes)
        fault = _fault(row, index, changes)
        if not fault and index in first:
            fault = f'index {index} is in line {first[index]} too; once only'
        if fault:
            raise InputError(f'{file}, line {line}: {fault}')
        first[index] = line
        decision, label = row[3:]
        new[index] = {'relabel': label, 'keep': changes.given[index], 'drop': _DROPPED}[decision]
        decided[index] = True
    return dataclasses.replace(changes, new=new, decided=decided)


def _rows(file: str | os.PathLike) -> list[tuple[int, list[str]]]:
    """(line, row) of each row below the header that is not empty."""
    try:
        with open(file, encoding='utf-8-sig', newline='') as text:
            reader = csv.reader(text)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'--decisions: {file} cannot be read as CSV ({error})') from error
    if tuple(header) != DECISIONS_HEADER:
        raise InputError(f'{file}, line 1: {",".join(header)!r} found; {",".join(DECISIONS_HEADER)!r} is needed')
    return rows


def _index(row: list[str], changes: Changes) -> int | None:
    return int(row[0]) if row[0].isdecimal() and int(row[0]) < len(changes.id) else None


def _fault(row: list[str], index: int | None, changes: Changes) -> str:
    """What is wrong with a decision; '' if nothing."""
    if len(row) != len(DECISIONS_HEADER):
        return f'{len(row)} values; {len(DECISIONS_HEADER)} are needed'
    if index is None:
        return f'index {row[0]!r} is not of this run; from 0 to {len(changes.id) - 1}'
    _, name, given, decision, label = row
    for field, found, wanted in (('id', name, changes.id[index]), ('given_label', given, changes.given[index])):
        if found != wanted:
            return f'{field} {found!r} is not that of this run, {wanted!r}; these decisions are for other data'
    if decision not in _DECISIONS:
        return f'decision {decision!r} is not allowed; one of {", ".join(_DECISIONS)}'
    if decision == 'relabel' and label not in changes.class_names:
        return f'label {label!r} is no class of this run; {_some(changes.class_names)}'
    if decision == 'keep' and label not in ('', given):
        return f'label {label!r}, but {given!r} is to be kept; relabel changes it'
    return ''


def _some(names: tuple[str, ...]) -> str:
    return ', '.join(names[:20]) + (f' and {len(names) - 20} more' if len(names) > 20 else '')
