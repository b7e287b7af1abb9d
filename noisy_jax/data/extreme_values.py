"""Warns where a few extreme values, such as hot pixels, squeeze all others into few grey levels."""

from collections.abc import Sequence

import numpy as np

from noisy_jax.data.rows import spread
from noisy_jax.errors import warn_once

IMAGES, OF_EACH = 256, 4096  # how many are looked at, and how many values of each
_FEW, _FEWER = 17, 12  # levels of 256, where other images have more, and where none has
_LOST = 4  # values that become one level
_NEARLY_ALL, _SHARE = 0.95, 0.05  # of the values, which have these levels; of the images, which are told


def warn(values: Sequence[np.ndarray], low: float, high: float, source: object, lowest: str, highest: str) -> None:
    """Warns where the values of many images become a few grey levels though they differ.

    Args:
      values: of each image some, [M].
      low: the value that becomes black.
      high: the one that becomes white.
      source: how the warning begins.
      lowest: the image that has `low`.
      highest: the image that has `high`.
    """
    if not len(values) or low == high:
        return
    together = -(-OF_EACH * len(values) // sum(map(len, values)))  # few pixels say nothing on their own
    parts = [np.concatenate(values[first : first + together]) for first in range(0, len(values), together)]
    left = [levels for part in parts if (levels := _left(part, low, high))]
    if len(left) > (1 - _SHARE) * len(parts):
        left = [levels for levels in left if levels <= _FEWER]
    if len(left) > _SHARE * len(parts):
        middle = np.median(np.concatenate(parts))
        extreme = lowest if middle - low > high - middle else highest
        warn_once(
            f'{source}: numbers from {low:g} to {high:g} become 256 grey levels, of which {len(left) / len(parts):.0%} '
            f'of the images have about {int(np.median(left))}; is there a hot pixel or a number for no data, as in '
            f'{extreme}, or a camera or channel of another range?'
        )


def warn_of_array(images: np.ndarray, low: float, high: float, source: str) -> None:
    """As `warn`, of each channel of images [N, ..., C]."""
    pixels = images.reshape(len(images), -1, images.shape[-1])
    lowest, highest = (f'image {row}' for row in (pixels.min((1, 2)).argmin(), pixels.max((1, 2)).argmax()))
    pixels = pixels[spread(len(pixels), IMAGES)]
    for channel in range(pixels.shape[-1]):
        name = f'{source}, channel {channel}' if pixels.shape[-1] > 1 else source
        warn(pixels[:, spread(pixels.shape[1], OF_EACH), channel], low, high, name, lowest, highest)


def _left(values: np.ndarray, low: float, high: float) -> int:
    """How many levels nearly all of these values become, if these are few for as many as they are; else 0."""
    level = np.round((values.astype(np.float64) - low) * (255 / (high - low)))
    kinds, counts = np.unique(level, return_counts=True)
    order = np.argsort(-counts)
    levels = int(np.searchsorted(np.cumsum(counts[order]), _NEARLY_ALL * len(level))) + 1
    differing = len(np.unique(values[np.isin(level, kinds[order[:levels]])]))
    return levels if levels <= _FEW and differing >= _LOST * levels else 0
