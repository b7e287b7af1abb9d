"""Cross-fitted linear heads: class probabilities of each sample by a head that was not fitted to its label."""

import contextlib
import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse regularisation, tried in this order


def linear_head(strength: float = 1.0, *, scale: bool = True) -> Pipeline:
    """Logistic regression on embeddings, standardised by default; `strength` is its inverse regularisation."""
    regression = LogisticRegression(C=strength, max_iter=1000)
    return make_pipeline(StandardScaler(), regression) if scale else make_pipeline(regression)


@contextlib.contextmanager
def many_classes() -> Iterator[None]:
    """Without scikit-learn's guess, at every fit, that the labels of many small classes are numbers to be regressed."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'The number of unique classes', UserWarning)
        yield


def originals(first: np.ndarray, labels: np.ndarray, folds: int) -> np.ndarray:
    """The `first` row that each row is a copy of, int64 [N], where its copies may share a fold; else itself.

    Not where the class of its label (int [N]) has less than twice as many different images as there are folds: nothing
    would be left to know the class by. Nor where there are more copies than folds, and more than a quarter of a fold.
    """
    different = np.bincount(np.unique(np.stack([labels, first], 1), axis=0)[:, 0], minlength=labels.max() + 1)
    most = max(folds, len(labels) // (4 * folds))
    is_copy = (np.bincount(first)[first] <= most) & (different[labels] >= 2 * folds)
    return np.where(is_copy, first, np.arange(len(first)))


def once(labels: np.ndarray, original: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each label [N] of each image, `original` [N], in order: int [M]; and which each row is, int [N].

    Copies with one label have been labelled once: neither a vote nor a trial for each.
    """
    pairs = original * (labels.max() + 1) + labels
    _, first, same = np.unique(pairs, return_index=True, return_inverse=True)
    return np.sort(first), np.argsort(np.argsort(first))[same]


def split(
    labels: np.ndarray, folds: int, seed: int, original: np.ndarray | None = None, least: int = 1
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Rows to fit to and rows left out, int, of each fold; stratified where each class of labels [N] has as many.

    A row is in the fold of its `original` [N], unless that leaves fewer than `least` rows to fit to: what is fitted to
    a copy has seen the label, which may be wrong in both.
    """
    every = np.arange(len(labels))
    original = every if original is None else original
    rows, folds = np.flatnonzero(original == every), min(folds, len(labels))
    if len(rows) < folds:
        original, rows = every, every
    splitter = StratifiedKFold if np.unique(labels[rows], return_counts=True)[1].min() >= folds else KFold
    fold = np.empty(len(labels), np.int64)
    for number, (_, left_out) in enumerate(splitter(folds, shuffle=True, random_state=seed).split(rows, labels[rows])):
        fold[rows[left_out]] = number
    fold = fold[original]
    parts = [(np.flatnonzero(fold != number), np.flatnonzero(fold == number)) for number in range(folds)]
    if len(rows) < len(every) and min(len(fitted) for fitted, _ in parts) < least:
        return split(labels, folds, seed)
    return parts


def fewest_fitted(count: int, folds: int) -> int:
    """How many of so many rows are fitted to where the largest fold is left out."""
    return count - math.ceil(count / folds)


def cross_fit(
    embeddings: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    folds: int = 5,
    seed: int = 0,
    strengths: Sequence[float] = STRENGTHS,
    scale: bool = True,
    original: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Class probabilities of every sample by logistic regression on the other folds (cross-fitting).

    Regularisation, of which wrong labels need much, is relaxed as long as the left-out labels, wrong ones among them,
    are predicted better (log loss).

    Args:
      embeddings: [N, D], of an encoder that saw no label.
      labels: int [N], as given.
      num_classes: C.
      folds: number of folds; stratified where each class has as many samples.
      seed: random seed of the folds.
      strengths: of `linear_head`, to choose from.
      scale: whether embeddings are standardised.
      original: int [N], as of `split`.

    Returns:
      float32 [N, C], in which classes that a head did not see have probability 0; and the chosen strength.
    """
    parts = split(labels, folds, seed, original)
    best, chosen, least = None, strengths[0], np.inf
    with threadpool_limits(1):  # on a busy machine, threads of small products wait for each other: 30 times as long
        for strength in strengths:
            found = out_of_fold(embeddings, labels, num_classes, parts, strength, scale=scale)
            loss = log_loss(labels, found, labels=np.arange(num_classes))
            if loss >= least:
                break
            best, chosen, least = found, strength, loss
    return best, chosen


def out_of_fold(
    embeddings: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    parts: list[tuple],
    strength: float,
    *,
    scale: bool = True,
) -> np.ndarray:
    """Probabilities [N, C] of the rows left out of each of `parts`, (fitted, left out), by a head on the others."""
    found = np.zeros((len(labels), num_classes), np.float32)
    for fitted, left_out in parts:
        if len(np.unique(labels[fitted])) == 1:  # very few samples: nothing to fit
            found[left_out, labels[fitted[0]]] = 1.0
            continue
        with many_classes(), warnings.catch_warnings():
            # In float32, steps may be lost in rounding before the tolerance is met.
            warnings.simplefilter('ignore', ConvergenceWarning)
            head = linear_head(strength, scale=scale).fit(embeddings[fitted], labels[fitted])
        found[np.ix_(left_out, head.classes_)] = head.predict_proba(embeddings[left_out])
    return found
