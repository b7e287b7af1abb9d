"""Linear classifiers on embeddings at rest, fitted to the end: judges of an encoder, or of labels. None trains it."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse regularisation to choose from; wrong labels want much of it


def _head(strength: float = 1.0) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))


def accuracy(bank: np.ndarray, bank_labels: np.ndarray, queries: np.ndarray, labels: np.ndarray) -> float:
    """The fraction of `labels` [Q] that logistic regression on the bank [M, D] finds for the queries [Q, D]."""
    return float(_head().fit(bank, bank_labels).score(queries, labels))


def cross_fit(
    embeddings: np.ndarray, labels: np.ndarray, num_classes: int, *, folds: int = 5, seed: int = 0
) -> np.ndarray:
    """Class probabilities of every sample by a head that was fitted without it (cross-fitting).

    Logistic regression; of some strengths of regularisation that which predicts the left-out labels, wrong ones among
    them, best by log loss.

    Args:
      embeddings: [N, D], of an encoder that saw no label.
      labels: int [N], as given.
      num_classes: C.
      folds: parts, each judged by a head fitted on the others; of every class alike where it has as many samples.
      seed: of the parts.

    Returns:
      float32 [N, C]; a class that a head did not see has probability 0 there.
    """
    few = np.bincount(labels)
    folds = min(folds, len(labels))
    splitter = StratifiedKFold if few[few > 0].min() >= folds else KFold
    parts = list(splitter(folds, shuffle=True, random_state=seed).split(embeddings, labels))
    candidates = [_out_of_fold(embeddings, labels, num_classes, parts, strength) for strength in _STRENGTHS]
    return min(candidates, key=lambda found: log_loss(labels, found, labels=np.arange(num_classes)))


def _out_of_fold(
    embeddings: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    parts: list[tuple[np.ndarray, np.ndarray]],
    strength: float,
) -> np.ndarray:
    found = np.zeros((len(labels), num_classes), np.float32)
    for fitted, left_out in parts:
        head = _head(strength).fit(embeddings[fitted], labels[fitted])
        found[np.ix_(left_out, head.classes_)] = head.predict_proba(embeddings[left_out])
    return found
