"""Early-learning regularisation: a memory of past predictions [N, C] keeps the network from memorising wrong labels.

Source: Liu et al. 2020, https://arxiv.org/abs/2007.00151
"""

import jax
import jax.numpy as jnp

from noisy_jax.losses.classification import cross_entropy

TARGETS = 'elr_targets'  # the name of the memory
_LOW = 1e-4  # bound of predictions, which are clipped to [1e-4, 1 - 1e-4]


def _clipped_softmax(logits: jax.Array) -> jax.Array:
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jnp.clip(jax.nn.softmax(logits), _LOW, 1.0 - _LOW)


def elr_targets(targets: jax.Array, index: jax.Array, logits: jax.Array, *, beta: float) -> jax.Array:
    """Updates the memory with a batch: t_i <- beta t_i + (1 - beta) p_i (eq. 9), without gradient.

    Args:
      targets: [N, C], the memory.
      index: int [B], rows of the batch in the memory.
      logits: [B, C]; their softmax is clipped and renormalised.
      beta: share of the old memory that stays.

    Returns:
      [N, C]; rows outside the batch are unchanged.

    >>> elr_targets(jnp.zeros((3, 2)), jnp.array([1]), jnp.array([[2.0, 0.0]]), beta=0.7)
    Array([[0.   , 0.   ],
           [0.264, 0.036],
           [0.   , 0.   ]], dtype=float32)
    """
    p = jax.lax.stop_gradient(_clipped_softmax(logits))
    p = p / p.sum(-1, keepdims=True)
    return targets.at[index].set((beta * targets[index] + (1 - beta) * p).astype(targets.dtype))


def elr(logits: jax.Array, labels: jax.Array, targets_of_batch: jax.Array, *, lam: float) -> jax.Array:
    """ELR: cross-entropy + lambda log(1 - <p, t>) (eq. 6).

    Args:
      logits: [B, C].
      labels: int [B], or probabilities [B, C].
      targets_of_batch: [B, C], rows of the memory after its update with these logits.
      lam: weight of the regulariser.

    Returns:
      [B].

    >>> elr(jnp.array([[2.0, 0.0]]), jnp.array([1]), jnp.array([[0.8, 0.2]]), lam=3.0)
    Array([-1.784], dtype=float32)
    """
    p = _clipped_softmax(logits)
    agreement = jnp.sum(p * jax.lax.stop_gradient(targets_of_batch), axis=-1)
    return cross_entropy(logits, labels) + lam * jnp.log(1.0 - agreement)


def weigh_labels(labels: jax.Array, targets_of_batch: jax.Array) -> jax.Array:
    """Labels multiplied by the targets, class by class, and renormalised: what the targets hold for likely counts more.

    Args:
      labels: probabilities [B, C], of mixed images.
      targets_of_batch: [B, C], rows of the memory, mixed alike.

    Returns:
      Probabilities [B, C].

    Source: ELR+ for CIFAR-100 in the authors' code, https://github.com/shengliu66/ELR, ELR_plus/model/loss.py

    >>> weigh_labels(jnp.array([[0.5, 0.5, 0.0]]), jnp.array([[0.6, 0.2, 0.1]]))
    Array([[0.75, 0.25, 0.  ]], dtype=float32)
    """
    product = labels * jax.lax.stop_gradient(targets_of_batch)
    return product / jnp.maximum(product.sum(-1, keepdims=True), 1e-12)
