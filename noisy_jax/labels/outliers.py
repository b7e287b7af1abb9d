"""Images that fit no class: farther from all others than images mostly are from those of other classes.

The distance is the mean cosine distance to the nearest neighbours (after Sun et al. 2022,
https://arxiv.org/abs/2204.06507) on standardised features. Images whose own class is taken away say what an image of no
class looks like, and whether features can tell at all: on gradients and colours of photographs they cannot
(docs/label_issues.md).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from sklearn.metrics import roc_auc_score

from noisy_jax.labels.features import bounded

_NEIGHBOURS, _BANK, _SAMPLE, _AT_ONCE = 10, 5000, 2000, 512
_LEAST = 0.65  # AUROC of images whose class is taken away, below which features are not believed
_BEYOND = 0.9  # share of these to which an image must be an outlier


@dataclasses.dataclass(frozen=True)
class Outliers:
    """What the best kind of features says.

    Attributes:
      features: that kind.
      auroc: how well it tells images whose class is taken away from the same images with it.
      rows: int64 [S], of the images that fit no class, the farthest first; none where the AUROC is too low.
      distance: float64 [S], how far they are: 1 is as far as nine of ten images are from other classes.
    """

    features: str
    auroc: float
    rows: np.ndarray
    distance: np.ndarray

    @property
    def is_believed(self) -> bool:
        return self.auroc >= _LEAST


def find(features: Mapping[str, np.ndarray], labels: np.ndarray, *, seed: int = 0) -> Outliers:
    """Finds the images that fit no class.

    Args:
      features: [N, D] by kind, one at least.
      labels: int [N], as given, of two classes at least; wrong ones make images of other classes look closer.
      seed: of what is taken away to compare with.
    """
    best = max((_look(kind, rows, labels, seed) for kind, rows in features.items()), key=lambda found: found.auroc)
    return best if best.is_believed else dataclasses.replace(best, rows=best.rows[:0], distance=best.distance[:0])


def _look(kind: str, features: np.ndarray, labels: np.ndarray, seed: int) -> Outliers:
    bank, sample = (_spread(len(features), most) for most in (_BANK, _SAMPLE))
    scaled = bounded(features, axis=0)
    scaled -= scaled.mean(0)
    scaled /= np.maximum(scaled.std(0), 1e-6)
    unit = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-9)
    near = _distances(unit, np.arange(len(unit)), bank)
    far = _distances(unit, sample, bank, labels)
    mixed = labels[np.random.default_rng(seed).permutation(len(labels))]  # takes as many away, of any class
    with_class = _distances(unit, sample, bank, labels, mixed)
    auroc = roc_auc_score(np.repeat([0, 1], len(sample)), np.append(with_class, far))
    border = np.quantile(far, _BEYOND)
    rows = np.flatnonzero(near > border)
    rows = rows[np.argsort(-near[rows], kind='stable')]
    return Outliers(kind, float(auroc), rows, near[rows] / border)


def _spread(count: int, most: int) -> np.ndarray:
    """At most so many of `count` rows, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def _distances(
    unit: np.ndarray,
    rows: np.ndarray,
    bank: np.ndarray,
    labels: np.ndarray | None = None,
    others: np.ndarray | None = None,
) -> np.ndarray:
    """Mean cosine distance of rows [R] of `unit` [N, D] to their nearest in `bank` (rows int [M]), float64 [R].

    No image is its own neighbour, nor, given labels [N], one with the same label; `others` [N] are those of the bank.
    """
    result, k = np.empty(len(rows)), min(_NEIGHBOURS, len(bank) - 1)
    theirs = labels if others is None else others
    for start in range(0, len(rows), _AT_ONCE):
        block = rows[start : start + _AT_ONCE]
        hidden = block[:, None] == bank
        if labels is not None:
            hidden |= labels[block, None] == theirs[bank]
        distance = np.where(hidden, 2.0, 1 - unit[block] @ unit[bank].T)  # the greatest: a class may leave fewer than k
        result[start : start + _AT_ONCE] = np.partition(distance, k - 1, axis=1)[:, :k].mean(1)
    return result
