"""The frozen data set, and batches as a function of (seed, epoch)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.errors import InputError

NO_LABEL = -1  # of an image that only pre-training sees


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels as they are believed now.

    Attributes:
      image: uint8 [N, H, W, C]; in memory, or read when it is indexed (data/lazy.py).
      label: int32 [N], in [0, number of classes); NO_LABEL for an image that has none (loaders only).
      class_names: one per class.
      true_label: int32 [N] where known, else None; only evaluation and reports read it, no batch holds it.
      weight: float32 [N], how much each sample counts; ones unless given.
      id: str [N], what a person calls the image (its path); the row number unless given.

    Raises:
      InputError: shapes that do not fit each other, or a label out of range.
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
            bad = np.flatnonzero(~((np.abs(given) < 2**31) & (np.mod(given, 1) == 0)))  # the cast would hide them
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
        """A copy with other labels, weights, ..."""
        return dataclasses.replace(self, **changes)

    def take(self, indices: np.ndarray) -> 'Dataset':
        """The samples of these rows, in this order; images that are not in memory stay where they are."""
        arrays = {name: getattr(self, name) for name in ('label', 'true_label', 'weight', 'id')}
        taken = {name: array[indices] for name, array in arrays.items() if array is not None}
        return self.replace(image=lazy.take(self.image, indices), **taken)

    def order(self, seed: int, epoch: int, *, batch_size: int) -> np.ndarray:
        """Rows int32 [S, B] of the S full batches of an epoch; the rest of the shuffle is left out until another epoch.

        Raises:
          InputError: a batch larger than the data, or below 1.
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
        """{image uint8 [B,H,W,C], label int32 [B], weight float32 [B], index int32 [B]}, from batch `skip` on.

        Only the `rows` of each batch are read: the share of one of several hosts.
        """
        for index in self.order(seed, epoch, batch_size=batch_size)[skip:, rows]:
            yield {
                'image': self.image[index],
                'label': self.label[index],
                'weight': self.weight[index],
                'index': index,
            }


def split(dataset: Dataset, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of (the rest, `fraction` of every class), at least one each; by the labels as they are, shuffled by `seed`.

    Raises:
      InputError: a fraction out of range, or one that leaves nothing to train on.
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
    """The first limit // num_classes rows of every class, and of those without, in order; all where limit is 0."""
    if not limit:
        return np.arange(len(labels))
    per_class = max(limit // num_classes, 1)
    rows = [np.flatnonzero(labels == label)[:per_class] for label in (NO_LABEL, *range(num_classes))]
    return np.sort(np.concatenate(rows))
