"""Loader of TensorFlow Datasets, from ArrayRecord files and without TensorFlow at run time."""

import functools
import io
from typing import Any

import numpy as np

from noisy_jax.data.dataset import NO_LABEL, Dataset, balanced
from noisy_jax.data.encoded import Encoded
from noisy_jax.data.reading import DEFAULT, Decoding
from noisy_jax.errors import InputError, first_line


def load(
    split: str,
    dataset: str,
    path: str = '',
    label_key: str = 'label',
    limit: int = 0,
    decoding: Decoding = DEFAULT,
    **_: Any,
) -> Dataset | None:
    """Loads a data set with the features `image` and `label` that is prepared in the folder `path`; downloads nothing.

    Args:
      split: 'train' or 'test' ('validation' if there is no 'test').
      dataset: name of the data set, e.g. 'cifar10'.
      path: folder of prepared data sets; '': TFDS's default.
      label_key: feature with the labels to train on, e.g. 'worse_label' of cifar10_n; `label` is then the true one.
      limit: as in the folder loader.
      decoding: how images are read; all records are read once in any case, since labels are in them.

    Returns:
      The data set; None for a test set that does not exist.

    Raises:
      InputError: the data set is missing, is damaged, or has other features.
    """
    if not dataset:
        raise InputError("data.dataset: '' is no name in TensorFlow Datasets; one such as 'cifar10' is needed")
    try:
        import tensorflow_datasets as tfds  # seconds to import
    except Exception as error:  # of any kind, such as where packages that it needs are of other versions
        raise InputError(f'data.name: tensorflow_datasets cannot be imported ({first_line(error)})') from error

    title = f'data.dataset: {dataset!r}'
    folder = f'data_dir={path!r}, ' if path else ''
    remedy = f"prepare it with tfds.builder({dataset!r}, {folder}file_format='array_record').download_and_prepare()"
    try:
        builder = _builder(dataset, path)
        info = builder.info
    except Exception as error:
        raise InputError(
            f'{title} cannot be opened in {path or "the default folder"} ({first_line(error)}); {remedy}, '
            'in a folder without other formats of it'
        ) from error
    if not info.splits:
        raise InputError(f'{title} is not prepared as array_record in {builder.data_dir}; {remedy}')
    keys = ('label', label_key) if label_key != 'label' and split == 'train' else ('label',)
    for key, kind in (('image', tfds.features.Image), *((key, tfds.features.ClassLabel) for key in keys)):
        if key not in info.features or not isinstance(info.features[key], kind):
            found = ', '.join(f'{key} ({type(value).__name__})' for key, value in info.features.items())
            raise InputError(f'{title} has no feature {key!r} ({kind.__name__}); found {found}')
    if split == 'test':
        split = next((known for known in ('test', 'validation') if known in info.splits), None)
        if split is None:
            return None
    if split not in info.splits:
        raise InputError(f'{title} has no split {split!r}; found {", ".join(info.splits)}')
    names = tuple(info.features['label'].names)
    if len(keys) > 1 and (count := info.features[label_key].num_classes) != len(names):
        raise InputError(f'data.label_key: {label_key!r} of {dataset} has {count} classes, and label {len(names)}')
    try:
        # Rows are chosen by all labels; images are decoded after that, as in the folder loader.
        records = _source(dataset, path, split)
        read = (records[i] for i in range(len(records)))
        labels = np.array([[record[key] for key in keys] for record in read], np.int32)  # [N, 1 or 2]
    except Exception as error:
        raise InputError(f'{title} cannot be read from {builder.data_dir} ({first_line(error)}); {remedy}') from error
    given = labels[:, -1]
    hidden = np.flatnonzero(given == NO_LABEL)  # the mark of TFDS, too
    if len(hidden) and split != 'train':
        raise InputError(f'{title}, {split}: image {hidden[0]} has no label ({NO_LABEL}); each of a test set needs one')
    rows = balanced(given, limit, len(names))
    true_label = labels[rows, 0] if len(keys) > 1 else None
    columns = {'label': given[rows], 'true_label': true_label, 'id': rows.astype(str), 'row': rows}
    encoded = Records((dataset, path, split), rows)
    try:
        return Dataset.of_files(encoded, decoding, names, available=len(given), **columns)
    except InputError as error:
        raise InputError(f'{title}, {split}: {error}') from error


class Records(Encoded):
    """Encoded images, `rows` of the (data set, folder, split) that is their `place`; each process opens the files."""

    def open(self, row: int) -> io.BytesIO:
        try:
            return io.BytesIO(_source(*self.place)[int(self.rows[row])]['image'])
        except Exception as error:
            raise InputError(f'{self.name(row)}: cannot be read ({first_line(error)})') from error

    def name(self, row: int) -> str:
        dataset, _, split = self.place
        return f'data.dataset: {dataset!r}, {split}: image {self.rows[row]}'


def _builder(dataset: str, path: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.builder(dataset, data_dir=path or None, file_format='array_record')


@functools.lru_cache(maxsize=4)
def _source(dataset: str, path: str, split: str) -> Any:
    """Records by number, with encoded images."""
    import tensorflow_datasets as tfds

    return _builder(dataset, path).as_data_source(split=split, decoders={'image': tfds.decode.SkipDecoding()})
