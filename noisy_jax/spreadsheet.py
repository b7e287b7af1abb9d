"""CSV files whose cells a spreadsheet shows but never runs, and that are read back as they were.

A cell that a spreadsheet would take for a formula gets an apostrophe in front
(https://owasp.org/www-community/attacks/CSV_Injection). The page of the report does the same (report/assets/csv.js).
"""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TextIO

Error = csv.Error  # of `read`

# A formula, or what looks like one that has got its apostrophe already; plain numbers such as -1 do nothing.
_GUARDED = re.compile(r"'?(?![+-][0-9]+(\.[0-9]+)?\Z)[=+\-@＝＋－＠\t\r\n]|''")

# The same where a spreadsheet takes ; or a tab for the end of a cell, whatever quotation marks say.
_WITHIN = re.compile(r"([;\t])(?='*[=+\-@＝＋－＠])")
_WAS_WITHIN = re.compile(r"([;\t])'(?='*[=+\-@＝＋－＠])")

_FOR_EXCEL = re.compile(r'"?sep=."?\s*\Z')  # a first line that names the separator


def safe_cell(text: str) -> str:
    """The text as it is written.

    Example:
      >>> safe_cell('=1+1'), safe_cell('cat'), safe_cell('-1'), safe_cell('a;=1')
      ("'=1+1", 'cat', '-1', "a;'=1")
    """
    text = _WITHIN.sub(r"\1'", text)
    return f"'{text}" if _GUARDED.match(text) else text


def as_it_was(cell: str) -> str:
    """The text that `safe_cell` got."""
    text = cell[1:] if cell.startswith("'") and _GUARDED.match(cell[1:]) else cell
    return _WAS_WITHIN.sub(r'\1', text)


def write(file: TextIO, rows: Iterable[Iterable[Any]]) -> None:
    """Writes rows of texts and numbers."""
    safe = ([safe_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    csv.writer(_Lines(file), lineterminator='\r\n').writerows(safe)


def as_csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> bytes:
    """The bytes of a file with these rows, in UTF-8; names of files that are no text keep theirs."""
    file = io.StringIO(newline='')
    write(file, [header, *rows])
    return file.getvalue().encode(errors='surrogateescape')


class _Lines:
    """Ends lines by \\n, for a writer that quotes what it takes for an end of a line: \\r too."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, line: str) -> None:
        self._file.write(line.removesuffix('\r\n') + '\n')


def read(lines: Iterable[str], separator: str = '', *, loose: bool = False) -> Iterator[tuple[int, list[str]]]:
    """The number of its last line, and the cells, of each row; of an empty line there are none.

    Args:
      lines: of the file, with their ends.
      separator: between cells; '': a comma, or where the first row has none, ; or a tab, as spreadsheets of many
        languages write. A line such as sep=; before it is empty then.
      loose: whether blanks before a cell, which may be quoted, are no part of it, as in what others have written.

    Raises:
      Error: it is no CSV; names the line in which the row begins.
    """
    # Strict: a quotation mark that is not closed would make one cell of all that follows.
    if not separator:
        separator, lines = _separated(lines)
    reader, begun = csv.reader(lines, delimiter=separator, skipinitialspace=loose, strict=True), 1
    try:
        for row in reader:
            begun = reader.line_num + 1
            yield reader.line_num, [as_it_was(cell) for cell in row]
    except Error as error:
        hint = f' in line {reader.line_num}; a quotation mark may be missing' if reader.line_num > begun else ''
        raise Error(f'line {begun}: {error}{hint}') from error


def table(lines: Iterable[str], needed: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, those `needed` among them, and the rows.

    Raises:
      Error: as `read`.
      ValueError: a column is missing, or a row has more or fewer cells.
    """
    (_, header), *rows = [(line, row) for line, row in read(lines) if row] or [(1, [])]
    for name in needed:
        if name not in header:
            raise ValueError(f'it has no column {name}')
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(f'line {line} has {len(row)} values, {len(header)} are needed')
    return header, [row for _, row in rows]


def _separated(lines: Iterable[str]) -> tuple[str, Iterator[str]]:
    """The separator of the first row, and the lines."""
    lines, ahead = iter(lines), ['']
    while not ahead[-1].strip() and (line := next(lines, '')):
        ahead.append('\n' if _FOR_EXCEL.match(line) else line)
    head = ahead[-1]
    separator = next((each for each in ';\t' if each in head and ',' not in head), ',')
    return separator, itertools.chain(ahead[1:], lines)
