"""The fourteen operations of SCAN's strong augmentation (Van Gansbeke 2020, from RandAugment), as Pillow's ImageOps.

Under `vmap` every image draws its own operations, and then all of them are computed for every image. So the five that
move pixels are one gather through a drawn matrix.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noisy_jax.data.augment import colour
from noisy_jax.data.augment.geometry import rotation, warp

# Name and range of the amount. Shears and shifts are fractions of the side; a threshold is a level of 256.
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
    """`count` operations one after the other, each drawn from all, with an amount drawn from its range."""
    low, high = jnp.array(list(OPERATIONS.values())).T

    def step(image: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        which_key, amount_key = jax.random.split(key)
        which = jax.random.randint(which_key, (), 0, len(OPERATIONS))
        return operation(image, which, jax.random.uniform(amount_key, minval=low[which], maxval=high[which])), None

    return jax.lax.scan(step, image, jax.random.split(key, count))[0]  # compiled once


def operation(image: jax.Array, which: jax.Array, amount: jax.Array) -> jax.Array:
    """The operation number `which` of OPERATIONS on a float image [H, W, C] in [0, 1]."""
    matrices = _matrices(amount, *image.shape[:2])
    identity = jnp.eye(2, 3)
    moves = which < len(matrices)
    matrix = jnp.where(moves, jnp.stack(matrices)[jnp.where(moves, which, 0)], identity)
    # The nearest pixel as in SCAN's code, which takes Pillow's default. XLA on a CPU would read it anew in each branch.
    image = jax.lax.optimization_barrier(warp(image, matrix, nearest=True))
    return jax.lax.switch(jnp.maximum(which - len(matrices), 0), _COLOURS, image, amount)


def _matrices(amount: jax.Array, height: int, width: int) -> list[jax.Array]:
    """[2, 3] for `warp` of the first operations."""
    zero, one = jnp.zeros(()), jnp.ones(())

    def matrix(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array, e: jax.Array, f: jax.Array) -> jax.Array:
        return jnp.array([[a, b, c], [d, e, f]])

    return [
        rotation(amount, height, width),
        matrix(one, amount, zero, zero, one, zero),
        matrix(one, zero, zero, amount, one, zero),
        matrix(one, zero, amount * width, zero, one, zero),
        matrix(one, zero, zero, zero, one, amount * height),
    ]


def _levels(image: jax.Array) -> jax.Array:
    """int32 0..255: what Pillow sees."""
    return jnp.round(image * 255).astype(jnp.int32)


def _histogram(levels: jax.Array) -> jax.Array:
    """[C, 256]: how many pixels of a channel have each level. Matrix products of one-hots took 30 times as long."""
    channels = levels.shape[-1]
    bins = (levels + 256 * jnp.arange(channels)).reshape(-1)
    return jnp.zeros(256 * channels, jnp.int32).at[bins].add(1).reshape(channels, 256)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel to black and white."""
    levels = _levels(image)
    low, high = levels.min((0, 1)), levels.max((0, 1))  # [C]
    span = jnp.maximum(high - low, 1)
    stretched = jnp.clip((levels - low) * 255 // span, 0, 255)
    return jnp.where(high > low, stretched, levels) / 255.0


def equalize(image: jax.Array) -> jax.Array:
    """Makes the levels of each channel about equally frequent, as Pillow's `equalize` on 8 bits."""
    levels = _levels(image)
    counts = _histogram(levels)
    below = jnp.cumsum(counts, -1)
    last = jnp.take_along_axis(counts, levels.max((0, 1))[:, None], -1)[:, 0]  # pixels of the highest level
    step = (below[:, -1] - last) // 255
    table = (step[:, None] // 2 + below - counts) // jnp.maximum(step[:, None], 1)  # [C, 256]
    table = jnp.where(step[:, None] > 0, jnp.minimum(table, 255), jnp.arange(256))
    table = jax.lax.optimization_barrier(table)  # else XLA on a CPU computes an entry anew for every pixel
    return table.reshape(-1)[levels + 256 * jnp.arange(len(table))] / 255.0


def solarize(image: jax.Array, threshold: jax.Array) -> jax.Array:
    """Inverts what is not darker than the level `threshold`."""
    return jnp.where(_levels(image) < threshold, image, 1.0 - image)


def posterize(image: jax.Array, bits: jax.Array) -> jax.Array:
    """Keeps the highest `bits` (whole part) of the 8 bits of each level."""
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
