"""Augmentation policies: functions (key, float image [H, W, C] in [0, 1], settings) -> image [H, W, C]."""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp

from noisy_jax.config import Section, Setting
from noisy_jax.data.augment import geometry
from noisy_jax.data.augment.colour import blur, colour_jitter, draw_factor, grayscale
from noisy_jax.data.augment.operations import random_operations
from noisy_jax.data.augment.sub_policies import random_sub_policy


def _sometimes(key: jax.Array, probability: float, changed: jax.Array, image: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, probability), changed, image)


def _jittered(key: jax.Array, image: jax.Array, jitter: float, hue: float) -> jax.Array:
    strengths = {'brightness': 0.4, 'contrast': 0.4, 'saturation': 0.4, 'hue': hue}
    return colour_jitter(key, image, **{name: jitter * value for name, value in strengths.items()})


def none(key: jax.Array, image: jax.Array) -> jax.Array:
    """Returns the image as it is."""
    del key
    return image


def standard(
    key: jax.Array, image: jax.Array, *, padding: int = 4, flip: bool = True, degrees: float = 0.0
) -> jax.Array:
    """Classifiers: crop with padding, flip, rotation uniform in +-`degrees` (20 in the original's code)."""
    crop_key, turn_key = jax.random.split(key) if degrees else (key, None)
    image = geometry.crop_with_padding(crop_key, image, padding=padding, flip=flip)
    if not degrees:
        return image
    return geometry.rotate(image, jax.random.uniform(turn_key, minval=-degrees, maxval=degrees))


def simclr(
    key: jax.Array,
    image: jax.Array,
    *,
    min_scale: float = 0.2,
    flip: bool = True,
    jitter: float = 1.0,
    jitter_probability: float = 0.8,
    gray_probability: float = 0.2,
    blur_probability: float = 0.0,
) -> jax.Array:
    """SimCLR: random resized crop, flip, colour jitter, greyscale, blur with a sigma of 0.1 to 2 pixels.

    Blur is off by default, as in the paper's appendix B.9 for small images.

    Source: Chen et al. 2020, appendix A, https://arxiv.org/abs/2002.05709
    """
    crop_key, jitter_key, apply_key, gray_key, blur_key = jax.random.split(key, 5)
    image = geometry.random_resized_crop(crop_key, image, min_scale=min_scale, flip=flip)
    image = _sometimes(apply_key, jitter_probability, _jittered(jitter_key, image, jitter, hue=0.1), image)
    image = _sometimes(gray_key, gray_probability, grayscale(image), image)
    if not blur_probability:
        return image
    sigma_key, apply_key = jax.random.split(blur_key)
    blurred = blur(image, jax.random.uniform(sigma_key, minval=0.1, maxval=2.0))
    return _sometimes(apply_key, blur_probability, blurred, image)


def mopro_strong(
    key: jax.Array,
    image: jax.Array,
    *,
    min_scale: float = 0.2,
    flip: bool = True,
    jitter: float = 1.0,
    gray_probability: float = 0.2,
) -> jax.Array:
    """MoPro's strong policy: random resized crop, flip, greyscale, then always a colour jitter that is strong in hue.

    Source: Li et al. 2021, https://arxiv.org/abs/2009.07995, as in the authors' code
    """
    crop_key, gray_key, jitter_key = jax.random.split(key, 3)
    image = geometry.random_resized_crop(crop_key, image, min_scale=min_scale, flip=flip)
    image = _sometimes(gray_key, gray_probability, grayscale(image), image)
    return _jittered(jitter_key, image, jitter, hue=0.4)


def scan(
    key: jax.Array,
    image: jax.Array,
    *,
    padding: int = 0,
    flip: bool = True,
    operations: int = 4,
    cutout: int = 16,
) -> jax.Array:
    """SCAN's strong policy: crop with padding, flip, `operations` random operations of 14, cutout.

    The authors' code crops 32 of 32 pixels, which moves nothing; `padding` moves the image.

    Source: Van Gansbeke et al. 2020, https://arxiv.org/abs/2005.12320
    """
    crop_key, operation_key, hole_key = jax.random.split(key, 3)
    image = geometry.crop_with_padding(crop_key, image, padding=padding, flip=flip)
    image = random_operations(operation_key, image, count=operations)
    return geometry.cutout(hole_key, image, length=cutout) if cutout else image


def autoaugment(key: jax.Array, image: jax.Array, *, padding: int = 4, flip: bool = True) -> jax.Array:
    """AutoAugment for CIFAR-10: crop with padding, flip, one of 25 sub-policies; no cutout, as SSR has it.

    What moves out of the image leaves black behind.

    Source: Cubuk et al. 2019, https://arxiv.org/abs/1805.09501
    """
    crop_key, policy_key = jax.random.split(key)
    return random_sub_policy(policy_key, geometry.crop_with_padding(crop_key, image, padding=padding, flip=flip))


def handwriting(
    key: jax.Array,
    image: jax.Array,
    *,
    degrees: float = 15.0,
    scale: float = 0.2,
    shift: float = 1.0,
    brightness: float = 0.3,
    noise: float = 0.1,
) -> jax.Array:
    """Small grey drawings: affine map, brightness, Gaussian pixel noise; no flip, since digits are not symmetric."""
    affine_key, bright_key, noise_key = jax.random.split(key, 3)
    image = geometry.affine(affine_key, image, degrees=degrees, scale=scale, shift=shift)
    image = image * draw_factor(bright_key, brightness) + noise * jax.random.normal(noise_key, image.shape)
    return jnp.clip(image, 0.0, 1.0)


POLICIES: dict[str, Callable] = {
    'none': none,
    'standard': standard,
    'simclr': simclr,
    'moco': functools.partial(simclr, blur_probability=0.5),  # MoCo v2 (https://arxiv.org/abs/2003.04297)
    'mopro': geometry.random_resized_crop,  # MoPro's weak policy
    'mopro_strong': mopro_strong,
    'scan': scan,
    'autoaugment': autoaugment,
    'handwriting': handwriting,
}

# Meaning, least and greatest value of the parameters that are settings; a policy's signature has its defaults.
_SETTINGS = {
    'padding': ('pixels around the image before it is cropped back', 0, 8192),
    'flip': ('flip half of the images left to right',),
    'degrees': ("greatest rotation to each side; the original's code has 20 in `standard`", 0.0, 180.0),
    'min_scale': ('smallest share of the area that is cropped out', 1e-3, 1.0),
    'jitter': ('strength of the colour jitter; 0: none', 0.0, 10.0),
    'jitter_probability': ('share of images whose colours change', 0.0, 1.0),
    'gray_probability': ('share of images without colours', 0.0, 1.0),
    'blur_probability': ('share of images that are blurred; 0.5 suits more than 32 pixels', 0.0, 1.0),
    'operations': ('number of random operations, out of 14', 0, 16),
    'cutout': ('side of the hole in pixels', 0, 8192),
    'scale': ('greatest change of size, as a share', 0.0, 0.99),
    'shift': ('greatest shift in pixels', 0.0, 8192.0),
    'brightness': ('greatest change of brightness, as a share', 0.0, 10.0),
    'noise': ('standard deviation of the noise, for pixels in [0, 1]', 0.0, 10.0),
}


def settings() -> Section:
    """The settings of every policy that has some."""
    sections = {}
    for name, policy in POLICIES.items():
        for key, parameter in inspect.signature(policy).parameters.items():
            if key in _SETTINGS:
                sections.setdefault(name, {})[key] = Setting(parameter.default, *_SETTINGS[key])
    return sections
