"""Which labels to trust: a mixture of two components on per-sample losses (Arazo 2019; Ciortan 2021, section 3.1)."""

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score

from noisy_jax.labels import mixtures


def pseudo_labels(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each row: [N, C] -> int32 [N]."""
    return probabilities.argmax(axis=-1).astype(np.int32)


def _recent(losses: np.ndarray, history: int) -> np.ndarray:
    """The last epochs [E, N] as float64, but float32 as they are: copying many samples takes time."""
    losses = np.atleast_2d(np.asarray(losses))[-history:]
    return losses if losses.dtype == np.float32 else losses.astype(np.float64, copy=False)


def _range(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each epoch's smallest loss and spread, float64 [E, 1]; a spread that is float32 rounding only is 0."""
    low = losses.min(axis=1, keepdims=True).astype(np.float64)
    high = losses.max(axis=1, keepdims=True).astype(np.float64)
    spread = high - low
    return low, np.where(spread > 1e-6 * np.maximum(np.abs(low), np.abs(high)), spread, 0.0)


def scaled_mean(losses: np.ndarray, history: int = 5) -> np.ndarray:
    """Each epoch's losses min-max scaled to [0, 1], then the mean of the last `history` epochs.

    Args:
      losses: [E, N] (an epoch a row) or [N].
      history: number of last epochs to average.

    Returns:
      float64 [N]; an epoch whose losses are all equal counts as 0.
    """
    recent = _recent(losses, history)
    low, spread = _range(recent)
    result = np.empty(recent.shape[1])
    for start in range(0, len(result), mixtures.CHUNK):
        chunk = slice(start, start + mixtures.CHUNK)
        above = np.where(spread > 0, recent[:, chunk] - low, 0.0)
        result[chunk] = (above / np.where(spread > 0, spread, 1.0)).mean(axis=0)
    return result


def keep_every_class(clean: np.ndarray, labels: np.ndarray, num_classes: int, *, threshold: float = 0.5) -> np.ndarray:
    """Clean probabilities [N] that leave no class of `labels` [N] without a trusted sample.

    Where no sample of a class is above `threshold`, its most trusted tenth is taken as clean (1.0), with a
    RuntimeWarning: further training would unlearn the class otherwise.
    """
    result, lost = clean.copy(), []
    for label in range(num_classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) and not np.any(clean[rows] > threshold):
            best = rows[np.argsort(-clean[rows], kind='stable')]
            result[best[: max(len(rows) // 10, 1)]] = 1.0
            lost.append(label)
    if lost:
        names = ', '.join(map(str, lost[:5])) + (', ...' if lost[5:] else '')
        _warn(f'no sample of class {names} is trusted; the most trusted tenth of it is taken as clean')
    return result


def clean_probability(losses: np.ndarray, *, history: int = 5, seed: int = 0, mixture: str = 'gaussian') -> np.ndarray:
    """The probability that each label is right: the posterior of the mixture component with the lower mean loss.

    Where the losses do not form two groups, every label is trusted and a RuntimeWarning says why. A sample whose loss
    is not finite is not trusted (probability 0), and the mixture is fitted to the others.

    Source: Arazo et al. 2019, section 3.1, https://arxiv.org/abs/1904.11238

    Args:
      losses: [E, N], the per-sample losses of E epochs, or [N].
      history: number of last epochs to average.
      seed: random seed of the mixture's initialisation.
      mixture: 'gaussian' or 'beta'.

    Returns:
      float64 [N] in [0, 1].

    Example:
      >>> clean_probability(np.array([0.1, 0.2, 0.15, 3.0, 3.1])).round()
      array([1., 1., 1., 0., 0.])
    """
    losses = _recent(losses, history)
    finite = np.isfinite(losses).all(axis=0)  # [N]
    result = finite.astype(np.float64)
    if not finite.all():
        _warn(f'{np.sum(~finite)} of {len(finite)} samples have a loss that is not finite; they are not trusted')
    if not finite.any():
        return result
    values = losses if finite.all() else losses[:, finite]
    _, spread = _range(values)
    flat = spread == 0
    if flat.all():
        _warn('the losses are all equal, or there is one sample only; every label is trusted')
        return result
    if flat.any():
        _warn(f'the losses of {flat.sum()} of {len(flat)} epochs are all equal; these epochs count as 0')

    scaled = scaled_mean(values, history)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', ConvergenceWarning)
        clean, means, gain = mixtures.beta(scaled) if mixture == 'beta' else mixtures.gaussian(scaled, seed)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        _warn('the mixture on the losses did not converge; its probabilities are rough')
    # One group: by the Bayesian information criterion, the three more parameters of two components are not worth it.
    one_group = 2 * len(scaled) * gain <= 3 * np.log(len(scaled))
    if one_group or np.ptp(means) < 1e-6 or np.all(clean >= 0.5) or np.all(clean < 0.5):
        _warn('the losses form one group only; every label is trusted')
        return result
    result[finite] = clean
    return result


def quality(score: np.ndarray, positive: np.ndarray, selected: np.ndarray | None = None) -> dict[str, Any]:
    """How well `score` [N] finds the `positive` bool [N]: how many are `selected` bool [N], precision, recall, AUROC.

    Without `selected`, those above 0.5 are. Values that are undefined (nothing selected, nothing positive, one class
    only) are None.
    """
    selected = score > 0.5 if selected is None else selected
    hits = int(np.sum(selected & positive))
    return {
        'selected': int(selected.sum()),
        'precision': hits / int(selected.sum()) if selected.any() else None,
        'recall': hits / int(positive.sum()) if positive.any() else None,
        'auroc': float(roc_auc_score(positive, score)) if 0 < positive.sum() < len(positive) else None,
    }


def _warn(message: str) -> None:
    warnings.warn(f'clean probability: {message}', RuntimeWarning, stacklevel=3)
