"""Errors planted among the given labels, and how well judges tell them from the rest.

A tenth of the labels is replaced by wrong ones, the judge fitted anew, and the suspicion of planted errors compared
with that of the rest, which has the labels' own errors. Planted uniformly they choose the judge. Planted where the
judge agrees with the label, by the confusion of classes that it shows, they are about as hard to find as people's
errors, and say what its list is worth: the share of wrong labels is estimated from the tails of the two distributions,
and by a mixture with a normal one for right labels. What was measured of it: docs/label_issues.md, How good is the
list. Errors of one kind that are very frequent, a third of all cats called dogs, look like the class and are missed.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.special import softmax
from scipy.stats import norm
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from noisy_jax.labels.judges import Judge, balanced, suspicion

SHARPNESS = np.geomspace(0.25, 4, 13)  # exponents of probabilities; a rate that is too high would ask for more
_SHARE, _ENOUGH, _MOST = 0.1, 1000, 8  # of the labels; planted errors, and repetitions for them
# Of the planted errors, whose tails are compared; the last seventh may lie where no label errs, and stand out too much.
_TAILS = np.linspace(0.3, 0.85, 12)
_STARTS = (0.02, 0.1, 0.3, 0.5)  # shares of wrong labels


@dataclasses.dataclass(frozen=True)
class Trial:
    """A judge's suspicion of labels with planted errors, pooled over repetitions.

    Attributes:
      planted: float64 [P], of the planted errors.
      rest: float64 [R], of the others.
      repetitions: how often each of the others occurs in `rest`, nearly.
      right: float32 [P, S], the share that the right label has of all but the planted one, by each of `SHARPNESS`.
    """

    planted: np.ndarray
    rest: np.ndarray
    repetitions: int = 1
    right: np.ndarray | None = None

    @property
    def auroc(self) -> float:
        return roc_auc_score(np.repeat([1, 0], [len(self.planted), len(self.rest)]), np.append(self.planted, self.rest))

    def auroc_against_right(self, noise_rate: float) -> float:
        """AUROC against right labels alone, if `noise_rate` of the rest is wrong, as suspicious as planted errors."""
        return min((self.auroc - noise_rate / 2) / max(1 - noise_rate, 1e-6), 1.0)

    def odds(self, values: np.ndarray) -> np.ndarray:
        """Density of planted errors over that of all, at suspicions `values` [N]; rises with them."""
        both = np.append(self.planted, self.rest)
        is_planted = np.repeat([1.0, 0.0], [len(self.planted), len(self.rest)])
        weight = np.repeat([0.5 / len(self.planted), 0.5 / len(self.rest)], [len(self.planted), len(self.rest)])
        fit = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds='clip').fit(both, is_planted, weight)
        share = fit.predict(values)
        return share / (1 - share)

    def rate_of_tails(self) -> float:
        """The share of wrong labels at most, if they were found as easily as planted ones: the least ratio of tails.

        A tail of few labels counts one standard error and one label more.
        """
        cuts = np.quantile(self.planted, _TAILS)
        counts = np.sum(self.rest >= cuts[:, None], axis=1) / self.repetitions
        most = (counts + np.sqrt(counts) + 1) / (len(self.rest) / self.repetitions)
        return min(1.0, *(most / np.mean(self.planted >= cuts[:, None], axis=1)))

    def rate_of_mixture(self) -> float:
        """The weight of a normal density as the planted errors have it, beside another for right labels.

        By expectation maximisation, from several weights: the one that ends with the largest likelihood.
        """
        values = np.sort(self.rest)
        wrong = norm.pdf(values, self.planted.mean(), max(self.planted.std(), 1e-6))
        return max(_fit(values, wrong, weight) for weight in _STARTS)[1]


def _fit(values: np.ndarray, wrong: np.ndarray, weight: float, steps: int = 200) -> tuple[float, float]:
    """Mean log likelihood and weight of the density `wrong` [R] beside a normal one, at first of the lowest values."""
    share = np.where(np.arange(len(values)) < (1 - weight) * len(values), 0.0, 1.0)
    for _ in range(steps):
        left = np.maximum(1 - share, 1e-12)
        mean = np.average(values, weights=left)
        spread = max(np.sqrt(np.average((values - mean) ** 2, weights=left)), 1e-6)
        both = np.maximum(weight * wrong + (1 - weight) * norm.pdf(values, mean, spread), 1e-300)
        share = weight * wrong / both
        weight = share.mean()
    return float(np.log(both).mean()), float(weight)


def _confusion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often images predicted as each class (a row) have another label, [C, C] float64 with an empty diagonal.

    Each counts by how much likelier the prediction is than the label: mistakes of the judge are less sure than wrong
    labels, and would plant errors where labels do not err.
    """
    classes, rows, predicted = probabilities.shape[1], np.arange(len(labels)), probabilities.argmax(1)
    counts = np.full((classes, classes), 0.5 / classes)
    np.add.at(counts, (predicted, labels), probabilities[rows, predicted] - probabilities[rows, labels])
    np.fill_diagonal(counts, 0)
    return counts / counts.sum(1, keepdims=True)


def plant(
    labels: np.ndarray, num_classes: int, probabilities: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Replaces a tenth of the labels by other classes: rows int [P], labels int [N].

    Uniformly, or by what a judge says with `probabilities` [N, C]: where it agrees with the label (at most half of
    these labels), by how often images that it predicts alike have another label.
    """
    rows, count = np.arange(len(labels)), max(int(_SHARE * len(labels)), 1)
    changed = labels.copy()
    if probabilities is None:
        rows = rng.choice(rows, count, replace=False)
        changed[rows] = (labels[rows] + rng.integers(1, num_classes, len(rows))) % num_classes
    else:
        agreeing = np.flatnonzero(probabilities.argmax(1) == labels)
        rows = agreeing if len(agreeing) > 1 else rows
        rows = rng.choice(rows, max(min(count, len(rows) // 2), 1), replace=False)
        confusion = _confusion(probabilities, labels)
        changed[rows] = (confusion[labels[rows]].cumsum(1) > rng.random((len(rows), 1))).argmax(1)
    return rows, changed


def trials(
    judges: Mapping[str, Judge],
    labels: np.ndarray,
    num_classes: int,
    probabilities: np.ndarray | None,
    seed: int,
    size: float = 0.0,
) -> dict[str, Trial]:
    """A trial of each judge, all with the same errors, planted by `probabilities` [N, C] or uniformly.

    `size` as of a `Verdict`.
    """
    repetitions = int(np.clip(np.ceil(_ENOUGH / (_SHARE * len(labels))), 1, _MOST))
    planted: dict[str, list[np.ndarray]] = {name: [] for name in judges}
    rest: dict[str, list[np.ndarray]] = {name: [] for name in judges}
    right: dict[str, list[np.ndarray]] = {name: [] for name in judges}
    for number in range(repetitions):
        rows, changed = plant(labels, num_classes, probabilities, np.random.default_rng([seed, number]))
        for name, judge in judges.items():
            said = balanced(judge(changed, seed + number), changed, 1 - size)
            found = suspicion(said, changed)
            right[name].append(_right(said[rows], changed[rows], labels[rows]))
            planted[name].append(found[rows])
            rest[name].append(np.delete(found, rows))
    pooled = {name: [np.concatenate(each[name]) for each in (planted, rest, right)] for name in judges}
    return {name: Trial(found, others, repetitions, said) for name, (found, others, said) in pooled.items()}


def _right(probabilities: np.ndarray, planted: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The shares of `Trial.right`, of probabilities [P, C] and labels int [P]."""
    rows, logs = np.arange(len(planted)), np.log(np.maximum(probabilities, 1e-9)).astype(np.float64)
    logs[rows, planted] = -np.inf
    others = [softmax(power * logs, axis=1)[rows, right] for power in SHARPNESS]
    return np.stack(others, 1).astype(np.float32)
