"""Contrastive losses, one value per anchor.

`nt_xent` and `sup_con` contrast two views of a batch and return [2B], the first views, then the second. Both are a
log-sum-exp over all other embeddings minus the mean similarity to the positives; `log_sum_exp.py` computes the former,
dense or in blocks.

`info_nce` and `queue_sup_con` contrast queries with their keys and a queue of earlier keys, and return [B].

The examples share

>>> z1 = jnp.array([[1.0, 0.0], [0.0, 1.0]])
>>> z2 = jnp.array([[1.0, 0.1], [0.1, 1.0]])
>>> queue = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
"""

import jax
import jax.numpy as jnp

from noisy_jax.errors import InputError
from noisy_jax.losses.log_sum_exp import log_sum_exp, on_every_device


def _pairs(z1: jax.Array, z2: jax.Array, temperature: float) -> jax.Array:
    """Both views [B, 2, D], whose inner products are cosine similarities over the temperature.

    The two views get an axis of their own: concatenating them would move a sharded batch between devices.
    """
    return normalise(jnp.stack([z1, z2], axis=1), temperature)


def _others(z: jax.Array, block_size: int | None) -> jax.Array:
    """Log-sum-exp of each anchor over its 2B - 1 others: [B, 2, D] -> [B, 2]."""
    return log_sum_exp(z.reshape(-1, z.shape[-1]), block_size=block_size).reshape(-1, 2)


def nt_xent(z1: jax.Array, z2: jax.Array, *, temperature: float = 0.5, block_size: int | None = None) -> jax.Array:
    """NT-Xent, the loss of SimCLR: -log of the softmax share of an anchor's other view among all 2B - 1 others.

    Args:
      z1: [B, D], embeddings of the first views; normalised inside.
      z2: [B, D], embeddings of the second views.
      temperature: divides the cosine similarities.
      block_size: columns of the similarity matrix computed at a time, which makes memory linear in the batch; 0: all;
        None: chosen by the batch size.

    Returns:
      [2B].

    Source: Chen et al. 2020, eq. 1, https://arxiv.org/abs/2002.05709

    >>> nt_xent(z1, z2)
    Array([0.265, 0.265, 0.315, 0.315], dtype=float32)
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
    """Supervised contrastive loss with weighted positives.

    An anchor's positives are its other view and both views of every sample with its label. Their -log softmax shares
    are averaged by the positives' weights; anchor and negatives have none. Their code has a factor T / 0.07 too.

    Args:
      z1: [B, D], embeddings of the first views; normalised inside.
      z2: [B, D], embeddings of the second views.
      labels: int [B].
      weights: [B], the trust in each label, at least 0; None: all 1.
      temperature: divides the cosine similarities.
      own_view_weight: weight of the anchor's other view. 'one' (the paper): 1, since it needs no label; 'sample' (the
        original's code): the sample's weight. The loss of an anchor whose positives all weigh 0 is then 0, not NaN.
      block_size: as in `nt_xent`.

    Returns:
      [2B].

    Raises:
      InputError: `own_view_weight` is neither 'one' nor 'sample'.

    Source: Khosla et al. 2020, eq. 2, https://arxiv.org/abs/2004.11362; weights: Ciortan et al. 2021, section 3.2,
    https://doi.org/10.3390/data6060061

    >>> sup_con(z1, z2, jnp.array([0, 0]), weights=jnp.array([1.0, 0.5]), temperature=0.5)
    Array([1.21 , 1.525, 1.161, 1.443], dtype=float32)
    """
    if own_view_weight not in ('one', 'sample'):
        raise InputError(f"own_view_weight: {own_view_weight!r} is unknown; choose 'one' or 'sample'")
    z = _pairs(z1, z2, temperature)
    weights = jnp.ones(len(z), z.dtype) if weights is None else weights.astype(z.dtype)
    own = jnp.ones_like(weights) if own_view_weight == 'one' else weights

    # Positives of a label are summed once, and an anchor subtracts its own image: linear in the batch.
    labels = jnp.asarray(labels)
    every_label = on_every_device(labels)
    ordered = jnp.sort(every_label)

    def sums(values: jax.Array) -> jax.Array:
        """Sum over all images that share an image's label: [B, ...] -> [B, ...]."""
        by_label = jnp.zeros_like(values).at[jnp.searchsorted(ordered, every_label)].add(values)
        return by_label[jnp.searchsorted(ordered, labels)]

    every_weight = on_every_device(weights)
    others = sums(every_weight[:, None] * on_every_device(z).sum(1)) - weights[:, None] * z.sum(1)  # [B, D]
    positives = others[:, None] + own[:, None, None] * z[:, ::-1]  # [B, 2, D]
    total = (sums(2 * every_weight) - 2 * weights + own)[:, None]  # [B, 1], the weight of all positives
    none = total <= 0  # false where a weight is NaN: the loss is NaN then, and the run stops
    similarity = jnp.sum(z * positives, axis=-1) / jnp.where(none, 1.0, total)
    return jnp.where(none, 0.0, _others(z, block_size) - similarity).T.reshape(-1)


def info_nce(queries: jax.Array, keys: jax.Array, queue: jax.Array, *, temperature: float = 0.07) -> jax.Array:
    """InfoNCE, the loss of MoCo: -log of the softmax share of a query's own key among it and the queue.

    Args:
      queries: [B, D]; normalised inside, as are the keys.
      keys: [B, D], from the momentum encoder; no gradient flows into them.
      queue: [K, D], normalised keys of earlier batches, all of them negatives.
      temperature: divides the cosine similarities.

    Returns:
      [B].

    Source: He et al. 2020, eq. 1, https://arxiv.org/abs/1911.05722

    >>> info_nce(z1, z2, queue, temperature=0.5)
    Array([0.707, 0.242], dtype=float32)
    """
    labels, nobody, weights = jnp.zeros(len(queries), jnp.int32), jnp.full(len(queue), -1), jnp.ones(len(queue))
    return queue_sup_con(queries, keys, labels, queue, nobody, weights, temperature=temperature)


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
    """Supervised MoCo: `sup_con` against a queue. Positives are a query's own key and the queued keys of its label.

    Their -log softmax shares are averaged with their weights; the own key, which needs no label, has weight 1.

    Args:
      queries: [B, D]; normalised inside, as are the keys.
      keys: [B, D], from the momentum encoder; no gradient flows into them.
      labels: int [B].
      queue: [K, D], normalised keys of earlier batches.
      queue_labels: int [K]; -1 marks a key that is nobody's positive.
      queue_weights: [K], the trust in each label.
      temperature: divides the cosine similarities.

    Returns:
      [B].

    Source: Ciortan et al. 2021, section 3.2, https://doi.org/10.3390/data6060061

    >>> queue_sup_con(z1, z2, jnp.array([0, 1]), queue, jnp.array([0, -1]), jnp.array([0.5, 0.5]), temperature=0.5)
    Array([0.704, 0.242], dtype=float32)
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
    """Scales rows [..., D] to a squared length of 1 / temperature, in float32 at least.

    A row of zeros stays as it is and has no gradient.

    >>> normalise(jnp.array([3.0, 4.0]))
    Array([0.6, 0.8], dtype=float32)
    """
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    square = jnp.sum(z * z, axis=-1, keepdims=True)
    alive = square > 1e-24
    # Gradients stay finite by the inner `where`; a floor instead would give a dead row a gradient of 1e12.
    return z * jnp.where(alive, jax.lax.rsqrt(jnp.where(alive, square, 1.0) * temperature), 0.0)
