"""CIFAR-10 as arrays, for the experiments: from a tar of class folders, smaller where asked, with human labels."""

import concurrent.futures
import io
import pathlib
import tarfile

import numpy as np

from noisy_jax.data.dataset import balanced
from noisy_jax.data.decoding import decode
from noisy_jax.errors import InputError

# Labels of CIFAR-10N (Wei 2022) by the name that its paper gives them.
HUMAN = {'aggregate': 'aggre_label', 'random1': 'random_label1', 'worst': 'worse_label'}


def read(archive: pathlib.Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """A tar of train/CLASS/* and test/CLASS/*: {split: {class: {file: content}}}, both in order of name."""
    files: dict[str, dict[str, dict[str, bytes]]] = {'train': {}, 'test': {}}
    with tarfile.open(archive, 'r|*') as members:
        for member in members:
            split, label, name = ('', '', *pathlib.PurePosixPath(member.name).parts)[-3:]
            if member.isfile() and split in files:
                files[split].setdefault(label, {})[name] = members.extractfile(member).read()
    return {
        split: {label: dict(sorted(named.items())) for label, named in sorted(classes.items())}
        for split, classes in files.items()
    }


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Decodes a tar as of `read` into arrays in `folder`, unless it is there."""
    if folder.exists():
        return folder
    files = read(archive)
    names = list(files['train'])
    arrays = {'class_names': np.array(names)}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for split, prefix in (('train', ''), ('test', 'test_')):
            rows = [(label, *file) for label, named in files[split].items() for file in named.items()]
            images = list(pool.map(lambda row: decode(io.BytesIO(row[2]), name='/'.join(row[:2])), rows))
            labels = np.array([names.index(label) for label, _, _ in rows], np.int32)
            arrays |= {f'{prefix}images': np.stack(images), f'{prefix}labels': labels}
    return keep(folder, arrays)


def smaller(
    source: pathlib.Path, folder: pathlib.Path, *, count: int = 0, test_count: int = 0, shrink: int = 1
) -> pathlib.Path:
    """The first `count` images, balanced over the classes, shrunk by averaging; in `folder`, unless it is there."""
    if folder.exists():
        return folder
    arrays = {path.stem: np.load(path, mmap_mode='r') for path in source.glob('*.npy')}
    kept = {'class_names': arrays['class_names']}
    for prefix, limit in (('', count), ('test_', test_count)):
        rows = balanced(arrays[f'{prefix}labels'], limit, len(kept['class_names']))
        images = arrays[f'{prefix}images'][rows]
        n, height, width, channels = images.shape
        cells = images.reshape(n, height // shrink, shrink, width // shrink, shrink, channels)
        kept[f'{prefix}images'] = np.round(cells.mean((2, 4), dtype=np.float32)).astype(np.uint8)
        kept[f'{prefix}labels'] = arrays[f'{prefix}labels'][rows]
        kept[f'{prefix}rows'] = rows
    return keep(folder, kept)


def with_human_labels(source: pathlib.Path, labels: pathlib.Path, name: str, folder: pathlib.Path) -> pathlib.Path:
    """The arrays of `source` with the labels `name` of CIFAR-10N, the right ones as `true_labels`; in `folder`.

    Raises:
      InputError: labels of other images.
    """
    if folder.exists():
        return folder
    arrays = {path.stem: np.load(path, mmap_mode='r') for path in source.glob('*.npy')}
    rows = arrays.get('rows', np.arange(len(arrays['labels'])))
    with np.load(labels) as given:
        clean, human = given['clean_label'], given[HUMAN[name]]
    # Here the images stand class by class, there in the data set's order; within a class both agree.
    order = np.argsort(clean, kind='stable')
    if len(clean) <= rows.max() or not np.array_equal(clean[order][rows], arrays['labels']):
        raise InputError(f'{labels}: not the labels of the images in {source}')
    return keep(folder, {**arrays, 'true_labels': arrays['labels'], 'labels': human[order][rows].astype(np.int32)})


def keep(folder: pathlib.Path, arrays: dict[str, np.ndarray]) -> pathlib.Path:
    """Writes them all as `.npy`, or nothing."""
    partial = folder.with_name(folder.name + '.partial')
    partial.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(partial / f'{name}.npy', array)
    partial.rename(folder)
    return folder
