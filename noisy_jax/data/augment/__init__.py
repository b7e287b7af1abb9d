"""Augmentation of one float image [H, W, C] in [0, 1]; `apply` and `two_views` vmap it over a batch.

`geometry` moves pixels, `colour` changes them, `operations` has the fourteen of RandAugment, `sub_policies` has
AutoAugment's pairs of them, `policies` combines all.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from noisy_jax.data.augment.policies import POLICIES as POLICIES
from noisy_jax.data.augment.policies import settings as settings
from noisy_jax.errors import InputError

Policy = Callable[[jax.Array, jax.Array], jax.Array]  # (key, image [H, W, C]) -> image [H, W, C]


def policy(name: str, **settings: float) -> Policy:
    """The augmentation `name` of POLICIES with its settings.

    Raises:
      InputError: the name is unknown.
    """
    if name not in POLICIES:
        raise InputError(f'augment: {name!r} is unknown; allowed: {", ".join(POLICIES)}')
    return functools.partial(POLICIES[name], **settings)


def to_float(images: jax.Array) -> jax.Array:
    """Converts uint8 [..., H, W, C] to float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def apply(augment: Policy, key: jax.Array, images: jax.Array) -> jax.Array:
    """Augments each image with a key of its own: uint8 [B, H, W, C] -> float32 [B, H, W, C] in [0, 1]."""
    return jax.vmap(augment)(jax.random.split(key, len(images)), to_float(images)).astype(jnp.float32)


def two_views(augment: Policy, key: jax.Array, images: jax.Array) -> jax.Array:
    """Augments each image twice: uint8 [B, H, W, C] -> float32 [B, 2, H, W, C].

    The views have an axis of their own after the batch, so that a sharded batch stays where it is.
    """
    keys = jax.random.split(key, (len(images), 2))
    return jax.vmap(jax.vmap(augment, in_axes=(0, None)))(keys, to_float(images)).astype(jnp.float32)
