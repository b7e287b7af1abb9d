"""Log-sum-exp of each row's inner products with all others: dense for small batches, in blocks for large ones.

In blocks, memory is linear in the batch. The rows of a sharded batch stay where they are; every device receives all
rows once, to compare its own with.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

# Rows up to which the dense form is as fast (experiments/speed/contrastive_memory.py).
_DENSE_ROWS = 2048
_BLOCK = 128


def log_sum_exp(z: jax.Array, *, block_size: int | None = None) -> jax.Array:
    """log sum_{j != i} exp(z_i . z_j): [n, D] -> [n].

    Args:
      z: [n, D].
      block_size: columns of the similarity matrix computed at a time; 0: all; None: all for small n.
    """
    if block_size is None:
        block_size = 0 if len(z) <= _DENSE_ROWS else _BLOCK
    return _blocks(z, block_size) if block_size else _dense(z)


def on_every_device(rows: jax.Array) -> jax.Array:
    """Replicates rows over the mesh that the program is traced for (training.loop); does nothing without a mesh."""
    if jax.sharding.get_abstract_mesh().empty:
        return rows
    return jax.lax.with_sharding_constraint(rows, PartitionSpec())


def _dense(z: jax.Array) -> jax.Array:
    similarity = jnp.matmul(z, on_every_device(z).T, precision='highest')  # [n, n]
    return jax.nn.logsumexp(jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, similarity), axis=1)


def _similarity(z: jax.Array, columns: jax.Array, start: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """`size` columns of the similarity matrix from `start` on, [n, size], and the rows [size, D] they belong to.

    A last block that would pass the end begins earlier. The diagonal and columns seen before are -inf.
    """
    where = jnp.minimum(start, len(columns) - size) + jnp.arange(size)
    block = jax.lax.dynamic_slice_in_dim(columns, start, size)  # [size, D]
    similarity = jnp.matmul(z, block.T, precision='highest')
    itself = jnp.arange(len(z))[:, None] == where
    return jnp.where(itself | (where < start), -jnp.inf, similarity), block


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _blocks(z: jax.Array, block_size: int) -> jax.Array:
    return _forward(z, block_size)[0]


def _forward(z: jax.Array, block_size: int) -> tuple:
    """A running maximum and its sum of exponentials, block by block (Milakov 2018, https://arxiv.org/abs/1805.02867)."""
    columns, size = on_every_device(z), min(block_size, len(z))

    def add(carry: tuple, start: jax.Array) -> tuple:
        highest, total = carry  # [n], [n]
        similarity, _ = _similarity(z, columns, start, size)
        new = jnp.maximum(highest, similarity.max(axis=1))
        total = total * jnp.exp(highest - new) + jnp.exp(similarity - new[:, None]).sum(axis=1)
        return (new, total), None

    lowest = jnp.full(len(z), jnp.finfo(z.dtype).min, z.dtype)  # not -inf: -inf - -inf is no number
    (highest, total), _ = jax.lax.scan(add, (lowest, jnp.zeros_like(lowest)), jnp.arange(0, len(z), size))
    value = highest + jnp.log(total)
    return value, (z, columns, value)


def _backward(block_size: int, saved: tuple, cotangent: jax.Array) -> tuple:
    """Gradient of a row as anchor and as another's column in one pass, so that devices need not sum their shares."""
    z, columns, value = saved
    size = min(block_size, len(z))
    all_values, all_cotangents = on_every_device(value), on_every_device(cotangent)

    def add(gradient: jax.Array, start: jax.Array) -> tuple:
        similarity, block = _similarity(z, columns, start, size)
        column_value, column_cotangent = (
            jax.lax.dynamic_slice_in_dim(numbers, start, size) for numbers in (all_values, all_cotangents)
        )
        share = jnp.exp(similarity - value[:, None]) * cotangent[:, None]
        share += jnp.exp(similarity - column_value) * column_cotangent
        return gradient + jnp.matmul(share, block, precision='highest'), None

    gradient, _ = jax.lax.scan(add, jnp.zeros_like(z), jnp.arange(0, len(z), size))
    return (gradient,)


_blocks.defvjp(_forward, _backward)
