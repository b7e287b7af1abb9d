"""Images in memory if they fit, else read when a batch indexes them: decoded, or from a memory-mapped array.

`Files` and `Rows` behave like a read-only uint8 array [N, H, W, C], which reads when it is indexed by a row, a slice or
an array of rows. Their images equal those in memory to the bit.
"""

import concurrent.futures
import contextlib
import contextvars
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple, Self

import numpy as np
from tqdm import tqdm

from noisy_jax.data import marks
from noisy_jax.data.decoding import BrokenImage, File, Levels, TooDeep, decode, decoded_shape, fit_array, levels_of
from noisy_jax.data.workers import pool_of
from noisy_jax.errors import InputError, some

_SHARE = 16  # images per task: enough to outweigh its dispatch, few enough to divide a batch among the workers
_PATIENCE = 3  # seconds before a progress bar appears
NAMED = 10  # broken images that an error names; it counts the others
BROKEN = ('refuse', 'leave_out')  # what becomes of them
FIND = 'find'
_QUIET = contextvars.ContextVar('quiet', default=False)  # no bars at all; they are for terminals only


class Decoding(NamedTuple):
    """How image files are read.

    Attributes:
      image_size: pixels of a side, to which images are scaled by their shorter side and cropped; 0: all images must
        have one size.
      memory_bytes: size of the decoded images (counted with three channels) above which they stay files, decoded when
        they are needed.
      workers: processes that decode; 0: threads of this process.
      headers: whether files are looked into now; if not, they may have any sizes, and only `original` reads them.
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


class _Lazy:
    """A read-only uint8 array [N, H, W, C] that reads the images of its source when it is indexed."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, source: Encoded, shape: tuple[int, int, int], size: int = 0, workers: int = 0) -> None:
        """`shape` is (H, W, C) of every image, `size` as in `fit_array`, `workers` as in `Decoding`."""
        self._source, self._size, self._workers = source, size, workers
        self.shape = (len(source), *shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.asarray(np.arange(len(self))[index])
        return self._read(rows.ravel()).reshape(*rows.shape, *self.shape[1:])

    def take(self, rows: np.ndarray) -> Self:
        """The images at these rows, not yet read."""
        return type(self)(self._source.take(rows), self.shape[1:], self._size, self._workers)

    def scaled(self, size: int) -> Self:
        return type(self)(self._source, (size, size, self.shape[-1]), size, self._workers)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Files(_Lazy):
    """Encoded images, decoded when they are indexed."""

    def name(self, row: int) -> str:
        """Where the image is read from, such as its path."""
        return self._source.name(row)

    def stored_shapes(self, rows: np.ndarray) -> list[tuple[int, int, int]]:
        """(H, W, C) of the images at these rows before scaling, from the headers of the files."""
        shapes = _each(decoded_shape, 0, self._source.take(rows))
        if any(_is_broken(shape) for shape in shapes):
            raise _refusal(self._source, _broken(self._source, 0))
        return shapes

    def original(self, row: int, then: Callable[[np.ndarray], Any]) -> Any:
        """What `then` makes of the image as it is stored, uint8 [H, W, 3], or [H, W, 1] if it is grey."""
        source = self._source
        return decode(source.open(row), name=source.name(row), levels=source.levels, then=then)

    def with_levels(self) -> tuple[Self, Levels | None]:
        """The same with levels for the deep ones among them, whose pixels are read for that; and these levels."""
        levels = _levels(self._source)[0]
        source = dataclasses.replace(self._source, levels=levels)
        return type(self)(source, self.shape[1:], self._size, self._workers), levels

    def _read(self, rows: np.ndarray) -> np.ndarray:
        chosen = self._source.take(rows)
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for row, image in enumerate(_decoded(chosen, self._size, self._workers)):
            if _is_broken(image):
                raise _refusal(self._source, _broken(self._source, self._size))
            if image.shape[:2] != self.shape[1:3] or image.shape[-1] > self.shape[-1]:
                raise InputError(f'{chosen.name(row)}: {image.shape} now, {self.shape[1:]} when the run began')
            images[row] = image  # a grey image is broadcast
        return images


class Rows(_Lazy):
    """Rows of a memory-mapped array, which stays on disk; scaled when they are read."""

    @classmethod
    def of(cls, array: np.memmap) -> Self:
        """All images of an array [N, H, W, C]."""
        return cls(Encoded(array, np.arange(len(array))), array.shape[1:])

    def _read(self, rows: np.ndarray) -> np.ndarray:
        chosen = self._source.take(rows)
        return scaled(np.asarray(chosen.place[chosen.rows]), self._size)


Images = np.ndarray | Files | Rows


def take(images: Images, rows: np.ndarray) -> Images:
    """The images at these rows; those not in memory are not read."""
    return images.take(rows) if isinstance(images, _Lazy) else images[rows]


def original(images: Images, row: int, then: Callable[[np.ndarray], Any]) -> Any:
    """What `then` makes of the image at this row in its own size, uint8 [H, W, C].

    Raises:
      InputError: its file is damaged, incomplete or of an unknown kind.
    """
    return images.original(row, then) if isinstance(images, Files) else then(images[row])


def scaled(images: Images, size: int) -> Images:
    """Scales images as `fit_array`, to [N, size, size, C]; those not in memory when they are read."""
    if not size or images.shape[1:3] == (size, size):
        return images
    if isinstance(images, _Lazy):
        return images.scaled(size)
    shape = (size, size, images.shape[-1])
    return np.fromiter((fit_array(image, size) for image in images), np.dtype((np.uint8, shape)), len(images))


class Found(NamedTuple):
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


def images(encoded: Encoded, decoding: Decoding) -> Found:
    """Decodes all images (at least one) if they take up to `memory_bytes`; else reads only their headers now.

    Returns:
      Images uint8 [M, H, W, C], with C = 1 if all are grey, else 3; all N of them, if broken ones are not left out.

    Raises:
      InputError: images are broken, all of them or where that is refused, or one has another size than the first.
    """
    if not decoding.headers:
        return Found(Files(encoded, (0, 0, 3), workers=decoding.workers), np.arange(len(encoded)), {})
    if decoding.levels != FIND:
        encoded = dataclasses.replace(encoded, levels=decoding.levels)
    try:
        return _read(encoded, decoding)._replace(levels=encoded.levels)
    except TooDeep:
        if decoding.levels != FIND:
            raise
    levels, broken = _levels(encoded)
    encoded = dataclasses.replace(encoded, levels=levels or Levels(0.0, 1.0))  # all deep ones may be broken
    if broken and decoding.broken == 'refuse':
        raise _refusal(encoded, _broken(encoded, decoding.image_size))
    return _read(encoded, decoding)._replace(levels=levels)


def _levels(encoded: Encoded) -> tuple[Levels | None, list[BrokenImage]]:
    """The lowest and the highest value of all deep images, None without any; and those found broken on the way."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        read = _watched(encoded, _mapped(pool, levels_of, 0, encoded), 'reading the range of pixels')
        found = [each for _, each in read if each is not None]
    broken = [each for each in found if _is_broken(each)]
    ranges = [each for each in found if not _is_broken(each)]
    return (Levels(min(ranges)[0], max(high for _, high in ranges)) if ranges else None), broken


def _read(encoded: Encoded, decoding: Decoding) -> Found:
    """As `images`, with the levels of `encoded`."""
    size, memory_bytes, workers = decoding[:3]
    refuses = decoding.broken == 'refuse'
    first, (height, width, _) = _first_whole(encoded, size)
    if len(encoded) * height * width * 3 > memory_bytes:
        shape, broken = _common_shape(encoded, decoding, first)
        if broken and refuses:
            raise _refusal(encoded, _broken(encoded, size))
        rows = _whole(len(encoded), broken)
        return Found(Files(encoded.take(rows), shape, size, workers), rows, broken)
    result, broken = np.empty((len(encoded), height, width, 1), np.uint8), {}
    for row, image in _watched(encoded, _decoded(encoded, size, workers), 'decoding'):
        if _is_broken(image):
            broken[row] = image.reason
            continue
        _check_size(encoded, row, image.shape, first, (height, width))
        place = row - len(broken)
        if image.shape[-1] > result.shape[-1]:  # the first that is not grey
            grey, result = result[:place], np.empty((len(encoded), height, width, 3), np.uint8)
            result[:place] = grey
        result[place] = image
    if broken and refuses:
        raise _refusal(encoded, broken)
    rows = _whole(len(encoded), broken)
    return Found(result[: len(rows)], rows, broken)


def _first_whole(encoded: Encoded, size: int) -> tuple[int, tuple[int, int, int]]:
    """The first image that is not broken, and its (H, W, C)."""
    for row in range(len(encoded)):
        shape = _attempt(_shape, size, encoded, row)
        if not _is_broken(shape):
            return row, shape
    raise _refusal(encoded, _broken(encoded, size))


def _shape(file: File, size: int, name: str, levels: Levels | None) -> tuple[int, int, int]:
    """As `decoded_shape`, of an image whose pixels can be read."""
    return decode(file, size, name, levels).shape


def _whole(count: int, broken: dict[int, str]) -> np.ndarray:
    """The rows that are not broken, int [M]."""
    return np.delete(np.arange(count), list(broken))


def _broken(encoded: Encoded, size: int) -> dict[int, str]:
    """What is wrong with each image that is broken, by its row, by decoding all."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = _watched(encoded, _mapped(pool, _shape, size, encoded), 'looking for broken images')
        return {row: fault.reason for row, fault in found if _is_broken(fault)}


def _refusal(encoded: Encoded, broken: dict[int, str]) -> InputError:
    """The error that names those that are broken."""
    named = [str(BrokenImage(encoded.name(row), reason)) for row, reason in broken.items()]
    if not named:
        return InputError('an image file could not be read, and can be now; rerun the command')
    if len(named) == 1:
        return InputError(f'{named[0]}, or set config.data.broken=leave_out')
    listed = some([f'{encoded.name(row)} ({reason})' for row, reason in broken.items()], NAMED)
    return InputError(
        f'{len(broken)} of {len(encoded)} images are not whole: {listed}; repair or remove them, or set '
        'config.data.broken=leave_out'
    )


def _is_broken(found: Any) -> bool:
    return isinstance(found, BrokenImage)


def _common_shape(encoded: Encoded, decoding: Decoding, first: int) -> tuple[tuple[int, int, int], dict[int, str]]:
    """(H, W, C) that all images have, and what is wrong with each that is broken; read as `Decoding` says."""
    size, read = decoding.image_size, _shape if decoding.broken == 'leave_out' else decoded_shape
    expected, channels, broken = read(encoded.open(first), size, encoded.name(first), encoded.levels)[:2], 1, {}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for row, shape in _watched(encoded, _mapped(pool, read, size, encoded), 'reading images'):
            if _is_broken(shape):
                broken[row] = shape.reason
                continue
            _check_size(encoded, row, shape, first, expected)
            channels = max(channels, shape[-1])
    return (*expected, channels), broken


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[None]:
    """Whether images that are decoded within the block show no progress bar."""
    token = _QUIET.set(quiet)
    try:
        yield
    finally:
        _QUIET.reset(token)


def _watched(encoded: Encoded, found: Iterator[Any], title: str) -> Iterator[tuple[int, Any]]:
    """Numbers what is `found` for each image, with a progress bar."""
    hide = _QUIET.get() or None
    bar = tqdm(found, title, len(encoded), unit='image', delay=_PATIENCE, disable=hide, leave=False)
    return enumerate(bar)


def _check_size(encoded: Encoded, row: int, shape: tuple[int, ...], first: int, expected: tuple[int, int]) -> None:
    if shape[:2] != expected:
        height, width = expected
        raise InputError(
            f'{encoded.name(row)}: {shape[1]}x{shape[0]} pixels, {encoded.name(first)} has {width}x{height}; '
            'set config.data.image_size'
        )


def _decoded(encoded: Encoded, size: int, workers: int) -> Iterator[np.ndarray | BrokenImage]:
    """Yields all images in order, each uint8 [H, W, C] or the error that says what is wrong with it."""
    try:
        yield from _mapped(pool_of(workers), decode, size, encoded)
    except BrokenProcessPool as error:
        pool_of.cache_clear()
        raise InputError(
            f'config.data.workers: one of {workers} decoding processes was killed (out of memory?); '
            'set fewer, or 0 for threads'
        ) from error


def _mapped(pool: concurrent.futures.Executor, read: Callable, size: int, encoded: Encoded) -> Iterator[Any]:
    """What `read` (`decode` or another with its arguments) gives for every image in order, or its BrokenImage."""
    shares = (encoded.take(rows) for rows in np.split(np.arange(len(encoded)), range(_SHARE, len(encoded), _SHARE)))
    return itertools.chain.from_iterable(pool.map(functools.partial(_each, read, size), shares))


def _each(read: Callable, size: int, encoded: Encoded) -> list[Any]:
    return [_attempt(read, size, encoded, row) for row in range(len(encoded))]


def _attempt(read: Callable, size: int, encoded: Encoded, row: int) -> Any:
    """What `read` gives for an image, or the BrokenImage that it raises."""
    try:
        return read(encoded.open(row), size, encoded.name(row), encoded.levels)
    except BrokenImage as error:
        return error
