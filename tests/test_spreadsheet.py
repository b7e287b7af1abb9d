"""CSV cells that a spreadsheet would run: what is written, and that it is read back."""

import csv
import io
import itertools

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from noisy_jax import labels_csv, spreadsheet
from noisy_jax.clean.changes import Changes, decide
from noisy_jax.clean.copies import write_list
from noisy_jax.data import filelist
from noisy_jax.workdir import WorkDir


@pytest.mark.parametrize('text', ['=1+1', '+3-2', '-x.png', '@SUM(A1)', '\tx', '\r=1', '\n', '-', "'=1", "''", "''=1"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert spreadsheet.safe_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ('text', 'written'),
    [('a;=1', "a;'=1"), ('a\t-1;b', "a\t'-1;b"), ("a;'=1", "a;''=1"), ('＝1', "'＝1"), ('a;b', 'a;b')],
)
def test_what_another_separator_makes_a_formula_gets_one_too(text, written):
    assert spreadsheet.safe_cell(text) == written
    assert spreadsheet.as_it_was(written) == text


@pytest.mark.parametrize('text', ['', 'cat', "'cat'", "'", 'a=b', '-1', '+3', '-0.25', "'-1", '\u202e=1'])
def test_all_else_is_written_as_it_is(text):
    assert spreadsheet.safe_cell(text) == text


def test_everything_is_read_back_as_it_was():
    texts = [''.join(letters) for size in range(6) for letters in itertools.product("'=-1;\r", repeat=size)]
    file = io.StringIO(newline='')
    spreadsheet.write(file, [[0.5, text, text] for text in texts])
    file.seek(0)
    assert [row for _, row in spreadsheet.read(file)] == [['0.5', text, text] for text in texts]


def test_a_broken_table_is_named_by_its_line():
    with pytest.raises(spreadsheet.Error, match=r'line 2: field larger than field limit'):
        list(spreadsheet.read(io.StringIO('a\n"' + 'x' * 200_000)))


@pytest.mark.parametrize(
    ('text', 'rows'),
    [
        ('id;label\na,b;c\n', [['id', 'label'], ['a,b', 'c']]),
        ('\n\nid\tlabel\n', [[], [], ['id', 'label']]),
        ('sep=;\nid;label\n', [[], ['id', 'label']]),
        ('id,"a;b"\nc;d,e\n', [['id', 'a;b'], ['c;d', 'e']]),
        ('sep=x.png\n', [['sep=x.png']]),
        ('', []),
    ],
)
def test_the_first_row_has_the_separator(text, rows):
    found = list(spreadsheet.read(text.splitlines(keepends=True)))
    assert found == list(enumerate(rows, 1))


NAMES = ('=1+1', "'=1", '-2+3', 'caf\udce9', 'two\r\nlines, "quoted"')  # the fourth is no UTF-8


def _labels(path):
    """A labels.csv of NAMES in `path`, and its columns."""
    folder, rows = WorkDir(path), np.arange(len(NAMES))
    columns = {'index': rows, 'is_suspect': rows == 1} | dict.fromkeys(('pred_prob', 'clean_probability'), rows / 8)
    columns |= dict.fromkeys(('id', 'given_label', 'suggested_label', 'true_label'), np.array(NAMES))
    folder.save_labels(columns, order=rows[::-1])
    return folder, columns


def _same(read, columns):
    assert read.keys() == columns.keys()
    for name, values in columns.items():
        np.testing.assert_array_equal(read[name], values)


def test_labels_csv_is_safe_and_read_as_it_was(tmp_path):
    folder, columns = _labels(tmp_path)
    _same(folder.load_labels(), columns)
    first = (tmp_path / 'labels.csv').read_bytes().splitlines()[-1]
    assert first == b"0,'=1+1,'=1+1,'=1+1,0.000000,0.000000,0,'=1+1"


def test_labels_csv_is_read_as_spreadsheets_of_many_languages_save_it(tmp_path):
    folder, columns = _labels(tmp_path)
    with open(tmp_path / 'labels.csv', newline='', errors='surrogateescape') as file:
        rows = list(csv.reader(file))
    with open(tmp_path / 'labels.csv', 'w', newline='', errors='surrogateescape') as file:
        csv.writer(file, delimiter=';').writerows(rows)
    assert b'index;id;' in (tmp_path / 'labels.csv').read_bytes()
    _same(folder.load_labels(), columns)


def test_decisions_and_the_list_they_give_are_read_as_they_were(tmp_path):
    """What the page downloads, corrected to a list, which the loader reads: the class =1+1 and the file -x.png."""
    ids, names = np.array(['-x.png', '+y.png', 'z.png']), ('=1+1', 'cat')
    for name in ids:
        Image.new('L', (8, 8)).save(tmp_path / name)
    given = np.array(['cat', 'cat', '=1+1'], object)
    changes = Changes(ids, given, given, np.zeros(3, bool), np.zeros(3, bool), names)
    reviewed = tmp_path / 'reviewed.csv'
    reviewed.write_text("index,id,given_label,decision,label\n0,'-x.png,cat,relabel,'=1+1\n")
    changes = decide(changes, reviewed)
    with (tmp_path / 'list.csv').open('w', newline='') as file:
        write_list(file, changes, None)
    assert (tmp_path / 'list.csv').read_text() == "path,label\n'-x.png,'=1+1\n'+y.png,cat\nz.png,'=1+1\n"
    dataset = filelist.load('train', str(tmp_path / 'list.csv'))
    assert dataset.id.tolist() == ids.tolist()
    assert dataset.class_names == names
    assert dataset.label.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    'content', ['', 'index,id\n0,a\n', 'x' * 200_000, '"', f'{",".join(labels_csv.HEADER)}\n{"9" * 99},a,b,b,1,1,0\n']
)
def test_a_broken_labels_csv_is_refused(tmp_path, content):
    (tmp_path / 'labels.csv').write_text(content)
    refused(WorkDir(tmp_path).load_labels, 'labels.csv cannot be read')
