"""labels/agreement.py: what held-out predictions tell of labels and classifier, on labels whose truth is known here."""

import numpy as np
import pytest

from noisy_jax.data import noise
from noisy_jax.labels import agreement
from noisy_jax.labels.agreement import Agreement


def test_hand_values():
    # Of each class 10 predictions, ever less sure; the surest label of each class agrees, and half of the others.
    predicted = np.repeat([0, 1], 10)
    sureness = np.tile(np.linspace(0.95, 0.55, 10), 2)
    probabilities = np.stack([sureness, 1 - sureness], 1)
    probabilities[10:] = probabilities[10:, ::-1]
    labels = predicted.copy()
    labels[[1, 3, 5, 7, 9, 11, 13, 15, 17, 19]] ^= 1
    found = Agreement.of(probabilities, labels)
    assert found.agreement == 0.5
    assert found.right_labels == 1.0
    assert found.accuracy == 0.5  # (0.5 - 0) / (1 - 0)
    assert found.right_labels_error == pytest.approx(0.5)  # of two labels
    # The accuracy changes with both shares: by 1 with the agreement, by (1 - 0.5 * 2) with the right labels.
    assert found.accuracy_error == pytest.approx(np.sqrt(0.25 / 20))
    assert found.sure.tolist() == [0] * 5 + [-1] * 5 + [1] * 5 + [-1] * 5


def _predictions(true, accuracy, rng):
    """Probabilities [N, 10] of that accuracy, the surer the more often right."""
    count = len(true)
    sure = rng.random(count)
    right = rng.random(count) < np.clip(accuracy + 0.6 * (sure - 0.5), 0, 1)
    predicted = np.where(right, true, (true + rng.integers(1, 10, count)) % 10)
    probabilities = np.full((count, 10), 0.02)
    probabilities[np.arange(count), predicted] = 0.3 + 0.6 * sure
    return probabilities / probabilities.sum(1, keepdims=True)


@pytest.mark.parametrize('rate', [0.2, 0.5, 0.8])
def test_accuracy_is_found_from_noisy_labels(rate):
    rng = np.random.default_rng(0)
    true = rng.integers(0, 10, 50_000)
    probabilities = _predictions(true, 0.72, rng)
    accuracy = np.mean(probabilities.argmax(1) == true)
    found = Agreement.of(probabilities, noise.symmetric(true, rate, 10, rng))
    # Three standard errors, and twice that the surest tenth is not quite always right.
    surest = probabilities.max(1) > np.quantile(probabilities.max(1), 0.9)
    missing = 1 - np.mean(probabilities.argmax(1)[surest] == true[surest])
    assert abs(found.accuracy - accuracy) < 3 * found.accuracy_error + 2 * missing
    assert abs(found.right_labels - (1 - rate)) < 3 * found.right_labels_error + missing
    assert found.accuracy_error < 0.05


def test_a_candidate_has_to_be_clearly_better():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 10, 2000)
    labels = noise.symmetric(true, 0.6, 10, rng)
    first, better, alike = (_predictions(true, accuracy, rng) for accuracy in (0.7, 0.9, 0.71))
    assert agreement.best({'first': first, 'alike': alike}, labels) == 'first'
    assert agreement.best({'first': first, 'alike': alike, 'better': better}, labels) == 'better'
    assert agreement.best({'first': better, 'worse': first}, labels) == 'first'
    few = slice(0, 100)  # too few labels to tell
    assert agreement.best({'first': first[few], 'better': better[few]}, labels[few]) == 'first'


def test_advantage_in_standard_errors():
    labels = np.zeros(6, int)
    one, other = np.array([0, 0, 0, 0, 1, 1]), np.array([1, 1, 1, 0, 0, 1])
    assert agreement.advantage(one, other, labels) == pytest.approx((3 - 1) / 2)  # 4 differ
    assert agreement.advantage(one, one, labels) == 0.0
