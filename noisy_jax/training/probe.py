"""Linear classifiers on embeddings at rest, fitted to the end: judges of an encoder, or of labels. None trains it."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse regularisation, to be tried in this order


def _head(strength: float = 1.0) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def accuracy(bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of `labels` [Q] that logistic regression on the bank [M, D] finds for the queries [Q, D]."""
    return float(_head().fit(bank, bank_labels).score(queries, labels))


def cross_fit(
    embeddings: np.ndarray, labels: np.ndarray, num_classes: int, *, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Class probabilities of every sample by a head that was fitted without it (cross-fitting).

    Logistic regression, regularised less and less while that predicts the left-out labels, wrong ones among them,
    better (log loss): wrong labels want much of it.

    Args:
      embeddings: [N, D], of an encoder that saw no label.
      labels: int [N], as given.
      num_classes: C.
      folds: parts, each judged by a head fitted on the others; of every class alike where it has as many samples.
      seed: of the parts.

    Returns:
      float32 [N, C]; a class that a head did not see has probability 0 there.
    """
    _, counts = np.unique(labels, return_counts=True)
    folds = min(folds, len(labels))
    splitter = StratifiedKFold if counts.min() >= folds else KFold
    parts = list(splitter(folds, shuffle=True, random_state=seed).split(embeddings, labels))
    best, least = None, np.inf
    with threadpool_limits(1):  # threads of small products wait for each other: on a busy machine 30 times as long
        for strength in _STRENGTHS:
            found = out_of_fold(embeddings, labels, num_classes, parts, strength)
            loss = log_loss(labels, found, labels=np.arange(num_classes))
            if loss >= least:
                break
            best, least = found, loss
    return best


def out_of_fold(
    embeddings: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    parts: list[tuple[np.ndarray, np.ndarray]],
    strength: float,
) -> np.ndarray:
    """Probabilities [N, C] of the rows left out in each of `parts` by a head fitted on the others."""
    found = np.zeros((len(labels), num_classes), np.float32)
    for fitted, left_out in parts:
        if len(np.unique(labels[fitted])) == 1:  # of very few samples; nothing to fit
            found[left_out, labels[fitted[0]]] = 1.0
            continue
        head = _head(strength).fit(embeddings[fitted], labels[fitted])
        found[np.ix_(left_out, head.classes_)] = head.predict_proba(embeddings[left_out])
    return found
