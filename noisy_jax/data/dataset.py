"""The immutable data set, and batches as a function of (seed, epoch)."""

import collections
import dataclasses
import math
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.data.depth import Levels
from noisy_jax.data.encoded import Encoded
from noisy_jax.data.reading import Decoding, read_all
from noisy_jax.data.rows import draw, spread
from noisy_jax.errors import InputError, some, warn_once

NO_LABEL = -1  # label of an image that only pre-training sees
_MISSING = (  # as pandas, R, databases and spreadsheets write, whose formulas may fail
    *('nan', 'NaN', 'NaT', 'NA', '<NA>', 'N/A', 'None', 'NULL', 'null'),
    *('#N/A', '#REF!', '#VALUE!', '#NAME?', '#DIV/0!', '#NULL!', '#NUM!'),
)
_DIGITS = 19  # of numbers that are too large for int64
_LOOKED_AT = 256  # images, for pixels that cannot be meant


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images with the labels currently believed.

    Attributes:
      image: uint8 [N, H, W, C]; in memory, or read when it is indexed (data/lazy.py).
      label: int32 [N], from 0 to the number of classes - 1; NO_LABEL for an image without one (loaders only).
      class_names: one name per class.
      true_label: int32 [N] where known, else None; only evaluation and reports read it, it never enters a batch.
      weight: float32 [N], how much each sample counts; 1 by default.
      id: str [N], name of the image for people, such as its path; the row number by default.
      row: int64 [N], place of the image among all that the loader has, of which data.limit leaves some; its place here
        by default.
      available: how many images the loader has; N by default.
      broken: (id, what is wrong) of each image that was left out because it cannot be read.
      levels: which values of deep images (grey, more than 8 bits) became black and white; None without such images.
      mark: int64 [N], a checksum by which another image of the same name is noticed; None: nothing tells.

    Raises:
      InputError: shapes do not match, a label is out of range, or two classes have one name.
    """

    image: lazy.Images
    label: np.ndarray
    class_names: tuple[str, ...]
    true_label: np.ndarray | None = None
    weight: np.ndarray | None = None
    id: np.ndarray | None = None
    row: np.ndarray | None = None
    available: int | None = None
    broken: tuple[tuple[str, str], ...] = ()
    levels: Levels | None = None
    mark: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.dtype != np.uint8 or not len(self.image):
            raise InputError(f'images: found {self.image.dtype} {self.image.shape}; uint8 [N, H, W, C] is needed')
        first, height, width = self.image.shape[1:]
        if first <= 4 < min(height, width) or (first != height == width > 4):  # the second: of more than 4 channels
            raise InputError(f'images: shape {self.image.shape} has channels first; take images.transpose(0, 2, 3, 1)')
        count = len(self.image)
        if twice := [name for name, times in collections.Counter(self.class_names).items() if times > 1]:
            raise InputError(f'class_names: {twice[0]!r} is there twice; a name of its own for each class is needed')
        self._set('weight', np.ones(count) if self.weight is None else self.weight, np.float32)
        self._set('id', np.arange(count).astype(str) if self.id is None else self.id, None)
        self._set('row', np.arange(count) if self.row is None else self.row, np.int64)
        if self.mark is not None:
            self._set('mark', self.mark, np.int64)
        object.__setattr__(self, 'available', self.available or count)
        self._set_labels('label', NO_LABEL)
        if self.true_label is not None:
            self._set_labels('true_label', 0)

    def _set(self, field: str, value: Any, dtype: Any) -> None:
        value = np.asarray(value, dtype)
        if value.shape != (len(self.image),):
            raise InputError(f'{field}: shape {value.shape}; one value for each of {len(self.image)} images is needed')
        object.__setattr__(self, field, value)

    def _set_labels(self, field: str, least: int) -> None:
        self._set(field, whole_numbers(np.asarray(getattr(self, field)), field), np.int32)
        values = getattr(self, field)
        for row in np.flatnonzero((values < least) | (values >= self.num_classes)):
            allowed = f'0 to {self.num_classes - 1}'
            raise InputError(f'{field} of image {self.id[row]} is {values[row]}; allowed: {allowed}')

    @classmethod
    def of_files(
        cls,
        encoded: Encoded,
        decoding: Decoding,
        class_names: tuple[str, ...],
        *,
        available: int,
        **columns: np.ndarray | None,
    ) -> 'Dataset':
        """The images `encoded` with their columns (label, id, row and others), without the broken ones.

        Raises:
          InputError: an image cannot be read, and is not to be left out; or as the class.
        """
        found = read_all(encoded, decoding)
        if isinstance(found.images, np.ndarray):
            warn_of_blank(found.images, 255, f'{encoded.name(0)} and all others')
        broken = tuple((str(columns['id'][row]), reason) for row, reason in found.broken.items())
        columns['mark'] = encoded.marks() if decoding.headers else None
        labels = columns['label']
        if emptied := sorted(set(labels.tolist()) - set(labels[found.rows].tolist()) - {NO_LABEL}):
            warn_once(f'all files of {some([class_names[label] for label in emptied], 3)} are broken, and left out')
        whole = {name: values if values is None else values[found.rows] for name, values in columns.items()}
        return cls(
            found.images, class_names=class_names, available=available, broken=broken, levels=found.levels, **whole
        )

    def __len__(self) -> int:
        return len(self.image)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def replace(self, **changes: Any) -> 'Dataset':
        """A copy with changed fields."""
        return dataclasses.replace(self, **changes)

    def take(self, indices: np.ndarray) -> 'Dataset':
        """The samples at these rows, in this order; images that are not in memory are not read."""
        true = None if self.true_label is None else self.true_label[indices]
        taken = {name: getattr(self, name)[indices] for name in ('label', 'weight', 'id', 'row')}
        taken['mark'] = None if self.mark is None else self.mark[indices]
        return self.replace(image=lazy.take(self.image, indices), true_label=true, **taken)

    def order(self, seed: int, epoch: int, *, batch_size: int) -> np.ndarray:
        """Rows int32 [S, B] of the S full batches of an epoch; the remainder of the shuffle is dropped.

        Raises:
          InputError: `batch_size` is below 1 or larger than the data.
        """
        if batch_size < 1:
            raise InputError(f'batch_size: {batch_size} is not allowed; from 1 to {len(self)}')
        steps = len(self) // batch_size
        if not steps:
            raise InputError(f'batch_size: {batch_size} is larger than the {len(self)} images')
        shuffled = np.random.default_rng((seed, epoch)).permutation(len(self)).astype(np.int32)
        return shuffled[: steps * batch_size].reshape(steps, batch_size)

    def drawn(self, seed: int, epoch: int, *, batch_size: int, weights: np.ndarray) -> np.ndarray:
        """As `order`, but drawn by weights [N], each row about as often as its share of them."""
        shape = self.order(seed, epoch, batch_size=batch_size).shape
        return draw(weights, math.prod(shape), np.random.default_rng((seed, epoch, 1))).reshape(shape)

    def batches(
        self,
        seed: int,
        epoch: int,
        *,
        batch_size: int,
        skip: int = 0,
        rows: np.ndarray | slice = slice(None),
        weights: np.ndarray | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields {image uint8 [B,H,W,C], label int32 [B], weight float32 [B], index int32 [B]}, from batch `skip` on.

        Of each batch only the positions `rows` are read, such as the share of one host. With weights [N] a batch has as
        many images again, drawn by them: {drawn_image uint8 [B,H,W,C], drawn_index int32 [B]}.
        """
        order = self.order(seed, epoch, batch_size=batch_size)
        drawn = order if weights is None else self.drawn(seed, epoch, batch_size=batch_size, weights=weights)
        for index, other in zip(order[skip:, rows], drawn[skip:, rows], strict=True):
            arrays = {name: getattr(self, name)[index] for name in ('image', 'label', 'weight')}
            more = {} if weights is None else {'drawn_image': self.image[other], 'drawn_index': other}
            yield {**arrays, 'index': index, **more}


def whole_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """The `values` as int32.

    Raises:
      InputError: a cast to int32 would change one.
    """
    needed = 'whole numbers are needed'
    if values.dtype.kind not in 'iuf':
        raise InputError(f'{name}: found {values.dtype}; {needed}')
    for row in np.flatnonzero(~((values >= -(2**31)) & (values < 2**31) & (np.mod(values, 1) == 0))):
        raise InputError(f'{name}[{row}] is {values.flat[row]}; {needed}')
    return values.astype(np.int32)


def warn_of_blank(images: np.ndarray, white: float, source: object) -> None:
    """Warns of images that are all but black or of one value: masks of 0 and 1 as bytes, white on transparency."""
    seen = images[spread(len(images), _LOOKED_AT)]
    darkest, brightest = seen.min(), seen.max()
    if darkest == brightest:
        warn_once(f'{source}: all pixels are {brightest:.4g}, of {white} for white')
    elif darkest >= 0 and brightest <= white / 128:
        warn_once(f'{source}: the brightest pixel is {brightest:.4g}, of {white} for white: all but black')


def warn_of_empty(label: np.ndarray, class_names: Sequence[str], source: object) -> None:
    """Warns of classes that `source` names and no training image has: the names may be those of other numbers."""
    used = set(np.unique(label).tolist())
    if empty := [name for number, name in enumerate(class_names) if number not in used]:
        warn_once(
            f'{source}: no training image is of {len(empty)} of the {len(class_names)} classes ({some(empty, 3)})'
        )


def warn_of_missing(names: Collection[str], source: object) -> None:
    """Warns of classes whose names programs write where there is no label; of -1, or one number, among text."""
    numbers = [name for name in names if is_number(name)]
    lone = numbers if len(numbers) == 1 < len(names) - 1 else ()
    for name in sorted({str(NO_LABEL), *_MISSING, *lone} & set(names)):
        warn_once(f'{source}: {name} is taken for a class, not for no label')


def warn_of_wrapped(labels: np.ndarray, source: object) -> None:
    """Warns of the greatest number of a type without sign among labels [N], where -1 may have been written."""
    if labels.dtype.kind == 'u' and labels.size and labels.max() == np.iinfo(labels.dtype).max:
        warn_once(f'{source}: {labels.max()} is what -1 becomes as {labels.dtype}; it is taken for a class')


def warn_of_rows(names: Sequence[str], labels: Collection[int], source: object) -> None:
    """Warns where `labels`, which are rows of names that are numbers, may be meant as these numbers."""
    values = [number_of(name) for name in names]
    if None not in values and 0 not in labels and set(labels) <= set(values):
        for row in sorted(row for row in labels if row < len(names) and values[row] != row)[:1]:
            warn_once(
                f'{source}: labels are rows of class_names, from 0, not their values: label {row} is {names[row]}'
            )


def is_number(name: str) -> bool:
    """Whether the name of a class is a whole number from 0, in the digits 0 to 9."""
    return name.isascii() and name.isdecimal()


def number_of(name: str) -> int | None:
    """The number that the name of a class is; None of another name, and where int64 may not hold it."""
    return int(name) if is_number(name) and len(name) < _DIGITS else None


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of classes, each once: by value if all are whole numbers (0, 1, 2, 10; 007 before 7), else as text."""
    names = set(names)
    if not all(map(is_number, names)):
        return tuple(sorted(names))

    def value(name: str) -> tuple[int, str, str]:
        digits = name.lstrip('0')  # compared by length first: Python refuses `int` of thousands of digits
        return len(digits), digits, name

    return tuple(sorted(names, key=value))


def checksums(images: lazy.Images, most: int = 256) -> np.ndarray:
    """The `mark` of images in an array: of so many, spread evenly, and 0 of the others; int64 [N]."""
    found = np.zeros(len(images), np.int64)
    for row in spread(len(images), most):
        found[row] = zlib.crc32(np.ascontiguousarray(images[row]))
    return found


def balanced(labels: np.ndarray, limit: int, num_classes: int) -> np.ndarray:
    """Rows of the first limit // num_classes images of every class, and as many without a label; 0: all rows."""
    if not limit:
        return np.arange(len(labels))
    per_class = max(limit // num_classes, 1)
    rows = [np.flatnonzero(labels == label)[:per_class] for label in (NO_LABEL, *range(num_classes))]
    return np.sort(np.concatenate(rows))
