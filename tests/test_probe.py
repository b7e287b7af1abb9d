"""Linear probe."""

import numpy as np
import pytest

from noisy_jax.training import probe


def test_probe_finds_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 5)) * [1, 100, 1, 1, 1]  # scales do not matter
    linear = (rows[:, 0] + rows[:, 1] / 100 > 0).astype(int)
    checkers = (rows[:, 0] * rows[:, 1] > 0).astype(int)
    assert probe.accuracy(rows[:1000], linear[:1000], rows[1000:], linear[1000:]) > 0.95
    assert probe.accuracy(rows[:1000], checkers[:1000], rows[1000:], checkers[1000:]) < 0.6


@pytest.mark.filterwarnings('error')
def test_many_classes_of_two_images():
    """scikit-learn would warn at every fit that they could be numbers."""
    features, labels = np.eye(30, dtype=np.float32).repeat(2, 0), np.arange(30).repeat(2)
    assert probe.accuracy(features, labels, features, labels) == 1
