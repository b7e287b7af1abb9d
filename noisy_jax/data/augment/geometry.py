"""Crops, flips and rotations of one float image [H, W, C].

A crop is two small matrix products (rows, then columns): exact bilinear resampling, fast on every backend. A rotation
is a gather: as shears by matrix products it took 25 times as long on two CPU cores.
"""

import functools

import jax
import jax.numpy as jnp


def _resample(image: jax.Array, y: jax.Array, x: jax.Array) -> jax.Array:
    """Reads the image at rows y [H'] and columns x [W'], both in pixels, bilinearly: [H', W', C]; outside is 0."""
    rows, columns = (
        jnp.maximum(0.0, 1.0 - jnp.abs(source[:, None] - jnp.arange(size)))
        for source, size in ((y, image.shape[0]), (x, image.shape[1]))
    )  # [H', H], [W', W]
    return jnp.einsum('yh,xw,hwc->yxc', rows, columns, image, precision='highest')


def crop_with_padding(key: jax.Array, image: jax.Array, *, padding: int = 4, flip: bool = True) -> jax.Array:
    """Shifts by up to `padding` whole pixels, filling with black, and flips half of the images.

    The usual augmentation on CIFAR: torchvision's `RandomCrop(size, padding=4)` and horizontal flip.
    """
    height, width, _ = image.shape
    shift_key, flip_key = jax.random.split(key)
    dy, dx = jax.random.randint(shift_key, (2,), -padding, padding + 1)
    x = jnp.arange(width) + dx
    x = jnp.where(jax.random.bernoulli(flip_key), x[::-1], x) if flip else x
    return _resample(image, jnp.arange(height) + dy, x)


def resized_crop(image: jax.Array, box: jax.Array, flip: jax.Array | bool = False) -> jax.Array:
    """Resizes a box (top, left, height, width, as fractions) to the whole image, and flips it if `flip`.

    Pillow's `resize(size, BILINEAR, box)`; beyond the image its border pixels repeat.
    """

    def read(start: jax.Array, length: jax.Array, size: int) -> jax.Array:
        centres = (start + (jnp.arange(size) + 0.5) / size * length) * size - 0.5
        return jnp.clip(centres, 0, size - 1)

    top, left, height, width = box
    x = read(left, width, image.shape[1])
    return _resample(image, read(top, height, image.shape[0]), jnp.where(flip, x[::-1], x))


def random_resized_crop(
    key: jax.Array,
    image: jax.Array,
    *,
    min_scale: float = 0.2,
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
) -> jax.Array:
    """Resizes a random box of `min_scale` to 1 of the area to the whole image, and flips half of the images.

    The box is not rounded to pixels, and is clipped where its ratio would leave the image.

    Source: Szegedy et al. 2015, https://arxiv.org/abs/1409.4842
    """
    area_key, ratio_key, place_key, flip_key = jax.random.split(key, 4)
    area = jax.random.uniform(area_key, minval=min_scale, maxval=1.0)
    aspect = jnp.exp(jax.random.uniform(ratio_key, minval=jnp.log(ratio[0]), maxval=jnp.log(ratio[1])))
    box = jnp.minimum(jnp.stack([jnp.sqrt(area / aspect), jnp.sqrt(area * aspect)]), 1.0)  # height, width as fractions
    corner = jax.random.uniform(place_key, (2,)) * (1.0 - box)
    return resized_crop(image, jnp.concatenate([corner, box]), jax.random.bernoulli(flip_key) if flip else False)


def affine(
    key: jax.Array, image: jax.Array, *, degrees: float = 15.0, scale: float = 0.2, shift: float = 1.0
) -> jax.Array:
    """Rotates, scales and shifts about the centre, each uniform in +-(degrees, scale, pixels), filling with black."""
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


def rotation(degrees: jax.Array, height: int, width: int) -> jax.Array:
    """Matrix [2, 3] with which `warp` rotates an image anticlockwise about its centre, as Pillow's `rotate`."""
    angle = -degrees * jnp.pi / 180
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    return jnp.array([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y]])


def warp(image: jax.Array, matrix: jax.Array, *, nearest: bool = False) -> jax.Array:
    """Pillow's `transform(size, AFFINE, matrix)`: the output at (x, y) is the input at matrix [2, 3] @ (x, y, 1).

    Coordinates are in pixels from the upper left corner, centres at halves. Reads bilinearly, or the nearest pixel;
    outside the image is black, with a hard edge.
    """
    height, width, channels = image.shape
    y, x = jnp.meshgrid(jnp.arange(height) + 0.5, jnp.arange(width) + 0.5, indexing='ij')
    x, y = matrix[:, 0, None, None] * x + matrix[:, 1, None, None] * y + matrix[:, 2, None, None]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    pixels = image.reshape(-1, channels)

    def read(row: jax.Array, column: jax.Array) -> jax.Array:
        place = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
        return pixels[place.astype(jnp.int32)]  # [H, W, C]

    if nearest:
        values = read(jnp.floor(y), jnp.floor(x))
    else:
        top, left = jnp.floor(y - 0.5), jnp.floor(x - 0.5)
        down, right = (y - 0.5 - top)[..., None], (x - 0.5 - left)[..., None]  # shares of the next row and column
        upper = (1 - right) * read(top, left) + right * read(top, left + 1)
        lower = (1 - right) * read(top + 1, left) + right * read(top + 1, left + 1)
        values = (1 - down) * upper + down * lower
    return jnp.where(inside[..., None], values, 0.0)


def rotate(image: jax.Array, degrees: jax.Array) -> jax.Array:
    """Rotates by `degrees` anticlockwise about the centre, bilinearly, filling with black; Pillow's `rotate`."""
    return warp(image, rotation(degrees, *image.shape[:2]))


def cutout(key: jax.Array, image: jax.Array, *, length: int = 16, fill: float = 0.5) -> jax.Array:
    """Fills a square with a random side of up to `length` pixels at a random place with `fill`.

    The square may leave the image. The paper fills with the data set's mean colour, which grey is close to.

    Source: DeVries and Taylor 2017, https://arxiv.org/abs/1708.04552
    """
    height, width, _ = image.shape
    side_key, y_key, x_key = jax.random.split(key, 3)
    half = jax.random.randint(side_key, (), 1, length + 1) // 2  # an even side, as in SCAN's code

    def covered(place_key: jax.Array, size: int) -> jax.Array:
        offset = jnp.arange(size) - jax.random.randint(place_key, (), 0, size)
        return (offset >= -half) & (offset < half)

    hole = covered(y_key, height)[:, None] & covered(x_key, width)
    return jnp.where(hole[..., None], fill, image)
