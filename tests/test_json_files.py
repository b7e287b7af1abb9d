"""Files that are read back: of another form, damaged or missing, each is refused in one line that names it."""

import json

import numpy as np
import pytest
from conftest import refused

from noisy_jax import json_files
from noisy_jax.config import Setting, completed, from_json
from noisy_jax.workdir import WorkDir

FORM = {'name': str, 'shape': [int, int], 'rates?': [float], 'inner?': {'word?': (str, None)}}
RIGHT = {'name': 'a', 'shape': [8, 9], 'rates': [0.5, 1], 'inner': {'word': None, 'other': []}}


def test_what_has_the_form():
    assert json_files.fault(RIGHT, FORM) is None
    assert json_files.fault({'name': '', 'shape': [0, 0]}, FORM) is None


@pytest.mark.parametrize(
    ('changes', 'fault'),
    [
        ({'name': 1}, 'name is 1, text is needed'),
        ({'shape': 'x'}, "shape is 'x', a list is needed"),
        ({'shape': [8]}, 'shape has 1 values, 2 are needed'),
        ({'shape': [8, True]}, 'shape[1] is True, a whole number is needed'),
        ({'shape': [8, 9.0]}, 'shape[1] is 9.0, a whole number is needed'),
        ({'shape': [8, 2**63]}, 'shape[1] is 9223372036854775808, a whole number is needed'),
        ({'rates': [0.5, float('nan')]}, 'rates[1] is nan, a number is needed'),
        ({'rates': [0.5, 10**400]}, 'rates[1] is 1000'),
        ({'inner': None}, 'inner is None, an object is needed'),
        ({'inner': {'word': 3}}, 'inner.word is 3, text is needed'),
        ({'name': ['x' * 1000]}, "name is ['xxxxx"),
    ],
)
def test_the_first_fault_and_its_place(changes, fault):
    found = json_files.fault(RIGHT | changes, FORM)
    assert found.startswith(fault)
    assert len(found) < 100


def test_an_object_of_any_names():
    assert json_files.fault({'a': 1, 'b': 0.5}, {str: float}) is None
    assert json_files.fault({'a': 1, 'b': []}, {str: float}) == 'b is [], a number is needed'


@pytest.mark.parametrize('value', [None, [], 'x', 3, {}])
def test_other_values_altogether(value):
    assert json_files.fault(value, FORM) in ('name is missing', f'it is {value!r}, an object is needed')


@pytest.mark.parametrize('text', ['', '{', '[' * 10**5, '{"name": ' + '9' * 5000 + '}', '\xff', 'null', '[]'])
@pytest.mark.parametrize('name', ['config', 'data', 'summary', 'weights', 'labels/judge'])
def test_a_file_that_holds_something_else(tmp_path, name, text):
    path = tmp_path / f'{name}.json'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode('latin-1'))
    folder = WorkDir(tmp_path)
    refused(lambda: folder.load_json(name), path, 'workdir' if name in ('config', 'weights') else 'rerun the command')
    assert not folder.is_complete
    assert folder.issues == {}


TORN = [b'', b'PK\x03\x04', b'\x93NUMPY\x01\x00']
OTHERS = [np.zeros((4, 3)), np.zeros((3, 2)), np.zeros((4, 2), int), np.array(1.0), np.zeros((4, 2), 'M8[s]')]


@pytest.mark.parametrize('content', TORN + OTHERS, ids=range(8))
def test_an_array_of_another_kind(tmp_path, content):
    folder, path = WorkDir(tmp_path), tmp_path / 'pred_probs.npy'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        folder.save_array('pred_probs', content)
    refused(lambda: folder.load_array('pred_probs', (4, 2), 'f'), path, 'rerun the command')


def test_an_array_as_it_is_needed(tmp_path):
    folder, array = WorkDir(tmp_path), np.arange(8.0).reshape(4, 2)
    folder.save_array('a', array)
    for shape in (None, (4, 2), (None, 2), (None, None)):
        np.testing.assert_array_equal(folder.load_array('a', shape, 'f'), array)


@pytest.mark.parametrize(
    'line', ['{"phase": "base"', 'null', '{}', {'loss': 'x'}, {'test_accuracy': []}, {'step': True}]
)
def test_metrics_that_are_no_epochs(tmp_path, line):
    folder = WorkDir(tmp_path)
    right = {'phase': 'base', 'stage': 'all', 'epoch': 1, 'step': 2, 'loss': 1.5, 'test_accuracy': None}
    folder.metrics.write_text(json.dumps(right) + '\n')
    assert folder.epochs() == [right]
    with folder.metrics.open('a') as file:
        file.write((json.dumps(right | line) if isinstance(line, dict) else line) + '\n')
    refused(folder.epochs, 'metrics.jsonl', 'remove it')


def test_a_saved_config_gets_what_was_added_since():
    section = {
        'rate': Setting(0.5, 'rate', 0.0, 1.0),
        'model': {'width': Setting(64, 'width', 1), 'new': Setting('', 'x')},
    }
    saved = from_json({'rate': 0.25, 'model': {'width': 8}, 'gone': 3})
    assert completed(saved, section, 'config.json').to_dict() == {'rate': 0.25, 'model': {'width': 8, 'new': ''}}
    for wrong in ({'rate': 7}, {'rate': None}, {'model': {'width': 'x'}}):
        refused(lambda wrong=wrong: completed(from_json(wrong), section, 'run/config.json'), 'run/config.json', *wrong)
    assert completed(from_json({'model': 3}), section, 'config.json').model.width == 64
