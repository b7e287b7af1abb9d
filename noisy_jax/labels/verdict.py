"""What the best of several judges says of all labels, as a run keeps it."""

import dataclasses
from typing import Any

import numpy as np

from noisy_jax.errors import InputError
from noisy_jax.workdir import WorkDir

_WRONG, _FILE, _KEPT = 'labels/wrong', 'labels/judge', ('noise_rate', 'judge', 'aurocs', 'fault')
_ADDED = 'copies', 'size', 'sharpness'  # earlier versions have none
# How far true noise rates lay from their estimates (docs/label_issues.md).
_RATE_LOWER, _RATE_UPPER = 0.5, 3.0


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
        """The verdict on N images, each a copy of the one at its `place` [N] among those judged here."""
        wrong, copies = self.wrong[:, place], self.copies * len(place) / self.wrong.shape[1]
        others = {'wrong': wrong, 'noise_rate': interval(wrong, copies), 'copies': copies}
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


def margin(count: int, copies: float) -> float:
    """The error of a share of `count` labels, whose images are each there `copies` times."""
    return float(np.sqrt(copies / count))


def interval(wrong: np.ndarray, copies: float) -> tuple[float, float]:
    """An interval of the noise rate, given probabilities of being wrong [3, N]; it holds the means of low and high."""
    rate, error = wrong[1].mean(), margin(wrong.shape[1], copies)
    least, most = min(_RATE_LOWER * rate - error, wrong[0].mean()), max(_RATE_UPPER * rate + error, wrong[2].mean())
    return float(max(least, 0)), float(min(most, 1))
