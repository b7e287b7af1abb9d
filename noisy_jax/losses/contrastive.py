"""Contrastive losses over two views of a batch: per anchor, [2B], all of the first view, then all of the second."""

import jax
import jax.numpy as jnp


def _normalise(z: jax.Array) -> jax.Array:
    """Rows of length 1, in float32 at least; a row of zeros stays, with a finite gradient."""
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    return z * jax.lax.rsqrt(jnp.maximum(jnp.sum(z * z, axis=-1, keepdims=True), 1e-24))


def _log_probabilities(z1: jax.Array, z2: jax.Array, temperature: float) -> jax.Array:
    """log softmax of every anchor's similarities to all others [2B, 2B]; -inf on the diagonal."""
    z = jnp.concatenate([_normalise(z1), _normalise(z2)])  # [2B, D]
    similarity = jnp.matmul(z, z.T, precision='highest') / temperature
    similarity = jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, similarity)
    return jax.nn.log_softmax(similarity)


def _own_views(batch: int) -> tuple[jax.Array, jax.Array]:
    """Row and column of each anchor's other view in a [2B, 2B] matrix."""
    row = jnp.arange(2 * batch)
    return row, (row + batch) % (2 * batch)


def nt_xent(z1: jax.Array, z2: jax.Array, *, temperature: float = 0.5) -> jax.Array:
    """-log of the other view's share among all 2B - 1 others (SimCLR, Chen 2020, eq. 1).

    Args:
      z1: [B, D], first views; normalised inside.
      z2: [B, D], second views.
      temperature: divides the cosine similarities.

    Returns:
      [2B].
    """
    return -_log_probabilities(z1, z2, temperature)[_own_views(len(z1))]


def sup_con(
    z1: jax.Array,
    z2: jax.Array,
    labels: jax.Array,
    weights: jax.Array | None = None,
    *,
    temperature: float = 0.07,
    own_view_weight: str = 'one',
) -> jax.Array:
    """Supervised contrastive loss (Khosla 2020, eq. 2), positives weighted (Ciortan 2021, section 3.2).

    An anchor's positives are its other view and both views of all samples of its label. Their log shares are averaged
    with the weights of the positives, not of the anchor; negatives are not weighted. Without a factor T / 0.07.

    Args:
      z1: [B, D], first views; normalised inside.
      z2: [B, D], second views.
      labels: int [B].
      weights: [B], the trust in each label; None: all 1.
      temperature: divides the cosine similarities.
      own_view_weight: 'one' (the paper): the anchor's own second view has weight 1, it needs no label; 'sample' (the
        original code): the sample's weight. An anchor whose positives all weigh 0 then has loss 0 (there: NaN).

    Returns:
      [2B].

    Raises:
      ValueError: another `own_view_weight`.
    """
    if own_view_weight not in ('one', 'sample'):
        raise ValueError(f"own_view_weight: {own_view_weight!r} is unknown; choose 'one' or 'sample'")
    log_p = _log_probabilities(z1, z2, temperature)  # [2B, 2B]
    own = _own_views(len(z1))
    weights = jnp.ones(len(z1)) if weights is None else weights
    labels, weights = jnp.tile(labels, 2), jnp.tile(weights, 2).astype(log_p.dtype)
    positive = (labels[:, None] == labels[None, :]) & ~jnp.eye(len(labels), dtype=bool)
    pair_weight = positive * weights[None, :]  # [2B, 2B]
    if own_view_weight == 'one':
        pair_weight = pair_weight.at[own].set(1.0)
    total = pair_weight.sum(-1)
    weighted = jnp.sum(pair_weight * jnp.where(positive, log_p, 0.0), axis=-1)
    return -weighted / jnp.where(total > 0, total, 1.0)
