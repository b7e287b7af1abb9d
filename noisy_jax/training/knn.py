"""Weighted k-nearest-neighbour classifier on embeddings: scores an encoder without training.

Wu et al. 2018, https://arxiv.org/abs/1805.01978, section 3.4.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnames=('k', 'num_classes', 'bank_block'))
def _scores(
    bank: jax.Array,
    bank_labels: jax.Array,
    queries: jax.Array,
    own: jax.Array,
    temperature: float,
    *,
    k: int,
    num_classes: int,
    bank_block: int,
) -> jax.Array:
    queries = _normalise(queries)

    def nearer(best: tuple[jax.Array, jax.Array], start: jax.Array) -> tuple[tuple[jax.Array, jax.Array], None]:
        # The last block ends with the bank; rows that it shares with the block before are masked.
        first = jnp.minimum(start, len(bank) - bank_block)
        index = first + jnp.arange(bank_block, dtype=jnp.int32)
        block = jax.lax.dynamic_slice_in_dim(bank, first, bank_block)
        similarity = jnp.matmul(queries, block.T, precision='highest')  # [Q, bank_block]
        another = (index >= start) & (index != own[:, None])
        top, where = jax.lax.top_k(jnp.where(another, similarity, -jnp.inf), min(k, bank_block))
        # Of equals the first come first, as in one block.
        top, where = jnp.concatenate([best[0], top], axis=1), jnp.concatenate([best[1], index[where]], axis=1)
        top, chosen = jax.lax.top_k(top, k)
        return (top, jnp.take_along_axis(where, chosen, axis=1)), None

    none = jnp.full((len(queries), k), -jnp.inf, queries.dtype), jnp.zeros((len(queries), k), jnp.int32)
    starts = jnp.arange(0, len(bank), bank_block, dtype=jnp.int32)
    (top, where), _ = jax.lax.scan(nearer, none, starts)  # [Q, k]
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
      block: queries at a time.
      tile: float32 similarities in memory at a time, for block queries and as much of the bank as that allows.

    Returns:
      Scores float32 [Q, C]; the largest is the prediction.
    """
    bank, bank_labels = _normalise(jnp.asarray(bank, jnp.float32)), jnp.asarray(bank_labels)
    total = len(queries)
    block = min(block, total)
    bank_blocks = math.ceil(len(bank) / max(tile // block, 1))
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
            bank_block=math.ceil(len(bank) / bank_blocks),
        )
        parts.append(scores)
    return jnp.concatenate(parts)[:total]


def label_of_neighbours(
    embeddings: jax.Array, labels: jax.Array, *, k: int, num_classes: int, temperature: float = 0.1
) -> np.ndarray:
    """The label that the `k` nearest neighbours of each row vote for, as in `predict`, without its own: int32 [N]."""
    settings = {'temperature': temperature, 'num_classes': num_classes, 'leave_one_out': True}
    return np.asarray(predict(embeddings, labels, embeddings, k=k, **settings)).argmax(-1).astype(np.int32)


def accuracy(
    bank: jax.Array, bank_labels: jax.Array, queries: jax.Array, labels: jax.Array, **settings: float
) -> float:
    """The fraction of `labels` [Q] that `predict` finds."""
    return float(np.mean(np.asarray(predict(bank, bank_labels, queries, **settings)).argmax(-1) == labels))
