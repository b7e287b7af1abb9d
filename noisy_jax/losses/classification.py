"""Classification losses, one value per sample.

All take logits [B, C] and labels, class numbers int [B] or probabilities [B, C], and return [B]. They compute in
float32 at least, also from bfloat16 logits. Below, p is the softmax of the logits, q the labels as probabilities, and y
the labelled class. The examples share

>>> logits = jnp.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
>>> labels = jnp.array([0, 2])
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from noisy_jax.config import Section, Setting

# log 0 of a one-hot label, in RCE: log(1e-4) (Wang 2019, A = -4 in units of log 10; rounded as the original's float32).
_LOG_ZERO = -9.21034049987793


def _log_softmax(logits: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))


def _targets(labels: jax.Array, like: jax.Array) -> jax.Array:
    """Labels [B] or [B, C] as probabilities [B, C]."""
    if labels.ndim == like.ndim:
        return labels.astype(like.dtype)
    return jax.nn.one_hot(labels, like.shape[-1], dtype=like.dtype)


def _at(labels: jax.Array, values: jax.Array) -> jax.Array:
    """sum_k q_k v_k, of labels [B] or [B, C] and values [B, C]: [B]."""
    return jnp.sum(_targets(labels, values) * values, axis=-1)


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy: -sum_k q_k log p_k.

    >>> cross_entropy(logits, labels)
    Array([0.24 , 1.551], dtype=float32)
    """
    return -_at(labels, _log_softmax(logits))


def negative_entropy(logits: jax.Array) -> jax.Array:
    """Negative entropy of the prediction: sum_k p_k log p_k, from -log C (uniform) to 0 (one class is certain).

    >>> negative_entropy(logits)
    Array([-0.666, -0.975], dtype=float32)
    """
    log_p = _log_softmax(logits)
    return jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def _focal_terms(logits: jax.Array, gamma: float) -> jax.Array:
    """-(1 - p)^gamma log p of every class, [B, C]; the factor is a constant for the gradient, as in the original."""
    log_p = _log_softmax(logits)
    # -expm1 is precise where p is near 1.
    factor = jax.lax.stop_gradient(-jnp.expm1(log_p)) ** gamma
    return -factor * log_p


def focal(logits: jax.Array, labels: jax.Array, *, gamma: float) -> jax.Array:
    """Focal loss: -(1 - p_y)^gamma log p_y, with no gradient through the factor, as in the original's code.

    The larger `gamma`, the less confident predictions count; 0 is cross-entropy.

    Source: Lin et al. 2017, eq. 4, https://arxiv.org/abs/1708.02002

    >>> focal(logits, labels, gamma=2.0)
    Array([0.011, 0.964], dtype=float32)
    """
    return _at(labels, _focal_terms(logits, gamma))


def normalized_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """NCE: cross-entropy over its sum for all classes, log p_y / sum_k log p_k; bounded by 1.

    Source: Ma et al. 2020, eq. 7, https://arxiv.org/abs/2006.13554

    >>> normalized_cross_entropy(logits, labels)
    Array([0.051, 0.425], dtype=float32)
    """
    log_p = _log_softmax(logits)
    return _at(labels, log_p) / jnp.sum(log_p, axis=-1)


def normalized_focal(logits: jax.Array, labels: jax.Array, *, gamma: float = 0.5) -> jax.Array:
    """NFL: the focal loss over its sum for all classes; bounded by 1.

    Source: Ma et al. 2020, eq. 8, https://arxiv.org/abs/2006.13554

    >>> normalized_focal(logits, labels)
    Array([0.025, 0.442], dtype=float32)
    """
    terms = _focal_terms(logits, gamma)
    return _at(labels, terms) / jnp.sum(terms, axis=-1)


def reverse_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """RCE: -sum_k p_k log q_k, with log 0 taken as log 1e-4 and p clipped to [1e-7, 1].

    Source: Wang et al. 2019, eq. 5, https://arxiv.org/abs/1908.06112

    >>> reverse_cross_entropy(logits, labels)
    Array([1.962, 7.258], dtype=float32)
    """
    p = jnp.clip(jnp.exp(_log_softmax(logits)), 1e-7, 1.0)
    q = _targets(labels, p)
    log_q = jnp.where(q > math.exp(_LOG_ZERO), jnp.log(jnp.maximum(q, 1e-30)), _LOG_ZERO)
    return -jnp.sum(p * log_q, axis=-1)


def mean_absolute_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """MAE: 1 - sum_k q_k p_k, half of the L1 distance between p and a one-hot label.

    Source: Ghosh et al. 2017, section 3, https://arxiv.org/abs/1712.09482

    >>> mean_absolute_error(logits, labels)
    Array([0.213, 0.788], dtype=float32)
    """
    return 1.0 - _at(labels, jnp.exp(_log_softmax(logits)))


def generalized_cross_entropy(logits: jax.Array, labels: jax.Array, *, q: float = 0.7) -> jax.Array:
    """GCE: sum_k q_k (1 - p_k^q) / q, from cross-entropy (`q` near 0) to the mean absolute error (1).

    Source: Zhang and Sabuncu 2018, eq. 6, https://arxiv.org/abs/1805.07836

    >>> generalized_cross_entropy(logits, labels)
    Array([0.221, 0.946], dtype=float32)
    """
    return _at(labels, -jnp.expm1(q * _log_softmax(logits))) / q  # precise where p is near 1


def label_smoothing(logits: jax.Array, labels: jax.Array, *, smoothing: float = 0.1) -> jax.Array:
    """Cross-entropy with the labels (1 - s) q + s / C, where s is `smoothing`.

    Source: Szegedy et al. 2016, section 7, https://arxiv.org/abs/1512.00567

    >>> label_smoothing(logits, labels)
    Array([0.373, 1.518], dtype=float32)
    """
    return (1 - smoothing) * cross_entropy(logits, labels) - smoothing * jnp.mean(_log_softmax(logits), axis=-1)


def symmetric_cross_entropy(logits: jax.Array, labels: jax.Array, *, alpha: float, beta: float) -> jax.Array:
    """SCE: alpha CE + beta RCE.

    Source: Wang et al. 2019, eq. 7, https://arxiv.org/abs/1908.06112

    >>> symmetric_cross_entropy(logits, labels, alpha=0.1, beta=1.0)
    Array([1.986, 7.413], dtype=float32)
    """
    return alpha * cross_entropy(logits, labels) + beta * reverse_cross_entropy(logits, labels)


def nfl_rce(logits: jax.Array, labels: jax.Array, *, alpha: float, beta: float, gamma: float = 0.5) -> jax.Array:
    """alpha NFL + beta RCE: an active and a passive loss, both robust.

    Source: Ma et al. 2020, section 4, https://arxiv.org/abs/2006.13554

    >>> nfl_rce(logits, labels, alpha=1.0, beta=1.0)
    Array([1.987, 7.701], dtype=float32)
    """
    return alpha * normalized_focal(logits, labels, gamma=gamma) + beta * reverse_cross_entropy(logits, labels)


def nce_rce(logits: jax.Array, labels: jax.Array, *, alpha: float, beta: float) -> jax.Array:
    """alpha NCE + beta RCE.

    Source: Ma et al. 2020, section 4, https://arxiv.org/abs/2006.13554

    >>> nce_rce(logits, labels, alpha=1.0, beta=1.0)
    Array([2.013, 7.683], dtype=float32)
    """
    return alpha * normalized_cross_entropy(logits, labels) + beta * reverse_cross_entropy(logits, labels)


def nce_mae(logits: jax.Array, labels: jax.Array, *, alpha: float, beta: float) -> jax.Array:
    """alpha NCE + beta MAE.

    Source: Ma et al. 2020, section 4, https://arxiv.org/abs/2006.13554

    >>> nce_mae(logits, labels, alpha=1.0, beta=1.0)
    Array([0.264, 1.213], dtype=float32)
    """
    return alpha * normalized_cross_entropy(logits, labels) + beta * mean_absolute_error(logits, labels)


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss as a config names it.

    Attributes:
      function: (logits [B, C], labels [B] or [B, C], settings) -> losses [B].
      settings: its settings, with the papers' values for CIFAR-10.
      by_classes: the papers' other values, by the number of classes from which on they hold (50: WebVision, 100:
        CIFAR-100).
    """

    function: Callable[..., jax.Array]
    settings: Section = dataclasses.field(default_factory=dict)
    by_classes: Mapping[int, Mapping[str, float]] = dataclasses.field(default_factory=dict)


def _weights(alpha: float, beta: float) -> Section:
    return {
        'alpha': Setting(alpha, 'weight of the first part', 0.0, 1e6),
        'beta': Setting(beta, 'weight of the second part', 0.0, 1e6),
    }


def _focusing(gamma: float) -> Section:
    return {'gamma': Setting(gamma, 'focusing exponent: how much less confident predictions count', 0.0, 100.0)}


_SMOOTHING = {'smoothing': Setting(0.1, 'share of a label spread over all classes', 0.0, 1.0)}
_EXPONENT = {'q': Setting(0.7, 'exponent: cross-entropy (near 0) to mean absolute error (1)', 1e-6, 1.0)}
_SCE = {100: {'alpha': 6.0, 'beta': 0.1}, 50: {'alpha': 10.0, 'beta': 1.0}}
_WITH_RCE = {100: {'alpha': 10.0, 'beta': 0.1}, 50: {'alpha': 50.0, 'beta': 0.1}}
_WITH_MAE = {100: {'alpha': 10.0, 'beta': 1.0}, 50: {'alpha': 50.0, 'beta': 1.0}}

LOSSES = {
    'ce': Loss(cross_entropy),
    'label_smoothing': Loss(label_smoothing, _SMOOTHING),
    'focal': Loss(focal, _focusing(2.0)),
    'nce': Loss(normalized_cross_entropy),
    'nfl': Loss(normalized_focal, _focusing(0.5)),
    'rce': Loss(reverse_cross_entropy),
    'mae': Loss(mean_absolute_error),
    'gce': Loss(generalized_cross_entropy, _EXPONENT),
    'sce': Loss(symmetric_cross_entropy, _weights(0.1, 1.0), _SCE),
    'nfl_rce': Loss(nfl_rce, _weights(1.0, 1.0) | _focusing(0.5), _WITH_RCE),
    'nce_rce': Loss(nce_rce, _weights(1.0, 1.0), _WITH_RCE),
    'nce_mae': Loss(nce_mae, _weights(1.0, 1.0), _WITH_MAE),
}
