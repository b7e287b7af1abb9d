"""Images that are read when a batch indexes them: decoded, or from a memory-mapped array.

`Files` and `Rows` behave like a read-only uint8 array [N, H, W, C], which reads when it is indexed by a row, a slice or
an array of rows. Their images equal those in memory to the bit.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from PIL import Image

from noisy_jax.data.conversion import fit_array
from noisy_jax.data.decoding import decode, decoded_shape
from noisy_jax.data.depth import Levels
from noisy_jax.data.encoded import Encoded, attempt, decoded, find_broken, find_levels, is_broken, refusal
from noisy_jax.errors import InputError


class _Lazy:
    """A read-only uint8 array [N, H, W, C] that reads the images of its source when it is indexed."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(
        self, source: Encoded, shape: tuple[int, int, int], size: int = 0, workers: int = 0, channels: int = 0
    ) -> None:
        """`shape` is (H, W, C) of every image, `size` as in `fit_array`, `workers` as in `Decoding`.

        `channels`: 1 or 3, which the images get, as in `with_channels`; 0: those they have.
        """
        self._source, self._read_shape, self._size, self._workers, self._channels = (
            source,
            shape,
            size,
            workers,
            channels,
        )
        self.shape = (len(source), *shape[:2], channels or shape[-1])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)

    def __getitem__(self, index: Any) -> np.ndarray:
        rows = np.asarray(np.arange(len(self))[index])
        return _in_channels(self._read(rows.ravel()), self.shape[-1]).reshape(*rows.shape, *self.shape[1:])

    def take(self, rows: np.ndarray) -> Self:
        """The images at these rows, not yet read."""
        return type(self)(self._source.take(rows), self._read_shape, self._size, self._workers, self._channels)

    def scaled(self, size: int) -> Self:
        return type(self)(self._source, (size, size, self._read_shape[-1]), size, self._workers, self._channels)

    def with_channels(self, channels: int) -> Self:
        return type(self)(self._source, self._read_shape, self._size, self._workers, channels)

    def _read(self, rows: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Files(_Lazy):
    """Encoded images, decoded when they are indexed."""

    def name(self, row: int) -> str:
        """Where the image is read from, such as its path."""
        return self._source.name(row)

    def stored_shapes(self, rows: np.ndarray) -> list[tuple[int, int, int]]:
        """(H, W, C) of the images at these rows before scaling, from the headers of the files."""
        shapes = [attempt(decoded_shape, 0, self._source, row) for row in rows]
        if any(is_broken(shape) for shape in shapes):
            raise refusal(self._source, find_broken(self._source, 0))
        return shapes

    def original(self, row: int, then: Callable[[np.ndarray], Any]) -> Any:
        """What `then` makes of the image as it is stored, uint8 [H, W, 3], or [H, W, 1] if it is grey."""
        source = self._source
        return decode(source.open(row), name=source.name(row), levels=source.levels, then=then)

    def with_levels(self) -> tuple[Self, Levels | None]:
        """The same with levels for the deep ones among them, whose pixels are read for that; and these levels."""
        levels = find_levels(self._source)[0]
        source = dataclasses.replace(self._source, levels=levels)
        return type(self)(source, self._read_shape, self._size, self._workers, self._channels), levels

    def _read(self, rows: np.ndarray) -> np.ndarray:
        chosen = self._source.take(rows)
        images, shape = np.empty((len(rows), *self._read_shape), np.uint8), self._read_shape
        for row, image in enumerate(decoded(chosen, self._size, self._workers)):
            if is_broken(image):
                raise refusal(self._source, find_broken(self._source, self._size))
            if image.shape[:2] != shape[:2] or image.shape[-1] > shape[-1]:
                raise InputError(f'{chosen.name(row)}: {image.shape} now, {shape} when the run began')
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


def with_channels(images: Images, channels: int) -> Images:
    """Grey images as 3 channels, or colours as 1, as `predict` takes them; those of other numbers as they are."""
    if {images.shape[-1], channels} != {1, 3}:
        return images
    return images.with_channels(channels) if isinstance(images, _Lazy) else _in_channels(images, channels)


def _in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [N, H, W, C] with C = `channels`."""
    if images.shape[-1] == channels:
        return images
    if channels == 3:
        return np.repeat(images, 3, -1)
    grey = (np.asarray(Image.fromarray(image).convert('L')) for image in images)
    return np.fromiter(grey, np.dtype((np.uint8, images.shape[1:3])), len(images))[..., None]


def scaled(images: Images, size: int) -> Images:
    """Scales images as `fit_array`, to [N, size, size, C]; those not in memory when they are read."""
    if not size or images.shape[1:3] == (size, size):
        return images
    if isinstance(images, _Lazy):
        return images.scaled(size)
    shape = (size, size, images.shape[-1])
    return np.fromiter((fit_array(image, size) for image in images), np.dtype((np.uint8, shape)), len(images))
