"""Names of images and classes with line breaks, quotation marks, or bytes that are not UTF-8, from loader to report."""

import os
import warnings

import numpy as np
import pytest
from reported import read_data, run_of

from noisy_jax import labels_csv, spreadsheet
from noisy_jax.clean.changes import DECISIONS_HEADER, decide, unchanged
from noisy_jax.cli import exit_status
from noisy_jax.errors import InputError
from noisy_jax.files import open_text
from noisy_jax.report import plots
from noisy_jax.report.findings import Findings
from noisy_jax.workdir import WorkDir

NAMES = ('k\udce4fer', 'x\ry', 'a,"b"\r\nc', 'Söhne')  # the first as Python reads the bytes of Latin-1


def test_what_is_shown_of_a_name():
    assert str(InputError('k\udce4fer Söhne\r\n')) == 'k\\xe4fer Söhne\\r\\n'


def test_a_command_prints_names_as_they_are(capsysbinary):
    warned = {}
    assert exit_status(lambda: print('k\udce4fer', warned.update(text=warnings.formatwarning('so', *[None] * 3)))) == 0
    assert capsysbinary.readouterr().out == b'k\xe4fer None\n'
    assert warned['text'] == 'warning: so\n'


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    path = tmp_path_factory.mktemp('names') / 'work'
    data = ('folder', path.parent / os.fsdecode(b'f\xfcr'))
    return WorkDir(run_of(path, names=NAMES, images=40, prefix='gr\udcfcn\r\n/', data=data, gallery=40))


def test_tables_are_read_back_as_they_were(work):
    labels, rows = work.load_labels(), work.load_table('labels', labels_csv.HEADER)
    assert labels['id'][7] == 'gr\udcfcn\r\n/00007 "&ä\'.jpg'
    assert set(labels['given_label']) == set(NAMES)
    np.testing.assert_array_equal(labels['given_label'], np.array(NAMES)[work.load_array('labels/given')])
    assert sorted(row['id'] for row in rows) == sorted(labels['id'])
    assert 'k\udce4fer'.encode(errors='surrogateescape') == b'k\xe4fer'
    assert b'gr\xfcn' in (work.path / 'labels.csv').read_bytes()


def test_the_page_shows_bytes_that_are_no_text_and_clean_knows_them(work, tmp_path):
    data = read_data(work.path)
    assert data['classes'] == [*NAMES]
    assert data['gallery']['id'][0].startswith('gr\udcfcn\r\n/')
    assert r'>k\xe4fer<' in (work.path / 'report.html').read_text()
    assert data['originals'] == '../f%FCr/'
    labels = work.load_labels()
    (row,) = np.flatnonzero(labels['given_label'] != NAMES[0])[:1]
    given = labels['given_label'][row]
    with open_text(tmp_path / 'reviewed.csv') as file:  # as the page's script does
        spreadsheet.write(file, [DECISIONS_HEADER, (row, labels['id'][row], given, 'relabel', NAMES[0])])
    changes = decide(unchanged(labels, NAMES), tmp_path / 'reviewed.csv')
    assert changes.rows() == [(row, labels['id'][row], given, NAMES[0], 'decision')]


@pytest.mark.filterwarnings('error')
def test_plots_of_classes_that_are_no_text(work):
    plots.write(work, Findings.load(work))
