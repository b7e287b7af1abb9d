"""Makes an array of a loaded image: upright, grey or RGB, of 8 bits, as large as asked for."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from noisy_jax.data import depth
from noisy_jax.data.depth import Levels

LARGE = 2**25  # pixels above which memory counts more than time
_STRIP = 2**22  # pixels that are converted at a time
_PREMULTIPLIED = {'La': 'LA', 'RGBa': 'RGBA'}  # modes with alpha, as Pillow can convert them further
_ORIENTATION = 0x0112  # tag of EXIF
_SWAPPING, _REVERSING = (5, 6, 7, 8), (3, 4, 7, 8)  # width and height; the top row comes from the far side
# Transposition that makes an image upright. Pillow's `exif_transpose` rewrites EXIF and fails at any odd tag.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def as_array(image: Image.Image, size: int, levels: Levels | None) -> np.ndarray:
    """A loaded image as uint8 [H, W, 3], or [H, W, 1] if it is grey, upright; transparency becomes white.

    Args:
      image: of any mode.
      size: pixels of a side, see `fit_array`; 0: as it is.
      levels: the range of deep images.
    """
    turn = image.getexif().get(_ORIENTATION, 1)
    width, height = image.size if turn not in _SWAPPING else image.size[::-1]
    channels = 1 if is_grey(image) else 3
    if width * height > _STRIP and size:
        if turn not in _UPRIGHT and _is_plain(image):
            return _array(_fitted(image, size))
        at_once = channels if width * height <= LARGE else 1  # for less memory, in more time
        parts = (range(first, first + at_once) for first in range(0, channels, at_once))
        return np.concatenate([_fitted_channels(image, turn, levels, size, part) for part in parts], -1)
    flat = (_flatten(strip, levels) for strip in strips(image, turn))
    if width * height <= _STRIP:
        return _array(_fitted(next(flat), size))
    return _joined(flat, (height, width, channels))


def is_grey(image: Image.Image) -> bool:
    """Whether `as_array` returns one channel."""
    return depth.is_deep(image) or (image.mode in ('1', 'L') and 'transparency' not in image.info)


def is_on_its_side(image: Image.Image) -> bool:
    """Whether its EXIF orientation exchanges width and height."""
    return image.getexif().get(_ORIENTATION) in _SWAPPING


def strips(image: Image.Image, turn: int = 1) -> Iterator[Image.Image]:
    """The rows of the upright image, in parts of `_STRIP` pixels; `turn` is its EXIF orientation."""
    width, height = image.size if turn not in _SWAPPING else image.size[::-1]
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = (height - bottom, height - top) if turn in _REVERSING else (top, bottom)
        box = (first, 0, last, width) if turn in _SWAPPING else (0, first, width, last)
        strip = image if rows >= height else image.crop(box)
        yield strip.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else strip


def fit_array(image: np.ndarray, size: int) -> np.ndarray:
    """Scales uint8 [H, W, C] by its shorter side and crops the centre: [size, size, C]; size 0: as it is."""
    if not size or image.shape[:2] == (size, size):
        return image
    if image.shape[-1] not in (1, 3):  # Pillow would take the last of two or four for transparency
        return np.concatenate([fit_array(channel, size) for channel in np.split(image, image.shape[-1], -1)], -1)
    return _array(_fitted(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), size))


def _fitted_channels(image: Image.Image, turn: int, levels: Levels | None, size: int, channels: range) -> np.ndarray:
    """Some channels of what `as_array` returns: each by itself, as Pillow's 'RGB' takes four bytes a pixel."""
    whole = [Image.new('L', image.size if turn not in _SWAPPING else image.size[::-1]) for _ in channels]
    top = 0
    for strip in strips(image, turn):
        flat = _flatten(strip, levels)
        for target, channel in zip(whole, channels, strict=True):
            target.paste(flat.getchannel(channel), (0, top))
        top += strip.height
    return np.concatenate([_array(_fitted(each, size)) for each in whole], -1)


def _joined(strips: Iterator[Image.Image], shape: tuple[int, int, int]) -> np.ndarray:
    """Strips as one array, which Pillow would make by way of a copy."""
    result, top = np.empty(shape, np.uint8), 0
    for strip in strips:
        result[top : top + strip.height] = _array(strip)
        top += strip.height
    return result


def _fitted(picture: Image.Image, size: int) -> Image.Image:
    if not size or picture.size == (size, size):
        return picture
    return ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR)


def _array(picture: Image.Image) -> np.ndarray:
    """uint8 [H, W, C]."""
    array = np.asarray(picture)
    return array if array.ndim == 3 else array[..., None]


def _flatten(image: Image.Image, levels: Levels | None) -> Image.Image:
    """Converts any mode to 'L' or 'RGB'."""
    if _is_plain(image):
        return image
    if depth.is_deep(image):  # which Pillow's own conversion would clip
        low, high = levels
        values = np.clip(depth.values(image).astype(np.float64), low, high) - low
        return Image.fromarray(np.round(values * (255 / ((high - low) or 1))).astype(np.uint8))
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if 'A' in image.getbands() or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('L' if is_grey(image) else 'RGB')


def _is_plain(image: Image.Image) -> bool:
    """Whether `_flatten` returns the image itself."""
    return image.mode in ('L', 'RGB') and 'transparency' not in image.info
