"""Reading of lists: lines of a path and a label, or of one of them, as text or as tables."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

from noisy_jax import spreadsheet
from noisy_jax.data.image_files import is_image
from noisy_jax.errors import InputError, shortened, some
from noisy_jax.files import lines

TABLES = {'.csv': '', '.tsv': '\t'}  # and their separators; '': that of the first row
_HEADS = ('path', 'file', 'filename', 'image')  # names of the first column


@dataclasses.dataclass(frozen=True)
class Entries:
    """A list, by column: line numbers, paths, labels as text."""

    file: pathlib.Path
    lines: list[int]
    paths: list[str]
    labels: list[str]

    def fault(self, row: int, text: str) -> InputError:
        return InputError(f'{self.file}, line {self.lines[row]}: {text}')

    def refuse_copy(self, row: int, first: int) -> None:
        """Raises InputError unless `row` is the `first` of its file."""
        if row != first:
            path, other, line = self.paths[row], self.paths[first], self.lines[first]
            of = '' if path == other else f', {other}'
            raise self.fault(row, f'{path} is the file of line {line}{of}; each may occur once')


def setting_of(root: str | os.PathLike[str], name: str) -> str:
    """How settings name a file in the folder of a list: in full where the current folder has one of this name too."""
    place = os.path.join(root, name)
    is_elsewhere = os.path.isfile(name) and not (os.path.isfile(place) and os.path.samefile(place, name))
    return os.path.abspath(place) if is_elsewhere else name


def read(file: pathlib.Path, labels: pathlib.Path | None) -> Entries:
    """A list, with the labels of another one where there is one.

    Raises:
      InputError: a file cannot be read as a list, a path occurs twice or has no label; names the file and the line.
    """
    entries = Entries(file, *map(list, zip(*_parse(file, labelled=not labels), strict=True)))
    first: dict[str, int] = {}
    for row, path in enumerate(entries.paths):
        entries.refuse_copy(row, first.setdefault(path, row))
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
    rows, wanted, is_table, widest = [], 2 if labelled else 1, file.suffix.lower() in TABLES, 0
    need = 'a path and a label' if labelled else 'a single path'
    found = records(file, labelled=labelled, separator='' if labelled else ',')  # a path may hold semicolons
    for number, (line, words) in enumerate((line, words) for line, words in found if any(words)):
        widest = max(widest, len(words))
        if is_table and number == 0 and words[0].lower() in _HEADS:
            if len(columns := [word for word in words if word]) > wanted:
                raise InputError(f'{file}, line {line}: columns {some(columns, 4)}; {need} is needed, no other column')
            continue
        if is_table:  # a spreadsheet may leave out the last separator where the label is empty, and adds empty columns
            words = [*words, *[''] * (wanted - len(words))]
            words = [*words[:wanted], *filter(None, words[wanted:])]
        needed = words[:1] if is_table else words  # the label of a table may be empty
        if len(words) != wanted or not all(needed):
            raise InputError(f'{file}, line {line}: {shortened(" ".join(words))!r} is not {need}')
        label = words[1] if labelled else ''
        if '\n' in label or '\r' in label:
            raise InputError(f'{file}, line {line}: its label has a line break; a quotation mark may be missing')
        rows.append((line, words[0], label))
    if not rows:
        raise InputError(
            f'{file}: the list is empty; {"a path and a label" if labelled else "a path"} per line is needed'
        )
    if is_table and widest < wanted:
        line, path, _ = rows[0]
        raise InputError(f'{file}, line {line}: {path!r} is not {need}')
    _refuse_exchanged(file, rows[1:] or rows)  # the first may be a header
    return rows


def _refuse_exchanged(file: pathlib.Path, rows: Sequence[tuple[int, str, str]]) -> None:
    """Refuses a list whose labels alone look like image files."""
    if all(is_image(label) and not is_image(path) for _, path, label in rows):
        line, path, label = rows[0]
        raise InputError(
            f'{file}, line {line}: {path!r} is taken for a path, and {label!r} for its label; paths come first'
        )


def records(file: pathlib.Path, *, labelled: bool, separator: str = '') -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of each line, of a table each record; `separator` is that of `.csv`, if it is known.

    Raises:
      InputError: the file cannot be read as text, or as a table.
    """
    suffix = file.suffix.lower()
    if suffix in TABLES:
        try:
            for line, row in spreadsheet.read(lines(file), TABLES[suffix] or separator, loose=True):
                yield line, [word.strip() for word in row]
        except spreadsheet.Error as error:
            raise InputError(f'{file}: cannot be read as a table ({error})') from error
    else:
        for number, line in enumerate(lines(file), 1):
            yield number, [word.strip() for word in (line.rsplit(maxsplit=1) if labelled else [line])]
