"""TensorFlow Datasets through `tfds.data_source`: ArrayRecord files, no TensorFlow at run time."""

import numpy as np

from noisy_jax.data.dataset import Dataset, balanced
from noisy_jax.data.folder import fit_array
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
      InputError: the data set is not there or has other features.
    """
    import tensorflow_datasets as tfds  # seconds to import

    try:
        builder = tfds.builder(name, data_dir=data_dir or None, file_format='array_record')
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f'data.dataset: {name!r} cannot be found in {data_dir or "the default folder"} ({reason})'
        ) from error
    info, mend = (
        builder.info,
        f"prepare it with tfds.builder({name!r}, file_format='array_record').download_and_prepare()",
    )
    if not info.splits:
        raise InputError(f'data.dataset: {name!r} is not prepared as array_record in {builder.data_dir}; {mend}')
    missing = {'image', 'label'} - set(info.features)
    if missing:
        raise InputError(f'data.dataset: {name!r} has no feature {min(missing)!r}; found {", ".join(info.features)}')
    if split == 'test':
        split = next((known for known in ('test', 'validation') if known in info.splits), None)
        if split is None:
            return None
    try:
        source = builder.as_data_source(split=split)
        labels = np.array([source[i]['label'] for i in range(len(source))], np.int32)
    except Exception as error:
        raise InputError(f'data.dataset: {name!r} cannot be read from {builder.data_dir} ({error}); {mend}') from error
    names = tuple(info.features['label'].names)
    rows = balanced(labels, limit, len(names))
    images = np.stack([fit_array(source[int(i)]['image'], image_size) for i in rows])
    label = labels[rows]
    return Dataset(images, label, names, true_label=label, id=rows.astype(str))
