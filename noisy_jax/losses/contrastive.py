"""Contrastive losses over two views of a batch: per anchor, [2B], all of the first view, then all of the second."""

import jax
import jax.numpy as jnp

from noisy_jax.errors import InputError


def _normalise(z: jax.Array) -> jax.Array:
    """Rows of length 1, in float32 at least; a row of zeros stays and has no gradient."""
    z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
    square = jnp.sum(z * z, axis=-1, keepdims=True)
    alive = square > 1e-24
    # The inner `where` keeps the gradient finite; a floor instead would give a dead row a gradient of 1e12.
    return jnp.where(alive, z * jax.lax.rsqrt(jnp.where(alive, square, 1.0)), 0.0)


def _log_probabilities(z1: jax.Array, z2: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """log softmax of every anchor's similarities to all others, and where its other view stands: both [2B, 2B].

    The two views of an image are neighbours here: views one after the other would move data between devices.
    """
    z = _normalise(jnp.stack([z1, z2], axis=1)).reshape(-1, z1.shape[-1])  # [2B, D]
    similarity = jnp.matmul(z, z.T, precision='highest') / temperature
    itself = jnp.eye(len(z), dtype=bool)
    image = jnp.arange(len(z)) // 2
    other_view = (image[:, None] == image[None, :]) & ~itself
    return jax.nn.log_softmax(jnp.where(itself, -jnp.inf, similarity)), other_view


def _first_views_first(values: jax.Array) -> jax.Array:
    """[2B] with the views of an image side by side -> [2B], all of the first view, then all of the second."""
    return values.reshape(-1, 2).T.reshape(-1)


def nt_xent(z1: jax.Array, z2: jax.Array, *, temperature: float = 0.5) -> jax.Array:
    """-log of the other view's share among all 2B - 1 others (SimCLR, Chen 2020, eq. 1).

    Args:
      z1: [B, D], first views; normalised inside.
      z2: [B, D], second views.
      temperature: divides the cosine similarities.

    Returns:
      [2B].
    """
    log_p, other_view = _log_probabilities(z1, z2, temperature)
    return _first_views_first(-jnp.sum(jnp.where(other_view, log_p, 0.0), axis=-1))


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
      weights: [B], the trust in each label, 0 or more; None: all 1.
      temperature: divides the cosine similarities.
      own_view_weight: 'one' (the paper): the anchor's own second view has weight 1, it needs no label; 'sample' (the
        original code): the sample's weight. An anchor whose positives all weigh 0 then has loss 0 (there: NaN).

    Returns:
      [2B].

    Raises:
      InputError: another `own_view_weight`.
    """
    if own_view_weight not in ('one', 'sample'):
        raise InputError(f"own_view_weight: {own_view_weight!r} is unknown; choose 'one' or 'sample'")
    log_p, other_view = _log_probabilities(z1, z2, temperature)
    weights = jnp.ones(len(z1)) if weights is None else weights
    labels, weights = jnp.repeat(labels, 2), jnp.repeat(weights.astype(log_p.dtype), 2)  # [2B]
    positive = (labels[:, None] == labels[None, :]) & ~jnp.eye(len(labels), dtype=bool)
    own = 1.0 if own_view_weight == 'one' else weights[None, :]
    pair_weight = positive * jnp.where(other_view, own, weights[None, :])  # [2B, 2B]
    total = pair_weight.sum(-1)
    weighted = jnp.sum(pair_weight * jnp.where(positive, log_p, 0.0), axis=-1)
    return _first_views_first(-weighted / jnp.where(total > 0, total, 1.0))
