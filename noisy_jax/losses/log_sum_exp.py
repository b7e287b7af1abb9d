"""The log-sum-exp of each row's inner products with all others: dense for small batches, in blocks for large ones.

In blocks the memory is linear in the batch. Rows of a batch that is spread over devices stay where they are; every
device receives all rows once, as the other side of its own.
"""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

# Up to so many rows the dense form is as fast (experiments/contrastive_memory.py).
_DENSE_ROWS = 2048
_BLOCK = 128


def log_sum_exp(z: jax.Array, *, block_size: int | None = None) -> jax.Array:
    """log sum_{j != i} exp(z_i . z_j): [n, D] -> [n].

    Args:
      z: [n, D].
      block_size: columns of the similarities at a time; 0: all; None: all for small n.
    """
    if block_size is None:
        block_size = 0 if len(z) <= _DENSE_ROWS else _BLOCK
    return _blocks(z, block_size) if block_size else _dense(z)


def on_every_device(rows: jax.Array) -> jax.Array:
    """All rows on each device of the mesh that the program is traced for (training.loop); nothing moves without one."""
    if jax.sharding.get_abstract_mesh().empty:
        return rows
    return jax.lax.with_sharding_constraint(rows, PartitionSpec())


def _dense(z: jax.Array) -> jax.Array:
    similarity = jnp.matmul(z, on_every_device(z).T, precision='highest')  # [n, n]
    return jax.nn.logsumexp(jnp.where(jnp.eye(len(z), dtype=bool), -jnp.inf, similarity), axis=1)


def _cut(rows: jax.Array, size: int, fill: float = 0) -> jax.Array:
    """[n, ...] -> [ceil(n / size), size, ...]."""
    padding = [(0, -len(rows) % size)] + [(0, 0)] * (rows.ndim - 1)
    return jnp.pad(rows, padding, constant_values=fill).reshape(-1, size, *rows.shape[1:])


def _similarity(z: jax.Array, columns: jax.Array, where: jax.Array) -> jax.Array:
    """[n, D], [b, D] -> [n, b]; -inf for a row with itself and for columns that fill up (`where` [b] is -1)."""
    similarity = jnp.matmul(z, columns.T, precision='highest')
    itself = jnp.arange(len(z))[:, None] == where
    return jnp.where(itself | (where < 0), -jnp.inf, similarity)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _blocks(z: jax.Array, block_size: int) -> jax.Array:
    return _forward(z, block_size)[0]


def _forward(z: jax.Array, block_size: int) -> tuple:
    """A running maximum and the sum below it (Milakov 2018), over blocks of columns."""
    blocks = _cut(on_every_device(z), block_size), _cut(jnp.arange(len(z)), block_size, -1)

    def add(carry: tuple, block: tuple) -> tuple:
        highest, total = carry  # [n], [n]
        similarity = _similarity(z, *block)
        new = jnp.maximum(highest, similarity.max(axis=1))
        total = total * jnp.exp(highest - new) + jnp.exp(similarity - new[:, None]).sum(axis=1)
        return (new, total), None

    lowest = jnp.full(len(z), jnp.finfo(z.dtype).min, z.dtype)  # not -inf: -inf - -inf is no number
    (highest, total), _ = jax.lax.scan(add, (lowest, jnp.zeros_like(lowest)), blocks)
    value = highest + jnp.log(total)
    return value, (z, blocks, value)


def _backward(block_size: int, saved: tuple, cotangent: jax.Array) -> tuple:
    """A row's gradient as anchor and as another's column at once: no device sums up what others found."""
    z, blocks, value = saved

    def add(gradient: jax.Array, block: tuple) -> tuple:
        columns, where, column_value, column_cotangent = block
        similarity = _similarity(z, columns, where)
        share = jnp.exp(similarity - value[:, None]) * cotangent[:, None]
        share += jnp.exp(similarity - column_value) * column_cotangent
        return gradient + jnp.matmul(share, columns, precision='highest'), None

    columns = (*blocks, *(_cut(on_every_device(numbers), block_size) for numbers in (value, cotangent)))
    gradient, _ = jax.lax.scan(add, jnp.zeros_like(z), columns)
    return (gradient,)


_blocks.defvjp(_forward, _backward)
