"""Mixtures of two components on per-sample losses: Gaussian or beta (Arazo et al. 2019, section 3.1)."""

import warnings

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


def _share_means(values: np.ndarray, shares: int) -> np.ndarray:
    """Means of equal shares of the sorted values: [N] -> [shares]; a value on a border counts partly in both."""
    count = len(values)
    sums = np.concatenate([[0.0], np.cumsum(np.sort(values))])
    borders = np.linspace(0, count, shares + 1)
    return np.diff(np.interp(borders, np.arange(count + 1), sums)) * (shares / count)


def gaussian(scaled: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Two Gaussians fitted to `scaled` [N]; warns ConvergenceWarning where EM does not converge.

    Returns:
      The probability [N] of the component with the smaller mean, the two means, and the gain over one Gaussian in mean
      log-likelihood.
    """
    if len(scaled) > _POINTS:
        return _mixture_of_many(scaled, seed)
    scaled = scaled[:, None]
    settings = {'max_iter': _MAX_ITER, 'tol': _TOL, 'reg_covar': VARIANCE_FLOOR, 'random_state': seed}
    mixture = GaussianMixture(n_components=2, **settings).fit(scaled)
    single = GaussianMixture(n_components=1, **settings).fit(scaled)
    means = mixture.means_[:, 0]
    return mixture.predict_proba(scaled)[:, means.argmin()], means, mixture.score(scaled) - single.score(scaled)


def _mixture_of_many(scaled: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """What scikit-learn finds, by the same steps, but on `_POINTS` means of equal shares of the sorted samples.

    EM stops early, so that another initialisation can move one sample in a hundred to the other side: it must be the
    one that scikit-learn draws from all samples.
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
    for start in range(0, len(scaled), CHUNK):
        joint = _log_joint(scaled[start : start + CHUNK], *parameters)
        with np.errstate(over='ignore'):
            clean[start : start + CHUNK] = 1 / (1 + np.exp(joint[1 - low] - joint[low]))
    two = np.logaddexp(*_log_joint(points, *parameters)).mean()
    one = _log_joint(points, *_maximise(points, np.ones((1, _POINTS)))).mean()
    return clean, means[:, 0], two - one


def _maximise(points: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and variances [C, 1] of the components that hold `share` [C, P] of `points` [P]."""
    size = share.sum(axis=1, keepdims=True) + 10 * np.finfo(np.float64).eps  # for an empty component
    means = (share * points).sum(axis=1, keepdims=True) / size
    variances = (share * points**2).sum(axis=1, keepdims=True) / size - means**2
    return size / size.sum(), means, variances + VARIANCE_FLOOR


def _log_joint(values: np.ndarray, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """log p(component, value): [C, N]."""
    return np.log(weights) - (np.log(2 * np.pi * variances) + (values - means) ** 2 / variances) / 2


def beta(scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Two beta distributions fitted to `scaled` [N] by EM with weighted moments (Arazo 2019, section 3.1).

    Returns:
      As `gaussian`; the gain is over one beta distribution.
    """
    low, high = np.percentile(scaled, [5, 95])
    x = np.clip((scaled - low) / max(high - low, 1e-12), 1e-4, 1 - 1e-4)  # [N]
    within = (scaled > low) & (scaled < high)  # clipped values pile up and would attract a component
    inner = x[within] if within.mean() > 0.5 else x  # many equal losses have no tails to leave out
    low_half = inner < 0.5  # from Arazo's initial shares, 1 - x and x, EM can collapse to one component
    parameters = _beta_moments(inner, np.stack([low_half, ~low_half]).astype(float))
    for _ in range(_BETA_STEPS):
        joint = _log_beta_joint(inner, *parameters)
        parameters = _beta_moments(inner, np.exp(joint - np.logaddexp(*joint)))
    joint = _log_beta_joint(inner, *parameters)
    one = _log_beta_joint(inner, *_beta_moments(inner, np.ones((1, len(inner))))).mean()
    means = (parameters[1] / (parameters[1] + parameters[2]))[:, 0]
    joint_of_all = _log_beta_joint(x, *parameters)
    clean = np.exp(joint_of_all[means.argmin()] - np.logaddexp(*joint_of_all))
    # Beyond the means the tails can cross again, but a larger loss must never be trusted more.
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
