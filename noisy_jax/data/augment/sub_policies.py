"""AutoAugment's 25 sub-policies for CIFAR-10, of two operations each: Cubuk et al. 2019, table 7.

Source: https://arxiv.org/abs/1805.09501
"""

import jax
import jax.numpy as jnp

from noisy_jax.data.augment.operations import OPERATIONS, in_turn

# Name, probability and magnitude from 0 to 9 of an operation.
Operation = tuple[str, float, int]
SUB_POLICIES: tuple[tuple[Operation, Operation], ...] = (
    (('invert', 0.1, 7), ('contrast', 0.2, 6)),
    (('rotate', 0.7, 2), ('translate_x', 0.3, 9)),
    (('sharpness', 0.8, 1), ('sharpness', 0.9, 3)),
    (('shear_y', 0.5, 8), ('translate_y', 0.7, 9)),
    (('autocontrast', 0.5, 8), ('equalize', 0.9, 2)),
    (('shear_y', 0.2, 7), ('posterize', 0.3, 7)),
    (('color', 0.4, 3), ('brightness', 0.6, 7)),
    (('sharpness', 0.3, 9), ('brightness', 0.7, 9)),
    (('equalize', 0.6, 5), ('equalize', 0.5, 1)),
    (('contrast', 0.6, 7), ('sharpness', 0.6, 5)),
    (('color', 0.7, 7), ('translate_x', 0.5, 8)),
    (('equalize', 0.3, 7), ('autocontrast', 0.4, 8)),
    (('translate_y', 0.4, 3), ('sharpness', 0.2, 6)),
    (('brightness', 0.9, 6), ('color', 0.2, 8)),
    (('solarize', 0.5, 2), ('invert', 0.0, 3)),
    (('equalize', 0.2, 0), ('autocontrast', 0.6, 0)),
    (('equalize', 0.2, 8), ('equalize', 0.8, 4)),
    (('color', 0.9, 9), ('equalize', 0.6, 6)),
    (('autocontrast', 0.8, 4), ('solarize', 0.2, 8)),
    (('brightness', 0.1, 3), ('color', 0.7, 0)),
    (('solarize', 0.4, 5), ('autocontrast', 0.9, 3)),
    (('translate_y', 0.9, 9), ('translate_y', 0.7, 9)),
    (('autocontrast', 0.9, 2), ('solarize', 0.8, 3)),
    (('equalize', 0.8, 8), ('invert', 0.1, 3)),
    (('translate_y', 0.7, 9), ('autocontrast', 0.9, 1)),
)

# Amount at magnitude 0 and how much more it is at 9; those of the first kind go to either side.
_EITHER_SIDE: dict[str, tuple[float, float]] = {
    'rotate': (0.0, 30.0),
    'shear_x': (0.0, 0.3),
    'shear_y': (0.0, 0.3),
    'translate_x': (0.0, 150 / 331),  # as of ImageNet's images of 331 pixels
    'translate_y': (0.0, 150 / 331),
    'color': (1.0, 0.9),
    'contrast': (1.0, 0.9),
    'brightness': (1.0, 0.9),
    'sharpness': (1.0, 0.9),
}
_NAMES = tuple(OPERATIONS)


def step(name: str, magnitude: int) -> tuple[int, float, float]:
    """An operation of a sub-policy as number of OPERATIONS, its amount, and what is added to or taken from that."""
    if name in _EITHER_SIDE:
        amount, most = _EITHER_SIDE[name]
        return _NAMES.index(name), amount, most * magnitude / 9
    if name == 'invert':  # no pixel is darker than 0
        return _NAMES.index('solarize'), 0.0, 0.0
    amounts = {'posterize': float(round(8 - 4 * magnitude / 9)), 'solarize': 256 * (1 - magnitude / 9)}
    return _NAMES.index(name), amounts.get(name, 0.0), 0.0


def random_sub_policy(key: jax.Array, image: jax.Array) -> jax.Array:
    """Applies one of the sub-policies to a float image [H, W, C] in [0, 1]: each of its operations, or not, in turn."""
    return in_turn(image, *draw(key))


def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The operations of a random sub-policy as numbers of OPERATIONS, int32 [2], and their amounts, float32 [2]."""
    chosen_key, apply_key, side_key = jax.random.split(key, 3)
    chosen = jax.random.randint(chosen_key, (), 0, len(SUB_POLICIES))
    steps = [[step(name, magnitude) for name, _, magnitude in pair] for pair in SUB_POLICIES]
    numbers, amounts, spans = jnp.array(steps, jnp.float32).transpose(2, 0, 1)[:, chosen]  # [2] each
    probability = jnp.array([[each[1] for each in pair] for pair in SUB_POLICIES], jnp.float32)[chosen]
    which = jnp.where(jax.random.bernoulli(apply_key, probability), numbers.astype(jnp.int32), _NAMES.index('identity'))
    return which, amounts + spans * jnp.where(jax.random.bernoulli(side_key, shape=(2,)), 1.0, -1.0)
