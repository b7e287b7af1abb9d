"""All images of a data set: in memory if they fit, else read when a batch indexes them (data/lazy.py)."""

import concurrent.futures
import dataclasses
from typing import NamedTuple

import numpy as np

from noisy_jax.data.decoding import TooDeep, decoded_shape
from noisy_jax.data.depth import Levels
from noisy_jax.data.encoded import (
    Encoded,
    attempt,
    decoded,
    find_broken,
    find_levels,
    is_broken,
    mapped,
    refusal,
    shape_of,
    watched,
)
from noisy_jax.data.lazy import Files, Images
from noisy_jax.errors import InputError

BROKEN = ('refuse', 'leave_out')  # what becomes of broken images
FIND = 'find'


class Decoding(NamedTuple):
    """How image files are read.

    Attributes:
      image_size: pixels of a side, to which images are scaled by their shorter side and cropped; 0: all images must
        have one size.
      memory_bytes: size of the decoded images (counted with three channels) above which they stay files, decoded when
        they are needed.
      workers: processes that decode; 0: threads of this process.
      headers: whether headers of files are read now; if not, they may have any sizes, and only `original` reads them.
      levels: which values of deep images become black and white; FIND: the lowest and the highest of all of them, whose
        pixels are read once for that; None: there is no deep image.
      broken: one of BROKEN. Those that stay files are decoded once to leave out the broken ones, which takes as long as
        an epoch of reading; to refuse them, their headers are read, and the pixels when they are needed.
    """

    image_size: int = 0
    memory_bytes: int = 2**33
    workers: int = 0
    headers: bool = True
    levels: Levels | str | None = FIND
    broken: str = BROKEN[0]


DEFAULT = Decoding()


class ReadImages(NamedTuple):
    """Images that could be read.

    Attributes:
      images: uint8 [M, H, W, C].
      rows: int [M], which of all they are.
      broken: what is wrong with each of the others, by its row.
      levels: which values of deep images become black and white; None where there is no deep one.
    """

    images: Images
    rows: np.ndarray
    broken: dict[int, str]
    levels: Levels | None = None


def read_all(encoded: Encoded, decoding: Decoding) -> ReadImages:
    """Decodes all images (at least one) if they take up to `memory_bytes`; else reads only their headers now.

    Returns:
      Images uint8 [M, H, W, C], with C = 1 if all are grey, else 3; all N of them, if broken ones are not left out.

    Raises:
      InputError: images are broken, all of them or where that is refused, or one has another size than the first.
    """
    if not decoding.headers:
        return ReadImages(Files(encoded, (0, 0, 3), workers=decoding.workers), np.arange(len(encoded)), {})
    if decoding.levels != FIND:
        encoded = dataclasses.replace(encoded, levels=decoding.levels)
    try:
        return _read(encoded, decoding)._replace(levels=encoded.levels)
    except TooDeep:
        if decoding.levels != FIND:
            raise
    levels, broken = find_levels(encoded)
    encoded = dataclasses.replace(encoded, levels=levels or Levels(0.0, 1.0))  # all deep ones may be broken
    if broken and decoding.broken == 'refuse':
        raise refusal(encoded, find_broken(encoded, decoding.image_size))
    return _read(encoded, decoding)._replace(levels=levels)


def _read(encoded: Encoded, decoding: Decoding) -> ReadImages:
    """As `read_all`, with the levels of `encoded`."""
    size, memory_bytes, workers = decoding[:3]
    refuses = decoding.broken == 'refuse'
    first, (height, width, _) = _first_whole(encoded, size)
    if len(encoded) * height * width * 3 > memory_bytes:
        shape, broken = _common_shape(encoded, decoding, first)
        if broken and refuses:
            raise refusal(encoded, find_broken(encoded, size))
        rows = _whole(len(encoded), broken)
        return ReadImages(Files(encoded.take(rows), shape, size, workers), rows, broken)
    result, broken = np.empty((len(encoded), height, width, 1), np.uint8), {}
    for row, image in watched(encoded, decoded(encoded, size, workers), 'decoding'):
        if is_broken(image):
            broken[row] = image.reason
            continue
        _check_size(encoded, row, image.shape, first, (height, width))
        place = row - len(broken)
        if image.shape[-1] > result.shape[-1]:  # the first that is not grey
            grey, result = result[:place], np.empty((len(encoded), height, width, 3), np.uint8)
            result[:place] = grey
        result[place] = image
    if broken and refuses:
        raise refusal(encoded, broken)
    rows = _whole(len(encoded), broken)
    return ReadImages(result[: len(rows)], rows, broken)


def _first_whole(encoded: Encoded, size: int) -> tuple[int, tuple[int, int, int]]:
    """The first image that is not broken, and its (H, W, C)."""
    for row in range(len(encoded)):
        shape = attempt(shape_of, size, encoded, row)
        if not is_broken(shape):
            return row, shape
    raise refusal(encoded, find_broken(encoded, size))


def _whole(count: int, broken: dict[int, str]) -> np.ndarray:
    """The rows that are not broken, int [M]."""
    return np.delete(np.arange(count), list(broken))


def _common_shape(encoded: Encoded, decoding: Decoding, first: int) -> tuple[tuple[int, int, int], dict[int, str]]:
    """(H, W, C) that all images have, and what is wrong with each that is broken; read as `Decoding` says."""
    size, read = decoding.image_size, shape_of if decoding.broken == 'leave_out' else decoded_shape
    expected, channels, broken = read(encoded.open(first), size, encoded.name(first), encoded.levels)[:2], 1, {}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for row, shape in watched(encoded, mapped(pool, read, size, encoded), 'reading images'):
            if is_broken(shape):
                broken[row] = shape.reason
                continue
            _check_size(encoded, row, shape, first, expected)
            channels = max(channels, shape[-1])
    return (*expected, channels), broken


def _check_size(encoded: Encoded, row: int, shape: tuple[int, ...], first: int, expected: tuple[int, int]) -> None:
    if shape[:2] != expected:
        height, width = expected
        raise InputError(
            f'{encoded.name(row)}: {shape[1]}x{shape[0]} pixels, {encoded.name(first)} has {width}x{height}; '
            'set config.data.image_size'
        )
