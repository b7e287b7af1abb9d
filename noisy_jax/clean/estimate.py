"""How many labels are wrong before and after cleaning, as the run estimates it."""

import dataclasses
from typing import Any

import numpy as np

from noisy_jax.clean.changes import Changes
from noisy_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Count:
    """About `wrong` wrong labels among `images`; `interval` (low, high) where the run states one."""

    wrong: float
    images: int
    interval: tuple[float, float] | None = None

    @property
    def share(self) -> float:
        return self.wrong / max(self.images, 1)

    def __str__(self) -> str:
        between = f', between {" and ".join(map(_number, self.interval))}' if self.interval else ''
        return f'about {_number(self.wrong)} of {self.images} ({100 * self.share:.1f} %{between})'


def before(wrong: np.ndarray, issues: dict[str, Any]) -> Count:
    """The count of the given labels.

    Args:
      wrong: float64 [N], as `wrong_given` returns it.
      issues: `label_issues` of summary.json.
    """
    interval = issues.get('noise_rate_interval')
    if interval is not None:
        low, high = map(_share, interval)
        interval = len(wrong) * low, len(wrong) * high
    return Count(float(wrong.sum()), len(wrong), interval)


def after(
    wrong: np.ndarray, changes: Changes, probabilities: np.ndarray | None = None, sharpness: float = 1.0
) -> Count:
    """The count of the new labels.

    A label that a person decided on counts as right, one that stays is wrong as before. A suggested label is right
    where the given one is wrong and the suggestion is the right one of all others, by the classifier.

    Args:
      wrong: float64 [N], as `wrong_given` returns it.
      changes: what becomes of each label.
      probabilities: [N, C], of the classifier; needed where suggestions are taken.
      sharpness: exponent by which they are those of a wrong label's right class, as of a `Verdict`.
    """
    new = np.where(changes.decided | ~changes.kept, 0.0, wrong)
    rows = np.flatnonzero(changes.relabelled & ~changes.decided)
    if len(rows):
        number = {name: number for number, name in enumerate(changes.class_names)}
        given, suggested = ([number[name] for name in names[rows]] for names in (changes.given, changes.new))
        others = np.maximum(probabilities[rows].astype(np.float64), np.finfo(np.float32).tiny) ** sharpness
        own = np.arange(len(rows))
        others[own, given] = 0
        new[rows] = 1 - wrong[rows] * others[own, suggested] / np.maximum(others.sum(1), np.finfo(np.float64).tiny)
    return Count(float(new.sum()), int(changes.kept.sum()))


def wrong_given(clean_probability: np.ndarray, issues: dict[str, Any]) -> np.ndarray:
    """The probability that each given label is wrong, float64 [N]; on average the noise rate that the run estimates.

    That is 1 - clean probability where its mean is that rate. Where the run knows the rate better than its clean
    probabilities do, these keep their order and are scaled towards 0 or 1, so that before and after can be compared.

    Args:
      clean_probability: float64 [N].
      issues: `label_issues` of summary.json.

    Raises:
      InputError: the rate in it is no share.

    Example:
      >>> wrong_given(np.array([0.2, 1.0]), {'estimated_noise_rate': 0.1})
      array([0.2, 0. ])
    """
    wrong = 1 - clean_probability
    mean = wrong.mean()
    rate = _share(issues.get('estimated_noise_rate', mean))
    if rate > mean:
        return 1 - clean_probability * (1 - rate) / (1 - mean)
    return wrong * (rate / mean) if rate < mean else wrong


def _share(value: Any) -> float:
    """`value` as a number from 0 to 1, or InputError."""
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(f'summary.json, label_issues: {value!r} is no share of wrong labels; from 0 to 1')
    return float(value)


def _number(value: float) -> str:
    return f'{value:.0f}' if value >= 10 else f'{value:.1f}'.removesuffix('.0')
