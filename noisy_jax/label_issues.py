"""The list of labels that are probably wrong: how far each given label can be trusted, and what it should be."""

import dataclasses
from typing import Any

import numpy as np

from noisy_jax import selection


@dataclasses.dataclass
class LabelIssues:
    """A judgement of N given labels.

    Attributes:
      given: int32 [N].
      probabilities: float32 [N, C], of a classifier.
      clean_probability: float64 [N], that the given label is right.
      threshold: of the clean probability, below which a label is suspect.
    """

    given: np.ndarray
    probabilities: np.ndarray
    clean_probability: np.ndarray
    threshold: float = 0.5

    @property
    def suggested(self) -> np.ndarray:
        """The most probable class of each, int64 [N]."""
        return self.probabilities.argmax(-1)

    @property
    def pred_prob(self) -> np.ndarray:
        """How probable the suggested class is, float32 [N]."""
        return self.probabilities.max(-1)

    @property
    def is_suspect(self) -> np.ndarray:
        """bool [N]."""
        return self.clean_probability < self.threshold

    @property
    def by_suspicion(self) -> np.ndarray:
        """Rows [N], the least clean probability first; of equal ones that which the classifier is surest about."""
        of_given = self.probabilities[np.arange(len(self.given)), self.given]
        return np.lexsort((of_given - self.pred_prob, self.clean_probability))

    def noise_matrix(self) -> np.ndarray:
        """Estimated P(given label | right label), float64 [C, C], a row per right class.

        The right label of a suspect is taken as the suggested one, with 1 - clean probability; a class without any
        sample has its 1 on the diagonal.
        """
        classes = self.probabilities.shape[-1]
        counts = np.zeros((classes, classes))
        np.add.at(counts, (self.given, self.given), self.clean_probability)
        np.add.at(counts, (self.suggested, self.given), 1 - self.clean_probability)
        empty = counts.sum(1) == 0
        counts[empty] = np.eye(classes)[empty]
        return counts / counts.sum(1, keepdims=True)

    def summary(self, true: np.ndarray | None = None) -> dict[str, Any]:
        """What summary.json says of the list: its length, what is expected of it, how good it is where `true` is known.

        `estimated_noise_rate` is the mean of 1 - clean probability; the expected precision and recall are those of the
        fitted mixture, with such chances for every label to be wrong.
        """
        wrong_chance, suspect = 1 - self.clean_probability, self.is_suspect
        caught = float(wrong_chance[suspect].sum())
        values: dict[str, Any] = {
            'suspects': int(suspect.sum()),
            'threshold': self.threshold,
            'estimated_noise_rate': float(wrong_chance.mean()),
            'expected_precision': caught / int(suspect.sum()) if suspect.any() else None,
            'expected_recall': caught / float(wrong_chance.sum()) if wrong_chance.any() else None,
        }
        if true is not None:
            wrong = self.given != true
            quality = selection.quality(wrong_chance, wrong, 1 - self.threshold)
            values |= {name: quality[name] for name in ('precision', 'recall', 'auroc')}
            right = (self.suggested == true)[suspect & wrong]
            values['suggestion_accuracy'] = float(right.mean()) if len(right) else None
        return values


def find(probabilities: np.ndarray, given: np.ndarray, *, threshold: float = 0.5, seed: int = 0) -> LabelIssues:
    """Judges the labels `given` [N] by a classifier's probabilities [N, C], best those of one that did not see them.

    The clean probability is that of the mixture on the classifier's losses on the given labels (Arazo 2019, section
    3.1; Ciortan 2021, section 3.1, has it on pseudo-labels).
    """
    of_given = probabilities[np.arange(len(given)), given]
    losses = -np.log(np.maximum(of_given, np.finfo(np.float32).tiny))
    clean = selection.clean_probability(losses, seed=seed)
    return LabelIssues(given, probabilities.astype(np.float32), clean, threshold)
