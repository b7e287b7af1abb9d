"""Mixup of a batch with itself, and labels refined by predictions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

MIXUP = 'alpha of the beta distribution of mixup weights'  # the meaning of such settings
MOST_MIXUP = 1000.0  # all shares are a half then


class Mixing(NamedTuple):
    """Convex combinations of a batch with itself (mixup, Zhang 2018, eq. 1): mixing([B, ...]) -> [B, ...].

    Attributes:
      partner: int [B], what each sample is mixed with.
      share: scalar, of the sample itself.
    """

    partner: jax.Array
    share: jax.Array

    def __call__(self, values: jax.Array) -> jax.Array:
        return self.share * values + (1 - self.share) * values[self.partner]


def draw_mixing(key: jax.Array, size: int, alpha: float, *, own_larger: bool = False) -> Mixing:
    """A share from Beta(alpha, alpha); `own_larger`: at least a half (MixMatch, Berthelot 2019, eq. 9)."""
    share_key, partner_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32)
    return Mixing(jax.random.permutation(partner_key, size), jnp.maximum(share, 1 - share) if own_larger else share)


def cut(key: jax.Array, images: jax.Array, mixing: Mixing) -> tuple[jax.Array, Mixing]:
    """Images [B, H, W, C] with one box, of the partner's share of the area, from their partners (CutMix, Yun 2019).

    Returns:
      The images, and a mixing for their labels: a box is cut off at the border, so that its share may be smaller.

    Source: https://arxiv.org/abs/1905.04899, section 3.1
    """
    inside, ends = jnp.ones((), jnp.bool_), images.shape[1:3]
    for axis, (axis_key, end) in enumerate(zip(jax.random.split(key), ends, strict=True)):
        half = end * jnp.sqrt(1 - mixing.share) / 2
        middle = jax.random.uniform(axis_key, dtype=jnp.float32, maxval=end)
        place = jnp.arange(end, dtype=jnp.float32) + 0.5
        inside &= jnp.expand_dims(jnp.abs(place - middle) < half, 1 - axis)  # [H, W] in the end
    share = 1 - jnp.mean(inside, dtype=jnp.float32)
    return jnp.where(inside[..., None], images[mixing.partner], images), mixing._replace(share=share)


def refine(labels: jax.Array, predicted: jax.Array, trust: jax.Array) -> jax.Array:
    """Labels int [B] weighted by `trust` [B] and predictions [B, C] by the rest: probabilities [B, C]."""
    given = jax.nn.one_hot(labels, predicted.shape[-1], dtype=predicted.dtype)
    return trust[:, None] * given + (1 - trust[:, None]) * predicted


def sharpen(probabilities: jax.Array, temperature: float) -> jax.Array:
    """p^(1 / T), renormalised: nearer to one-hot for T below 1 (Berthelot 2019, eq. 7). [..., C] -> [..., C]."""
    return jax.nn.softmax(jnp.log(jnp.maximum(probabilities, 1e-30)) / temperature)


def balance(logits: jax.Array) -> jax.Array:
    """KL(uniform || mean prediction of the batch): keeps all classes in use (Arazo 2019, eq. 17). [B, C] -> scalar."""
    mean = jax.nn.softmax(logits).mean(0)
    uniform = 1 / mean.shape[-1]
    return jnp.sum(uniform * (jnp.log(uniform) - jnp.log(jnp.maximum(mean, 1e-12))))
