"""Decodes one image (JPEG, PNG, ...) to a uint8 array."""

import pathlib
import struct
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from noisy_jax.errors import InputError, one_line

File = pathlib.Path | str | BinaryIO


class BrokenImage(InputError):
    """An image file that is damaged, incomplete or of an unknown kind.

    Attributes:
      name: how errors call the image.
      reason: what is wrong with it.
    """

    def __init__(self, name: object, reason: str) -> None:
        super().__init__(name, reason)  # pickled with both, by worker processes
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return one_line(f'{self.name}: not a whole image ({self.reason}); repair or remove it')


_FAULTS = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
_ORIENTATION = 0x0112  # tag of EXIF; values from 5 to 8 swap width and height
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


def decode(file: File, size: int = 0, name: str = '') -> np.ndarray:
    """Decodes an image to uint8 [H, W, 3], or [H, W, 1] if it is grey.

    Transparency becomes white, EXIF orientation is applied, 16 bits and floats are scaled to 8 bits.

    Args:
      file: path or open file.
      size: pixels of a side, see `fit_array`; 0: as it is.
      name: how errors call the image; '': `file`.

    Raises:
      BrokenImage: the image is damaged, incomplete or of an unknown kind.
    """
    try:
        with Image.open(file) as image:
            image.load()
            turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
            array = np.asarray(_flatten(image if turn is None else image.transpose(turn)))
    except _FAULTS as error:
        raise _broken(name or file, error) from error
    return fit_array(array if array.ndim == 3 else array[..., None], size)


def decoded_shape(file: File, size: int = 0, name: str = '') -> tuple[int, int, int]:
    """(H, W, C) that `decode` would return, from the header of the file.

    Without `size` a PNG is read to its end: its orientation may follow the pixels.

    Raises:
      BrokenImage: the file is no image.
    """
    try:
        with Image.open(file) as image:
            channels = 1 if _is_grey(image) else 3
            width, height = image.size
            if not size and image.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
                width, height = height, width
            return (size, size, channels) if size else (height, width, channels)
    except _FAULTS as error:
        raise _broken(name or file, error) from error


def fit_array(image: np.ndarray, size: int) -> np.ndarray:
    """Scales uint8 [H, W, C] by its shorter side and crops the centre: [size, size, C]; size 0: as it is."""
    if not size or image.shape[:2] == (size, size):
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    array = np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR))
    return array.reshape(size, size, -1)


def _flatten(image: Image.Image) -> Image.Image:
    """Converts any mode to 'L' or 'RGB'."""
    if image.mode in ('L', 'RGB') and 'transparency' not in image.info:
        return image
    if _is_deep(image):  # which Pillow's own conversion would clip
        values = np.maximum(np.asarray(image, np.float64), 0)
        white = 1 if image.mode == 'F' and values.max() <= 1 else max(values.max(), 65535)
        return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))
    if 'A' in image.getbands() or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('L' if _is_grey(image) else 'RGB')


def _is_deep(image: Image.Image) -> bool:
    """Whether a channel has 16 bits or more."""
    return image.mode.startswith('I') or image.mode == 'F'


def _is_grey(image: Image.Image) -> bool:
    """Whether `_flatten` returns one channel."""
    return _is_deep(image) or (image.mode in ('1', 'L') and 'transparency' not in image.info)


def _broken(name: object, error: Exception) -> BrokenImage:
    unknown = isinstance(error, UnidentifiedImageError)  # its text repeats the name
    return BrokenImage(name, 'of no kind that is known' if unknown else ' '.join(str(error).split()))
