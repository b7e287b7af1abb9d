"""Early-learning regularisation (Liu 2020): a memory of past predictions [N, C] holds back the learning by heart."""

import jax
import jax.numpy as jnp

from noisy_jax.losses.classification import cross_entropy

_LOW = 1e-4  # predictions are clipped to [1e-4, 1 - 1e-4]


def _clipped_softmax(logits: jax.Array) -> jax.Array:
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jnp.clip(jax.nn.softmax(logits), _LOW, 1.0 - _LOW)


def elr_targets(targets: jax.Array, index: jax.Array, logits: jax.Array, *, beta: float) -> jax.Array:
    """The memory after a batch: t_i <- beta t_i + (1 - beta) p_i (Liu 2020, eq. 9), without gradient.

    Args:
      targets: [N, C], the memory.
      index: [B], the samples of the batch.
      logits: [B, C]; their softmax is clipped and renormalised.
      beta: how much of the old memory stays.

    Returns:
      [N, C]; rows outside the batch as they were.
    """
    p = jax.lax.stop_gradient(_clipped_softmax(logits))
    p = p / p.sum(-1, keepdims=True)
    return targets.at[index].set((beta * targets[index] + (1 - beta) * p).astype(targets.dtype))


def elr(logits: jax.Array, labels: jax.Array, targets_of_batch: jax.Array, *, lam: float) -> jax.Array:
    """CE + lambda log(1 - <p, t>) (Liu 2020, eq. 6).

    Args:
      logits: [B, C].
      labels: [B] or [B, C].
      targets_of_batch: [B, C], the memory of these samples, this prediction included.
      lam: weight of the regulariser.

    Returns:
      [B].
    """
    p = _clipped_softmax(logits)
    agreement = jnp.sum(p * jax.lax.stop_gradient(targets_of_batch), axis=-1)
    return cross_entropy(logits, labels) + lam * jnp.log(1.0 - agreement)
