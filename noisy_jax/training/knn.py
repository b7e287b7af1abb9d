"""Weighted k-nearest-neighbour classifier on embeddings (Wu 2018, section 3.4): judges an encoder without training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnames=('k', 'num_classes'))
def _scores(
    bank: jax.Array, bank_labels: jax.Array, queries: jax.Array, temperature: float, *, k: int, num_classes: int
) -> jax.Array:
    similarity = jnp.matmul(queries, bank.T, precision='highest')  # [Q, M]
    top, where = jax.lax.top_k(similarity, k)  # [Q, k]
    votes = jnp.exp(top / temperature)
    # Added up in place: one-hot labels [Q, k, C] would outgrow the similarities.
    row = jnp.arange(len(queries))[:, None]
    return jnp.zeros((len(queries), num_classes), votes.dtype).at[row, bank_labels[where]].add(votes)


def _normalise(rows: jax.Array) -> jax.Array:
    rows = jnp.asarray(rows, jnp.float32)
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def predict(
    bank: jax.Array,
    bank_labels: jax.Array,
    queries: jax.Array,
    *,
    k: int = 200,
    temperature: float = 0.1,
    num_classes: int,
    block: int = 1024,
) -> jax.Array:
    """Votes of the k nearest bank embeddings by cosine similarity s, each with weight exp(s / temperature).

    Args:
      bank: [M, D]; normalised inside.
      bank_labels: int [M].
      queries: [Q, D]; normalised inside.
      k: neighbours, at most M.
      temperature: sharpens the votes; below 1/88 they overflow float32.
      num_classes: C.
      block: queries at a time, so that similarities take [block, M] memory.

    Returns:
      Scores float32 [Q, C]; the largest is the prediction.
    """
    bank, bank_labels, queries = _normalise(bank), jnp.asarray(bank_labels), _normalise(queries)
    total = len(queries)
    block = min(block, total)
    queries = jnp.pad(queries, ((0, -total % block), (0, 0)))  # full blocks only: one shape, one compilation
    parts = [
        _scores(
            bank,
            bank_labels,
            queries[start : start + block],
            temperature,
            k=min(k, len(bank)),
            num_classes=num_classes,
        )
        for start in range(0, len(queries), block)
    ]
    return jnp.concatenate(parts)[:total]


def accuracy(
    bank: jax.Array, bank_labels: jax.Array, queries: jax.Array, labels: jax.Array, **settings: float
) -> float:
    """The fraction of `labels` [Q] that `predict` finds."""
    return float(np.mean(np.asarray(predict(bank, bank_labels, queries, **settings)).argmax(-1) == labels))
