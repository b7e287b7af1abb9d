"""Features of images as judges compare them: principal components, and the images that are nearest by them."""

import copy
import functools

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

NEIGHBOURS = 30  # of each image, at most
_COMPONENTS = 128  # more helped no list


class Features:
    """Features of N images that saw no label.

    Attributes:
      components: float32 [N, <= 128], as `reduce` has them.
    """

    def __init__(self, rows: np.ndarray, seed: int) -> None:
        """From features [N, D]; the seed is that of the principal components."""
        self.components = reduce(rows, seed)

    def take(self, rows: np.ndarray) -> 'Features':
        """The features of the images at these rows, which are in order; neighbours are found anew."""
        if len(rows) == len(self.components):
            return self
        part = copy.copy(self)
        part.__dict__.pop('neighbours', None)
        part.components = self.components[rows]
        return part

    @property
    def nearest(self) -> np.ndarray:
        """The rows of the most similar other images by cosine, the nearest first: int64 [N, <= 30]."""
        return self.neighbours[1]

    @functools.cached_property
    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances, of features of length 1, and rows of those images, both [N, <= 30]; found once."""
        unit = self.components / np.maximum(np.linalg.norm(self.components, axis=1, keepdims=True), 1e-12)
        found = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(unit) - 1), algorithm='brute').fit(unit)
        return found.kneighbors()


def bounded(features: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Features [N, D] over the largest, or each column over its largest (axis 0): squares of 1e30 would overflow."""
    return (features / np.maximum(np.abs(features).max(axis), 1e-30)).astype(np.float32)


def reduce(features: np.ndarray, seed: int) -> np.ndarray:
    """The first principal components of features [N, D], with a mean square of 1: float32 [N, <= 128]."""
    scaled = bounded(features)
    with np.errstate(invalid='ignore'):  # shares of no variance at all
        components = PCA(min(_COMPONENTS, *features.shape), random_state=seed).fit_transform(scaled)
    return (components / max(np.sqrt(np.mean(components**2)), 1e-12)).astype(np.float32)
