"""Weighted k-nearest-neighbour classifier on embeddings: scores an encoder without training.

Wu et al. 2018, https://arxiv.org/abs/1805.01978, section 3.4.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnames=('k', 'num_classes'))
def _scores(
    bank: jax.Array,
    bank_labels: jax.Array,
    queries: jax.Array,
    own: jax.Array,
    temperature: float,
    *,
    k: int,
    num_classes: int,
) -> jax.Array:
    similarity = jnp.matmul(_normalise(queries), bank.T, precision='highest')  # [Q, M]
    another = jnp.arange(len(bank), dtype=jnp.int32) != own[:, None]
    similarity = jnp.where(another, similarity, -jnp.inf)
    top, where = jax.lax.top_k(similarity, k)  # [Q, k]; of equals the first come first
    votes = jnp.exp(top / temperature)
    # Added up in place: one-hot labels [Q, k, C] would outgrow the similarities.
    row = jnp.arange(len(queries))[:, None]
    return jnp.zeros((len(queries), num_classes), votes.dtype).at[row, bank_labels[where]].add(votes)


@jax.jit
def _normalise(rows: jax.Array) -> jax.Array:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def predict(
    bank: jax.Array,
    bank_labels: jax.Array,
    queries: jax.Array,
    *,
    k: int = 200,
    temperature: float = 0.1,
    num_classes: int,
    leave_one_out: bool = False,
    block: int = 1024,
    tile: int = 2**26,
) -> jax.Array:
    """Votes of the k nearest bank embeddings by cosine similarity s, each with weight exp(s / temperature).

    Args:
      bank: [M, D]; normalised inside.
      bank_labels: int [M].
      queries: [Q, D]; normalised inside.
      k: neighbours, at most M (one less with `leave_one_out`).
      temperature: sharpens the votes; below 1/88 they overflow float32.
      num_classes: C.
      leave_one_out: the queries are the bank, in its order, and none votes for itself.
      block: queries at a time, at most.
      tile: float32 similarities in memory at a time, for as many queries as that allows and at least one.

    Returns:
      Scores float32 [Q, C]; the largest is the prediction.
    """
    bank, bank_labels = _normalise(jnp.asarray(bank, jnp.float32)), jnp.asarray(bank_labels)
    total = len(queries)
    block = min(block, total, max(tile // len(bank), 1))
    own = np.arange(total, dtype=np.int32) if leave_one_out else np.full(total, -1, np.int32)
    parts = []
    for start in range(0, total, block):
        part = jnp.asarray(queries[start : start + block], jnp.float32)
        scores = _scores(
            bank,
            bank_labels,
            jnp.pad(part, ((0, block - len(part)), (0, 0))),  # full blocks only: one shape, one compilation
            jnp.pad(jnp.asarray(own[start : start + block]), (0, block - len(part)), constant_values=-1),
            temperature,
            k=min(k, len(bank) - leave_one_out),
            num_classes=num_classes,
        )
        parts.append(scores)
    return jnp.concatenate(parts)[:total]


def label_of_neighbours(embeddings: jax.Array, labels: jax.Array, *, k: int, num_classes: int) -> np.ndarray:
    """The label that the `k` nearest neighbours of each row vote for, as in `predict`, without its own: int32 [N]."""
    settings = {'num_classes': num_classes, 'leave_one_out': True}
    return np.asarray(predict(embeddings, labels, embeddings, k=k, **settings)).argmax(-1).astype(np.int32)


def accuracy(
    bank: jax.Array, bank_labels: jax.Array, queries: jax.Array, labels: jax.Array, **settings: float
) -> float:
    """The fraction of `labels` [Q] that `predict` finds."""
    return float(np.mean(np.asarray(predict(bank, bank_labels, queries, **settings)).argmax(-1) == labels))
