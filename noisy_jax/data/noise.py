"""Label noise, computed on the host as a function of a seed: labels int [N] -> noisy labels int32 [N]."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, softmax

from noisy_jax.data import noise_files
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.superclasses import next_in_superclass
from noisy_jax.errors import InputError

# CIFAR-10's truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse (Patrini 2017).
_CIFAR10 = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
_CHUNK = 1024  # images projected at a time by `instance`
_SUMMARY_CLASSES = 100  # classes up to which the summary has the transition matrix


def symmetric(
    labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator, may_keep: bool = False
) -> np.ndarray:
    """Gives `rate` of every class (rounded down) one of the other labels, each as likely.

    With `may_keep` it may also be the same label, so that rate * (C - 1) / C are wrong: what some papers call the rate.
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
    """Gives `rate` of every class in `mapping` the label of the class it is easily mistaken for.

    Without a mapping, 10 classes are CIFAR-10's (five of them change, so that a rate of 0.4 makes 0.2 of the labels
    wrong); 100 classes are CIFAR-100's in alphabetical order and become the next of their superclass; otherwise each
    class becomes the next.

    Source: Patrini et al. 2017, https://arxiv.org/abs/1609.03683
    """
    labels = np.array(labels, np.int32)
    result = labels.copy()
    if mapping is None:
        mapping = {10: _CIFAR10, 100: next_in_superclass()}.get(num_classes) or blocks(num_classes, num_classes)
    for label, other in mapping.items():
        result[_choose(labels, label, rate, rng)] = other
    return result


def blocks(num_classes: int, size: int = 5) -> dict[int, int]:
    """Maps each class to the next within blocks of `size` successive labels, the last to the first.

    The original uses blocks of 5 for the superclasses of CIFAR-100.
    """
    starts = (label - label % size for label in range(num_classes))
    return {label: start + (label + 1 - start) % min(size, num_classes - start) for label, start in enumerate(starts)}


def pair(labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Pair flip: gives `rate` of every class the next label, the last class the first.

    Source: Han et al. 2018, https://arxiv.org/abs/1804.06872
    """
    return asymmetric(labels, rate, num_classes, rng, blocks(num_classes, num_classes))


def instance(
    labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator, images: np.ndarray
) -> np.ndarray:
    """Instance-dependent noise.

    Label i is flipped with probability q_i, drawn from a normal (rate, 0.1) truncated to [0, 1]. It becomes j with the
    softmax over the other classes of x_i . w_yj, where w is a random projection [pixels, C] of each class y. The
    realised rate is therefore close to `rate`, not equal; rate 0 changes nothing.

    Args:
      labels: int [N].
      rate: mean of the flip probabilities.
      num_classes: C.
      rng: source of flip probabilities, projections and labels.
      images: uint8 [N, H, W, C]; x is their pixels in [0, 1]. The authors' code has them up to 255, where the softmax
        is almost one-hot.

    Source: Xia et al. 2020, algorithm 2, https://arxiv.org/abs/2006.07836
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
            flat = images[chunk].reshape(len(chunk), pixels)  # reads only these of images on disk
            scores = flat.astype(np.float32) / 255 @ projection  # [n, C]
            scores[:, label] = -np.inf
            shares = flip[chunk, None] * softmax(scores.astype(np.float64), axis=1)
            shares[:, label] = 1 - flip[chunk]
            result[chunk] = _draw(shares, draws[chunk])
    return result


def from_matrix(labels: np.ndarray, matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws each label from its class's row of the transition matrix [C, C], whose rows sum to 1."""
    labels = np.array(labels, np.int32)
    draws = rng.random(len(labels))
    result = labels.copy()
    for label, row in enumerate(matrix):
        rows = np.flatnonzero(labels == label)
        result[rows] = _draw(np.broadcast_to(row, (len(rows), len(row))), draws[rows])
    return result


def _draw(shares: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The class of each row of `shares` [n, C] that its number in [0, 1) falls on: int [n]."""
    edges = np.cumsum(shares, 1)
    return (draws[:, None] * edges[:, -1:] >= edges).sum(1)


def _choose(labels: np.ndarray, label: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(labels == label)
    # The tiny addend keeps products such as 0.29 * 100 from being rounded below the whole number.
    return rng.permutation(rows)[: int(rate * len(rows) + 1e-9)]


# Kinds that follow from the labels alone: (labels, rate, num_classes, rng) -> labels.
_OF_LABELS: dict[str, Callable] = {
    'symmetric': symmetric,
    'symmetric_may_keep': functools.partial(symmetric, may_keep=True),
    'asymmetric': asymmetric,
    'asymmetric_blocks': lambda *arguments: asymmetric(*arguments, blocks(arguments[2])),
    'pair': pair,
}
WITHOUT_RATE = ('matrix', 'human')  # kinds whose rate cannot be chosen
KINDS = ('none', *_OF_LABELS, 'instance', *WITHOUT_RATE)


def corrupt(
    labels: np.ndarray, kind: str, rate: float, num_classes: int, seed: int, **needed: np.ndarray | None
) -> np.ndarray:
    """Labels with noise of a kind; 'instance' needs `images` [N, H, W, C], 'matrix' the transition `matrix` [C, C].

    Raises:
      InputError: the kind is unknown, the rate is outside [0, 1], there is only one class, or symmetric noise leaves
        the right label no likelier than another.
    """
    kinds = [name for name in KINDS if name != 'human']
    if kind not in kinds:
        raise InputError(f'noise.kind: {kind!r} is unknown; allowed: {", ".join(kinds)}')
    if not 0 <= rate <= 1:
        raise InputError(f'noise.rate: {rate} is not allowed; from 0 to 1')
    if kind == 'none':
        return np.array(labels, np.int32)
    if num_classes < 2:
        raise InputError(f'noise.kind: {kind!r} needs at least two classes, found {num_classes}')
    if kind == 'symmetric' and rate > (num_classes - 1) / num_classes - 1e-9:
        raise InputError(
            f'noise.rate: {rate:g} of {num_classes} classes makes the right label no likelier than any other; allowed: '
            f'less than {(num_classes - 1) / num_classes:.3g}, or noise.kind=symmetric_may_keep, which counts labels '
            'that may stay as they are'
        )
    rng = np.random.default_rng(seed)
    if kind == 'matrix':
        return from_matrix(labels, needed['matrix'], rng)
    if kind == 'instance':
        return instance(labels, rate, num_classes, rng, needed['images'])
    return _OF_LABELS[kind](labels, rate, num_classes, rng)


def with_noise(dataset: Dataset, settings: Mapping[str, Any], seed: int) -> Dataset:
    """The data set with noisy labels; its labels before become `true_label` unless it has true labels already.

    Args:
      dataset: as it was loaded.
      settings: config.noise: `kind` and `rate`; `matrix`: file of that kind; `labels`, `key`: file of 'human'.
      seed: random seed.

    Raises:
      InputError: as `corrupt`, or a file cannot be used.
    """
    kind, classes = settings['kind'], dataset.num_classes
    if kind == 'none':
        return dataset
    # Loaded labels count as true if nothing else is known.
    true = dataset.label if dataset.true_label is None else dataset.true_label
    if kind == 'human':
        label = noise_files.read_labels(settings['labels'], settings['key'], true, classes)
    else:
        matrix = noise_files.read_matrix(settings['matrix'], classes) if kind == 'matrix' else None
        label = corrupt(dataset.label, kind, settings['rate'], classes, seed, images=dataset.image, matrix=matrix)
    return dataset.replace(label=label, true_label=true)


def describe(dataset: Dataset, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The noise as in summary.json: `kind` and the requested `rate`, None for kinds without one.

    Where true labels are known also `realised_rate` and, up to 100 classes, `transition_matrix` to 4 digits.
    """
    kind = settings['kind']
    found = {'kind': kind, 'rate': None if kind in WITHOUT_RATE else 0.0 if kind == 'none' else settings['rate']}
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
    """Shares [C, C] of given labels (columns) by true label (rows); a row sums to 1, or 0 if the class is absent."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (true, given), 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)
