"""Stored images, such as files, and how all are decoded: several at a time, each an image or what is wrong with it."""

import concurrent.futures
import contextlib
import contextvars
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from noisy_jax.data import extreme_values, marks
from noisy_jax.data.decoding import File, decode, levels_of, values_of
from noisy_jax.data.depth import Levels
from noisy_jax.data.faults import BrokenImage, BrokenImages
from noisy_jax.data.workers import pool_of
from noisy_jax.errors import InputError, some

NAMED = 10  # broken images that an error names; it counts the others
_SHARE = 16  # images per task: enough to outweigh its dispatch, few enough to divide a batch among the workers
_PATIENCE = 3  # seconds before a progress bar appears
_QUIET = contextvars.ContextVar('quiet', default=False)  # no bars at all; they are for terminals only


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Stored images, one for each of `rows` [N] of `place`, the deep ones with `levels`; parts are sent to workers."""

    place: Any
    rows: np.ndarray
    levels: Levels | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> Self:
        """The images at these rows, in this order."""
        return dataclasses.replace(self, rows=self.rows[rows])

    def open(self, row: int) -> File:
        """A file or stream that Pillow can open."""
        raise NotImplementedError

    def name(self, row: int) -> str:
        """How errors call the image."""
        raise NotImplementedError

    def marks(self) -> np.ndarray | None:
        """A checksum of each, int64 [N], as in data/marks.py; None where there are no files."""
        return None


class Paths(Encoded):
    """Image files, `rows` are their paths (str) under the folder `place`."""

    def open(self, row: int) -> str:
        return os.path.join(self.place, self.rows[row])

    name = open

    def marks(self) -> np.ndarray:
        return np.array([marks.of_file(self.open(row)) for row in range(len(self))], np.int64)


def decoded(encoded: Encoded, size: int, workers: int) -> Iterator[np.ndarray | BrokenImage]:
    """Yields all images in order, each uint8 [H, W, C] or the error that says what is wrong with it."""
    try:
        yield from mapped(pool_of(workers), decode, size, encoded)
    except BrokenProcessPool as error:
        pool_of.cache_clear()
        raise InputError(
            f'config.data.workers: one of {workers} decoding processes has ended (out of memory, or a script without '
            "if __name__ == '__main__'?); set fewer, or 0 for threads"
        ) from error


def mapped(pool: concurrent.futures.Executor, read: Callable, size: int, encoded: Encoded) -> Iterator[Any]:
    """What `read` (`decode` or another with its arguments) gives for every image in order, or its BrokenImage."""
    shares = (encoded.take(rows) for rows in np.split(np.arange(len(encoded)), range(_SHARE, len(encoded), _SHARE)))
    return itertools.chain.from_iterable(pool.map(functools.partial(_each, read, size), shares))


def _each(read: Callable, size: int, encoded: Encoded) -> list[Any]:
    return [attempt(read, size, encoded, row) for row in range(len(encoded))]


def attempt(read: Callable, size: int, encoded: Encoded, row: int) -> Any:
    """What `read` gives for an image, or the BrokenImage that it raises."""
    try:
        return read(encoded.open(row), size, encoded.name(row), encoded.levels)
    except BrokenImage as error:
        return error


def is_broken(found: Any) -> bool:
    """Whether `attempt` found an image broken."""
    return isinstance(found, BrokenImage)


def shape_of(file: File, size: int, name: str, levels: Levels | None) -> tuple[int, int, int]:
    """As `decoded_shape`, of an image whose pixels can be read."""
    return decode(file, size, name, levels).shape


def find_levels(encoded: Encoded) -> tuple[Levels | None, list[BrokenImage]]:
    """The lowest and the highest value of all deep images, None without any; and those found broken on the way.

    A warning says where a few values leave all others few grey levels.
    """
    with concurrent.futures.ThreadPoolExecutor() as pool:
        read = watched(encoded, mapped(pool, levels_of, 0, encoded), 'reading the range of pixels')
        found = {row: each for row, each in read if each is not None}
        broken = [each for each in found.values() if is_broken(each)]
        ranges = {row: each for row, each in found.items() if not is_broken(each)}
        if not ranges:
            return None, broken
        lowest, highest = min(ranges, key=lambda row: ranges[row].low), max(ranges, key=lambda row: ranges[row].high)
        levels = Levels(ranges[lowest].low, ranges[highest].high)
        some_of = encoded.take(np.array(list(ranges))[:: -(-len(ranges) // extreme_values.IMAGES)])
        values = [each for each in mapped(pool, values_of, extreme_values.OF_EACH, some_of) if not is_broken(each)]
    extreme_values.warn(values, *levels, 'images of more than 8 bits', encoded.name(lowest), encoded.name(highest))
    return levels, broken


def find_broken(encoded: Encoded, size: int) -> dict[int, str]:
    """What is wrong with each image that is broken, by its row, by decoding all."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = watched(encoded, mapped(pool, shape_of, size, encoded), 'looking for broken images')
        return {row: fault.reason for row, fault in found if is_broken(fault)}


def refusal(encoded: Encoded, broken: dict[int, str]) -> InputError:
    """The error that names those that are broken."""
    named = [BrokenImage(encoded.name(row), reason) for row, reason in broken.items()]
    if not named:
        return InputError('an image file could not be read, and can be now; rerun the command')
    if len(named) == 1:
        return BrokenImages(named[0].found)
    listed = some([f'{each.name} ({each.reason})' for each in named], NAMED)
    return BrokenImages(f'{len(named)} of {len(encoded)} images are not whole: {listed}')


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[None]:
    """Whether images that are decoded within the block show no progress bar."""
    token = _QUIET.set(quiet)
    try:
        yield
    finally:
        _QUIET.reset(token)


def watched(encoded: Encoded, found: Iterator[Any], title: str) -> Iterator[tuple[int, Any]]:
    """Numbers what is `found` for each image, with a progress bar."""
    hide = _QUIET.get() or None
    bar = tqdm(found, title, len(encoded), unit='image', delay=_PATIENCE, disable=hide, leave=False)
    return enumerate(bar)
