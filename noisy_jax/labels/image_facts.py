"""What all images tell before anything is trained: classical features, and which are there more than once.

Copies are duplicates, and images that are far nearer to each other by their features than to their other neighbours:
crops, turned copies and frames of one scene. The ratio of the two distances is that of Lowe (2004, Distinctive image
features from scale-invariant keypoints, section 7.1). What was measured of it: docs/label_issues.md.
"""

import functools
from typing import Any

import numpy as np

from noisy_jax.errors import InputError
from noisy_jax.labels import classical, duplicates
from noisy_jax.labels.duplicates import EXACT, Duplicates, first_of
from noisy_jax.labels.features import Features
from noisy_jax.workdir import WorkDir

_FILE = 'labels/copies'  # int [2, N], the first row that each is equal to, and that it is a copy of
_REMEDY = 'remove it, and rerun the command of the run'
_RATIO = 0.65  # of the distance to a copy to that to the last of the neighbours
_OTHERS = 10  # one in so many images is a neighbour, where there are few


class ImageFacts:
    """What the labelled images and the test images show; each part is computed once, when it is asked for."""

    def __init__(self, folder: WorkDir, images: Any, test_images: Any | None = None, *, seed: int = 0) -> None:
        """`images` are uint8 [N, H, W, C] and read in blocks; the folder keeps which are copies."""
        self._folder, self._seed = folder, seed
        self._sets = [each for each in (images, test_images) if each is not None]

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Classical features of the labelled images, float32 [N, D]."""
        return classical.describe(self._sets[0])

    @functools.cached_property
    def features(self) -> Features:
        """The classical features as judges compare them."""
        return Features(self.rows, self._seed)

    @functools.cached_property
    def duplicates(self) -> Duplicates:
        """Duplicates among the labelled images, and the test images after them."""
        return duplicates.find(*self._sets, seed=self._seed)

    @functools.cached_property
    def copies(self) -> np.ndarray:
        """The first labelled image that each is equal to, and that it is a copy of, maybe itself: int64 [2, N].

        The same whenever the run goes on, on whatever machine.

        Raises:
          InputError: the file in the folder is broken.
        """
        count = len(self._sets[0])
        if self._folder.has_array(_FILE):
            kept = self._folder.load_array(_FILE, (2, count), 'i', _REMEDY)
            if not np.all((kept >= 0) & (kept <= np.arange(count))):
                raise InputError(f'{self._folder.path}/{_FILE}.npy: rows of other images; {_REMEDY}')
            return kept
        pairs, equal = self.duplicates.pairs, self.duplicates.kind == duplicates.KINDS.index(EXACT)
        alike = np.concatenate([pairs, near(self.features)])
        found = np.stack([first_of(pairs[equal], count), first_of(alike, count)])
        self._folder.save_array(_FILE, found)
        return found


def near(features: Features) -> np.ndarray:
    """Pairs of images [P, 2] that are far nearer to each other than to others."""
    distance, rows = features.neighbours
    last = min(max(len(rows) // _OTHERS, 2), rows.shape[1]) - 1
    row, place = np.nonzero(distance[:, :last] < _RATIO * distance[:, [last]])
    return np.stack([row, rows[row, place]], 1)
