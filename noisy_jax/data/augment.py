"""Augmentations of one float image [H, W, C] in [0, 1]; policies put them together, `apply` and `two_views` vmap them.

Geometry is two small matrix products per image (rows, then columns) instead of a gather per pixel: exact bilinear
resampling, and fast on every backend.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from noisy_jax.errors import InputError

Policy = Callable[[jax.Array, jax.Array], jax.Array]  # (key, image [H, W, C]) -> image [H, W, C]

_GRAY = (0.299, 0.587, 0.114)  # ITU-R 601, as PIL and torchvision


def _rows(source: jax.Array, size: int) -> jax.Array:
    """Bilinear weights [len(source), size] that read an axis of `size` pixels at `source`; 0 outside the image."""
    return jnp.maximum(0.0, 1.0 - jnp.abs(source[:, None] - jnp.arange(size)))


def _resample(image: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """Reads `image` at the rows y [H'] and the columns x [W'], both in pixels."""
    height, width, _ = image.shape
    rows, columns = _rows(y, height), _rows(x, width)  # [H', H], [W', W]
    return jnp.einsum('yh,xw,hwc->yxc', rows, columns, image, precision='highest')


def _maybe_flip(key: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key), x[::-1], x)


def crop_with_padding(key: jax.Array, image: jax.Array, *, padding: int = 4, flip: bool = True) -> jax.Array:
    """Shifts by up to `padding` whole pixels (black comes in) and flips half of the images.

    The usual augmentation of a CIFAR classifier: torchvision's `RandomCrop(size, padding=4)` and horizontal flip.
    """
    height, width, _ = image.shape
    shift_key, flip_key = jax.random.split(key)
    dy, dx = jax.random.randint(shift_key, (2,), -padding, padding + 1)
    x = jnp.arange(width) + dx
    return _resample(image, jnp.arange(height) + dy, _maybe_flip(flip_key, x) if flip else x)


def random_resized_crop(
    key: jax.Array,
    image: jax.Array,
    *,
    min_scale: float = 0.2,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
) -> jax.Array:
    """A random box of `min_scale` to 1 of the area, resized to the whole image (Szegedy 2015), half of them flipped.

    The box is continuous (no rounding to pixels) and is clipped to the image where its ratio would leave it.
    """
    height, width, _ = image.shape
    area_key, ratio_key, place_key, flip_key = jax.random.split(key, 4)
    area = jax.random.uniform(area_key, minval=min_scale, maxval=1.0)
    aspect = jnp.exp(jax.random.uniform(ratio_key, minval=jnp.log(ratio[0]), maxval=jnp.log(ratio[1])))
    box = jnp.minimum(jnp.stack([jnp.sqrt(area / aspect), jnp.sqrt(area * aspect)]), 1.0)  # height, width as fractions
    top, left = jax.random.uniform(place_key, (2,)) * (1.0 - box)

    def read(start: jax.Array, length: jax.Array, size: int) -> jax.Array:
        centres = (start + (jnp.arange(size) + 0.5) / size * length) * size - 0.5
        return jnp.clip(centres, 0, size - 1)

    y, x = read(top, box[0], height), read(left, box[1], width)
    return _resample(image, y, _maybe_flip(flip_key, x) if flip else x)


def affine(
    key: jax.Array, image: jax.Array, *, degrees: float = 15.0, scale: float = 0.2, shift: float = 1.0
) -> jax.Array:
    """Rotates, scales and shifts about the centre, each uniform in +-(degrees, scale, pixels); black comes in."""
    height, width, _ = image.shape
    turn, zoom, dy, dx = jax.random.uniform(key, (4,), minval=-1.0)
    angle = turn * degrees * jnp.pi / 180
    factor = 1 / (1 + zoom * scale)
    y, x = jnp.meshgrid(jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing='ij')
    cos, sin = jnp.cos(angle) * factor, jnp.sin(angle) * factor
    source_y = cos * y - sin * x + (height - 1) / 2 + dy * shift
    source_x = sin * y + cos * x + (width - 1) / 2 + dx * shift
    read = functools.partial(jax.scipy.ndimage.map_coordinates, coordinates=[source_y, source_x], order=1)
    return jax.vmap(read, in_axes=-1, out_axes=-1)(image)


def _factor(key: jax.Array, strength: float) -> jax.Array:
    return jax.random.uniform(key, minval=max(0.0, 1.0 - strength), maxval=1.0 + strength)


def _blend(image: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.clip(other + factor * (image - other), 0.0, 1.0)


def grayscale(image: jax.Array) -> jax.Array:
    """The luma of an RGB image in all three channels; other images as they are."""
    if image.shape[-1] != 3:
        return image
    return jnp.broadcast_to(jnp.sum(image * jnp.array(_GRAY), axis=-1, keepdims=True), image.shape)


def shift_hue(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns the hue of an RGB image [..., 3] by `shift` of a full circle, in HSV as torchvision does."""
    red, green, blue = jnp.moveaxis(image, -1, 0)
    value, low = image.max(-1), image.min(-1)
    chroma = value - low
    safe = jnp.where(chroma > 0, chroma, 1.0)
    hue = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    hue = hue + 6.0 * shift
    sector = (jnp.array([5.0, 3.0, 1.0]) + hue[..., None]) % 6.0
    return value[..., None] - chroma[..., None] * jnp.clip(jnp.minimum(sector, 4.0 - sector), 0.0, 1.0)


def colour_jitter(
    key: jax.Array,
    image: jax.Array,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
) -> jax.Array:
    """Brightness, contrast, saturation and hue as torchvision's `ColorJitter`, in this fixed order.

    torchvision draws the order; a drawn order computes every order under `vmap`. Saturation and hue need RGB.
    """
    keys = jax.random.split(key, 4)
    image = _blend(image, jnp.zeros_like(image), _factor(keys[0], brightness))
    image = _blend(image, grayscale(image).mean(), _factor(keys[1], contrast))
    if image.shape[-1] == 3:
        image = _blend(image, grayscale(image), _factor(keys[2], saturation))
        image = shift_hue(image, jax.random.uniform(keys[3], minval=-hue, maxval=hue))
    return image


def _sometimes(key: jax.Array, probability: float, changed: jax.Array, image: jax.Array) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, probability), changed, image)


def none(key: jax.Array, image: jax.Array) -> jax.Array:
    """The image as it is."""
    del key
    return image


def simclr(
    key: jax.Array,
    image: jax.Array,
    *,
    min_scale: float = 0.2,
    flip: bool = True,
    jitter: float = 1.0,
    jitter_probability: float = 0.8,
    gray_probability: float = 0.2,
) -> jax.Array:
    """SimCLR's views for small images (Chen 2020, appendix B.9): crop, flip, colour jitter, grayscale, no blur."""
    crop_key, jitter_key, apply_key, gray_key = jax.random.split(key, 4)
    image = random_resized_crop(crop_key, image, min_scale=min_scale, flip=flip)
    strengths = {'brightness': 0.4, 'contrast': 0.4, 'saturation': 0.4, 'hue': 0.1}
    jittered = colour_jitter(jitter_key, image, **{k: jitter * v for k, v in strengths.items()})
    image = _sometimes(apply_key, jitter_probability, jittered, image)
    return _sometimes(gray_key, gray_probability, grayscale(image), image)


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
    """Views of small grey drawings: affine map, brightness, Gaussian pixel noise; no flip (2 is not its mirror)."""
    affine_key, bright_key, noise_key = jax.random.split(key, 3)
    image = affine(affine_key, image, degrees=degrees, scale=scale, shift=shift)
    image = image * _factor(bright_key, brightness) + noise * jax.random.normal(noise_key, image.shape)
    return jnp.clip(image, 0.0, 1.0)


POLICIES: dict[str, Callable] = {
    'none': none,
    'standard': crop_with_padding,
    'simclr': simclr,
    'handwriting': handwriting,
}


def policy(name: str, **settings: float) -> Policy:
    """The augmentation of that name with its settings.

    Raises:
      InputError: an unknown name.
    """
    if name not in POLICIES:
        raise InputError(f'augment: {name!r} is unknown; allowed: {", ".join(POLICIES)}')
    return functools.partial(POLICIES[name], **settings)


def to_float(images: jax.Array) -> jax.Array:
    """uint8 [..., H, W, C] to float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255.0


def apply(augment: Policy, key: jax.Array, images: jax.Array) -> jax.Array:
    """One view of each image: uint8 [B, H, W, C] -> float32 [B, H, W, C] in [0, 1], each with its own key."""
    return jax.vmap(augment)(jax.random.split(key, len(images)), to_float(images))


def two_views(augment: Policy, key: jax.Array, images: jax.Array) -> jax.Array:
    """Two views of each image: uint8 [B, H, W, C] -> float32 [B, 2, H, W, C].

    The views stand on an axis of their own behind the batch, so that a batch sharded over devices stays where it is.
    """
    keys = jax.random.split(key, (len(images), 2))
    return jax.vmap(jax.vmap(augment, in_axes=(0, None)))(keys, to_float(images))
