"""Mixtures of two components on per-sample losses: Gaussian or beta (Arazo et al. 2019, section 3.1)."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

VARIANCE_FLOOR = 5e-4  # added to each Gaussian's variance
CHUNK = 2**16  # samples that stay in the cache
_MAX_ITER, _TOL = 100, 1e-3  # the original's settings, as is the floor
_BETA_STEPS = 50  # EM steps of the beta mixture; Arazo's 10 are not always enough
_POINTS = 2**16  # more samples are summarised by this many points; for 10 M scikit-learn takes half a minute


def gaussian(scaled: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Two Gaussians fitted to `scaled` [N]; warns ConvergenceWarning where EM does not converge.

    Returns:
      The probability [N] of the component with the smaller mean, the two means, and the gain over one Gaussian in mean
      log-likelihood.
    """
    if len(scaled) > _POINTS:
        return _gaussian_of_many(scaled, seed)
    scaled = scaled[:, None]
    settings = {'max_iter': _MAX_ITER, 'tol': _TOL, 'reg_covar': VARIANCE_FLOOR, 'random_state': seed}
    mixture = GaussianMixture(n_components=2, **settings).fit(scaled)
    single = GaussianMixture(n_components=1, **settings).fit(scaled)
    means = mixture.means_[:, 0]
    return mixture.predict_proba(scaled)[:, means.argmin()], means, mixture.score(scaled) - single.score(scaled)


def _em(
    x: np.ndarray, share: np.ndarray, moments: Callable, log_joint: Callable, *, steps: int, tol: float = 0.0
) -> tuple[tuple[np.ndarray, ...], float]:
    """Parameters of the components that hold at first `share` [2, P] of `x` [P], and the gain over a single one."""
    parameters, bound = moments(x, share), -np.inf
    for _ in range(steps):
        joint = log_joint(x, *parameters)
        likelihood = np.logaddexp(*joint)
        parameters = moments(x, np.exp(joint - likelihood))
        before, bound = bound, likelihood.mean()
        if abs(bound - before) < tol:
            break
    else:
        if tol:
            warnings.warn('EM did not converge', ConvergenceWarning, stacklevel=2)
    single = log_joint(x, *moments(x, np.ones((1, len(x)))))
    return parameters, np.logaddexp(*log_joint(x, *parameters)).mean() - single.mean()


def _gaussian_of_many(scaled: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What scikit-learn finds, by the same steps, but on `_POINTS` means of equal shares of the sorted samples.

    As EM stops early, only the initialisation that scikit-learn draws from all samples gives the same two groups.
    """
    count = len(scaled)
    sums = np.concatenate([[0.0], np.cumsum(np.sort(scaled))])
    borders = np.linspace(0, count, _POINTS + 1)  # a sample on a border counts partly on both sides
    points = np.diff(np.interp(borders, np.arange(count + 1), sums)) * (_POINTS / count)
    drawn, _ = kmeans_plusplus(scaled[:, None], 2, random_state=seed)
    group = KMeans(2, init=drawn, n_init=1).fit_predict(points[:, None])
    parameters, gain = _em(points, np.eye(2)[:, group], _gaussian_moments, _log_gaussian, steps=_MAX_ITER, tol=_TOL)
    means = parameters[1][:, 0]
    low, clean = means.argmin(), np.empty(count)
    for start in range(0, count, CHUNK):
        joint = _log_gaussian(scaled[start : start + CHUNK], *parameters)
        with np.errstate(over='ignore'):
            clean[start : start + CHUNK] = 1 / (1 + np.exp(joint[1 - low] - joint[low]))
    return clean, means, gain


def _gaussian_moments(points: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and variances [C, 1] of the components that hold `share` [C, P] of `points` [P]."""
    size = share.sum(axis=1, keepdims=True) + 10 * np.finfo(np.float64).eps  # for an empty component
    means = (share * points).sum(axis=1, keepdims=True) / size
    variances = (share * points**2).sum(axis=1, keepdims=True) / size - means**2
    return size / size.sum(), means, variances + VARIANCE_FLOOR


def _log_gaussian(x: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """log p(component, x): [C, N]."""
    return np.log(weights) - (np.log(2 * np.pi * variances) + (x - means) ** 2 / variances) / 2


def beta(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """As `gaussian` with two beta distributions, fitted by EM with weighted moments."""
    low, high = np.percentile(scaled, [5, 95])
    x = np.clip((scaled - low) / max(high - low, 1e-12), 1e-4, 1 - 1e-4)  # [N]
    within = (scaled > low) & (scaled < high)  # clipped values pile up and would attract a component
    inner = x[within] if within.mean() > 0.5 else x  # many equal losses have no tails to leave out
    low_half = inner < 0.5  # from Arazo's initial shares, 1 - x and x, EM can collapse to one component
    halves = np.stack([low_half, ~low_half]).astype(float)
    parameters, gain = _em(inner, halves, _beta_moments, _log_beta, steps=_BETA_STEPS)
    means = (parameters[1] / (parameters[1] + parameters[2]))[:, 0]
    joint = _log_beta(x, *parameters)
    clean = np.exp(joint[means.argmin()] - np.logaddexp(*joint))
    # Beyond the means the tails can cross again, but a larger loss must never be trusted more.
    order = np.argsort(scaled)
    ordered, middle = clean[order], np.searchsorted(x[order], means.min())
    ordered[middle:] = np.minimum.accumulate(ordered[middle:])
    ordered[:middle] = np.maximum.accumulate(ordered[:middle][::-1])[::-1]
    clean[order] = np.minimum.accumulate(ordered)
    return clean, means, gain


def _beta_moments(x: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, alphas and betas [C, 1] of the beta distributions with the moments of `x` [N] by `share` [C, N]."""
    size = np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    mean = (share @ x)[:, None] / size
    variance = np.maximum((share * (x - mean) ** 2).sum(axis=1, keepdims=True) / size, 1e-6)
    total = np.maximum(mean * (1 - mean) / variance - 1, 1e-2)  # alpha + beta
    return size / size.sum(), mean * total, (1 - mean) * total


def _log_beta(x: np.ndarray, weights: np.ndarray, alphas: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """log p(component, x): [C, N]."""
    return np.log(weights) + stats.beta.logpdf(x, alphas, betas)
