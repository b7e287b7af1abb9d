"""The fourteen operations of RandAugment that SCAN's strong policy and AutoAugment draw from, as Pillow's ImageOps.

Under `vmap` every image draws its own operations, so that all of them are computed for every image. The five that move
pixels are therefore a single gather through a drawn matrix.

Source: Van Gansbeke et al. 2020, https://arxiv.org/abs/2005.12320; Cubuk et al. 2019, https://arxiv.org/abs/1909.13719
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noisy_jax.data.augment import colour
from noisy_jax.data.augment.geometry import rotation, warp

# Ranges of the amount by name. Shears and shifts are fractions of the side; a threshold is a level of 256.
OPERATIONS: dict[str, tuple[float, float]] = {
    'rotate': (-30.0, 30.0),
    'shear_x': (-0.1, 0.1),
    'shear_y': (-0.1, 0.1),
    'translate_x': (-0.1, 0.1),
    'translate_y': (-0.1, 0.1),
    'identity': (0.0, 1.0),
    'autocontrast': (0.0, 1.0),
    'equalize': (0.0, 1.0),
    'solarize': (0.0, 256.0),
    'posterize': (4.0, 8.0),
    'color': (0.05, 0.95),
    'contrast': (0.05, 0.95),
    'brightness': (0.05, 0.95),
    'sharpness': (0.05, 0.95),
}


def random_operations(key: jax.Array, image: jax.Array, *, count: int = 4) -> jax.Array:
    """Applies `count` operations in turn, each drawn from all fourteen, with an amount drawn from its range."""
    low, high = jnp.array(list(OPERATIONS.values())).T

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        which_key, amount_key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, len(OPERATIONS))
        return which, jax.random.uniform(amount_key, minval=low[which], maxval=high[which])

    return in_turn(image, *jax.vmap(draw)(jax.random.split(key, count)))


def in_turn(image: jax.Array, which: jax.Array, amounts: jax.Array) -> jax.Array:
    """Applies the operations number `which` [K] of OPERATIONS, by `amounts` [K], one after another."""

    def step(image: jax.Array, each: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return operation(image, *each), None

    return jax.lax.scan(step, image, (which, amounts))[0]  # compiled once


def operation(image: jax.Array, which: jax.Array, amount: jax.Array) -> jax.Array:
    """Applies operation number `which` of OPERATIONS to a float image [H, W, C] in [0, 1]."""
    matrices = _matrices(amount, *image.shape[:2])
    identity = jnp.eye(2, 3)
    moves = which < len(matrices)
    matrix = jnp.where(moves, jnp.stack(matrices)[jnp.where(moves, which, 0)], identity)
    # Nearest pixel as in SCAN's code, Pillow's default. Without the barrier XLA on a CPU reads it again in each branch.
    image = jax.lax.optimization_barrier(warp(image, matrix, nearest=True))
    changes = [lambda *args, change=change: change(*args).astype(image.dtype) for change in _COLOURS]
    return jax.lax.switch(jnp.maximum(which - len(matrices), 0), changes, image, amount)


def _matrices(amount: jax.Array, height: int, width: int) -> list[jax.Array]:
    """Matrices [2, 3] for `warp`, of the operations that move pixels."""
    return [
        rotation(amount, height, width),
        jnp.array([[1.0, amount, 0.0], [0.0, 1.0, 0.0]]),
        jnp.array([[1.0, 0.0, 0.0], [amount, 1.0, 0.0]]),
        jnp.array([[1.0, 0.0, amount * width], [0.0, 1.0, 0.0]]),
        jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, amount * height]]),
    ]


def _levels(image: jax.Array) -> jax.Array:
    """Levels int32 from 0 to 255, as Pillow sees them."""
    return jnp.round(image * 255).astype(jnp.int32)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel to black and white."""
    levels = _levels(image)
    low, high = levels.min((0, 1)), levels.max((0, 1))  # [C]
    span = jnp.maximum(high - low, 1)
    stretched = jnp.clip((levels - low) * 255 // span, 0, 255)
    return jnp.where(high > low, stretched, levels) / 255.0


def equalize(image: jax.Array) -> jax.Array:
    """Equalises the histogram of each channel, as Pillow's `equalize` on 8 bits."""
    levels = _levels(image)
    channels = levels.shape[-1]
    bins = levels + 256 * jnp.arange(channels)
    # A scatter: matrix products of one-hots took 30 times as long.
    counts = jnp.zeros(256 * channels, jnp.int32).at[bins.reshape(-1)].add(1).reshape(channels, 256)
    below = jnp.cumsum(counts, -1)
    last = jnp.take_along_axis(counts, levels.max((0, 1))[:, None], -1)[:, 0]  # pixels of the highest level
    step = (below[:, -1] - last) // 255
    table = (step[:, None] // 2 + below - counts) // jnp.maximum(step[:, None], 1)  # [C, 256]
    table = jnp.where(step[:, None] > 0, jnp.minimum(table, 255), jnp.arange(256))
    table = jax.lax.optimization_barrier(table)  # XLA on a CPU else recomputes an entry for every pixel
    return table.reshape(-1)[bins] / 255.0


def solarize(image: jax.Array, threshold: jax.Array) -> jax.Array:
    """Inverts pixels from the level `threshold` up."""
    return jnp.where(_levels(image) < threshold, image, 1.0 - image)


def posterize(image: jax.Array, bits: jax.Array) -> jax.Array:
    """Keeps the highest floor(`bits`) of the 8 bits of each level."""
    step = 2 ** (8 - jnp.floor(bits).astype(jnp.int32))
    return _levels(image) // step * step / 255.0


_COLOURS: list[Callable[[jax.Array, jax.Array], jax.Array]] = [
    lambda image, _: image,
    lambda image, _: autocontrast(image),
    lambda image, _: equalize(image),
    solarize,
    posterize,
    colour.saturation,
    colour.contrast,
    colour.brightness,
    colour.sharpness,
]
