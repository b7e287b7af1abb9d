"""Linear probe: how well a linear classifier does on embeddings at rest. Judges an encoder; trains nothing of it."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def accuracy(bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of `labels` [Q] that logistic regression on the bank [M, D] finds for the queries [Q, D]."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(probe.fit(bank, bank_labels).score(queries, labels))
