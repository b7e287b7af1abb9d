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
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from noisy_jax.data import conversion, depth, libtiff
from noisy_jax.data.depth import Levels
from noisy_jax.data.faults import broken, too_large
from noisy_jax.data.image_files import kinds
from noisy_jax.errors import InputError, first_line, is_memory_short, one_line, warn_once
from noisy_jax.files import open_bytes

File = pathlib.Path | str | BinaryIO


class TooDeep(InputError):
    """An image of more than 8 bits where it is not known which values are black and white."""

    def __str__(self) -> str:
        return one_line(f'{self.args[0]}: more than 8 bits a channel, as no training image has; convert it to 8 bits')


# Pillow's warning of half of its limit names no file; such images are decoded, those above the limit refused.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)

# A drawing may carry megabytes of text, such as how it was made; Pillow's limit for all texts, of 64 MiB, stays.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY

_LONG = 2.0  # sides, above which much of an image is not in its middle square
_COPIES, _ROOM = 8, 2**26  # bytes of a value in some decoders, and more, with which an image can be decoded
_HEAVY = ('AVIF', 'JPEG2000', 'WEBP')  # formats whose decoders hold several copies
# Few threads, on however many cores, which take the memory again that they have freed: glibc keeps that for each.
_large_images = concurrent.futures.ThreadPoolExecutor(1, 'large image')
_half_as_large = concurrent.futures.ThreadPoolExecutor(4, 'large image')
_ANY = Levels(0.0, 1.0)
_FAULTS = (OSError, SyntaxError, ValueError, RuntimeError, struct.error, Image.DecompressionBombError)
_OF_THE_PROCESS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # what it lacks, and no fault of the image
_WIDTH, _HEIGHT = 0x0100, 0x0101  # tags of TIFF


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
        array = conversion.as_array(image, size, levels)
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
        channels = 1 if conversion.is_grey(image) else 3
        if size:
            return size, size, channels
        tags = getattr(image, 'tag_v2', {})  # of TIFF, whose `size` Pillow turns, in some of its versions
        width, height = tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)
        return (width, height, channels) if conversion.is_on_its_side(image) else (height, width, channels)


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
        found = [(part.min(), part.max()) for part in map(depth.values, conversion.strips(image))]
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
        return np.concatenate([depth.values(part).ravel()[::step] for part in conversion.strips(image)])

    with _opened(file, name, _ANY) as image:
        return _in_turn(image, work)


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
        is_cut = 'truncated' in str(error)  # whatever the memory
        copies = _COPIES if image.format in (*_HEAVY, 'JPEG') else 1
        if not is_cut and not _has_room(copies * image.width * image.height * len(image.getbands())):
            raise MemoryError(f'for the pixels of {name}') from error
        if isinstance(error, OSError):
            raise
        raise ValueError(first_line(error)) from error


def _has_room(size: int = 0) -> bool:
    """Whether there is memory for so many bytes, and some more: decoders may say of it no more than of damage."""
    try:
        np.empty(size + _ROOM, np.uint8)
    except MemoryError:
        return False
    return True


def _in_turn(image: Image.Image, work: Callable[[], Any]) -> Any:
    """What `work` returns; that on a large image waits for its turn."""
    pixels = image.width * image.height
    if pixels <= conversion.LARGE // 2:
        return work()
    return (_large_images if pixels > conversion.LARGE else _half_as_large).submit(work).result()
