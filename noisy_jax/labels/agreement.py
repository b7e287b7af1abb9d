"""What the agreement of held-out predictions with noisy labels tells of a classifier, without a right label."""

import dataclasses

import numpy as np

_SUREST, _SURE = 0.1, 0.5  # shares of the predictions of each class


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Held-out predictions of a classifier against the given labels.

    Attributes:
      agreement: the fraction of labels that are predicted.
      right_labels: estimated fraction of labels that are right.
      right_labels_error: its standard error, by the size of the sample.
      accuracy: estimated accuracy of the classifier.
      accuracy_error: its standard error, by the size of the sample.
      sure: int32 [N], the class where the classifier is surest: the half of each class; -1 elsewhere.
    """

    agreement: float
    right_labels: float
    right_labels_error: float
    accuracy: float
    accuracy_error: float
    sure: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> 'Agreement':
        """Estimates how many labels are right, and how often a classifier is.

        Where it is surest (a tenth of the predictions of each class) it is taken to be right, so that the agreement
        there is the share of right labels (anchor points: Patrini et al. 2017, section 3.1,
        https://arxiv.org/abs/1609.03683). Wrong labels are taken to be any other class alike: an accuracy a then shows
        as the agreement a q + (1 - a) (1 - q) / (C - 1), q being the share of right labels.

        Args:
          probabilities: [N, C], by a classifier that was not trained on the label of the row.
          labels: int [N], as given.
        """
        count, classes = probabilities.shape
        predicted = probabilities.argmax(1)
        agrees, rank = predicted == labels, _rank_in_class(probabilities.max(1), predicted)
        right, surest = 0.0, rank < _SUREST
        for label in np.unique(predicted):
            own = predicted == label
            right += own.mean() * agrees[own & surest].mean()
        by_chance = (1 - right) / (classes - 1)
        slope = max(right - by_chance, 1e-3)
        agreement = agrees.mean()
        accuracy = np.clip((agreement - by_chance) / slope, 0, 1)
        # Errors of both shares, to first order; no share of a sample of n is known better than to 1 / n.
        right_error = np.sqrt(max(right * (1 - right), 1 / surest.sum()) / surest.sum())
        agreement_error = np.sqrt(max(agreement * (1 - agreement), 1 / count) / count)
        by_right = (1 / (classes - 1) - accuracy * classes / (classes - 1)) * right_error
        error = np.hypot(agreement_error, by_right) / slope
        sure = np.where(rank < _SURE, predicted, -1).astype(np.int32)
        return cls(*map(float, (agreement, right, right_error, accuracy, error)), sure)


def _rank_in_class(sureness: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The share of rows of the same prediction that are surer, [N] in [0, 1)."""
    rank = np.empty(len(sureness))
    for label in np.unique(predicted):
        rows = np.flatnonzero(predicted == label)
        rank[rows[np.argsort(-sureness[rows], kind='stable')]] = np.arange(len(rows)) / len(rows)
    return rank


def advantage(better: np.ndarray, than: np.ndarray, labels: np.ndarray) -> float:
    """By how many standard errors one classifier agrees more often than another (McNemar 1947), of classes [N]."""
    one, other = better == labels, than == labels
    differ = int(np.sum(one != other))
    return float((one.astype(int) - other).sum() / np.sqrt(differ)) if differ else 0.0


def best(candidates: dict[str, np.ndarray], labels: np.ndarray) -> str:
    """The candidate that agrees best with labels [N], of held-out probabilities [N, C] by name.

    The first stays unless another is better by three standard errors of their difference.
    """
    predicted = {name: probabilities.argmax(1) for name, probabilities in candidates.items()}
    first, *others = predicted
    ahead = {name: advantage(predicted[name], predicted[first], labels) for name in others}
    return max([first, *(name for name in others if ahead[name] > 3)], key=lambda name: ahead.get(name, 0.0))
