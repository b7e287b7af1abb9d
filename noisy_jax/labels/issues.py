"""Label issues: how far each given label can be trusted, and what it should be instead."""

import dataclasses
import functools
from typing import Any

import numpy as np

from noisy_jax.errors import InputError
from noisy_jax.labels import judges, selection
from noisy_jax.labels.verdict import Verdict
from noisy_jax.workdir import WorkDir

_CLEAN = 'labels/clean_probability'
MOST = 1 + 1e-6  # of a probability: the float32 mean of two networks can exceed 1 by some roundings of 6e-8


@dataclasses.dataclass(frozen=True)
class LabelIssues:
    """N given labels as a classifier of C classes sees them; everything else about them is derived.

    Attributes:
      given: int32 [N].
      probabilities: float32 [N, C], of the classifier.
      clean_probability: float64 [N], the probability that the given label is right.
      threshold: clean probability below which a label is an issue.
      true: int32 [N] where true labels are known, only to measure; else None.
      verdict: of the judge that made the list, where judges competed; it says how far the list can be trusted.
    """

    given: np.ndarray
    probabilities: np.ndarray
    clean_probability: np.ndarray
    threshold: float = 0.5
    true: np.ndarray | None = None
    verdict: Verdict | None = None

    @classmethod
    def load(cls, folder: WorkDir) -> 'LabelIssues':
        """Reads those of a finished run; InputError: a file is missing or broken."""
        try:
            found = folder.load_json('summary')['label_issues']
            threshold = found['threshold']
        except KeyError as error:
            raise InputError(f'{folder.path}: this run has no label issues; it trained no classifier') from error
        given, true = folder.load_array('labels/given', (None,), 'i'), None
        probabilities = folder.load_array('pred_probs', (len(given), None), 'f')
        clean = folder.load_array(_CLEAN, (len(given),), 'f')
        if folder.has_array('labels/true'):
            true = folder.load_array('labels/true', (len(given),), 'i')
        if not np.all((given >= 0) & (given < probabilities.shape[1])):
            raise InputError(
                f'{folder.path}/labels/given.npy: classes from 0 to {probabilities.shape[1] - 1} are needed'
            )
        for name, shares in (('pred_probs', probabilities), (_CLEAN, clean)):
            if not np.all((shares >= 0) & (shares <= MOST)):
                raise InputError(f'{folder.path}/{name}.npy: values outside 0 to 1; rerun the command of the run')
        verdict = Verdict.load(folder) if 'judge' in found else None
        return cls(given, probabilities, clean, threshold, true, verdict)

    def save(self, folder: WorkDir, ids: np.ndarray, class_names: tuple[str, ...], *, sort: str = 'index') -> None:
        """Writes labels.csv, its rows by `sort` ('index' or 'suspicion'), and what `load` needs of these arrays.

        `ids` are str [N], `class_names` C; the summary, labels/given.npy and labels/true.npy are the run's to write.

        Raises:
          InputError: probabilities are not finite; nothing is written.
        """
        if not (np.isfinite(self.probabilities).all() and np.isfinite(self.clean_probability).all()):
            raise InputError(f'{folder.path}: the probabilities of the labels are not finite; no list is made of them')
        names = np.array(class_names)
        columns = {
            'index': np.arange(len(self.given)),
            'id': ids,
            'given_label': names[self.given],
            'suggested_label': names[self.suggested],
            'pred_prob': self.pred_prob,
            'clean_probability': self.clean_probability,
            'is_suspect': self.is_suspect,
        }
        if self.true is not None:
            columns['true_label'] = names[self.true]
        folder.save_array('pred_probs', self.probabilities)
        folder.save_array(_CLEAN, self.clean_probability)
        folder.save_labels(columns, self.by_suspicion if sort == 'suspicion' else columns['index'])

    @functools.cached_property
    def suggested(self) -> np.ndarray:
        """The most probable class of each, int64 [N]."""
        return self.probabilities.argmax(-1)

    @functools.cached_property
    def pred_prob(self) -> np.ndarray:
        """The probability of the suggested class, float32 [N]."""
        return self.probabilities.max(-1)

    @functools.cached_property
    def losses(self) -> np.ndarray:
        """Cross-entropy of the given labels, float32 [N]; finite."""
        return _cross_entropy(self.probabilities, self.given)

    @functools.cached_property
    def is_suspect(self) -> np.ndarray:
        """Whether a label is a likely error, bool [N]."""
        return self.clean_probability < self.threshold

    @functools.cached_property
    def is_wrong(self) -> np.ndarray | None:
        """Whether a label is an error, bool [N]; None where true labels are unknown."""
        return None if self.true is None else self.given != self.true

    @functools.cached_property
    def by_suspicion(self) -> np.ndarray:
        """Rows int64 [N] by clean probability to six digits, lowest first; ties by how likely another label is."""
        doubt = judges.suspicion(self.probabilities, self.given)
        return np.lexsort((-doubt, self.clean_probability.round(6)))

    @functools.cached_property
    def noise_matrix(self) -> np.ndarray:
        """Estimated P(given label | right label), float64 [C, C], a row per right class.

        An image has its given label with the clean probability, else the suggested; a class without images its own.
        """
        classes = self.probabilities.shape[-1]
        counts = np.zeros((classes, classes))
        np.add.at(counts, (self.given, self.given), self.clean_probability)
        np.add.at(counts, (self.suggested, self.given), 1 - self.clean_probability)
        empty = counts.sum(1) == 0
        counts[empty] = np.eye(classes)[empty]
        return counts / counts.sum(1, keepdims=True)

    @functools.cached_property
    def numbers(self) -> dict[str, Any]:
        """What summary.json says of them; undefined values are None.

        Each label is wrong with probability 1 - clean probability: `estimated_noise_rate` is its mean, and expected
        precision and recall follow from it. The measured ones need true labels.
        """
        wrong, suspect = 1 - self.clean_probability, self.is_suspect
        caught, count = float(wrong[suspect].sum()), int(suspect.sum())
        values: dict[str, Any] = {
            'suspects': count,
            'threshold': self.threshold,
            'estimated_noise_rate': float(wrong.mean()),
            'expected_precision': caught / count if count else None,
            'expected_recall': caught / float(wrong.sum()) if wrong.any() else None,
        }
        if self.verdict:
            values |= self.verdict.numbers(suspect)
        if self.true is not None:
            quality = selection.quality(wrong, self.is_wrong, suspect)
            values |= {name: quality[name] for name in ('precision', 'recall', 'auroc')}
            right = (self.suggested == self.true)[suspect & self.is_wrong]
            values['suggestion_accuracy'] = float(right.mean()) if len(right) else None
        return values


def of_verdict(
    verdict: Verdict, given: np.ndarray, true: np.ndarray | None = None, *, threshold: float = 0.5
) -> LabelIssues:
    """The list of the judge that found planted errors best, of labels `given` int [N]; arguments as of `find`."""
    return LabelIssues(given, verdict.probabilities, 1 - verdict.wrong[1], threshold, true, verdict)


def find(
    probabilities: np.ndarray,
    given: np.ndarray,
    true: np.ndarray | None = None,
    *,
    threshold: float = 0.5,
    seed: int = 0,
) -> LabelIssues:
    """Finds label issues from out-of-sample predictions, or, less well, from those on labels that were trained on.

    The clean probability is that of a mixture on the losses of the given labels (Arazo et al. 2019, section 3.1,
    https://arxiv.org/abs/1904.11238), which Ciortan et al. 2021 (https://doi.org/10.3390/data6060061) fit to
    pseudo-labels.

    Args:
      probabilities: [N, C], of a classifier.
      given: int [N], the labels to check.
      true: int [N], the true labels where they are known.
      threshold: clean probability below which a label is an issue.
      seed: random seed of the mixture.

    Example:
      >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.95, 0.05]])
      >>> issues = find(probabilities, given=np.array([0, 0, 1, 1, 1]))
      >>> issues.is_suspect, issues.suggested
      (array([False, False, False, False,  True]), array([0, 0, 1, 1, 0]))
    """
    clean = selection.clean_probability(_cross_entropy(probabilities, given), seed=seed)
    return LabelIssues(given, probabilities.astype(np.float32), clean, threshold, true)


def _cross_entropy(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    return -np.log(np.maximum(probabilities[np.arange(len(given)), given], np.finfo(np.float32).tiny))
