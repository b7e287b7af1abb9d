"""Classes that are hardly told apart: they may be one class, or their labels may have been mixed up."""

import dataclasses

import numpy as np

_LEAST = 1 / 3  # share of either class that is taken for the other; of two that are the same it is a half
_IMAGES, _SHOWN = 10, 4  # of a class that can be compared; of the most ambiguous images


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Two classes that are hardly told apart.

    Attributes:
      first, second: the classes.
      first_share: share of the images of the first that are taken for the second rather than for the first.
      second_share: the other way round.
      rows: int64, the images of both that could be either, the most ambiguous first.
    """

    first: int
    second: int
    first_share: float
    second_share: float
    rows: np.ndarray


def find(probabilities: np.ndarray, labels: np.ndarray) -> list[Overlap]:
    """Pairs of classes of which each is often taken for the other, the least distinct first.

    A label that is wrong is taken for either of two other classes alike, so that many of them raise both shares, and
    most where features are weak (docs/label_issues.md).

    Args:
      probabilities: [N, C], balanced by the classes' shares, of a judge that has not seen the labels.
      labels: int [N], as given.
    """
    classes = probabilities.shape[1]
    shares = np.zeros((classes, classes))  # of each class (a row), taken for each other one
    for label in range(classes):
        own = probabilities[labels == label]
        if len(own) >= _IMAGES:
            shares[label] = np.mean(own > own[:, [label]], axis=0)
    smaller = np.triu(np.minimum(shares, shares.T), 1)
    found = [tuple(pair) for pair in np.argwhere(smaller >= _LEAST).tolist()]
    return [
        Overlap(first, second, float(shares[first, second]), float(shares[second, first]), rows)
        for first, second in sorted(found, key=lambda pair: -smaller[pair])
        for rows in [_ambiguous(probabilities[:, [first, second]], np.isin(labels, (first, second)))]
    ]


def _ambiguous(pair: np.ndarray, belongs: np.ndarray) -> np.ndarray:
    """The rows of two classes that are least clear: their smaller probability, of `pair` [N, 2], is the largest."""
    rows = np.flatnonzero(belongs)
    return rows[np.argsort(-pair[rows].min(1), kind='stable')][:_SHOWN]
