"""Which labels to trust: a two-component Gaussian mixture on per-sample losses (Arazo 2019; Ciortan 2021, section 3.1).

Works on the host, on NumPy arrays.
"""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture


def pseudo_labels(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each row: [N, C] -> int32 [N]."""
    return probabilities.argmax(axis=-1).astype(np.int32)


def _spread(losses: np.ndarray) -> np.ndarray:
    """The range of each epoch's losses [E, 1]; 0 where it is but float32 rounding."""
    spread = np.ptp(losses, axis=1, keepdims=True)
    return np.where(spread > 1e-6 * np.abs(losses).max(axis=1, keepdims=True), spread, 0.0)


def scaled_mean(losses: np.ndarray, history: int = 5) -> np.ndarray:
    """Each epoch's losses min-max scaled to [0, 1], then the mean of the last `history` epochs.

    Args:
      losses: [E, N] (an epoch a row) or [N].
      history: epochs to average.

    Returns:
      float64 [N]; an epoch whose losses are all equal counts as 0.
    """
    recent = np.atleast_2d(np.asarray(losses, np.float64))[-history:]
    spread = _spread(recent)
    above = np.where(spread > 0, recent - recent.min(axis=1, keepdims=True), 0.0)
    return (above / np.where(spread > 0, spread, 1.0)).mean(axis=0)


def clean_probability(losses: np.ndarray, *, history: int = 5, seed: int = 0) -> np.ndarray:
    """The probability that each sample's label is right: that of the mixture component with the smaller mean loss.

    Where the losses cannot tell two groups apart, every label is trusted and a RuntimeWarning says why. A sample whose
    loss is not finite is not trusted (probability 0), and the others are judged without it.

    Args:
      losses: [E, N], the per-sample losses of E epochs, or [N].
      history: how many of the last epochs are averaged.
      seed: of the mixture's start.

    Returns:
      float64 [N] in [0, 1].

    Example:
      >>> clean_probability(np.array([0.1, 0.2, 0.15, 3.0, 3.1])).round()
      array([1., 1., 1., 0., 0.])
    """
    losses = np.atleast_2d(np.asarray(losses, np.float64))[-history:]
    finite = np.isfinite(losses).all(axis=0)  # [N]
    result = finite.astype(np.float64)
    if not finite.all():
        _warn(f'{np.sum(~finite)} of {len(finite)} samples have a loss that is not finite; they are not trusted')
    if not finite.any():
        return result
    values = losses[:, finite]
    flat = _spread(values) == 0
    if flat.all():
        _warn('the losses are all equal or there is but one sample; every label is trusted')
        return result
    if flat.any():
        _warn(f'the losses of {flat.sum()} of {len(flat)} epochs are all equal; these epochs count as 0')

    scaled = scaled_mean(values, history)[:, None]
    mixture = GaussianMixture(n_components=2, max_iter=100, reg_covar=5e-4, random_state=seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', ConvergenceWarning)
        probability = mixture.fit(scaled).predict_proba(scaled)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        _warn('the mixture on the losses did not settle; its probabilities are rough')
    means = mixture.means_[:, 0]
    clean = probability[:, means.argmin()]
    # One group: by the Bayesian information criterion, one component does as well as two.
    single = GaussianMixture(n_components=1, reg_covar=5e-4).fit(scaled)
    one_group = single.bic(scaled) <= mixture.bic(scaled)
    if one_group or np.ptp(means) < 1e-6 or np.all(clean >= 0.5) or np.all(clean < 0.5):
        _warn('the losses form one group only; every label is trusted')
        return result
    result[finite] = clean
    return result


def quality(score: np.ndarray, positive: np.ndarray, threshold: float = 0.5) -> dict[str, Any]:
    """How well `score` [N] finds the `positive` bool [N]: selected (score > threshold), precision, recall, AUROC.

    Undefined values (nothing selected, nothing positive, one class only) are None.
    """
    selected = score > threshold
    hits = int(np.sum(selected & positive))
    return {
        'selected': int(selected.sum()),
        'precision': hits / int(selected.sum()) if selected.any() else None,
        'recall': hits / int(positive.sum()) if positive.any() else None,
        'auroc': float(roc_auc_score(positive, score)) if 0 < positive.sum() < len(positive) else None,
    }


def _warn(message: str) -> None:
    warnings.warn(f'clean probability: {message}', RuntimeWarning, stacklevel=3)
