"""Label noise from files: a transition matrix, or labels that people gave."""

import pathlib

import numpy as np

from noisy_jax.errors import InputError, first_line

_NO_ARRAY = 'text, objects, or several arrays'


def read_matrix(path: str, num_classes: int) -> np.ndarray:
    """Reads a transition matrix float [C, C] from an .npy or .csv file, a row per true class.

    Raises:
      InputError: the file is missing, its shape is wrong, a value is below 0, or a row does not sum to 1 within 0.001.
    """
    file = _existing('noise.matrix', path, 'an .npy or .csv file with a row per true class')
    try:
        is_text = file.suffix.lower() in ('.csv', '.txt')
        matrix = np.loadtxt(file, delimiter=',', ndmin=2) if is_text else np.load(file, allow_pickle=False)
        if not isinstance(matrix, np.ndarray):
            raise ValueError(_NO_ARRAY)
        matrix = matrix.astype(np.float64)
    except Exception as error:
        fault = _NO_ARRAY if 'allow_pickle' in str(error) else first_line(error)
        raise InputError(f'noise.matrix: {path} cannot be read as numbers ({fault})') from error
    if matrix.shape != (num_classes, num_classes):
        raise InputError(f'noise.matrix: {path} has shape {matrix.shape}; {(num_classes, num_classes)} is needed')
    sums = matrix.sum(1)
    for row in np.flatnonzero(~((matrix >= 0).all(1) & (np.abs(sums - 1) <= 1e-3))):  # also catches NaN
        raise InputError(
            f'noise.matrix: row {row} of {path} sums to {sums[row]:g}, its smallest value is {matrix[row].min():g}; '
            'values of at least 0 that sum to 1 are needed'
        )
    return matrix / sums[:, None]


def read_labels(path: str, key: str, true: np.ndarray, num_classes: int) -> np.ndarray:
    """Reads labels int32 [N] from an .npy file, or from the array `key` of an .npz file.

    An array `clean_label` of the .npz, which CIFAR-10N has, must equal `true`: this proves that the order is the same.

    Args:
      path: the file.
      key: name of the array in an .npz, e.g. 'worse_label'.
      true: int [N], the true labels of the loaded images.
      num_classes: number of classes, above every label.

    Raises:
      InputError: the file or key is missing, labels are of other images or in another order, or one is out of range.
    """
    file = _existing('noise.labels', path, 'an .npy or .npz file of labels')
    try:
        content = np.load(file, allow_pickle=False)
        found = {'': content} if isinstance(content, np.ndarray) else dict(content)
        arrays = {name: each for name, each in found.items() if isinstance(each, np.ndarray)}
    except Exception as error:
        fault = 'text, or objects' if 'allow_pickle' in str(error) else first_line(error)
        raise InputError(f'noise.labels: {path} cannot be read as NumPy arrays of numbers ({fault})') from error
    if '' not in arrays and key not in arrays:
        raise InputError(f'noise.key: {key!r} is not in {path}; choose one of {", ".join(sorted(arrays))}')
    labels = arrays.get('', arrays.get(key))
    if labels.dtype.kind not in 'iu' or labels.shape != true.shape:
        raise InputError(
            f'noise.labels: {path} holds {labels.dtype} {labels.shape}; whole numbers {true.shape} are needed, one for '
            'each loaded image'
        )
    for row in np.flatnonzero((labels < 0) | (labels >= num_classes)):
        raise InputError(f'noise.labels: label {row} of {path} is {labels[row]}; allowed: 0 to {num_classes - 1}')
    clean = arrays.get('clean_label', true)
    if not np.array_equal(clean, true):
        differ = f', first at image {np.flatnonzero(clean != true)[0]}' if clean.shape == true.shape else ''
        raise InputError(
            f'noise.labels: clean_label of {path} differs from the labels of the loaded images{differ}; '
            "load the images in the file's order"
        )
    return labels.astype(np.int32)


def _existing(field: str, path: str, needed: str) -> pathlib.Path:
    if not path or not pathlib.Path(path).is_file():
        raise InputError(f'{field}: {path!r} is not a file; {needed} is needed')
    return pathlib.Path(path)
