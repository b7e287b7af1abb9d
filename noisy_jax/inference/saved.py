"""A fitted estimator as files: JSON, NumPy arrays and safetensors; no code, unlike pickle."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from noisy_jax import files, json_files
from noisy_jax.config import from_json
from noisy_jax.data.pixels import Pixels
from noisy_jax.errors import InputError
from noisy_jax.inference.trained import ESTIMATOR, OWN, TrainedClassifier
from noisy_jax.training import pytrees

_ARRAYS = ('classes', 'label_issues', 'clean_probability')
_REMEDY = 'take a folder that `save` wrote'
_FORM = {
    'parameters': dict,
    'pixels': {
        'image_shape': [int, int, int],
        'low': float,
        'high': float,
        'of_bytes?': bool,
        'are_whole?': bool,
        'darkest?': (float, None),
        'negative?': float,
    },
    'n_features_in_': int,
    'feature_names_in_': [str],
    'noise_rate_': float,
    'labels_are_objects': bool,
}


def save(estimator: Any, folder: str | os.PathLike) -> None:
    """As `NoisyLabelClassifier.save`."""
    classes = estimator.classes_
    state = {
        'parameters': {name: _plain(name, value) for name, value in estimator.get_params(deep=False).items()},
        'pixels': dataclasses.asdict(estimator._pixels),
        'n_features_in_': estimator.n_features_in_,
        'feature_names_in_': list(getattr(estimator, 'feature_names_in_', [])),
        'noise_rate_': estimator.noise_rate_,
        'labels_are_objects': classes.dtype == object,  # scikit-learn takes no other objects than str
    }
    issues = _recoded(estimator.label_issues_, lambda labels: np.searchsorted(classes, labels))
    labels = classes.astype(str) if state['labels_are_objects'] else classes
    arrays = [labels, issues, estimator.clean_probability_]
    content = {f'{name}.npy': files.as_npy(array) for name, array in zip(_ARRAYS, arrays, strict=True)}
    path = pathlib.Path(os.path.expanduser(folder))
    files.check_free(path, ESTIMATOR, 'folder', spare=OWN)
    content[ESTIMATOR] = files.as_json(pytrees.signed(state, arrays))
    estimator.classifier_.save_with(path, content)


def load(kind: type, folder: str | os.PathLike) -> Any:
    """As `NoisyLabelClassifier.load`, of the class `kind`."""
    path = pathlib.Path(os.path.expanduser(folder))
    state = json_files.read(path / ESTIMATOR, _FORM, _REMEDY)
    try:
        arrays = classes, issues, clean_probability = [np.load(path / f'{name}.npy') for name in _ARRAYS]
        estimator = kind(**from_json(state['parameters']))
        estimator._pixels = Pixels(**from_json(state['pixels']))
        estimator.n_features_in_, estimator.noise_rate_ = state['n_features_in_'], state['noise_rate_']
        if state['feature_names_in_']:
            estimator.feature_names_in_ = np.array(state['feature_names_in_'], object)
        estimator.classes_ = classes.astype(object) if state['labels_are_objects'] else classes
        estimator.label_issues_ = _recoded(issues, lambda codes: estimator.classes_[codes])
    except Exception as error:  # damaged bytes raise many kinds
        raise InputError(f'{path}: no estimator that `save` wrote ({" ".join(str(error).split())})') from error
    if not pytrees.is_as_signed(state, arrays):
        raise InputError(f'{path}: {ESTIMATOR} and the arrays beside it are not what `save` wrote; {_REMEDY}')
    estimator.clean_probability_ = clean_probability
    estimator.classifier_ = TrainedClassifier.load(path)
    height, width, channels = estimator._pixels.image_shape
    size = estimator.classifier_.config.data.image_size
    shape = (size or height, size or width, channels)
    if len(classes) != len(estimator.classifier_.class_names) or shape != estimator.classifier_.image_shape:
        raise InputError(f'{path}: model.json has other classes or images than {ESTIMATOR} and classes.npy')
    return estimator


def structured(columns: dict[str, np.ndarray]) -> np.ndarray:
    """Columns [N] by name as a structured array [N]."""
    result = np.empty(len(next(iter(columns.values()))), [(name, column.dtype) for name, column in columns.items()])
    for name, column in columns.items():
        result[name] = column
    return result


def _recoded(issues: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The table with `change` applied to the columns of labels."""
    columns = {name: issues[name] for name in issues.dtype.names}
    return structured({name: change(values) if name.endswith('_label') else values for name, values in columns.items()})


def _plain(name: str, value: Any) -> Any:
    """A parameter as JSON expresses it."""
    if isinstance(value, ConfigDict):
        return value.to_dict()
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    value = value.item() if isinstance(value, np.generic) else value
    try:
        json.dumps(value)
    except TypeError as error:
        raise InputError(f'{name}: {value!r} cannot be saved as JSON; set_params({name}=...) first') from error
    return value
