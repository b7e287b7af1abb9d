"""Converts arrays that hold images (bytes, floats, numbers of any range, flat rows) to uint8 [N, H, W, C]."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from noisy_jax.data import extreme_values, lazy
from noisy_jax.data.dataset import warn_of_blank
from noisy_jax.data.depth import NO_DATA, Levels
from noisy_jax.data.rows import spread
from noisy_jax.errors import InputError, warn_once

_WHITE = 255
_SIDE = 8  # pixels, from which on rows are images rather than a few features
_OVERSHOT = 0.1  # by which resized images may leave [0, 1]
_LEVELS = 4  # of grey, from which on whole numbers are brightness
_WIDE = 64  # range that cannot be meant where images lie within one sixty-fourth of it
_CLIPPED = 0.9  # share of numbers beyond one end of the range that cannot be meant
_MANY = 16  # images, some of which must have pixels below 0
_BELOW = 0.2  # ... where so large a share of the range is
_NEARLY_ALL = 0.98  # of the images of training
_NUMBERS = 2**22  # looked at or scaled at a time
_SOME = 256  # images
_DIM = 64  # of 255: whole numbers below may well be of another range
ROUNDING = 1e-6  # by which what scales to [0, 1] may leave it, some roundings of float32
_LEAST_STD = 0.02  # of pixels, as a share of their mean
_AT_A_TIME = 64  # images counted


@dataclasses.dataclass(frozen=True)
class Pixels:
    """How arrays become images, as the training data determines it.

    Attributes:
      image_shape: (H, W, C); shorter rows are padded with black pixels.
      low: number that becomes black.
      high: number that becomes white; with 0 and 1, bytes are pixels already.
      of_bytes: whether they were bytes, or bytes divided by 255, so that whole numbers of other types are bytes.
      are_whole: whether all numbers were whole.
      darkest: the greatest number of the darkest image; None: an earlier version's.
      negative: the share of images with a number below 0.
    """

    image_shape: tuple[int, int, int]
    low: float
    high: float
    of_bytes: bool = False
    are_whole: bool = True
    darkest: float | None = None
    negative: float = 1.0

    @classmethod
    def of(cls, rows: np.ndarray, shape: tuple[int, ...], image_shape: tuple[int, ...] | None = None) -> 'Pixels':
        """Determines shape and range.

        Bytes, as any kind of numbers, and floats in [0, 1] are taken as they are: none is below 0, and the greatest is
        above 127, or within 1. Other numbers are scaled by their minimum and maximum. Flat rows without `image_shape`
        are grey squares, padded to the next square number.

        Args:
          rows: numbers [N, D] of the training images.
          shape: shape of one image as given: (H, W, C), (H, W) or (D,).
          image_shape: (H, W) or (H, W, C) of flat rows.

        Raises:
          InputError: shapes do not match.
        """
        if image_shape is not None:
            _check(image_shape, rows.shape[1])
            _check_same(shape, image_shape)
            shape = tuple(image_shape)
        elif len(shape) == 1:
            side = max(math.isqrt(rows.shape[1] - 1) + 1, 2)
            colour = math.isqrt(rows.shape[1] // 3)
            if rows.shape[1] >= _SIDE**2 and rows.shape[1] != side**2:
                hint = 'is each an image? image_shape says of what form'
                if rows.shape[1] == 3 * colour**2:
                    hint = (
                        f'colours need X.reshape(-1, {colour}, {colour}, 3), or if each is a plane, as in CIFAR, '
                        f'X.reshape(-1, 3, {colour}, {colour}).transpose(0, 2, 3, 1)'
                    )
                warn_once(f'X: rows of {rows.shape[1]} numbers are read as grey squares, padded with black; {hint}')
            shape = (side, side)
        elif len(shape) > 3:
            raise InputError(f'X: images of shape {shape}; (H, W, C), (H, W) or flat rows are needed')
        low, high = (0.0, 1.0) if rows.dtype == np.uint8 else (float(rows.min()), float(rows.max()))
        white = _WHITE if rows.dtype == np.uint8 else 1
        warn_of_blank(rows, white, 'X')
        if low >= -ROUNDING and high <= 1 + ROUNDING:
            low, high = 0.0, 1.0
        elif low >= 0 and _WHITE / 2 < high <= _WHITE:  # bytes as other numbers, which other images may fill
            low, high = 0.0, float(_WHITE)
        shape = (*shape, 1)[:3]
        if rows.dtype != np.uint8:
            _check_range(rows, low, high, shape[-1])
        of_bytes = rows.dtype == np.uint8
        if (low, high) == (0.0, 1.0) and not of_bytes:
            of_bytes = _are_255ths(rows[spread(len(rows), _SOME)])
        darkest, negative = float(rows.max(1).min()), float(np.mean(rows.min(1) < 0))
        return cls(shape, low, high if high > low else low + 1.0, of_bytes, _are_whole(rows), darkest, negative)

    @property
    def levels(self) -> Levels | None:
        """The range of deep images of which these numbers are; None of others."""
        return Levels(self.low, self.high) if max(self.high, self.high - self.low) > _WHITE else None

    def images(self, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Converts numbers [N, D] of images given in `shape` to uint8 [N, H, W, C]; numbers are clipped to the range.

        Raises:
          InputError: the shape differs from training, or, after training on bytes or [0, 1], most numbers other than 0
            are neither; or they are scaled in another way unlike those of training.
        """
        _check_same(shape, self.image_shape)
        if not len(rows):
            return np.zeros((0, *self.image_shape), np.uint8)
        none_below = self.low < -_BELOW * (self.high - self.low) and self.negative >= _NEARLY_ALL and rows.min() >= 0
        if none_below and len(rows) >= _MANY:
            warn_once(f'X: no number below 0, where those of training went down to {self.low:g}; is a mean subtracted?')
        rows = rows.astype(np.float32) if rows.dtype == np.float16 else rows  # beyond its range sums are infinite
        are_pixels = rows.dtype == np.uint8 and (self.low, self.high) == (0.0, 1.0)
        if not are_pixels and self.of_bytes and _are_bytes(rows):
            if rows.max() < _DIM:
                warn_once(f'X: whole numbers up to {rows.max():g} are taken for bytes, as in training; are they?')
            are_pixels = True
        if not are_pixels:
            self._check_scale(rows)
        pixels = np.zeros((len(rows), math.prod(self.image_shape)), np.uint8)
        for part in _parts(rows):
            pixels[part, : rows.shape[1]] = rows[part] if are_pixels else self._scaled(rows[part])
        return pixels.reshape(-1, *self.image_shape)

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        part = np.clip(rows.astype(np.float64), self.low, self.high)
        return np.round((part - self.low) * (255 / (self.high - self.low)))

    def _check_scale(self, rows: np.ndarray) -> None:
        if (self.low, self.high) != (0.0, 1.0):
            if found := self._other_scale(rows):
                raise InputError(f'X: {found}; those of training went from {self.low:g} to {self.high:g}')
            return
        low, high, some = rows.min(), rows.max(), np.count_nonzero(rows)
        # A scaler fitted to other rows leaves [0, 1] here and there; pixels up to 255 do almost everywhere.
        # Few are below 0 after it, unlike after a scaling to [-1, 1].
        is_far = (low < -1 or high > 2) and _count(rows, below=0, above=1) > some / 2
        if is_far or _count(rows, below=-_OVERSHOT) > some / 5:
            raise InputError(f'X: numbers from {low:g} to {high:g}; bytes or [0, 1] are needed, as in training')

    def _other_scale(self, rows: np.ndarray) -> str | None:
        """What shows that numbers are scaled unlike those of training; None where nothing does."""
        if rows.dtype == np.uint8 and self.high > 2 * _WHITE:  # of 16 bits
            return 'bytes'
        low, high, width = rows.min(), rows.max(), self.high - self.low
        beyond = _count(rows, below=self.low - width, above=self.high + width)
        clipped = max(_count(rows, below=self.low), _count(rows, above=self.high))
        if beyond > np.count_nonzero(rows) / 2 or clipped > _CLIPPED * rows.size:
            return f'numbers from {low:g} to {high:g}'
        if self.low >= 0 and width > _WIDE and low < 0 and high <= _WIDE / 4:  # standardised, or scaled to [-1, 1]
            return f'numbers from {low:g} to {high:g}'
        was_dark = self.darkest is not None and high >= self.darkest / 2  # about as dark was an image of training
        if self.low < -_BELOW * width or _are_whole(rows) or (was_dark and not self.are_whole):
            return None
        if self.low >= 0 and low >= 0 and high <= 1 and ((self.high >= _LEVELS and self.are_whole) or width > _WIDE):
            return f'fractions up to {high:g}'
        if self.low < 0 and high - low < width / _WIDE:  # of training that went a little below 0, as resized images do
            warn_once(
                f'X: numbers from {low:g} to {high:g}, where those of training went from {self.low:g} to '
                f'{self.high:g}; are they of the same scale?'
            )
        return None


def statistics(images: lazy.Images, rows: np.ndarray, size: int = 0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the pixels in [0, 1], one per channel, of the images at `rows`.

    They are scaled to `size`; 0: as they are.

    The values are counted, a few images at a time: exact, and without the pixels as floats.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(rows), _AT_A_TIME):
        part = rows[start : start + _AT_A_TIME]
        in_memory = isinstance(images, np.ndarray)
        chosen = lazy.scaled(images[part], size) if in_memory else lazy.scaled(images, size)[part]
        for image in chosen:
            counts += [np.bincount(values, minlength=256) for values in image.reshape(-1, channels).T]
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    std = np.sqrt((counts * np.square(values - mean[:, None])).sum(1) / counts.sum(1))
    std = np.round(std, 4)
    # A channel of one value, such as opaque alpha, says nothing; divided by little, it or one that is saturated would
    # drown the others where an augmentation fills in black.
    return tuple(np.round(mean, 4).tolist()), tuple(
        np.where(std == 0, 1.0, np.maximum(std, np.maximum(_LEAST_STD * mean, 1e-3))).tolist()
    )


def visible(images: np.ndarray) -> np.ndarray:
    """The channels of [..., C] that a screen can show: the first three, or the first."""
    return images[..., : 3 if images.shape[-1] >= 3 else 1]


def _are_255ths(rows: np.ndarray) -> bool:
    """Whether numbers in [0, 1] are bytes divided by 255, but for rounding; only 0 and 1 tell nothing."""
    rounding = _WHITE * max(1e-5, np.finfo(rows.dtype).eps / 2) if rows.dtype.kind == 'f' else 0
    any_grey = False
    for part in _parts(rows):
        levels = rows[part].astype(np.float64) * _WHITE
        if np.abs(levels - np.round(levels)).max() > rounding:
            return False
        any_grey = any_grey or bool(np.any((levels > rounding) & (levels < _WHITE - rounding)))
    return any_grey


def _are_bytes(rows: np.ndarray) -> bool:
    """Whether numbers beyond [0, 1] are bytes, of whatever type."""
    return bool(rows.min() >= 0 and 1 < rows.max() <= _WHITE) and _are_whole(rows)


def _are_whole(rows: np.ndarray) -> bool:
    return rows.dtype.kind in 'iu' or not any((rows[part] % 1).any() for part in _parts(rows))


def _count(rows: np.ndarray, *, below: float = -math.inf, above: float = math.inf) -> int:
    """How many numbers [N, D] are below the one or above the other."""
    return sum(np.count_nonzero((rows[part] < below) | (rows[part] > above)) for part in _parts(rows))


def _parts(rows: np.ndarray) -> Iterator[slice]:
    """Slices of rows [N, D] with a few million numbers, so that copies of these need little memory."""
    step = max(_NUMBERS // max(rows.shape[1], 1), 1)
    return (slice(first, first + step) for first in range(0, len(rows), step))


def _check_range(rows: np.ndarray, low: float, high: float, channels: int) -> None:
    """Refuses a number for no data in `rows` [N, D], and warns where numbers that differ become a few grey levels."""
    for extreme in (low, high):
        if abs(extreme) > NO_DATA:
            raise InputError(f'X: a number of {extreme:.2g}, which stands for no data in many files')
    extreme_values.warn_of_array(rows.reshape(len(rows), -1, channels), low, high, 'X')


def _check(image_shape: tuple[int, ...], values: int) -> None:
    sizes = image_shape if isinstance(image_shape, (tuple, list)) else ()
    if len(sizes) not in (2, 3) or not all(isinstance(size, (int, np.integer)) and size > 0 for size in sizes):
        raise InputError(f'image_shape: {image_shape!r} is not allowed; (H, W) or (H, W, C) of whole numbers above 0')
    product = math.prod(image_shape)
    if product != values:
        raise InputError(f'image_shape: {tuple(image_shape)} has {product} values, an image of X has {values}')


def _check_same(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuses another shape; flat rows match every shape, and (H, W) is (H, W, 1)."""
    if len(shape) > 1 and (*shape, 1)[:3] != (*wanted, 1)[:3]:
        raise InputError(f'X: images of shape {shape}; {tuple(wanted)} is needed')
