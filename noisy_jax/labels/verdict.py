"""The verdict of judges on all labels, where copies of an image do not vouch for each other."""

from collections.abc import Mapping

import numpy as np

from noisy_jax.errors import warn_once
from noisy_jax.labels import cross_fit, judges, planted
from noisy_jax.labels.features import Features
from noisy_jax.labels.planted import Verdict


def reach(
    features: Mapping[str, Features],
    labels: np.ndarray,
    num_classes: int,
    copies: np.ndarray,
    *,
    folds: int,
    left_out: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[Verdict, np.ndarray]:
    """That of the best judge, see `planted.compete`.

    Args:
      features: of N images, by kind.
      labels: int [N], as given.
      num_classes: C.
      copies: int [2, N], as of `Look.copies`; equal images with one label are judged once.
      folds: of cross-fitting.
      left_out: [2, N, C], as of `judges.of_networks`, where networks judge too.
      seed: of what is planted, and of the judges.

    Returns:
      The verdict, and the rows of the images that the judge finds most similar, nearest first, int64 [N, <= 30].
    """
    equal, original = (cross_fit.originals(first, labels, folds) for first in copies)
    _warn_of_scenes(copies[1], original)
    kept, place = cross_fit.once(labels, equal)
    features = {kind: each.take(kept) for kind, each in features.items()}
    network = None if left_out is None else judges.of_networks(labels[kept], left_out[:, kept])
    others = {'folds': folds, 'network': network, 'original': place[original[kept]]}
    compared = judges.all_judges(features, num_classes, **others)
    different = len(np.unique(copies[1]))
    verdict = planted.compete(compared, labels[kept], num_classes, different=different, seed=seed)
    nearest = features[judges.kind_of(verdict.judge, features)].nearest
    return verdict.of_copies(place), kept[nearest[place]]


def _warn_of_scenes(first: np.ndarray, original: np.ndarray) -> None:
    """Warns where most images are copies of the `first` [N], but are their own `original`, and vouch for each other."""
    together = np.bincount(first)[first] > 1
    apart = together & (np.bincount(original, minlength=len(first))[original] == 1)
    if 2 * apart.sum() > len(first):
        warn_once(
            f'{apart.sum()} of {len(first)} images are copies of {len(np.unique(first[apart]))} pictures, too few of a '
            'class to be judged without each other; the list misses a picture all of whose copies are labelled wrong'
        )
