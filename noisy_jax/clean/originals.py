"""The data set of a run, as its loader finds it now."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from noisy_jax import data
from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.data.depth import Levels
from noisy_jax.data.faults import BrokenImages
from noisy_jax.errors import InputError, check_reachable

KINDS = ('folder', 'filelist', 'arrays')  # of data.name: what can be copied


@dataclasses.dataclass(frozen=True)
class Originals:
    """All images of a data set, by what the run knows of them.

    Attributes:
      train: the whole training set; image files are not decoded.
      listed: rows of `train` in labels.csv, in its order, int [N].
      unlabelled: rows of `train` that have no label, int [U].
      left_out: how many images for training have a label but are not in labels.csv, broken ones among them.
      test: the test set, or None.
      untested: how many test images of each class `for_classes` has left out.
    """

    train: Dataset
    listed: np.ndarray
    unlabelled: np.ndarray
    left_out: int
    test: Dataset | None
    untested: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def for_classes(self, names: Collection[str]) -> 'Originals':
        """Without the test images of other classes, which no training image has any more: loaders refuse them."""
        if self.test is None:
            return self
        classes = np.array(self.test.class_names)[self.test.label]
        stays = np.isin(classes, list(names))
        test = self.test.take(np.flatnonzero(stays)) if stays.any() else None
        return dataclasses.replace(self, test=test, untested=collections.Counter(classes[~stays].tolist()))


def find(settings: dict[str, Any], ids: np.ndarray) -> Originals:
    """The originals of the images `ids` [N].

    Args:
      settings: config.data of the run, with the path where the data is now.
      ids: as in labels.csv.

    Raises:
      InputError: data that is not there any more or is not that of the run.
    """
    path = settings['path']
    if not os.path.exists(path):
        check_reachable('--data', path)
        raise InputError(
            f'there is no {pathlib.Path(path).absolute()}, where the images of this run are looked for; '
            '--data=PATH names the place where they are'
        )
    everything = {'limit': 0, 'test_limit': 0, 'max_classes': 0, 'workers': 0}  # also where the run used a part
    everything['levels'] = Levels(0.0, 1.0)  # any, as no pixel is used
    try:
        train, test = (data.load_undecoded(settings | everything, split) for split in ('train', 'test'))
    except BrokenImages as error:
        raise InputError(f'{error.found}; put the original back, or name a whole copy of the data by --data') from error
    rows = {name: row for row, name in enumerate(train.id)}
    if len(rows) < len(train):
        raise InputError(f'{path}: two images have the same id, so that they cannot be told apart; take --mode csv')
    missing = [name for name in ids if name not in rows]
    if missing:
        damaged = dict(train.broken).get(missing[0])
        fault = f'cannot be read any more ({damaged})' if damaged else 'is not there'
        found = f'{missing[0]} of labels.csv {fault} ({len(missing)} of {len(ids)} images are missing)'
        raise InputError(f'{os.path.abspath(path)}: {found}; --data names the place of the data')
    unlabelled = np.flatnonzero(train.label == NO_LABEL)
    listed = np.array([rows[name] for name in ids])
    left_out = len(train) - len(unlabelled) - len(listed) + len(train.broken)
    return Originals(train, listed, unlabelled, left_out, test)
