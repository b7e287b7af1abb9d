"""The images of a run by what they are used for: training, validation, test, pre-training."""

import dataclasses
import functools
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from noisy_jax import data
from noisy_jax.data import embeddings, lazy, noise
from noisy_jax.data.dataset import NO_LABEL, Dataset, checksums
from noisy_jax.data.rows import split
from noisy_jax.data.scale import Scale
from noisy_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Splits:
    """The images of a run.

    Attributes:
      labelled: every training image that has a label, as given, in the loader's order; labels.csv lists them.
      train: those that are trained on, T at the rows `train_rows` of `labelled`.
      valid: those held out for validation, with their given labels, V at `valid_rows`; None without
        data.valid_fraction.
      pool: `train` and the images without a label, for pre-training.
      test: with true labels, or None.
      noise: which noise was added, as in summary.json.
      embeddings: features from outside of `labelled`, float32 [N, D] in its order; None without data.embeddings.
    """

    labelled: Dataset
    train_rows: np.ndarray
    valid_rows: np.ndarray
    train: Dataset
    valid: Dataset | None
    pool: Dataset
    test: Dataset | None
    noise: dict[str, Any]
    embeddings: np.ndarray | None

    @property
    def notes(self) -> list[str]:
        """What there is to say of the images that were read, a line each."""
        broken = len(self.labelled.broken) + (len(self.test.broken) if self.test else 0)
        left_out = f'{broken} broken image{"" if broken == 1 else "s"} left out'
        notes = [f'test set: {len(self.test)} images'] if self.test else []
        notes += [f'{left_out}; data_issues.csv will say what is wrong with each'] if broken else []
        return notes + ([str(self.labelled.levels)] if self.labelled.levels else [])

    @functools.cached_property
    def scale(self) -> Scale:
        """The scale of the labelled images."""
        return Scale.of(self.labelled.image)

    @property
    def description(self) -> dict[str, Any]:
        """The content of data.json: enough to use the classifier without the training images."""
        return {
            'classes': list(self.labelled.class_names),
            'image_shape': list(self.labelled.image.shape[1:]),  # H, W, C
            'levels': self.labelled.levels,  # of deep images; else null
            'pixels': self.scale.describe(),
            'images': len(self.labelled),
            'held_out': len(self.valid_rows),
            'unlabelled': len(self.pool) - len(self.train),
        }

    def in_order(self, of_train: np.ndarray, of_valid: np.ndarray | None) -> np.ndarray:
        """Values [T, ...] and [V, ...] (None: no image is held out) in the order of `labelled`: [N, ...]."""
        if of_valid is None:
            return of_train
        result = np.empty((len(self.labelled), *of_train.shape[1:]), of_train.dtype)
        result[self.train_rows], result[self.valid_rows] = of_train, of_valid
        return result


def load(config: ConfigDict, given: tuple[Dataset, Dataset | None] | None = None) -> Splits:
    """Loads the data (or takes the `given` training and test set), adds noise, holds out validation images.

    Raises:
      InputError: data that cannot be used or does not fit the config.
    """
    settings = config.data
    read_embeddings = embeddings.reader(settings.embeddings)
    if given:
        everything, test = (part and _scaled(part, settings.image_size) for part in given)
    else:
        everything, test = data.load_splits(settings)
    channels = everything.image.shape[-1]
    for field in ('mean', 'std'):
        if len(settings[field]) != channels:
            raise InputError(f'config.data.{field}: {settings[field]} must have {channels} values, one per channel')
    if test is not None:
        test = test.replace(image=lazy.with_channels(test.image, channels))
        _check_test(test, everything)
    unlabelled = np.flatnonzero(everything.label == NO_LABEL)
    if len(unlabelled) == len(everything):
        raise InputError(f'none of the {len(everything)} training images has a label; some of each class are needed')
    rows = np.flatnonzero(everything.label != NO_LABEL)
    classes, counts = np.unique(everything.label[rows], return_counts=True)
    if len(classes) == 1:
        name = everything.class_names[classes[0]]
        raise InputError(f'all {len(rows)} labelled training images are of the class {name!r}; at least 2 are needed')
    least = 2 * everything.num_classes
    if counts.max() == 1 and 0 < settings.limit < least and everything.available > len(everything):
        raise InputError(
            f'config.data.limit: {settings.limit} leaves one image of each of {len(classes)} classes; '
            f'at least {least} are needed, or 0 for all'
        )
    if counts.max() == 1:  # such as a column of remarks in place of the labels
        raise InputError(f'each of the {len(rows)} labelled training images is a class of its own; 2 of one are needed')
    labelled = noise.with_noise(everything.take(rows) if len(unlabelled) else everything, config.noise, config.seed)
    outside = read_embeddings(labelled)
    train_rows, valid_rows, train, valid = np.arange(len(labelled)), np.arange(0), labelled, None
    if settings.valid_fraction:
        train_rows, valid_rows = split(labelled.label, labelled.num_classes, settings.valid_fraction, config.seed)
        train, valid = labelled.take(train_rows), labelled.take(valid_rows)
    pool = train
    if len(unlabelled):
        label = everything.label.copy()
        label[rows] = labelled.label
        pool = everything.replace(label=label).take(np.sort(np.append(rows[train_rows], unlabelled)))
    added = noise.describe(labelled, config.noise)
    found = Splits(labelled, train_rows, valid_rows, train, valid, pool, test, added, outside)
    if test is not None:
        found.scale.warn_of_other(test.image, 'test images')
    return found


def _scaled(given: Dataset, size: int) -> Dataset:
    mark = checksums(given.image) if given.mark is None else given.mark
    return given.replace(image=lazy.scaled(given.image, size), mark=mark)


def _check_test(test: Dataset, train: Dataset) -> None:
    if test.image.shape[1:] != train.image.shape[1:]:
        raise InputError(
            f'test images are {test.image.shape[1:]} (H, W, C), training images {train.image.shape[1:]}; give both the '
            'same size (config.data.image_size) and kind (C is 1 where all are grey, else 3)'
        )
    check_labelled(test)


def check_labelled(test: Dataset) -> None:
    """InputError: a test image has no label."""
    for row in np.flatnonzero(test.label == NO_LABEL):
        raise InputError(f'test image {test.id[row]} has no label ({NO_LABEL}); each of the test set needs one')
