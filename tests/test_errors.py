"""What reaches a terminal: names can neither steer nor flood it."""

import errno
import os
import types
from unittest import mock

import numpy as np
import pytest
from conftest import refused

from noisy_jax import config, spreadsheet
from noisy_jax.clean import messages, originals
from noisy_jax.clean.changes import DECISIONS_HEADER, Changes, decide
from noisy_jax.data import filelist, folder
from noisy_jax.errors import InputError, check_reachable, one_line, short, shortened
from noisy_jax.report.tables import render


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('\x1b[31mred\x1b[0m', r'\x1b[31mred\x1b[0m'),
        ('safe\u202egnp.exe', r'safe\u202egnp.exe'),
        ('two\r\nlines', r'two\r\nlines'),
        ('caf\udce9', r'caf\xe9'),
        ('Söhne 猫 🐈', 'Söhne 猫 🐈'),
    ],
)
def test_what_cannot_be_shown_is_escaped(text, shown):
    assert one_line(text) == shown
    assert str(InputError(f'{text}: no image')) == f'{shown}: no image'
    if text.isprintable() or '\udce9' in text:
        assert str(InputError(f'{text!r}: no image')) == f'{shown!r}: no image'.replace(r'\\x', r'\x')
    assert shown in render({'config': text, 'seed': 0, 'device': 'cpu', 'noise': {'kind': 'none'}, 'phases': []})


def test_what_cannot_be_reached_is_not_called_absent(tmp_path, monkeypatch):
    for absent in ('nothing', 'a' * 300, 'zero\0'):
        check_reachable('data.path', str(tmp_path / absent))
    gone = OSError(errno.ENOTCONN, 'Transport endpoint is not connected')
    monkeypatch.setattr(os, 'stat', mock.Mock(side_effect=gone))
    said = f'dead cannot be reached ({gone.strerror})'
    refused(lambda: folder.load('train', 'dead'), f'data.path: {said}')
    refused(lambda: filelist.load('train', 'dead', list='list.txt'), f'data.path: {said}')
    refused(lambda: originals.find({'path': 'dead'}, []), f'--data: {said}')
    refused(lambda: config.load('dead'), f'--config: {said}')


def test_long_names_keep_both_ends():
    assert shortened('abcdefgh', 8) == 'abcdefgh'
    assert shortened('abcdefghi', 8) == 'abc…fghi'
    message = str(InputError(f'list.csv, line 3: {"x" * 5000} is no class'))
    assert len(message) == 2000
    assert message.startswith('list.csv, line 3: xx')
    assert message.endswith('xx is no class')


@pytest.mark.parametrize(
    ('value', 'shown'),
    [
        (np.int64(-5), '-5'),
        (np.str_('a'), "'a'"),
        (np.bool_(True), 'True'),
        (np.float32(0.5), '0.5'),
        (np.zeros(1, int), 'array([0])'),
        (np.datetime64('2020-01-01', 'ns'), repr(np.datetime64('2020-01-01', 'ns'))),
    ],
)
def test_values_are_shown_as_they_are_written(value, shown):
    assert short(value) == shown


def test_the_table_of_a_cleaning_fits_a_terminal():
    names = ('x' * 5000, '\x1b[2J', 'cat')
    given, nothing = np.array(names, object), np.zeros(3, bool)
    changes = Changes(given, given, np.array([names[1], names[1], 'cat'], object), ~nothing, nothing, names)
    request = types.SimpleNamespace(options=types.SimpleNamespace(all_suspects=False), noise='none', lists_files=False)
    lines = messages.planned(request, changes, None, '')
    table = lines[2:5]
    assert {len(line) for line in table} == {80 + 5 * 12}
    assert table[1].startswith(r'\x1b[2J  ')


@pytest.mark.parametrize('index', ['9' * 5000, '-1', '1.0', ''])
def test_an_index_of_no_image_is_refused(tmp_path, index):
    nothing = np.zeros(1, bool)
    changes = Changes(np.array(['a.png']), np.array(['cat']), np.array(['cat']), nothing, nothing, ('cat',))
    with (tmp_path / 'reviewed.csv').open('w') as file:
        spreadsheet.write(file, [DECISIONS_HEADER, (index, 'a.png', 'cat', 'drop', '')])
    with pytest.raises(InputError, match=r'line 2: index .* is not of this run; from 0 to 0'):
        decide(changes, tmp_path / 'reviewed.csv')
