"""Artificial label noise on the host, always a function of a seed: labels int [N] -> corrupted labels int32 [N]."""

from collections.abc import Mapping

import numpy as np

from noisy_jax.errors import InputError

KINDS = ('none', 'symmetric', 'asymmetric')

# CIFAR-10: truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse (Patrini 2017).
_CIFAR10 = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}


def symmetric(labels: np.ndarray, rate: float, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """`rate` of every class (rounded down) becomes one of the other classes, each as likely; never the same."""
    labels = np.array(labels, np.int32)
    result = labels.copy()
    for label in range(num_classes):
        chosen = _choose(labels, label, rate, rng)
        result[chosen] = (label + rng.integers(1, num_classes, len(chosen))) % num_classes
    return result


def asymmetric(
    labels: np.ndarray,
    rate: float,
    num_classes: int,
    rng: np.random.Generator,
    mapping: Mapping[int, int] | None = None,
) -> np.ndarray:
    """`rate` of every class in `mapping` becomes the class it is easily taken for.

    Without a mapping: 10 classes are CIFAR-10's (5 of them change, so 0.4 realises 0.2); 100 classes go round within
    blocks of 5 successive labels, as the original (not the superclasses); otherwise each class becomes the next.
    """
    labels = np.array(labels, np.int32)
    result = labels.copy()
    mapping = _mapping(num_classes) if mapping is None else mapping
    for label, other in mapping.items():
        result[_choose(labels, label, rate, rng)] = other
    return result


def _mapping(num_classes: int) -> Mapping[int, int]:
    if num_classes == 10:
        return _CIFAR10
    if num_classes == 100:
        return {label: label // 5 * 5 + (label + 1) % 5 for label in range(100)}
    return {label: (label + 1) % num_classes for label in range(num_classes)}


def _choose(labels: np.ndarray, label: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    rows = np.flatnonzero(labels == label)
    # The tiny addend keeps 0.3 * 10 at 3.
    return rng.permutation(rows)[: int(rate * len(rows) + 1e-9)]


def corrupt(labels: np.ndarray, kind: str, rate: float, num_classes: int, seed: int) -> np.ndarray:
    """The labels with noise of that kind.

    Raises:
      InputError: an unknown kind, a rate outside [0, 1], or a single class.
    """
    if kind not in KINDS:
        raise InputError(f'noise.kind: {kind!r} is unknown; allowed: {", ".join(KINDS)}')
    if not 0 <= rate <= 1:
        raise InputError(f'noise.rate: {rate} is not allowed; from 0 to 1')
    if kind == 'none':
        return np.array(labels, np.int32)
    if num_classes < 2:
        raise InputError(f'noise.kind: {kind!r} needs two classes or more, found {num_classes}')
    rng = np.random.default_rng(seed)
    return {'symmetric': symmetric, 'asymmetric': asymmetric}[kind](labels, rate, num_classes, rng)


def realised_rate(true: np.ndarray, given: np.ndarray) -> float:
    """The fraction of labels that are wrong."""
    return float(np.mean(true != given))


def transition_matrix(true: np.ndarray, given: np.ndarray, num_classes: int) -> np.ndarray:
    """[C, C]: row `true`, column `given`, each row summing to 1 (0 where a class is absent)."""
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (true, given), 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1)
