"""What a list of label issues is worth, and which judge makes the best, by errors planted among the given labels.

A tenth of the labels is replaced by wrong ones, the judge fitted anew, and the suspicion of planted errors compared
with that of the rest, which has the labels' own errors. Planted uniformly they choose the judge. Planted where the
judge agrees with the label, by the confusion of classes that it shows, they are about as hard to find as people's
errors, and say what its list is worth: the share of wrong labels is estimated from the tails of the two distributions,
and by a mixture with a normal one for right labels. What was measured of it: docs/label_issues.md, How good is the
list. Errors of one kind that are very frequent, a third of all cats called dogs, look like the class and are missed.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import softmax
from scipy.stats import norm, rankdata
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from noisy_jax.errors import InputError
from noisy_jax.labels import class_sizes
from noisy_jax.labels.judges import Judge, balanced, suspicion
from noisy_jax.workdir import WorkDir

_WRONG, _FILE, _KEPT = 'labels/wrong', 'labels/judge', ('noise_rate', 'judge', 'aurocs', 'fault')
_ADDED = 'copies', 'size', 'sharpness'  # earlier versions have none
_SHARPNESS = np.geomspace(0.25, 4, 13)  # exponents of probabilities; a rate that is too high would ask for more
_SHARE, _ENOUGH, _MOST = 0.1, 1000, 8  # of the labels; planted errors, and repetitions for them
# Of the planted errors, whose tails are compared; the last seventh may lie where no label errs, and stand out too much.
_TAILS = np.linspace(0.3, 0.85, 12)
_STARTS = (0.02, 0.1, 0.3, 0.5)  # shares of wrong labels
_LEAST = 0.7  # AUROC of planted errors below which a judge finds too few of them to be believed
# How far true precisions and noise rates lay from the two estimates (docs/label_issues.md).
_LOWER, _UPPER, _MARGIN = 0.6, 2.0, 1.0
_RATE_LOWER, _RATE_UPPER, _RATE_MARGIN = 0.5, 3.0, 1.0
_TEMPER = 0.7  # exponent of the odds: people's errors stand out less than planted ones
_TIE = 0.005  # by which equal probabilities are ordered by suspicion


@dataclasses.dataclass(frozen=True)
class Trial:
    """A judge's suspicion of labels with planted errors, pooled over repetitions.

    Attributes:
      planted: float64 [P], of the planted errors.
      rest: float64 [R], of the others.
      repetitions: how often each of the others occurs in `rest`, nearly.
      right: float32 [P, S], the share that the right label has of all but the planted one, by each of `_SHARPNESS`.
    """

    planted: np.ndarray
    rest: np.ndarray
    repetitions: int = 1
    right: np.ndarray | None = None

    @property
    def auroc(self) -> float:
        return roc_auc_score(np.repeat([1, 0], [len(self.planted), len(self.rest)]), np.append(self.planted, self.rest))

    def auroc_against_right(self, noise_rate: float) -> float:
        """The same against right labels alone: of the rest, so many are wrong, and as suspicious as planted ones."""
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


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the best of several judges says.

    Attributes:
      probabilities: float32 [N, C], its class probabilities, balanced by the classes' shares but for `size`.
      wrong: float64 [3, N], the probability that a label is wrong: low, estimated, high.
      noise_rate: (low, high), the share of wrong labels.
      judge: its name.
      aurocs: of uniformly planted errors, by judge.
      fault: why its list is not to be trusted; '' where nothing speaks against it.
      copies: how often each image is there, in the mean: so much less do their labels tell.
      size: power of the classes' shares that speaks for large classes, as of `class_sizes.exponent`.
      sharpness: exponent by which its probabilities say how often a suggestion is right, of labels that are wrong.
    """

    probabilities: np.ndarray
    wrong: np.ndarray
    noise_rate: tuple[float, float]
    judge: str
    aurocs: dict[str, float]
    fault: str
    copies: float = 1.0
    size: float = 0.0
    sharpness: float = 1.0

    @classmethod
    def load(cls, folder: WorkDir) -> 'Verdict':
        """Reads what `save` wrote; InputError: a file is missing or broken."""
        kept, probabilities = folder.load_json(_FILE), folder.load_array('pred_probs', (None, None), 'f')
        wrong = folder.load_array(_WRONG, (3, len(probabilities)), 'f')
        if not np.all((wrong >= 0) & (wrong <= 1)):
            raise InputError(
                f'{folder.path}/{_WRONG}.npy: values outside 0 to 1; rerun the command of the run to write it'
            )
        added = {name: kept[name] for name in _ADDED if name in kept}
        return cls(probabilities, wrong, **{name: kept[name] for name in _KEPT}, **added)

    def of_copies(self, place: np.ndarray) -> 'Verdict':
        """That of images of which each is the one at `place` [N] of these."""
        wrong, copies = self.wrong[:, place], self.copies * len(place) / self.wrong.shape[1]
        others = {'wrong': wrong, 'noise_rate': _interval(wrong, copies), 'copies': copies}
        return dataclasses.replace(self, probabilities=self.probabilities[place], **others)

    def save(self, folder: WorkDir) -> None:
        folder.save_array('pred_probs', self.probabilities)
        folder.save_array(_WRONG, self.wrong)
        folder.save_json(_FILE, {name: getattr(self, name) for name in (*_KEPT, *_ADDED)})

    def numbers(self, suspect: np.ndarray) -> dict[str, Any]:
        """What summary.json says of it, for a list bool [N]."""
        values: dict[str, Any] = {
            'precision_interval': self._precision(suspect) if suspect.any() else None,
            'noise_rate_interval': list(self.noise_rate),
            'judge': self.judge,
            'judges': self.aurocs,
            'trusted': not self.fault,
        }
        return values | ({'why': self.fault} if self.fault else {})

    def _precision(self, suspect: np.ndarray) -> list[float]:
        """Its least and largest value, each by two standard errors further off for so many different images."""
        low, high = np.clip(self.wrong[::2, suspect].mean(1), 0, 1)  # float64 means of ones can exceed 1
        different = suspect.sum() / self.copies
        low_error, high_error = (2 * np.sqrt(share * (1 - share) / different) for share in (low, high))
        return [max(float(low - low_error), 0.0), min(float(high + high_error), 1.0)]


def compete(
    judges: Mapping[str, Judge], labels: np.ndarray, num_classes: int, *, different: int = 0, seed: int = 0
) -> Verdict:
    """Chooses the judge that finds uniformly planted errors best, and estimates what its list is worth.

    Args:
      judges: by name; features are what they differ in.
      labels: int [N], as given.
      num_classes: C.
      different: how many images are no copies, by which the errors of shares are counted; 0: all.
      seed: of what is planted, and of the judges.
    """
    trials = _trials(judges, labels, num_classes, None, seed)
    aurocs = {name: trial.auroc for name, trial in trials.items()}
    best = max(aurocs, key=aurocs.get)
    raw = judges[best](labels, seed)
    size = class_sizes.exponent(balanced(raw, labels), labels)
    probabilities = balanced(raw, labels, 1 - size)
    confused = _trials({best: judges[best]}, labels, num_classes, probabilities, seed, size)[best]
    copies = len(labels) / (different or len(labels))
    wrong = _claims(confused, suspicion(probabilities, labels), copies)
    fault = _fault(confused.auroc_against_right(wrong[1].mean()), np.mean(raw.argmax(1) == labels), labels, copies)
    sharpness = _sharpness(trials[best].right, wrong[1].mean(), num_classes)
    return Verdict(probabilities, wrong, _interval(wrong, copies), best, aurocs, fault, copies, size, sharpness)


def _right(probabilities: np.ndarray, planted: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The shares of `Trial.right`, of probabilities [P, C] and labels int [P]."""
    rows, logs = np.arange(len(planted)), np.log(np.maximum(probabilities, 1e-9)).astype(np.float64)
    logs[rows, planted] = -np.inf
    others = [softmax(power * logs, axis=1)[rows, right] for power in _SHARPNESS]
    return np.stack(others, 1).astype(np.float32)


def _sharpness(right: np.ndarray, noise_rate: float, num_classes: int) -> float:
    """The most likely of `_SHARPNESS` by the shares [P, S]; of the right labels so many are wrong themselves."""
    of_others = (1 - right) / max(num_classes - 2, 1)
    return float(_SHARPNESS[np.log((1 - noise_rate) * right + noise_rate * of_others + 1e-9).mean(0).argmax()])


def _fault(auroc: float, agreement: float, labels: np.ndarray, copies: float = 1.0) -> str:
    """Why a judge is not to be trusted that finds planted errors so well and predicts so many of the labels; or ''."""
    largest = np.bincount(labels).max() / len(labels)
    if agreement <= largest + 2 * np.sqrt(largest * (1 - largest) * copies / len(labels)):
        return (
            f'it predicts {100 * agreement:.0f} % of {len(labels)} labels that it has not seen, not clearly more than '
            f'the {100 * largest:.0f} % that always saying the largest class would'
        )
    if auroc < _LEAST:
        return (
            f'it hardly tells errors that were planted among the labels from right ones (AUROC {auroc:.2f}; at least '
            f'{_LEAST} is needed, .5 is chance)'
        )
    return ''


def _claims(trial: Trial, found: np.ndarray, copies: float) -> np.ndarray:
    """Probabilities to be wrong [3, N] of labels of suspicion `found` [N]: low, estimated, high."""
    rest = trial.odds(trial.rest)
    odds = trial.odds(found) ** _TEMPER * (rest.mean() / np.mean(rest**_TEMPER))  # the same share of wrong labels
    each = np.clip(np.stack([rate * odds for rate in (trial.rate_of_tails(), trial.rate_of_mixture())]), 0, 1)
    estimate, margin = np.sqrt(each.prod(0)), np.sqrt(copies / len(found))
    rank = (rankdata(found) - 0.5) / len(found)  # one for equal suspicions, 0.5 in the mean
    estimate = np.clip((1 - _TIE) * estimate + _TIE * (rank - 0.5), 0, 1)
    low = np.clip(_LOWER * each.min(0) - _MARGIN * margin * odds, 0, estimate)
    high = np.clip(_UPPER * each.max(0) + _MARGIN * margin * odds, estimate, 1)
    return np.stack([low, estimate, high])


def _interval(wrong: np.ndarray, copies: float) -> tuple[float, float]:
    """That of the noise rate by probabilities [3, N] to be wrong; the larger of the two estimates lies in it."""
    rate, margin = wrong[1].mean(), _RATE_MARGIN * np.sqrt(copies / wrong.shape[1])
    most = max(_RATE_UPPER * rate + margin, wrong[2].mean() / _UPPER)
    return float(max(_RATE_LOWER * rate - margin, 0)), float(min(most, 1))


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


def _trials(
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
