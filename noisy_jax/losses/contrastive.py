"""Contrastive losses, per anchor.

Over two views of a batch (`nt_xent`, `sup_con`): [2B], all of the first view, then all of the second. Both are a
log-sum-exp over all other embeddings minus the mean similarity to the positives. The log-sum-exp is the part that sees
every pair; `log_sum_exp.py` has it dense and in blocks.

Of queries against their keys and a queue of earlier keys (`info_nce`, `queue_sup_con`): [B].
"""

import jax
import jax.numpy as jnp

from noisy_jax.errors import InputError
from noisy_jax.losses.log_sum_exp import log_sum_exp, on_every_device


def _pairs(z1: jax.Array, z2: jax.Array, temperature: float) -> jax.Array:
    """[B, 2, D], in float32 at least, whose inner products are cosine similarities over the temperature.

    Views one after the other would move data between devices.
    """
    return normalise(jnp.stack([z1, z2], axis=1), temperature)


def _others(z: jax.Array, block_size: int | None) -> jax.Array:
    """[B, 2, D] -> [B, 2]: each anchor's log-sum-exp over all 2B - 1 others."""
    return log_sum_exp(z.reshape(-1, z.shape[-1]), block_size=block_size).reshape(-1, 2)


def nt_xent(z1: jax.Array, z2: jax.Array, *, temperature: float = 0.5, block_size: int | None = None) -> jax.Array:
    """-log of the other view's share among all 2B - 1 others (SimCLR, Chen 2020, eq. 1).

    Args:
      z1: [B, D], first views; normalised inside.
      z2: [B, D], second views.
      temperature: divides the cosine similarities.
      block_size: similarities at a time per anchor; 0: all; None: by the size of the batch. The result is the same.

    Returns:
      [2B].
    """
    z = _pairs(z1, z2, temperature)
    other_view = jnp.sum(z[:, 0] * z[:, 1], axis=-1, keepdims=True)  # [B, 1]
    return (_others(z, block_size) - other_view).T.reshape(-1)


def sup_con(
    z1: jax.Array,
    z2: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None = None,
    *,
    temperature: float = 0.07,
    own_view_weight: str = 'one',
    block_size: int | None = None,
) -> jax.Array:
    """Supervised contrastive loss (Khosla 2020, eq. 2), positives weighted (Ciortan 2021, section 3.2).

    An anchor's positives are its other view and both views of all samples of its label. Their log shares are averaged
    with the weights of the positives, not of the anchor; negatives are not weighted. Without a factor T / 0.07.

    Args:
      z1: [B, D], first views; normalised inside.
      z2: [B, D], second views.
      labels: int [B].
      weights: [B], the trust in each label, 0 or more; None: all 1.
      temperature: divides the cosine similarities.
      own_view_weight: 'one' (the paper): the anchor's own second view has weight 1, it needs no label; 'sample' (the
        original code): the sample's weight. An anchor whose positives all weigh 0 then has loss 0 (there: NaN).
      block_size: as in `nt_xent`.

    Returns:
      [2B].

    Raises:
      InputError: another `own_view_weight`.
    """
    if own_view_weight not in ('one', 'sample'):
        raise InputError(f"own_view_weight: {own_view_weight!r} is unknown; choose 'one' or 'sample'")
    z = _pairs(z1, z2, temperature)
    weights = jnp.ones(len(z)) if weights is None else weights
    weights = weights.astype(z.dtype)
    own = jnp.ones_like(weights) if own_view_weight == 'one' else weights

    # All positives of a label have one sum, from which an anchor takes out its own image: linear in the batch.
    labels = jnp.asarray(labels)
    every_label = on_every_device(labels)
    ordered = jnp.sort(every_label)

    def sums(values: jax.Array) -> jax.Array:
        """Over all images of each image's label: [B, ...] -> [B, ...]."""
        by_label = jnp.zeros_like(values).at[jnp.searchsorted(ordered, every_label)].add(values)
        return by_label[jnp.searchsorted(ordered, labels)]

    every_weight = on_every_device(weights)
    others = sums(every_weight[:, None] * on_every_device(z).sum(1)) - weights[:, None] * z.sum(1)  # [B, D]
    positives = others[:, None] + own[:, None, None] * z[:, ::-1]  # [B, 2, D]
    total = (sums(2 * every_weight) - 2 * weights + own)[:, None]  # [B, 1], the weight of all positives
    some = total > 0
    similarity = jnp.sum(z * positives, axis=-1) / jnp.where(some, total, 1.0)
    return jnp.where(some, _others(z, block_size) - similarity, 0.0).T.reshape(-1)


def info_nce(queries: jax.Array, keys: jax.Array, queue: jax.Array, *, temperature: float = 0.07) -> jax.Array:
    """-log of the own key's share among it and the queue (MoCo, He 2020, eq. 1).

    Args:
      queries: [B, D]; normalised inside, as the keys.
      keys: [B, D], of the momentum encoder; without gradient.
      queue: [K, D], normalised keys of earlier batches, all of them negatives.
      temperature: divides the cosine similarities.

    Returns:
      [B].
    """
    nobody = jnp.full(len(queue), -1)
    labels = jnp.zeros(len(queries), jnp.int32)
    return queue_sup_con(queries, keys, labels, queue, nobody, jnp.ones(len(queue)), temperature=temperature)


def queue_sup_con(
    queries: jax.Array,
    keys: jax.Array,
    labels: jax.Array,
    queue: jax.Array,
    queue_labels: jax.Array,
    queue_weights: jax.Array,
    *,
    temperature: float = 0.07,
) -> jax.Array:
    """`sup_con` against a queue (supervised MoCo, Ciortan 2021, section 3.2): own key, and the queue's of the label.

    The log shares of the positives are averaged with their weights; the own key, which needs no label, has weight 1.

    Args:
      queries: [B, D]; normalised inside, as the keys.
      keys: [B, D], of the momentum encoder; without gradient.
      labels: int [B].
      queue: [K, D], normalised keys of earlier batches.
      queue_labels: int [K]; -1 is nobody's.
      queue_weights: [K], the trust in each label.
      temperature: divides the cosine similarities.

    Returns:
      [B].
    """
    q, k = normalise(queries), jax.lax.stop_gradient(normalise(keys))
    own = jnp.sum(q * k, axis=-1, keepdims=True)  # [B, 1]
    others = jnp.matmul(q, queue.T, precision='highest')  # [B, K]
    weights = jnp.where(labels[:, None] == queue_labels, queue_weights, 0.0)  # [B, K]
    similarity = jnp.concatenate([own, others], axis=1) / temperature
    weights = jnp.concatenate([jnp.ones_like(own), weights], axis=1)
    positive = jnp.sum(weights * similarity, axis=1) / jnp.sum(weights, axis=1)
    return jax.nn.logsumexp(similarity, axis=1) - positive


def normalise(z: jax.Array, temperature: float = 1.0) -> jax.Array:
    """[..., D] of squared length 1 / temperature, in float32 at least; a row of zeros stays and has no gradient."""
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    square = jnp.sum(z * z, axis=-1, keepdims=True)
    alive = square > 1e-24
    # The inner `where` keeps the gradient finite; a floor instead would give a dead row a gradient of 1e12.
    return z * jnp.where(alive, jax.lax.rsqrt(jnp.where(alive, square, 1.0) * temperature), 0.0)
