"""Judges of given labels: class probabilities of each image by labels of the others, on features that saw no label."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from noisy_jax.labels import cross_fit
from noisy_jax.labels.features import Features

Judge = Callable[[np.ndarray, int], np.ndarray]  # (labels int [N], seed) -> float32 [N, C]

NETWORK = 'own network'
_AND_NETWORK = f' and {NETWORK}'
_LEAST = 1e-6  # probability that one of several judges may leave to a class


def all_judges(
    features: Mapping[str, Features],
    num_classes: int,
    *,
    folds: int,
    network: Judge | None = None,
    original: np.ndarray | None = None,
) -> dict[str, Judge]:
    """By name: on each kind of features a cross-fitted logistic regression, the votes of neighbours, and both together.

    With a `network` also that, and these three together; of several kinds, all judges together as well. Together they
    say the geometric mean of their probabilities.

    Args:
      features: by kind.
      num_classes: C.
      folds: of cross-fitting.
      network: of cross-fitted networks, see `of_networks`.
      original: int [N], the first of the images that each is equal to; none judges by its copies. None: all differ.
    """
    judges: dict[str, Judge] = {NETWORK: network} if network else {}
    for kind, each in features.items():
        pair = (
            _remembered(_regression(each.components, num_classes, folds, original)),
            _remembered(_neighbours(each, num_classes, original)),
        )
        names = f'{kind}, logistic regression', f'{kind}, neighbours'
        judges |= dict(zip(names, pair, strict=True)) | {f'{kind}, both': together(pair)}
        if network:
            judges[f'{kind}{_AND_NETWORK}'] = together((*pair, network))
    singles = [judge for name, judge in judges.items() if not name.endswith((', both', _AND_NETWORK))]
    return judges | ({'all judges together': together(singles)} if len(features) > 1 else {})


def of_networks(labels: np.ndarray, left_out: np.ndarray) -> Judge:
    """What cross-fitted networks say, who are not trained anew.

    Args:
      labels: int [N], as given.
      left_out: [2, N, C], by networks trained on these, and on these with planted errors: what they say of all others.
    """

    def judge(others: np.ndarray, seed: int) -> np.ndarray:
        del seed
        return left_out[0 if np.array_equal(others, labels) else 1]

    return judge


def kind_of(judge: str, features: Mapping[str, Features]) -> str:
    """The kind of features of a judge by name; the last of them for all judges together."""
    kind = judge.removesuffix(_AND_NETWORK) if judge.endswith(_AND_NETWORK) else judge.rpartition(', ')[0]
    return kind if kind in features else list(features)[-1]


def together(judges: Sequence[Judge]) -> Judge:
    """The geometric mean of what judges say, as a judge."""

    def judge(labels: np.ndarray, seed: int) -> np.ndarray:
        logs = [np.log(np.maximum(judge(labels, seed), _LEAST)) for judge in judges]
        means = np.exp(np.mean(logs, axis=0))
        return means / means.sum(1, keepdims=True)

    return judge


def _remembered(judge: Judge) -> Judge:
    """`judge`, which does not judge the same labels twice in succession."""
    newest: list[tuple[np.ndarray, int, np.ndarray]] = []

    def remembering(labels: np.ndarray, seed: int) -> np.ndarray:
        if not (newest and newest[0][1] == seed and np.array_equal(newest[0][0], labels)):
            newest[:] = [(labels.copy(), seed, judge(labels, seed))]
        return newest[0][2]

    return remembering


def balanced(probabilities: np.ndarray, labels: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Probabilities [N, C] divided by a power of each class's share of `labels`.

    With 1 a small class is not suspect for being small, with 0 as suspect as it is small.
    """
    shares = np.bincount(labels, minlength=probabilities.shape[1]) / len(labels)
    found = probabilities / np.maximum(shares, 1 / len(labels)) ** power
    return (found / found.sum(1, keepdims=True)).astype(np.float32)


def suspicion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much likelier than the given label the likeliest other class is, in nats: [N, C], int [N] -> float64 [N]."""
    rows = np.arange(len(labels))
    logs = np.log(np.maximum(probabilities, 1e-9)).astype(np.float64)
    own = logs[rows, labels]
    logs[rows, labels] = -np.inf
    return logs.max(1) - own


def _regression(features: np.ndarray, num_classes: int, folds: int, original: np.ndarray | None) -> Judge:
    strengths: list[float] = []  # the one that was chosen for the first labels

    def judge(labels: np.ndarray, seed: int) -> np.ndarray:
        settings = {'folds': folds, 'seed': seed, 'strengths': tuple(strengths) or cross_fit.STRENGTHS}
        found, strength = cross_fit.cross_fit(features, labels, num_classes, scale=False, original=original, **settings)
        strengths[:] = [strength]
        return found

    return judge


def _neighbours(features: Features, num_classes: int, original: np.ndarray | None) -> Judge:
    def judge(labels: np.ndarray, seed: int) -> np.ndarray:
        del seed
        k = max(len(labels) // num_classes - 1, 1)  # never more than the others of a class, were all of one size
        nearest = features.nearest[:, :k]
        counts = np.ones(nearest.shape) if original is None else original[nearest] != original[:, None]
        votes = np.zeros((len(labels), num_classes), np.float32)
        np.add.at(votes, (np.arange(len(labels))[:, None], labels[nearest]), counts)
        return (votes + 1 / num_classes) / (votes.sum(1, keepdims=True) + 1)  # no class is impossible

    return judge
