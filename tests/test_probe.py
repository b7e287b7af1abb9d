"""Linear probe."""

import numpy as np

from noisy_jax.training import probe


def test_probe_finds_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 5)) * [1, 100, 1, 1, 1]  # scales do not matter
    linear = (rows[:, 0] + rows[:, 1] / 100 > 0).astype(int)
    checkers = (rows[:, 0] * rows[:, 1] > 0).astype(int)
    assert probe.accuracy(rows[:1000], linear[:1000], rows[1000:], linear[1000:]) > 0.95
    assert probe.accuracy(rows[:1000], checkers[:1000], rows[1000:], checkers[1000:]) < 0.6
