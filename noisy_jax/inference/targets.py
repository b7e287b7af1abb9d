"""The labels y of an estimator: their classes, and each label by its number among them."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from noisy_jax.data.dataset import NO_LABEL, warn_of_missing, warn_of_wrapped
from noisy_jax.errors import InputError, is_utf8, short

_KINDS = {(bool, np.bool_): 'bool', (str,): 'str', (bytes,): 'bytes', (int, float, np.number): 'number'}


def encode(y: ArrayLike, unlabelled: Any) -> tuple[np.ndarray, np.ndarray]:
    """The classes of labels y [N], sorted: [C]; and the number of each label among them, or NO_LABEL: int64 [N].

    Args:
      y: an array, a list or a column of pandas; whole numbers stay whole where labels are missing.
      unlabelled: the value of images without a label; one that stands for a missing value (NaN, None, NA of pandas)
        means all of these; a warning says where no label has another. None: there are none.

    Raises:
      InputError: labels are missing that `unlabelled` does not name, or are of several kinds, or of one class.
      ValueError: what scikit-learn does not take as labels.
    """
    if np.ndim(unlabelled) or isinstance(unlabelled, (set, dict)):
        raise InputError(f'unlabelled: {short(unlabelled)} is not allowed; allowed: one value of y')
    values = column(y)
    bare = _bare(values, unlabelled)
    if bare.all():
        raise InputError(f'y: all {len(bare)} are {short(unlabelled)}, unlabelled; some of each class need a label')
    if not (unlabelled is None or _is_missing(unlabelled) or bare.any()):
        warnings.warn(f'unlabelled: no label of y is {short(unlabelled)}', stacklevel=4)  # seen from outside of `fit`
    given = alike(values[~bare], is_list=isinstance(y, (list, tuple)))
    assert_all_finite(given, input_name='y')
    try:
        check_classification_targets(given)
        classes, numbers = np.unique(given, return_inverse=True)
    except TypeError as error:
        raise InputError(f'y: labels must be all strings or all numbers ({error})') from error
    warn_of_wrapped(classes, 'y')
    if len(classes) < 2:
        raise InputError(f'y: there is one class only, {short(classes[0])}; at least 2 are needed')
    if classes.dtype.kind in 'OU':
        names = [str(each) for each in classes.tolist()]
        for name in names:
            if not name.strip():
                raise InputError(f'y: the label {name!r} is no name; unlabelled={name!r} takes it for no label')
            if not is_utf8(name, or_bytes=True):
                raise InputError(f'y: the label {name!r} cannot be written as UTF-8')
        warn_of_missing(set(names), 'y')  # NumPy makes text of a NaN beside text
    label = np.full(len(values), NO_LABEL)
    label[~bare] = numbers
    return classes, label


def labelled(y: ArrayLike, unlabelled: Any) -> np.ndarray:
    """Which labels of y [N] are not the value of images without one, bool [N]; arguments and errors as of `encode`."""
    return ~_bare(column(y), unlabelled)


def _missing(values: np.ndarray) -> np.ndarray:
    return np.array([_is_missing(value) for value in values.tolist()], bool)


def _bare(values: np.ndarray, unlabelled: Any) -> np.ndarray:
    """Which values are that of images without a label; InputError: others are missing."""
    missing = _missing(values)
    if unlabelled is None:
        bare = np.zeros(len(values), bool)
    elif _is_missing(unlabelled):
        bare = missing
    else:
        pairs = zip(values.tolist(), missing, strict=True)
        bare = np.array([not gone and _is_same(value, unlabelled) for value, gone in pairs], bool)
    for row in np.flatnonzero(missing & ~bare):
        raise InputError(
            f'y: {missing.sum()} of {len(missing)} are missing (None, NaN or NA), the first in row {row}; '
            'unlabelled=np.nan takes these images as unlabelled'
        )
    return bare


def column(y: ArrayLike) -> np.ndarray:
    """Labels [N] as they are given: NumPy makes text of a NaN beside text, scikit-learn floats of pandas' integers."""
    if isinstance(y, np.ma.MaskedArray):
        y = np.where(y.mask, None, y.data.astype(object)) if np.ma.is_masked(y) else y.data
    if isinstance(y, (list, tuple)):
        whole = np.array(y, object)
        y = whole if whole.ndim == 1 else y
    elif hasattr(y, 'tolist') and _is_foreign(getattr(y, 'dtype', np.dtype(object))):
        y = np.array(y.tolist(), object)
    return column_or_1d(y, warn=True)


def alike(given: np.ndarray, *, is_list: bool = False) -> np.ndarray:
    """Labels of one kind, objects other than text as NumPy's numbers; text of a list as NumPy's text.

    Raises:
      InputError: numbers and text, or others, are mixed, so that 1 and '1', or True and 1, would become one class.
    """
    if given.dtype != object:
        return given
    kinds = {_kind(value): type(value).__name__ for value in given.tolist()}
    if len(kinds) > 1 or not kinds.keys() <= set(_KINDS.values()):
        raise InputError(f'y: labels must be all strings or all numbers; found {", ".join(sorted(kinds.values()))}')
    if 'str' in kinds and not is_list:
        return given
    plain = [str.__str__(value) if isinstance(value, str) else value for value in given.tolist()]  # also of an Enum
    found = np.array(plain)
    if found.dtype == object:
        raise InputError('y: whole numbers beyond 64 bits are no labels; strings are needed')
    return found


def _kind(value: Any) -> str:
    return next((name for types, name in _KINDS.items() if isinstance(value, types)), type(value).__name__)


def _is_foreign(dtype: Any) -> bool:
    """Whether a type is not NumPy's, or one that scikit-learn does not know: text of any length."""
    return not isinstance(dtype, np.dtype) or dtype.kind == 'T'


def _is_same(value: Any, other: Any) -> bool:
    """Whether two values are one label; False is not 0, though equal."""
    return (_kind(value) == 'bool') == (_kind(other) == 'bool') and bool(value == other)


def _is_missing(value: Any) -> bool:
    """Whether a label is None, NaN, NaT, or NA of pandas, which is neither equal to itself nor not."""
    try:
        return value is None or bool(value != value)
    except TypeError:
        return True
    except ValueError:  # an array is no label, which is said later
        return False
