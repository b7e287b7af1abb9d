"""Colour changes of one float image [H, W, C] in [0, 1], as in Pillow and torchvision, and blur."""

import jax
import jax.numpy as jnp

_GRAY = (0.299, 0.587, 0.114)  # ITU-R 601, as in Pillow and torchvision


def grayscale(image: jax.Array) -> jax.Array:
    """Replaces all three channels of an RGB image by its luma; returns other images as they are."""
    if image.shape[-1] != 3:
        return image
    # Spelled out: a sum over an axis of 3 took 40 times as long on a CPU.
    luma = _GRAY[0] * image[..., 0] + _GRAY[1] * image[..., 1] + _GRAY[2] * image[..., 2]
    return jnp.broadcast_to(luma[..., None], image.shape)


def _blend(image: jax.Array, other: jax.Array, factor: jax.Array) -> jax.Array:
    return jnp.clip(other + factor * (image - other), 0.0, 1.0)


def brightness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales brightness: factor 0 is black, 1 the image."""
    return _blend(image, jnp.zeros_like(image), factor)


def contrast(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales contrast: factor 0 is the mean luma everywhere, 1 the image."""
    return _blend(image, grayscale(image).mean(), factor)


def saturation(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales saturation, Pillow's `Color`: factor 0 is the grey image, 1 the image."""
    return _blend(image, grayscale(image), factor)


def sharpness(image: jax.Array, factor: jax.Array) -> jax.Array:
    """Scales sharpness: factor 0 is the image smoothed over 3x3 pixels, 1 the image; Pillow keeps the border, too."""
    height, width, _ = image.shape
    rows = image[:-2] + image[1:-1] + image[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]  # of 3x3 pixels
    smooth = (total + 4 * image[1:-1, 1:-1]) / 13  # Pillow's SMOOTH
    if height < 3 or width < 3:
        return image
    return _blend(image, image.at[1:-1, 1:-1].set(smooth), factor)


def shift_hue(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Rotates the hue of an RGB image [..., 3] by `shift` of a full circle, in HSV as torchvision does."""
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


def draw_factor(key: jax.Array, strength: float) -> jax.Array:
    """Draws a factor uniformly from 1 +- `strength`, at least 0."""
    return jax.random.uniform(key, minval=max(0.0, 1.0 - strength), maxval=1.0 + strength)


def colour_jitter(
    key: jax.Array,
    image: jax.Array,
    *,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
) -> jax.Array:
    """Changes brightness, contrast, saturation and hue as torchvision's `ColorJitter`, in this fixed order.

    torchvision draws the order, which under `vmap` would compute all orders. Saturation and hue need RGB.
    """
    keys = jax.random.split(key, 4)
    image = _blend(image, jnp.zeros_like(image), draw_factor(keys[0], brightness))
    image = _blend(image, grayscale(image).mean(), draw_factor(keys[1], contrast))
    if image.shape[-1] == 3:
        image = _blend(image, grayscale(image), draw_factor(keys[2], saturation))
        image = shift_hue(image, jax.random.uniform(keys[3], minval=-hue, maxval=hue))
    return image


def blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Gaussian blur of `sigma` pixels, cut off at 5 % of the side (at least a pixel), with reflected borders.

    torchvision's `GaussianBlur` with a kernel of 10 % of the side, as in SimCLR (Chen 2020, appendix A,
    https://arxiv.org/abs/2002.05709).
    """

    def weights(size: int) -> jax.Array:
        """Blur matrix [size, size], a row per output pixel."""
        reach = min(max(size // 20, 1), size - 1)
        i, j = jnp.arange(size)[:, None], jnp.arange(size)

        def gauss(distance: jax.Array) -> jax.Array:
            return jnp.where(abs(distance) <= reach, jnp.exp(-0.5 * (distance / sigma) ** 2), 0.0)

        # Reflection: a pixel counts a second time where its mirror image beyond the border is near.
        both = gauss(i - j) + jnp.where(j > 0, gauss(i + j), 0.0)
        both += jnp.where(j < size - 1, gauss(2 * (size - 1) - i - j), 0.0)
        return both / both.sum(1, keepdims=True)

    height, width, _ = image.shape
    return jnp.einsum('yh,xw,hwc->yxc', weights(height), weights(width), image, precision='highest')
