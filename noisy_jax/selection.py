"""Which labels to trust: a two-component Gaussian mixture on per-sample losses (Arazo 2019; Ciortan 2021, section 3.1).

Works on the host, on NumPy arrays.
"""

import warnings
from typing import Any

import numpy as np
from scipy import stats
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

# The original's settings, as scikit-learn names them.
_MAX_ITER, _TOL, _REG_COVAR = 100, 1e-3, 5e-4
_BETA_STEPS = 50  # of the beta mixture's EM; Arazo's 10 are not always enough
_POINTS = 2**16  # more samples than this are summed up in this many points; for 10 M scikit-learn takes half a minute
_CHUNK = 2**16  # samples that stay in the cache


def pseudo_labels(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each row: [N, C] -> int32 [N]."""
    return probabilities.argmax(axis=-1).astype(np.int32)


def _recent(losses: np.ndarray, history: int) -> np.ndarray:
    """The last epochs [E, N]: float32 as it is, since a copy of many samples takes time, all else as float64."""
    losses = np.atleast_2d(np.asarray(losses))[-history:]
    return losses if losses.dtype == np.float32 else losses.astype(np.float64, copy=False)


def _range(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The smallest of each epoch's losses and their spread, float64 [E, 1]; 0 where it is but float32 rounding."""
    low = losses.min(axis=1, keepdims=True).astype(np.float64)
    high = losses.max(axis=1, keepdims=True).astype(np.float64)
    spread = high - low
    return low, np.where(spread > 1e-6 * np.maximum(np.abs(low), np.abs(high)), spread, 0.0)


def scaled_mean(losses: np.ndarray, history: int = 5) -> np.ndarray:
    """Each epoch's losses min-max scaled to [0, 1], then the mean of the last `history` epochs.

    Args:
      losses: [E, N] (an epoch a row) or [N].
      history: epochs to average.

    Returns:
      float64 [N]; an epoch whose losses are all equal counts as 0.
    """
    recent = _recent(losses, history)
    low, spread = _range(recent)
    result = np.empty(recent.shape[1])
    for start in range(0, len(result), _CHUNK):
        part = recent[:, start : start + _CHUNK]
        above = np.where(spread > 0, part - low, 0.0)
        result[start : start + _CHUNK] = (above / np.where(spread > 0, spread, 1.0)).mean(axis=0)
    return result


def _share_means(values: np.ndarray, shares: int) -> np.ndarray:
    """The means of equal shares of the sorted values: [N] -> [shares]; a value on a border counts in both in parts."""
    count = len(values)
    sums = np.concatenate([[0.0], np.cumsum(np.sort(values))])
    borders = np.linspace(0, count, shares + 1)
    return np.diff(np.interp(borders, np.arange(count + 1), sums)) * (shares / count)


def _mixture(scaled: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Two Gaussians fitted to `scaled` [N]; warns ConvergenceWarning where they do not settle.

    Returns:
      The probability [N] of the component with the smaller mean, the two means, and the gain over one Gaussian in mean
      log-likelihood.
    """
    if len(scaled) > _POINTS:
        return _mixture_of_many(scaled, seed)
    scaled = scaled[:, None]
    settings = {'max_iter': _MAX_ITER, 'tol': _TOL, 'reg_covar': _REG_COVAR, 'random_state': seed}
    mixture = GaussianMixture(n_components=2, **settings).fit(scaled)
    single = GaussianMixture(n_components=1, **settings).fit(scaled)
    means = mixture.means_[:, 0]
    return mixture.predict_proba(scaled)[:, means.argmin()], means, mixture.score(scaled) - single.score(scaled)


def _mixture_of_many(scaled: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What scikit-learn finds, by its steps, but on `_POINTS` means of equal shares of the sorted samples.

    Its EM stops early, so that another start can move one sample in a hundred to the other side: the start must be that
    which scikit-learn draws from all samples.
    """
    points = _share_means(scaled, _POINTS)
    drawn, _ = kmeans_plusplus(scaled[:, None], 2, random_state=seed)
    group = KMeans(2, init=drawn, n_init=1).fit_predict(points[:, None])
    parameters = _maximise(points, np.eye(2)[:, group])
    bound = -np.inf
    for _ in range(_MAX_ITER):
        joint = _log_joint(points, *parameters)
        likelihood = np.logaddexp(*joint)
        parameters = _maximise(points, np.exp(joint - likelihood))
        before, bound = bound, likelihood.mean()
        if abs(bound - before) < _TOL:
            break
    else:
        warnings.warn('EM did not converge', ConvergenceWarning, stacklevel=2)

    _, means, _ = parameters
    low = means.argmin()
    clean = np.empty(len(scaled))
    for start in range(0, len(scaled), _CHUNK):
        joint = _log_joint(scaled[start : start + _CHUNK], *parameters)
        with np.errstate(over='ignore'):
            clean[start : start + _CHUNK] = 1 / (1 + np.exp(joint[1 - low] - joint[low]))
    two = np.logaddexp(*_log_joint(points, *parameters)).mean()
    one = _log_joint(points, *_maximise(points, np.ones((1, _POINTS)))).mean()
    return clean, means[:, 0], two - one


def _maximise(points: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and variances [C, 1] of the components that hold `share` [C, P] of `points` [P]."""
    size = share.sum(axis=1, keepdims=True) + 10 * np.finfo(np.float64).eps  # for an empty component
    means = (share * points).sum(axis=1, keepdims=True) / size
    variances = (share * points**2).sum(axis=1, keepdims=True) / size - means**2
    return size / size.sum(), means, variances + _REG_COVAR


def _log_joint(values: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """log p(component, value): [C, N]."""
    return np.log(weights) - (np.log(2 * np.pi * variances) + (values - means) ** 2 / variances) / 2


def _beta_mixture(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Two beta distributions fitted to `scaled` [N] by EM with weighted moments (Arazo 2019, section 3.1).

    Returns:
      As `_mixture`; the gain is over one beta distribution.
    """
    low, high = np.percentile(scaled, [5, 95])
    x = np.clip((scaled - low) / max(high - low, 1e-12), 1e-4, 1 - 1e-4)  # [N]
    within = (scaled > low) & (scaled < high)  # those beyond, all at one place, would draw a component to them
    inner = x[within] if within.mean() > 0.5 else x  # many equal losses: no tails to leave out
    low_half = inner < 0.5  # Arazo starts from the shares 1 - x and x, from which EM can fall into one component
    parameters = _beta_moments(inner, np.stack([low_half, ~low_half]).astype(float))
    for _ in range(_BETA_STEPS):
        joint = _log_beta_joint(inner, *parameters)
        parameters = _beta_moments(inner, np.exp(joint - np.logaddexp(*joint)))
    joint = _log_beta_joint(inner, *parameters)
    one = _log_beta_joint(inner, *_beta_moments(inner, np.ones((1, len(inner))))).mean()
    means = (parameters[1] / (parameters[1] + parameters[2]))[:, 0]
    joint_of_all = _log_beta_joint(x, *parameters)
    clean = np.exp(joint_of_all[means.argmin()] - np.logaddexp(*joint_of_all))
    # Beyond their means the components' tails may cross once more: a larger loss is never trusted more.
    order = np.argsort(scaled)
    ordered, middle = clean[order], np.searchsorted(x[order], means.min())
    ordered[middle:] = np.minimum.accumulate(ordered[middle:])
    ordered[:middle] = np.maximum.accumulate(ordered[:middle][::-1])[::-1]
    clean[order] = np.minimum.accumulate(ordered)
    return clean, means, np.logaddexp(*joint).mean() - one


def _beta_moments(x: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, alphas and betas [C, 1] of the beta distributions with the moments of `x` [N] by `share` [C, N]."""
    size = np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    mean = (share @ x)[:, None] / size
    variance = np.maximum((share * (x - mean) ** 2).sum(axis=1, keepdims=True) / size, 1e-6)
    total = np.maximum(mean * (1 - mean) / variance - 1, 1e-2)  # alpha + beta
    return size / size.sum(), mean * total, (1 - mean) * total


def _log_beta_joint(x: np.ndarray, weights: np.ndarray, alphas: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """log p(component, x): [C, N]."""
    return np.log(weights) + stats.beta.logpdf(x, alphas, betas)


def keep_every_class(
    clean: np.ndarray, labels: np.ndarray, num_classes: int, *, threshold: float = 0.5, share: float = 0.1
) -> np.ndarray:
    """Clean probabilities [N] with which no class of `labels` [N] is without a trusted sample.

    Where none of a class is above `threshold`, the `share` of it that is trusted most is taken as clean (1.0), and a
    RuntimeWarning says so: training on would else unlearn the class.
    """
    result, lost = clean.copy(), []
    for label in range(num_classes):
        rows = np.flatnonzero(labels == label)
        if len(rows) and not np.any(clean[rows] > threshold):
            best = rows[np.argsort(-clean[rows], kind='stable')]
            result[best[: max(int(share * len(rows)), 1)]] = 1.0
            lost.append(label)
    if lost:
        names = ', '.join(map(str, lost[:5])) + (', ...' if lost[5:] else '')
        _warn(f'no sample of class {names} is trusted; the most trusted tenth of it is taken as clean')
    return result


def clean_probability(losses: np.ndarray, *, history: int = 5, seed: int = 0, mixture: str = 'gaussian') -> np.ndarray:
    """The probability that each sample's label is right: that of the mixture component with the smaller mean loss.

    Where the losses cannot tell two groups apart, every label is trusted and a RuntimeWarning says why. A sample whose
    loss is not finite is not trusted (probability 0), and the others are judged without it.

    Args:
      losses: [E, N], the per-sample losses of E epochs, or [N].
      history: how many of the last epochs are averaged.
      seed: of the mixture's start.
      mixture: 'gaussian', or 'beta' (Arazo 2019).

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
        _warn('the losses are all equal or there is but one sample; every label is trusted')
        return result
    if flat.any():
        _warn(f'the losses of {flat.sum()} of {len(flat)} epochs are all equal; these epochs count as 0')

    scaled = scaled_mean(values, history)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always', ConvergenceWarning)
        clean, means, gain = _beta_mixture(scaled) if mixture == 'beta' else _mixture(scaled, seed)
    if any(issubclass(w.category, ConvergenceWarning) for w in caught):
        _warn('the mixture on the losses did not settle; its probabilities are rough')
    # One group: by the Bayesian information criterion, one component does as well as two, of three parameters more.
    one_group = 2 * len(scaled) * gain <= 3 * np.log(len(scaled))
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
