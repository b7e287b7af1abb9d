"""TensorFlow Datasets through its data sources: ArrayRecord files, no TensorFlow at run time."""

import concurrent.futures
import io

import numpy as np

from noisy_jax.data.dataset import Dataset, balanced
from noisy_jax.data.folder import decode, stack
from noisy_jax.errors import InputError


def load(split: str, name: str, data_dir: str = '', image_size: int = 0, limit: int = 0) -> Dataset | None:
    """An image classification data set (features `image` and `label`) that stands prepared in `data_dir`.

    Args:
      split: 'train' or 'test' ('validation' where there is no 'test').
      name: of the data set, e.g. 'cifar10'.
      data_dir: '' is the default of TFDS.
      image_size: as in the folder loader.
      limit: as in the folder loader.

    Raises:
      InputError: the data set is not there, is damaged, or has other features; nothing is ever downloaded.
    """
    import tensorflow_datasets as tfds  # seconds to import

    title = f'data.dataset: {name!r}'
    folder = f'data_dir={data_dir!r}, ' if data_dir else ''
    mend = f"prepare it with tfds.builder({name!r}, {folder}file_format='array_record').download_and_prepare()"
    try:
        builder = tfds.builder(name, data_dir=data_dir or None, file_format='array_record')
        info = builder.info
    except Exception as error:
        place, reason = data_dir or 'the default folder', _first_line(error)
        raise InputError(
            f'{title} cannot be opened in {place} ({reason}); {mend}, in a folder without other formats of it'
        ) from error
    if not info.splits:
        raise InputError(f'{title} is not prepared as array_record in {builder.data_dir}; {mend}')
    for key, kind in (('image', tfds.features.Image), ('label', tfds.features.ClassLabel)):
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
    try:
        # All labels are needed to choose the rows; images are decoded after that, as in the folder loader.
        source = builder.as_data_source(split=split, decoders={'image': tfds.decode.SkipDecoding()})
        labels = np.array([source[i]['label'] for i in range(len(source))], np.int32)
        rows = balanced(labels, limit, len(names))
        files = [source[int(row)]['image'] for row in rows]
    except Exception as error:
        reason = _first_line(error)
        raise InputError(f'{title} cannot be read from {builder.data_dir} ({reason}); {mend}') from error
    ids = [f'image {row}' for row in rows]
    try:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            images = list(pool.map(lambda file, id_: decode(io.BytesIO(file), image_size, id_), files, ids))
        return Dataset(stack(images, ids), labels[rows], names, id=rows.astype(str))
    except InputError as error:
        raise InputError(f'{title}, {split}: {error}') from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
