"""What a phase ends with, on disk: its variables as a checkpoint, the arrays of its belief among the labels."""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np

from noisy_jax import json_files, layout
from noisy_jax.config import flatten
from noisy_jax.data.splits import Splits
from noisy_jax.errors import InputError
from noisy_jax.training import pytrees
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.context import Belief
from noisy_jax.training.journal import Journal
from noisy_jax.training.mesh import to_host
from noisy_jax.workdir import WorkDir

# Settings that, beside the weights, decide what a classifier says.
_DECISIVE = ('model.', 'data.mean', 'data.std', 'data.image_size')
# Shapes of a belief's arrays: T images are trained on, V are held out, N have a label, C classes; *: any number.
_SHAPES = {
    'label': 'T',
    'weight': 'T',
    'probabilities': 'TC',
    'valid_probabilities': 'VC',
    'selection_losses': '*T',
    'head_probabilities': 'TC',
    'vote': 'T',
    'left_out': '2NC',
}
_SUMMARY = {'seconds': float, 'images_per_second': (float, None)}
_META = {'arrays': ([str], dict), 'origin?': (str, None), 'summary': _SUMMARY}


def save(folder: WorkDir, journal: Journal, before: Belief, after: Belief) -> Belief:
    """Saves what a phase made of the belief `before`, with its record; returns `after` with NumPy arrays.

    Raises:
      InputError: weights or arrays are not finite; nothing is saved.
    """
    after = dataclasses.replace(after, variables=to_host(after.variables))
    arrays = after.arrays_since(before)
    if found := pytrees.not_finite(after.variables):
        raise journal.diverged(f'NaN or infinite values of {found}')
    for kind, array in arrays.items():
        if not np.isfinite(array).all():
            raise journal.diverged(f'NaN or infinite values of {kind}')
    for kind, array in arrays.items():
        folder.save_array(_name(journal.name, kind), array)
    digests = {kind: pytrees.digest(array) for kind, array in arrays.items()}
    meta = {**journal.meta(None), 'complete': True, 'arrays': digests, 'summary': journal.summary()}
    meta |= {'origin': _origin(folder)}
    journal.checkpoints.save_outcome(journal.next_step, after.variables, meta)
    return after


def restore(folder: WorkDir, name: str, checkpoints: Checkpoints, splits: Splits, before: Belief) -> Belief:
    """The belief after the finished phase `name`.

    Raises:
      InputError: a file is missing, broken or not what the phase ended with.
    """
    if fault := json_files.fault(checkpoints.meta, _META):
        raise checkpoints.unreadable(fault)
    _check_same(folder, name, checkpoints)
    arrays, saved = {}, checkpoints.meta['arrays']
    if others := [kind for kind in saved if kind not in _SHAPES]:
        raise checkpoints.unreadable(f'arrays has {others[0]!r}')
    for kind in saved:  # with their digests, or in earlier versions their names alone
        again = f'remove checkpoints/{name} to run the phase again'
        array = arrays[kind] = folder.load_array(_name(name, kind), remedy=again)
        fault = None
        if needed := _unlike(kind, array, splits):
            fault = f'{array.dtype} {array.shape} found; {needed} are needed'
        elif isinstance(saved, dict) and saved[kind] != pytrees.digest(array):
            fault = 'it is not what the phase ended with'
        if fault:
            raise InputError(f'{folder.path}/{_name(name, kind)}.npy: {fault}; {again}')
    return dataclasses.replace(before, variables=checkpoints.restore_outcome(), **arrays)


def check_origin(folder: WorkDir, name: str, checkpoints: Checkpoints) -> None:
    """Checks that weights, classes and settings, and the smallest array, if it is there, are those of one run.

    Raises:
      InputError: they are not what the phase `name` ended with.
    """
    _check_same(folder, name, checkpoints)
    saved = checkpoints.meta.get('arrays')
    paths = {kind: folder.path / f'{_name(name, kind)}.npy' for kind in saved} if isinstance(saved, dict) else {}
    there = [kind for kind, path in paths.items() if path.is_file()]
    if there:
        kind = min(there, key=lambda each: paths[each].stat().st_size)
        if saved[kind] != pytrees.digest(folder.load_array(_name(name, kind))):
            raise InputError(f'{paths[kind]}: it is not of the run whose weights are in checkpoints/{name}')


def _check_same(folder: WorkDir, name: str, checkpoints: Checkpoints) -> None:
    origin = checkpoints.meta.get('origin')  # earlier versions have none
    if origin and origin != _origin(folder):
        raise InputError(
            f'{folder.path}: data.json or config.json is not of the run whose weights are in checkpoints/{name}, or '
            f'has been edited; {layout.OTHER}'
        )


def _origin(folder: WorkDir) -> str | None:
    """A digest of all that, beside the weights, decides what the classifier says of an image."""
    if not folder.is_claimed:
        return None
    settings, data = dict(flatten(folder.load_config())), folder.load_json('data')
    decisive = [name for name in settings if name.startswith(_DECISIVE) and name != 'model.weights']  # read already
    parts: list[Any] = [{name: settings[name] for name in decisive}]
    parts += [data['classes'], data['image_shape'], data.get('levels')]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _name(phase: str, kind: str) -> str:
    return f'labels/{phase}_{kind}'


def _unlike(kind: str, array: np.ndarray, splits: Splits) -> str | None:
    """What is needed instead of an array that is no such one for these images; None where it is."""
    classes = splits.labelled.num_classes
    sizes = {'T': len(splits.train), 'V': len(splits.valid or ()), 'N': len(splits.labelled), 'C': classes, '2': 2}
    shape = [sizes.get(axis, axis) for axis in _SHAPES[kind]]
    fits = array.ndim == len(shape) and all(w in ('*', n) for w, n in zip(shape, array.shape, strict=True))
    if kind == 'label':
        what, fits = f'classes from 0 to {classes - 1}', fits and array.dtype.kind == 'i'
        fits = fits and not np.any((array < 0) | (array >= classes))
    else:
        what, fits = 'finite numbers', fits and array.dtype.kind == 'f' and np.isfinite(array).all()
    return None if fits else f'{what} [{", ".join(map(str, shape))}]'
