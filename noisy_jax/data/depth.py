"""Pixels of more than 8 bits: which images have them, and their values."""

from typing import NamedTuple

import numpy as np
from PIL import Image

from noisy_jax.errors import warn_once

_UNSIGNED, _NEGATIVE = 'unsigned', 'negative'  # in `info`, which parts of an image keep
# Tags of TIFF. Photometric interpretation 0: the lowest value is white; planar configuration 2: a plane per colour.
# Format of the samples 2: with a sign.
_BITS, _PHOTOMETRIC, _PLANAR, _PREDICTOR, _FORMAT = 258, 262, 284, 317, 339
_OF_FLOATS = 3  # a predictor that has an order of bytes of its own
_BYTE = 255
NO_DATA = 1e30  # beyond what is measured; programs for maps write -3.4e38 where nothing was


class Levels(NamedTuple):
    """Which values of deep images (grey ones of more than 8 bits) become black and white; others are clipped."""

    low: float
    high: float

    def __str__(self) -> str:
        return f'pixels of more than 8 bits, from {self.low:g} to {self.high:g}, are scaled to 0..255'


def is_deep(image: Image.Image) -> bool:
    """Whether it is grey with 16 bits or more."""
    return image.mode.startswith('I') or image.mode == 'F'


def note(image: Image.Image) -> None:
    """Notes how the file of an image, not yet loaded, stores pixels, for `values`; warns where Pillow cuts them.

    Raises:
      ValueError: Pillow would misread them.
    """
    tags = getattr(image, 'tag_v2', {})
    if tags.get(_PLANAR) == 2 and len(bits := tags.get(_BITS, ())) > 1 and max(bits) > 8:
        raise ValueError('colours of more than 8 bits in planes of their own, which Pillow does not read')
    if 2 in tags.get(_FORMAT, ()) and max(tags.get(_BITS, (1,))) <= 8:
        raise ValueError('bytes with a sign, which Pillow reads as if they had none; save them with 16 bits')
    if _is_swapped_twice(image):
        raise ValueError('compressed pixels in big-endian order, which Pillow misreads; save it without compression')
    if image.format == 'FITS' and image.mode == 'I;16':
        raise ValueError('FITS of 16 bits, which Pillow reads as if they had no sign; save it as TIFF or PNG')
    if (';16' in _stored(image) or _most(image) > _BYTE) and not is_deep(image):
        warn_once('images with more than 8 bits per colour channel are read as 8 bits, the upper ones of each value')
    if image.mode == 'I;16' and tags.get(_PHOTOMETRIC) == 0:
        image.info[_NEGATIVE] = True
    if image.mode == 'I' and _stored(image).startswith('I;32') and not _stored(image).endswith('S'):
        image.info[_UNSIGNED] = True


def values(image: Image.Image) -> np.ndarray:
    """The values of a deep image or a part of it [H, W].

    Raises:
      ValueError: one is not finite, or stands for none.
    """
    found = np.asarray(image)
    if image.info.get(_UNSIGNED):  # Pillow has no such mode, and wraps them
        found = found.view(np.uint32)
    if image.info.get(_NEGATIVE):  # Pillow inverts those of 8 bits alone
        found = np.iinfo(np.uint16).max - found
    if not np.isfinite(found).all():
        raise ValueError('NaN or infinite pixels')
    for extreme in (found.min(), found.max()):
        if abs(float(extreme)) > NO_DATA:
            raise ValueError(f'a pixel of {extreme:.2g}, which stands for no data in many files')
    return found


def _is_swapped_twice(image: Image.Image) -> bool:
    """Whether Pillow swaps the bytes of numbers with a sign or of floats that libtiff has swapped already."""
    decoder = image.tile[0][0] if getattr(image, 'tile', None) else ''
    swaps = decoder == 'libtiff' and getattr(image, 'tag_v2', {}).get(_PREDICTOR) != _OF_FLOATS
    return swaps and _stored(image) in ('I;16BS', 'I;32BS', 'F;32BF', 'F;64BF')


def _most(image: Image.Image) -> int:
    """The value of a PPM file that means white; 0 of other kinds."""
    arguments = image.tile[0][3] if image.format == 'PPM' and getattr(image, 'tile', None) else 0
    return arguments[-1] if isinstance(arguments, tuple) and isinstance(arguments[-1], int) else 0


def _stored(image: Image.Image) -> str:
    """How the file stores pixels, as Pillow calls it, such as 'RGB;16B'; '' where it does not say."""
    stored = image.tile[0][3] if getattr(image, 'tile', None) else ''
    first = stored[0] if isinstance(stored, tuple) and stored else stored
    return first if isinstance(first, str) else ''
