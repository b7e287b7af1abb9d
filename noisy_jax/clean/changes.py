"""What becomes of each label: as a person decided, or as the run suggests."""

import collections
import dataclasses
import os

import numpy as np

from noisy_jax import spreadsheet
from noisy_jax.errors import InputError, some
from noisy_jax.files import other_form, read_text

DECISIONS_HEADER = ('index', 'id', 'given_label', 'decision', 'label')
CHANGES_HEADER = ('index', 'id', 'given_label', 'new_label', 'reason')
_DECISIONS = ('relabel', 'keep', 'drop')
_DROPPED = ''
_EMPTY = ('', 'na', 'nan')  # in lower case: an empty cell as R and pandas write it
_DIGITS = 18  # of an index


@dataclasses.dataclass(frozen=True)
class Changes:
    """The N labelled images of a run, in the order of labels.csv's `index`.

    Attributes:
      id: str [N].
      given: names of classes, str [N].
      new: names of classes, str [N]; '' where the image is left out.
      decided: bool [N], whether a person decided.
      suspect: bool [N], which of the others are label issues that the run decides.
      class_names: C names.
    """

    id: np.ndarray
    given: np.ndarray
    new: np.ndarray
    decided: np.ndarray
    suspect: np.ndarray
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


def unchanged(labels: dict[str, np.ndarray], class_names: tuple[str, ...]) -> Changes:
    """Every image keeps its label.

    Args:
      labels: `WorkDir.load_labels()`.
      class_names: C names.
    """
    given = labels['given_label'].astype(object)  # new names can be longer
    nothing = np.zeros(len(given), bool)
    return Changes(labels['id'], given, given, nothing, nothing, class_names)


def suggest(changes: Changes, labels: dict[str, np.ndarray], *, drop: bool, threshold: float | None) -> Changes:
    """Label issues that nobody decided on get the suggested label, or are dropped.

    Args:
      changes: what was decided.
      labels: `WorkDir.load_labels()`.
      drop: whether their images are left out.
      threshold: clean probability below which a label is an issue; None: as in the run.
    """
    suspect = labels['is_suspect'] if threshold is None else labels['clean_probability'] < threshold
    suspect = suspect & ~changes.decided
    new = np.where(suspect, _DROPPED if drop else labels['suggested_label'].astype(object), changes.new)
    return dataclasses.replace(changes, new=new, suspect=suspect)


def decide(changes: Changes, file: str | os.PathLike) -> Changes:
    """`changes` overridden by a CSV of decisions.

    Its columns are index, id, given_label, decision (relabel, keep, drop) and label (the new one of relabel).

    Raises:
      InputError: no such CSV, or one that does not fit the run; names the line.
    """
    new, decided = changes.new.copy(), changes.decided.copy()
    lines: dict[int, int] = {}
    for line, row in _rows(file):
        fault = _fault(row, changes, lines)
        if fault:
            raise InputError(f'{file}, line {line}: {fault}')
        index, decision, label = int(row[0]), *row[3:]
        lines[index], decided[index] = line, True
        new[index] = {'relabel': label, 'keep': changes.given[index], 'drop': _DROPPED}[decision]
    return dataclasses.replace(changes, new=new, decided=decided)


def _rows(file: str | os.PathLike) -> list[tuple[int, list[str]]]:
    """(line, row) of each row below the header that is not empty; as spreadsheets save it too."""
    try:
        with read_text(file) as text:
            lines = list(text)
        if lines and (form := other_form(lines[0].encode(errors='surrogateescape'))):
            raise InputError(f'{file} cannot be read as CSV ({form})')
        rows = [(line, row) for line, row in spreadsheet.read(lines) if any(row)]
    except FileNotFoundError as error:
        raise InputError(f"--decisions: there is no {file or repr(file)}; the report's button downloads one") from error
    except (OSError, spreadsheet.Error) as error:
        raise InputError(f'--decisions: {file} cannot be read as CSV ({error})') from error
    (line, header), *rows = rows or [(1, [])]
    if tuple(header) != DECISIONS_HEADER:
        raise InputError(
            f"{file}, line {line}: '{','.join(header)}' found; '{','.join(DECISIONS_HEADER)}' is needed, in CSV UTF-8"
        )
    # A spreadsheet may leave out the separator before an empty last cell.
    return [(line, [*row, ''] if len(row) == len(DECISIONS_HEADER) - 1 else row) for line, row in rows]


def _fault(row: list[str], changes: Changes, lines: dict[int, int]) -> str:
    """What is wrong with a decision, of which those before have `lines` by index; '' if nothing."""
    if len(row) != len(DECISIONS_HEADER):
        return f'{len(row)} values; {len(DECISIONS_HEADER)} are needed'
    number, name, given, decision, label = row
    if not number.isdecimal() or len(number) > _DIGITS or int(number) >= len(changes.id):
        return f'index {number!r} is not of this run; from 0 to {len(changes.id) - 1}'
    index = int(number)
    if index in lines:
        return f'index {index} is in line {lines[index]} too; once only'
    for field, found, wanted in (('id', name, changes.id[index]), ('given_label', given, changes.given[index])):
        if found != wanted:
            why = f'these decisions are for other data{_encoding(found, wanted)}'
            return f"{field} '{found}' is not that of this run, '{wanted}'; {why}"
    if decision not in _DECISIONS:
        return f'decision {decision!r} is not allowed; one of {", ".join(_DECISIONS)}'
    names = changes.class_names
    if decision == 'relabel' and label not in names:
        return f'label {label!r} is not a class of this run; {some(names, 20)}'
    is_empty = label.lower() in _EMPTY and label not in names
    if decision != 'relabel' and label != given and not is_empty:
        of_label = f'{given!r} is to be kept' if decision == 'keep' else 'the image is to be dropped'
        return f'label {label!r}, but {of_label}; relabel changes it'
    return ''


def _encoding(found: str, wanted: str) -> str:
    """A hint that the encoding of the file may be why a name is not the wanted one; '' where both are ASCII."""
    if found.isascii() and wanted.isascii():
        return ''
    if any('\udc80' <= letter <= '\udcff' for letter in wanted):  # bytes, as files.open_text reads them
        return ', or in another encoding: this name is not in UTF-8'
    return ', or not saved as CSV UTF-8'
