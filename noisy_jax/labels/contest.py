"""The contest of judges: the one that finds planted errors best judges all labels, and what its list is worth.

Copies of an image do not vouch for each other.
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata

from noisy_jax.errors import warn_once
from noisy_jax.labels import class_sizes, cross_fit, planted
from noisy_jax.labels.features import Features
from noisy_jax.labels.judges import Judge, all_judges, balanced, kind_of, of_networks, suspicion
from noisy_jax.labels.verdict import Verdict, interval, margin

_LEAST = 0.7  # AUROC of planted errors, but for its error, below which a judge finds too few of them to be believed
_LOWER, _UPPER = 0.8, 2.0  # how far true precisions lay from the estimates (docs/label_issues.md)
# The mistakes of a judge look like wrong labels where none is wrong: the share of these, over the square of
# 1 - AUROC + its error.
_MISTAKEN = 3.0
_TEMPER = 0.7  # exponent of the odds: people's errors stand out less than planted ones
_TIE = 0.005  # by which equal probabilities are ordered by suspicion


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
    """The verdict of the best judge, see `compete`.

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
    network = None if left_out is None else of_networks(labels[kept], left_out[:, kept])
    others = {'folds': folds, 'network': network, 'original': place[original[kept]]}
    compared = all_judges(features, num_classes, **others)
    different = len(np.unique(copies[1]))
    verdict = compete(compared, labels[kept], num_classes, different=different, seed=seed)
    nearest = features[kind_of(verdict.judge, features)].nearest
    return verdict.of_copies(place), kept[nearest[place]]


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
    trials = planted.trials(judges, labels, num_classes, None, seed)
    aurocs = {name: trial.auroc for name, trial in trials.items()}
    best = max(aurocs, key=aurocs.get)
    raw = judges[best](labels, seed)
    size = class_sizes.exponent(balanced(raw, labels), labels)
    probabilities = balanced(raw, labels, 1 - size)
    confused = planted.trials({best: judges[best]}, labels, num_classes, probabilities, seed, size)[best]
    copies = len(labels) / (different or len(labels))
    wrong = _claims(confused, suspicion(probabilities, labels), copies)
    surely = max(wrong[1].mean() - 2 * margin(len(labels), copies), 0)  # wrong: not by the judge's own mistakes alone
    fault = _fault(confused.auroc_against_right(surely), np.mean(raw.argmax(1) == labels), labels, copies)
    sharpness = _sharpness(trials[best].right, wrong[1].mean(), num_classes)
    return Verdict(probabilities, wrong, interval(wrong, copies), best, aurocs, fault, copies, size, sharpness)


def _fault(auroc: float, agreement: float, labels: np.ndarray, copies: float = 1.0) -> str:
    """Why a judge is not to be trusted that finds planted errors so well and predicts so many of the labels; or ''."""
    largest = np.bincount(labels).max() / len(labels)
    if agreement <= largest + 2 * np.sqrt(largest * (1 - largest) * copies / len(labels)):
        return (
            f'it predicts {100 * agreement:.0f} % of {len(labels)} labels that it has not seen, not clearly more than '
            f'the {100 * largest:.0f} % that always saying the largest class would'
        )
    needed = _LEAST + margin(len(labels), copies)
    if auroc < needed:
        return (
            f'it hardly tells errors that were planted among the labels from right ones (AUROC {auroc:.3f}; at '
            f'least {needed:.3f} is needed of {len(labels)} labels, .5 is chance)'
        )
    return ''


def _claims(trial: planted.Trial, found: np.ndarray, copies: float) -> np.ndarray:
    """Probabilities that labels of suspicion `found` [N] are wrong, [3, N]: low, estimated, high."""
    rest = trial.odds(trial.rest)
    odds = trial.odds(found) ** _TEMPER * (rest.mean() / np.mean(rest**_TEMPER))  # the same share of wrong labels
    rates, error = (trial.rate_of_tails(), trial.rate_of_mixture()), margin(len(found), copies)
    each = np.clip(np.outer(rates, odds), 0, 1)
    estimate = np.sqrt(each.prod(0))
    mistaken = _MISTAKEN * (1 - trial.auroc_against_right(estimate.mean()) + error) ** 2
    rank = (rankdata(found) - 0.5) / len(found)  # one for equal suspicions, 0.5 in the mean
    estimate = np.clip((1 - _TIE) * estimate + _TIE * (rank - 0.5), 0, 1)
    least = np.minimum(max(min(rates) - error - mistaken, 0) * odds, 1)
    low = np.clip(_LOWER * least, 0, estimate)
    high = np.clip(_UPPER * each.max(0) + error * odds, estimate, 1)
    return np.stack([low, estimate, high])


def _sharpness(right: np.ndarray, noise_rate: float, num_classes: int) -> float:
    """The most likely of `planted.SHARPNESS` by the shares [P, S], where `noise_rate` of the labels are wrong."""
    of_others = (1 - right) / max(num_classes - 2, 1)
    return float(planted.SHARPNESS[np.log((1 - noise_rate) * right + noise_rate * of_others + 1e-9).mean(0).argmax()])


def _warn_of_scenes(first: np.ndarray, original: np.ndarray) -> None:
    """Warns where most images are copies of the `first` [N], but are their own `original`, and vouch for each other."""
    together = np.bincount(first)[first] > 1
    apart = together & (np.bincount(original, minlength=len(first))[original] == 1)
    if 2 * apart.sum() > len(first):
        warn_once(
            f'{apart.sum()} of {len(first)} images are copies of {len(np.unique(first[apart]))} pictures, too few of a '
            'class to be judged without each other; the list misses a picture all of whose copies are labelled wrong'
        )
