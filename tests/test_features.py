"""experiments/accuracy/features.py: features as images, and a cell on small ones."""

import argparse

import numpy as np
import pytest

from experiments import record
from experiments.accuracy import features
from noisy_jax.training import steps


@pytest.fixture
def arguments(tmp_path):
    rng = np.random.default_rng(0)
    right = np.arange(600) % 10
    centres = rng.normal(size=(10, 16))
    test = np.repeat(np.arange(10), 20)
    parts = {'train': centres[right] + 0.3 * rng.normal(size=(600, 16)), 'test': centres[test]}
    np.savez(tmp_path / 'features.npz', **parts)
    wrong = np.where(np.arange(600) % 7 == 0, (right + 1) % 10, right)
    np.savez(tmp_path / 'human.npz', clean_label=right, worse_label=wrong)
    return argparse.Namespace(features=tmp_path / 'features.npz', human=tmp_path / 'human.npz', smoke=True)


def test_images_become_the_features_that_they_were_made_of(arguments):
    train, test, back = features.load(arguments.features, arguments.human)
    np.testing.assert_array_equal(test.label, np.repeat(np.arange(10), 20))
    normalise = steps.normaliser(tuple(back['data.mean']), tuple(back['data.std']))
    found = np.asarray(normalise(train.image / np.float32(255)))[:, 0, 0]
    given = np.load(arguments.features)['train']
    half_a_step = (given.max(0) - np.minimum(given.min(0), 0)) / 255 / 2
    assert np.all(np.abs(found - given) <= 1.01 * half_a_step)


def test_a_cell_learns_and_finds_wrong_labels(arguments):
    found = features.run_cell('worst', 'ours', 0, arguments)
    assert found['realised_rate'] == 86 / 600
    assert found['heads']['agreement'].keys() == {'ce', 'elr', 'nfl_rce'}
    assert {'head', 'last', 'rejected', 'epochs', 'seconds'} <= found.keys()
    lists = features.run_lists('worst', 0, arguments)
    assert lists['neighbours']['auroc'] > 0.9
    assert lists['logistic regression']['best_f1'] > 0.8


def test_quality_of_a_list_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.3, 0.7]])
    given, right = np.array([0, 0, 1, 0]), np.array([0, 1, 1, 0])
    # By suspicion: row 1 (0.6) is wrong, row 3 (0.4) is not, then rows 2 and 0.
    assert features.list_quality(probabilities, given, right) == {'best_f1': 1.0, 'auroc': 1.0}


@pytest.mark.parametrize('name', ['simclr', 'efficientnet'])
def test_the_documentation_shows_what_was_measured(name):
    assert features.table(name) in (record.ROOT / 'docs' / 'reproducing.md').read_text()
