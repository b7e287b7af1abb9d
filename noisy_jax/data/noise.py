"""Label noise on the host, always a function of a seed: labels int [N] -> corrupted labels int32 [N]."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, softmax

from noisy_jax.data import noise_files
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.superclasses import next_in_superclass
from noisy_jax.errors import InputError

KINDS = (
    'none',
    'symmetric',
    'symmetric_may_keep',
    'asymmetric',
    'asymmetric_blocks',
    'pair',
    'instance',
    'matrix',
    'human',
)
WITHOUT_RATE = ('matrix', 'human')  # theirs is what it is

# CIFAR-10: truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse (Patrini 2017).
_CIFAR10 = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
_CHUNK = 1024  # images that `instance` projects at a time
_SUMMARY_CLASSES = 100  # up to so many, the summary holds the transition matrix


def symmetric(
    labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator, may_keep: bool = False
) -> np.ndarray:
    """`rate` of every class (rounded down) becomes one of the other classes, each as likely; never the same.

    With `may_keep` it becomes any class, its own too, so that rate * (C - 1) / C are wrong: what some publish as rate.
    """
    labels = np.array(labels, np.int32)
    result = labels.copy()
    for label in range(num_classes):
        chosen = _choose(labels, label, rate, rng)
        result[chosen] = (label + rng.integers(0 if may_keep else 1, num_classes, len(chosen))) % num_classes
    return result


def asymmetric(
    labels: np.ndarray,
    rate: float,
    num_classes: int,
    rng: np.random.Generator,
    mapping: Mapping[int, int] | None = None,
) -> np.ndarray:
    """`rate` of every class in `mapping` becomes the class it is easily taken for.

    Without a mapping: 10 classes are CIFAR-10's (5 of them change, so 0.4 realises 0.2); 100 classes are CIFAR-100's
    in alphabetical order and go round within their superclass (Patrini 2017); otherwise each class becomes the next.
    """
    labels = np.array(labels, np.int32)
    result = labels.copy()
    if mapping is None:
        mapping = {10: _CIFAR10, 100: next_in_superclass()}.get(num_classes) or blocks(num_classes, num_classes)
    for label, other in mapping.items():
        result[_choose(labels, label, rate, rng)] = other
    return result


def blocks(num_classes: int, size: int = 5) -> dict[int, int]:
    """Each class -> the next within blocks of `size` successive labels, the last -> the first.

    Blocks of 5 are what the original has for the superclasses of CIFAR-100.
    """
    mapping = {}
    for start in range(0, num_classes, size):
        count = min(size, num_classes - start)
        mapping |= {start + i: start + (i + 1) % count for i in range(count)}
    return mapping


def pair(labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """`rate` of every class becomes the next class, the last one the first (pair flip, Han 2018)."""
    return asymmetric(labels, rate, num_classes, rng, blocks(num_classes, num_classes))


def instance(
    labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator, images: np.ndarray
) -> np.ndarray:
    """Noise that depends on the image (Xia 2020, 'Part-dependent label noise', algorithm 2).

    Image i is flipped with probability q_i, drawn from a normal (rate, 0.1) between 0 and 1, to class j with the
    softmax over the other classes of x_i . w_yj, where w is a random projection [pixels, C] of each class y. So the
    realised rate is near `rate`, not the same; rate 0 changes nothing.

    Args:
      labels: [N].
      rate: the mean of the flip probabilities.
      num_classes: C.
      rng: draws flip probabilities, projections and labels.
      images: uint8 [N, H, W, C]; x is an image's pixels in [0, 1] (its code has them up to 255, where the softmax is
        all but its largest entry).
    """
    labels = np.array(labels, np.int32)
    if not rate:
        return labels
    low, high = ndtr(-rate / 0.1), ndtr((1 - rate) / 0.1)
    flip = rate + 0.1 * ndtri(rng.uniform(low, high, len(labels)))  # [N]
    draws = rng.random(len(labels))
    pixels = int(np.prod(images.shape[1:]))
    result = labels.copy()
    for label in range(num_classes):
        projection = rng.standard_normal((pixels, num_classes), np.float32)
        rows = np.flatnonzero(labels == label)
        for chunk in np.split(rows, range(_CHUNK, len(rows), _CHUNK)):
            flat = images[chunk].reshape(len(chunk), pixels)  # of images on the disk only these are read
            scores = flat.astype(np.float32) / 255 @ projection  # [n, C]
            scores[:, label] = -np.inf
            shares = flip[chunk, None] * softmax(scores.astype(np.float64), axis=1)
            shares[:, label] = 1 - flip[chunk]
            result[chunk] = _draw(shares, draws[chunk])
    return result


def from_matrix(labels: np.ndarray, matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each label is drawn from its class's row of the transition matrix [C, C], rows summing to 1."""
    labels = np.array(labels, np.int32)
    draws = rng.random(len(labels))
    result = labels.copy()
    for label, row in enumerate(matrix):
        rows = np.flatnonzero(labels == label)
        result[rows] = _draw(np.broadcast_to(row, (len(rows), len(row))), draws[rows])
    return result


def _draw(shares: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The class of each row of `shares` [n, C] that a number in [0, 1) falls on."""
    edges = np.cumsum(shares, 1)
    return (draws[:, None] * edges[:, -1:] >= edges).sum(1)


def _choose(labels: np.ndarray, label: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(labels == label)
    # The tiny addend keeps 0.3 * 10 at 3.
    return rng.permutation(rows)[: int(rate * len(rows) + 1e-9)]


def corrupt(
    labels: np.ndarray,
    kind: str,
    rate: float,
    num_classes: int,
    seed: int,
    *,
    images: np.ndarray | None = None,
    matrix: np.ndarray | None = None,
) -> np.ndarray:
    """The labels with noise of that kind; 'instance' needs the images, 'matrix' the transition matrix.

    Raises:
      InputError: an unknown kind, a rate outside [0, 1], or a single class.
    """
    kinds = [name for name in KINDS if name != 'human']
    if kind not in kinds:
        raise InputError(f'noise.kind: {kind!r} is unknown; allowed: {", ".join(kinds)}')
    if not 0 <= rate <= 1:
        raise InputError(f'noise.rate: {rate} is not allowed; from 0 to 1')
    if kind == 'none':
        return np.array(labels, np.int32)
    if num_classes < 2:
        raise InputError(f'noise.kind: {kind!r} needs two classes or more, found {num_classes}')
    rng = np.random.default_rng(seed)
    arguments = labels, rate, num_classes, rng
    match kind:
        case 'symmetric':
            return symmetric(*arguments)
        case 'symmetric_may_keep':
            return symmetric(*arguments, may_keep=True)
        case 'asymmetric':
            return asymmetric(*arguments)
        case 'asymmetric_blocks':
            return asymmetric(*arguments, blocks(num_classes))
        case 'pair':
            return pair(*arguments)
        case 'instance':
            return instance(*arguments, images)
        case 'matrix':
            return from_matrix(labels, matrix, rng)


def with_noise(dataset: Dataset, settings: Mapping[str, Any], seed: int) -> Dataset:
    """The data set with noisy labels, and those from before as `true_label`, unless it has a truth of its own.

    Args:
      dataset: as it was loaded.
      settings: config.noise: kind, rate; matrix: a file, for that kind; labels, key: a file, for 'human'.
      seed: of the noise.

    Raises:
      InputError: as `corrupt`, or a file that cannot be used.
    """
    kind, classes = settings['kind'], dataset.num_classes
    if kind == 'none':
        return dataset
    # Labels that came without a truth of their own are the truth that noise is put on.
    true = dataset.label if dataset.true_label is None else dataset.true_label
    if kind == 'human':
        label = noise_files.read_labels(settings['labels'], settings['key'], true, classes)
    else:
        matrix = noise_files.read_matrix(settings['matrix'], classes) if kind == 'matrix' else None
        label = corrupt(dataset.label, kind, settings['rate'], classes, seed, images=dataset.image, matrix=matrix)
    return dataset.replace(label=label, true_label=true)


def describe(dataset: Dataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What summary.json says of the noise: `kind` and `rate` as asked for (None where it cannot be asked for).

    Where the truth is known also `realised_rate` and, up to 100 classes, `transition_matrix` to 4 digits.
    """
    kind = settings['kind']
    rate = None if kind in WITHOUT_RATE else settings['rate'] if kind != 'none' else 0.0
    found: dict[str, Any] = {'kind': kind, 'rate': rate}
    if dataset.true_label is not None:
        found['realised_rate'] = realised_rate(dataset.true_label, dataset.label)
        if dataset.num_classes <= _SUMMARY_CLASSES:
            matrix = transition_matrix(dataset.true_label, dataset.label, dataset.num_classes)
            found['transition_matrix'] = np.round(matrix, 4).tolist()
    return found


def realised_rate(true: np.ndarray, given: np.ndarray) -> float:
    """The fraction of labels that are wrong."""
    return float(np.mean(true != given))


def transition_matrix(true: np.ndarray, given: np.ndarray, num_classes: int) -> np.ndarray:
    """[C, C]: row `true`, column `given`, each row summing to 1 (0 where a class is absent)."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (true, given), 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)
