"""How wrong labels spread over classes of unequal size, by what a judge says of each image.

Where people sort photographs each class loses a share of its images to the others, so that a folder of 80 beside one of
800 is full of strays. Where folders were searched for by name each has the same share of wrong images. In the first
case a label of a small class is more likely wrong, in the second it is not.
"""

import numpy as np

_EXPONENTS = np.linspace(0, 1, 5)
_RATES = np.geomspace(0.002, 1, 16)  # weights of a stray beside an image of the class that it is in


def exponent(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The exponent a, from 0 to 1: images of a class are found under other labels in proportion to its size^a.

    An image of class j has the label g as often as c n_j^a, beside n_g^a of those that are of class g: with 0 all
    labels have the same share of wrong ones, with 1 all classes. It is the mean over the likelihood of a, at the best
    c of each, since labels tell little of it.

    Args:
      probabilities: [N, C], balanced by the classes' shares: how well each class explains an image.
      labels: int [N], as given.
    """
    classes = probabilities.shape[1]
    sizes = np.maximum(np.bincount(labels, minlength=classes), 1) / len(labels)
    found = np.zeros((len(_EXPONENTS), len(_RATES)))
    for label in np.unique(labels):
        explained = probabilities[labels == label].astype(np.float64)  # [n, C]
        for row, power in enumerate(_EXPONENTS):
            weights = _RATES[:, None] * sizes**power  # [R, C]
            weights[:, label] = sizes[label] ** power
            mixed = explained @ (weights / weights.sum(1, keepdims=True)).T  # [n, R]
            found[row] += np.log(np.maximum(mixed, 1e-12)).sum(0)
    best = found.max(1)
    likelihood = np.exp(best - best.max())
    return float(likelihood @ _EXPONENTS / likelihood.sum())
