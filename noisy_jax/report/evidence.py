"""What helps a person to decide on an image: the images most similar to it, and typical ones of its classes."""

from typing import Any

import numpy as np

from noisy_jax.report.findings import Findings
from noisy_jax.workdir import WorkDir

NEAREST = 'labels/nearest'  # int32 [N, <= SIMILAR], rows of the images that the judge finds most similar, nearest first
SIMILAR = 6
_TYPICAL = 3  # images of a class


def collect(folder: WorkDir, findings: Findings, shown: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """The evidence on images `shown`, rows int [G].

    Returns:
      Rows int [K] of the other images in it; and, in places of `shown` followed by these: `similar`, those of each
      [G, <= 6] (none where no judge made the list), and `typical`, those of each class that they have or are suggested.
    """
    similar = np.zeros((len(findings.given), 0), int)
    if findings.verdict and folder.has_array(NEAREST):
        similar = folder.load_array(NEAREST)
    classes = np.union1d(findings.given[shown], findings.suggested[shown]).tolist()
    typical = {label: _typical(findings, label) for label in classes}
    others = np.setdiff1d(np.concatenate([similar[shown].ravel(), *typical.values()]).astype(int), shown)
    place = dict(zip(np.append(shown, others).tolist(), range(len(shown) + len(others)), strict=True))
    return others, {
        'similar': [[place[row] for row in rows] for rows in similar[shown].tolist()],
        'typical': {label: [place[row] for row in rows.tolist()] for label, rows in typical.items()},
    }


def _typical(findings: Findings, label: int) -> np.ndarray:
    """The surest of the images that were given a class, are suggested it too and are no likely errors: int [<= 3]."""
    rows = np.flatnonzero((findings.given == label) & (findings.suggested == label) & ~findings.is_suspect)
    return rows[np.argsort(-findings.pred_prob[rows], kind='stable')[:_TYPICAL]]
