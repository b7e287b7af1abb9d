"""Which rows of a data set are looked at, and which are held out."""

import heapq

import numpy as np

from noisy_jax.errors import InputError


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` rows, spread evenly: data may be ordered by class."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(int))


def draw(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows int32 [count] in random order, of which row i comes count w_i / sum(w) times, rounded up or down.

    Weights [N] (systematic resampling); if all are 0, every row is as likely.
    """
    weights = weights if np.any(weights > 0) else np.ones_like(weights)
    upto = np.cumsum(weights, dtype=np.float64)
    points = (rng.random() + np.arange(count)) / count * upto[-1]
    last = np.flatnonzero(weights > 0)[-1]  # the last point may be rounded to the sum
    return rng.permutation(np.minimum(np.searchsorted(upto, points, side='right'), last)).astype(np.int32)


def split(labels: np.ndarray, num_classes: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for training and for validation, stratified by the given labels [N].

    `fraction` of all is held out, one image at least. Each class gives one where there are enough to go round, and the
    others by what is missing most to its share; none gives its last image. Ties and rows are random.

    Raises:
      InputError: the fraction is out of range or leaves nothing to train on.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f'data.valid_fraction: {fraction} is not allowed; from 0 to 1')
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == label)) for label in range(num_classes)]
    sizes = [len(rows) for rows in shuffled]
    spare = sum(size - 1 for size in sizes if size)
    wanted = max(round(fraction * sum(sizes)), 1)
    if not spare or wanted >= sum(sizes):
        raise InputError(f'data.valid_fraction: {fraction} leaves none of {len(labels)} images to train on')
    counts = _shares(sizes, fraction, min(wanted, spare), rng)
    held_out = np.sort(np.concatenate([rows[:count] for rows, count in zip(shuffled, counts, strict=True)]))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def _shares(sizes: list[int], fraction: float, total: int, rng: np.random.Generator) -> list[int]:
    """How many of each class are held out, `total` in all: the largest remainders of `fraction` of their `sizes`."""
    able = [label for label, size in enumerate(sizes) if size > 1]
    counts, first = [0] * len(sizes), int(total >= len(able))
    ties = rng.permutation(len(sizes)).tolist()
    for label in able:
        counts[label] = first
    open_to_more = [label for label in able if sizes[label] - 1 > first]
    missing = [(first - fraction * sizes[label], ties[label], label) for label in open_to_more]  # the least comes first
    heapq.heapify(missing)
    for _ in range(total - sum(counts)):
        excess, tie, label = missing[0]
        counts[label] += 1
        if counts[label] < sizes[label] - 1:
            heapq.heapreplace(missing, (excess + 1, tie, label))
        else:
            heapq.heappop(missing)
    return counts
