"""The immutable data set, and batches as a function of (seed, epoch)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.errors import InputError

NO_LABEL = -1  # label of an image that only pre-training sees
MAX_CLASSES = 100_000  # bound of numeric labels without class names: a stray 10**9 would make as many classes


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

    Raises:
      InputError: shapes do not match, or a label is out of range.
    """

    image: lazy.Images
    label: np.ndarray
    class_names: tuple[str, ...]
    true_label: np.ndarray | None = None
    weight: np.ndarray | None = None
    id: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 4 or self.image.dtype != np.uint8 or not len(self.image):
            raise InputError(f'images: found {self.image.dtype} {self.image.shape}; uint8 [N, H, W, C] is needed')
        count = len(self.image)
        self._set('weight', np.ones(count) if self.weight is None else self.weight, np.float32)
        self._set('id', np.arange(count).astype(str) if self.id is None else self.id, None)
        for field in ('label', 'true_label'):
            if getattr(self, field) is not None:
                self._set(field, getattr(self, field), np.int32)
                self._check_range(field)

    def _set(self, field: str, value: Any, dtype: Any) -> None:
        if dtype == np.int32:
            given = np.asarray(value)
            if given.dtype.kind not in 'iuf':
                raise InputError(f'{field}: found {given.dtype}; whole numbers are needed')
            bad = np.flatnonzero(~((np.abs(given) < 2**31) & (np.mod(given, 1) == 0)))  # which the cast would hide
            if len(bad):
                raise InputError(f'{field} of image {bad[0]} is {given.flat[bad[0]]}; whole numbers are needed')
        value = np.asarray(value, dtype)
        if value.shape != (len(self.image),):
            raise InputError(f'{field}: shape {value.shape}; one value for each of {len(self.image)} images is needed')
        object.__setattr__(self, field, value)

    def _check_range(self, field: str) -> None:
        values = getattr(self, field)
        none = (values == NO_LABEL) if field == 'label' else False
        bad = np.flatnonzero(((values < 0) | (values >= self.num_classes)) & ~np.asarray(none))
        if len(bad):
            raise InputError(
                f'{field} of image {self.id[bad[0]]} is {values[bad[0]]}; allowed: 0 to {self.num_classes - 1}'
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
        arrays = {name: getattr(self, name) for name in ('label', 'true_label', 'weight', 'id')}
        taken = {name: array[indices] for name, array in arrays.items() if array is not None}
        return self.replace(image=lazy.take(self.image, indices), **taken)

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

    def batches(
        self, seed: int, epoch: int, *, batch_size: int, skip: int = 0, rows: np.ndarray | slice = slice(None)
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields {image uint8 [B,H,W,C], label int32 [B], weight float32 [B], index int32 [B]}, from batch `skip` on.

        Of each batch only the positions `rows` are read, such as the share of one host.
        """
        for index in self.order(seed, epoch, batch_size=batch_size)[skip:, rows]:
            yield {
                'image': self.image[index],
                'label': self.label[index],
                'weight': self.weight[index],
                'index': index,
            }


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows for training and for validation, `fraction` of every class by its given labels; at least one each.

    Raises:
      InputError: the fraction is out of range or leaves nothing to train on.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f'data.valid_fraction: {fraction} is not allowed; from 0 to 1')
    rng = np.random.default_rng(seed)
    held = []
    for label in range(dataset.num_classes):
        rows = rng.permutation(np.flatnonzero(dataset.label == label))
        held.append(rows[: round(fraction * len(rows))])
    held_out = np.sort(np.concatenate(held))
    if not len(held_out):
        held_out = np.array([0])
    rest = np.setdiff1d(np.arange(len(dataset)), held_out)
    if not len(rest):
        raise InputError(f'data.valid_fraction: {fraction} leaves none of {len(dataset)} images to train on')
    return rest, held_out


def balanced(labels: np.ndarray, limit: int, num_classes: int) -> np.ndarray:
    """Rows of the first limit // num_classes images of every class, and as many without a label; 0: all rows."""
    if not limit:
        return np.arange(len(labels))
    per_class = max(limit // num_classes, 1)
    rows = [np.flatnonzero(labels == label)[:per_class] for label in (NO_LABEL, *range(num_classes))]
    return np.sort(np.concatenate(rows))
