"""Decodes one image (JPEG, PNG, ...) to a uint8 array.

Large images are decoded one at a time and converted in strips: Pillow's own limit of 179 million pixels, half of it for
formats that take twice the memory, is then one of 1.4 GB. The bits are those of a conversion at once.
"""

import concurrent.futures
import contextlib
import errno
import pathlib
import struct
import warnings
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from noisy_jax.data import depth, libtiff
from noisy_jax.data.faults import broken, too_large
from noisy_jax.data.pictures import kinds
from noisy_jax.errors import InputError, first_line, is_memory_short, one_line, warn_once
from noisy_jax.files import open_bytes

File = pathlib.Path | str | BinaryIO


class TooDeep(InputError):
    """An image of more than 8 bits where it is not known which values are black and white."""

    def __str__(self) -> str:
        return one_line(f'{self.args[0]}: more than 8 bits a channel, as no training image has; convert it to 8 bits')


class Levels(NamedTuple):
    """Which values of deep images (grey ones of more than 8 bits) become black and white; others are clipped."""

    low: float
    high: float

    def __str__(self) -> str:
        return f'pixels of more than 8 bits, from {self.low:g} to {self.high:g}, are scaled to 0..255'


# Pillow's warning of half of its limit names no file; such images are decoded, those above the limit refused.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)

# A drawing may carry megabytes of text, such as how it was made; Pillow's limit for all texts, of 64 MiB, stays.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

_PREMULTIPLIED = {'La': 'LA', 'RGBa': 'RGBA'}  # modes with alpha, as Pillow can convert them further
_LONG = 2.0  # sides, above which much of an image is not in its middle square
_STRIP = 2**22  # pixels that are converted at a time
_COPIES, _ROOM = 8, 2**26  # bytes of a value, and more, with which an image can be decoded
_LARGE = 2**25  # pixels above which one image at a time is decoded
_HEAVY = ('AVIF', 'JPEG2000', 'WEBP')  # formats whose decoders hold several copies
# One thread, which takes the memory again that it has freed: glibc keeps that for each thread.
_large_images = concurrent.futures.ThreadPoolExecutor(1, 'large image')
_ANY = Levels(0.0, 1.0)
_FAULTS = (OSError, SyntaxError, ValueError, RuntimeError, struct.error, Image.DecompressionBombError)
_OF_THE_PROCESS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what it lacks, and no fault of the image
_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 0x0100, 0x0101  # tags of EXIF and TIFF
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


def decode(
    file: File,
    size: int = 0,
    name: str = '',
    levels: Levels | None = None,
    then: Callable[[np.ndarray], Any] | None = None,
) -> Any:
    """Decodes an image, the first of several in a file, to uint8 [H, W, 3], or [H, W, 1] if it is grey.

    Transparency becomes white, EXIF orientation is applied.

    Args:
      file: path or open file.
      size: pixels of a side, see `fit_array`; 0: as it is.
      name: how errors call the image; '': `file`.
      levels: the range of deep images.
      then: makes something smaller of the image, which is returned instead.

    Raises:
      BrokenImage: the image is damaged, incomplete or of an unknown kind, holds values that are none
        (`depth.values`), or has more pixels than Pillow's limit.
      TooDeep: it is deep, and there are no levels.
    """

    def work() -> Any:
        _load(image, name or file)
        array = _pixels(image, size, levels)
        Image.Image.close(image)  # frees the pixels, and not the file of a caller as the override does
        return array if then is None else then(array)

    with _opened(file, name, levels) as image:
        return _in_turn(image, work)


def decoded_shape(file: File, size: int = 0, name: str = '', levels: Levels | None = None) -> tuple[int, int, int]:
    """(H, W, C) that `decode` would return, from the header of the file.

    Without `size` a PNG is read to its end: its orientation may follow the pixels.

    Raises:
      BrokenImage: the file is no image.
      TooDeep: as `decode`.
    """
    with _opened(file, name, levels) as image:
        channels = 1 if _is_grey(image) else 3
        if size:
            return size, size, channels
        tags = getattr(image, 'tag_v2', {})  # of TIFF, whose `size` Pillow turns, in some of its versions
        width, height = tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)
        swaps = image.getexif().get(_ORIENTATION) in _SWAPPING
        return (width, height, channels) if swaps else (height, width, channels)


def warn_of_crop(shapes: np.ndarray, *, source: str = '', remedy: str = '') -> None:
    """Warns where half of the images, (H, W, C) each of int [N, 3], lose much of themselves to `fit_array`'s crop."""
    heights, widths, _ = shapes.T
    lengths = np.maximum(heights, widths) / np.minimum(heights, widths)
    if np.median(lengths) >= _LONG:
        middle = np.argsort(lengths)[len(lengths) // 2]
        warn_once(
            f'{source}only the middle square of the images is looked at, of {widths[middle]}x{heights[middle]} pixels '
            f'{1 / lengths[middle]:.0%}{remedy}'
        )


def levels_of(file: File, size: int = 0, name: str = '', levels: Levels | None = None) -> Levels | None:
    """The lowest and the highest value of a deep image; None of another one, of which only the header is read.

    `size` and `levels` do not matter.

    Raises:
      BrokenImage: as `decode`.
    """

    def work() -> Levels:
        _load(image, name or file)
        found = [(part.min(), part.max()) for part in map(depth.values, _strips(image))]
        low, high = np.array(found, np.float64).T
        return Levels(float(low.min()), float(high.max()))

    with _opened(file, name, _ANY) as image:
        return _in_turn(image, work) if depth.is_deep(image) else None


def values_of(file: File, size: int = 0, name: str = '', levels: Levels | None = None) -> np.ndarray:
    """About `size` values of a deep image [M], spread evenly; `levels` do not matter.

    Raises:
      BrokenImage: as `decode`.
    """

    def work() -> np.ndarray:
        _load(image, name or file)
        step = -(-image.width * image.height // size)
        return np.concatenate([depth.values(part).ravel()[::step] for part in _strips(image)])

    with _opened(file, name, _ANY) as image:
        return _in_turn(image, work)


def fit_array(image: np.ndarray, size: int) -> np.ndarray:
    """Scales uint8 [H, W, C] by its shorter side and crops the centre: [size, size, C]; size 0: as it is."""
    if not size or image.shape[:2] == (size, size):
        return image
    if image.shape[-1] not in (1, 3):  # Pillow would take the last of two or four for transparency
        return np.concatenate([fit_array(channel, size) for channel in np.split(image, image.shape[-1], -1)], -1)
    return _array(_fitted(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), size))


@contextlib.contextmanager
def _opened(file: File, name: str, levels: Levels | None) -> Iterator[Image.Image]:
    """An image of which the header is read; what is found wrong with it within the block is a BrokenImage."""
    try:
        # Not by its name: Pillow maps some files by that, and a TIFF that is turned as if it were not.
        by_name = isinstance(file, (str, pathlib.Path))
        with (
            open_bytes(file) if by_name else contextlib.nullcontext(file) as stream,
            Image.open(stream, formats=kinds()) as image,
        ):
            if levels is None and depth.is_deep(image):
                raise TooDeep(str(name or file))
            most = Image.MAX_IMAGE_PIXELS
            if most and image.format in _HEAVY and image.width * image.height > most:
                raise too_large(name or file, most)
            depth.note(image)
            yield image
    except InputError:
        raise
    except _FAULTS as error:
        if is_memory_short(error) or getattr(error, 'errno', None) in _OF_THE_PROCESS:  # the first of a thread
            raise
        if not _has_room():
            raise MemoryError(f'to read {name or file}') from error
        raise broken(name or file, error) from error


def _load(image: Image.Image, name: object) -> None:
    try:
        with libtiff.faults_named(name):
            image.load()
    except Exception as error:  # damaged bytes raise many kinds, TypeError among them
        if not _has_room(image.width * image.height * len(image.getbands())):
            raise MemoryError(f'for the pixels of {name}') from error
        if isinstance(error, OSError):
            raise
        raise ValueError(first_line(error)) from error


def _has_room(values: int = 0) -> bool:
    """Whether there is memory for an image of so many values: some decoders say of it no more than of damage."""
    try:
        np.empty(_COPIES * values + _ROOM, np.uint8)
    except MemoryError:
        return False
    return True


def _in_turn(image: Image.Image, work: Callable[[], Any]) -> Any:
    """What `work` returns; that on a large image waits for its turn."""
    if image.width * image.height <= _LARGE:
        return work()
    return _large_images.submit(work).result()


def _pixels(image: Image.Image, size: int, levels: Levels | None) -> np.ndarray:
    """A loaded image as `decode` returns it."""
    turn = image.getexif().get(_ORIENTATION, 1)
    width, height = image.size if turn not in _SWAPPING else image.size[::-1]
    channels = 1 if _is_grey(image) else 3
    if width * height > _STRIP and size:
        if turn not in _UPRIGHT and _is_plain(image):
            return _array(_fitted(image, size))
        at_once = channels if width * height <= _LARGE else 1  # for less memory, in more time
        parts = (range(first, first + at_once) for first in range(0, channels, at_once))
        return np.concatenate([_fitted_channels(image, turn, levels, size, part) for part in parts], -1)
    strips = (_flatten(strip, levels) for strip in _strips(image, turn))
    if width * height <= _STRIP:
        return _array(_fitted(next(strips), size))
    return _joined(strips, (height, width, channels))


def _fitted_channels(image: Image.Image, turn: int, levels: Levels | None, size: int, channels: range) -> np.ndarray:
    """Some channels of what `_pixels` returns: each by itself, as Pillow's 'RGB' takes four bytes a pixel."""
    whole = [Image.new('L', image.size if turn not in _SWAPPING else image.size[::-1]) for _ in channels]
    top = 0
    for strip in _strips(image, turn):
        flat = _flatten(strip, levels)
        for target, channel in zip(whole, channels, strict=True):
            target.paste(flat.getchannel(channel), (0, top))
        top += strip.height
    return np.concatenate([_array(_fitted(each, size)) for each in whole], -1)


def _strips(image: Image.Image, turn: int = 1) -> Iterator[Image.Image]:
    """The rows of the upright image, in parts of `_STRIP` pixels; `turn` is its EXIF orientation."""
    width, height = image.size if turn not in _SWAPPING else image.size[::-1]
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = (height - bottom, height - top) if turn in _REVERSING else (top, bottom)
        box = (first, 0, last, width) if turn in _SWAPPING else (0, first, width, last)
        strip = image if rows >= height else image.crop(box)
        yield strip.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else strip


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
    return image.convert('L' if _is_grey(image) else 'RGB')


def _is_plain(image: Image.Image) -> bool:
    """Whether `_flatten` returns the image itself."""
    return image.mode in ('L', 'RGB') and 'transparency' not in image.info


def _is_grey(image: Image.Image) -> bool:
    """Whether `_flatten` returns one channel."""
    return depth.is_deep(image) or (image.mode in ('1', 'L') and 'transparency' not in image.info)
