"""Linear probe: scores a frozen encoder; it never trains it."""

import numpy as np

from noisy_jax.labels.cross_fit import linear_head, many_classes


def accuracy(bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of `labels` [Q] that logistic regression on the bank [M, D] predicts for the queries [Q, D]."""
    with many_classes():
        return float(linear_head().fit(bank, bank_labels).score(queries, labels))
