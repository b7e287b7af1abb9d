"""Where a pixel is read: crops, flips, rotations of one float image [H, W, C].

A crop is two small matrix products per image (rows, then columns): exact bilinear resampling, fast on every backend. A
rotation is no such product: as shears by matrices it took 25 times as long as a gather, on two CPU cores.
"""

import functools

import jax
import jax.numpy as jnp


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


def resized_crop(image: jax.Array, box: jax.Array, flip: jax.Array | bool = False) -> jax.Array:
    """The box (top, left, height, width, as fractions of the image) resized to the whole image, mirrored if `flip`.

    Pillow's `resize(size, BILINEAR, box)`; what lies beyond the image is its outermost pixel.
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
    """A random box of `min_scale` to 1 of the area, resized to the whole image (Szegedy 2015), half of them flipped.

    The box is continuous (no rounding to pixels) and is clipped to the image where its ratio would leave it.
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


def rotation(degrees: jax.Array, height: int, width: int) -> jax.Array:
    """The matrix [2, 3] that `warp` turns an image by, anticlockwise about its centre, as Pillow's `rotate`."""
    angle = -degrees * jnp.pi / 180
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = width / 2, height / 2
    return jnp.array([[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y]])


def warp(image: jax.Array, matrix: jax.Array, *, nearest: bool = False) -> jax.Array:
    """Pillow's `transform(size, AFFINE, matrix)`: the output at (x, y) is the input at matrix [2, 3] @ (x, y, 1).

    Coordinates are in pixels from the upper left corner, centres at halves. Bilinear, or the nearest pixel; black
    outside, without a soft edge.
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
        down, right = (y - 0.5 - top)[..., None], (x - 0.5 - left)[..., None]  # share of the next row, column
        upper = (1 - right) * read(top, left) + right * read(top, left + 1)
        lower = (1 - right) * read(top + 1, left) + right * read(top + 1, left + 1)
        values = (1 - down) * upper + down * lower
    return jnp.where(inside[..., None], values, 0.0)


def rotate(image: jax.Array, degrees: jax.Array) -> jax.Array:
    """Turns by `degrees`, anticlockwise about the centre, bilinear; black comes in. Pillow's `rotate`."""
    return warp(image, rotation(degrees, *image.shape[:2]))


def cutout(key: jax.Array, image: jax.Array, *, length: int = 16, fill: float = 0.5) -> jax.Array:
    """Paints a square of a random side up to `length` pixels at a random place in `fill` (DeVries 2017).

    The square may leave the image. The paper paints in the data set's mean colour: grey is close to that.
    """
    height, width, _ = image.shape
    side_key, y_key, x_key = jax.random.split(key, 3)
    half = jax.random.randint(side_key, (), 1, length + 1) // 2  # so a side is even, as in SCAN's code

    def covered(place_key: jax.Array, size: int) -> jax.Array:
        offset = jnp.arange(size) - jax.random.randint(place_key, (), 0, size)
        return (offset >= -half) & (offset < half)

    hole = covered(y_key, height)[:, None] & covered(x_key, width)
    return jnp.where(hole[..., None], fill, image)
