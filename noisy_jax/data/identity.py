"""Which images a run began with: their names in order, and cheaply what is in them, to notice that data has changed."""

import hashlib
import json
from typing import Any

import numpy as np

from noisy_jax import json_files, layout
from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.data.splits import Splits
from noisy_jax.errors import InputError
from noisy_jax.workdir import WorkDir

_FILE = 'labels/images.json'
_SET = {'id': [str], 'mark': ([int], None)}
_FORM = {
    **{'version?': int, 'classes': [str], 'train': _SET, 'unlabelled': _SET, 'test': ({**_SET, 'label': [int]}, None)},
    **{'labels?': {str: (str, None)}, 'sha256?': str},  # earlier versions have none
}
_VERSION = 1  # of the marks; before it they were sizes of files


def check(folder: WorkDir, splits: Splits) -> None:
    """Notes images and labels of a run that begins; one that an earlier version began is taken as it is now.

    Raises:
      InputError: they are others than it began with, or a file of them is damaged.
    """
    now = _describe(splits)
    before = recorded(folder)
    if before is None:
        folder.save_bytes(_FILE, json.dumps({**now, 'sha256': _digest(now)}).encode())
    elif found := difference(before, now):
        raise changed(folder, found)
    sums = (before or {}).get('labels', {})
    for kind, labels in (('given', splits.labelled.label), ('true', splits.labelled.true_label)):
        if labels is not None:
            _check_labels(folder, kind, labels, splits.labelled.id, sums.get(kind))


def recorded(folder: WorkDir) -> dict[str, Any] | None:
    """What `check` noted, without marks of an earlier version; None: that noted nothing."""
    path = folder.path / _FILE
    if not path.exists():
        return None
    remedy = 'remove it if the data is still the same'
    noted = json_files.read(path, _FORM, remedy)
    if noted.pop('sha256', None) not in (None, _digest(noted)):
        raise InputError(f'{path}: it is not what the run wrote; {remedy}')
    if noted.get('version') != _VERSION:
        for part in ('train', 'unlabelled', 'test'):
            noted[part] = noted[part] and {**noted[part], 'mark': None}
    return noted


def _check_labels(folder: WorkDir, kind: str, labels: np.ndarray, ids: np.ndarray, noted: str | None) -> None:
    """Of the 'given' or 'true' labels [N] of images with these ids; `noted` is the sum of those it began with."""
    name, is_same = f'labels/{kind}', noted == _sum(labels)
    if not folder.has_array(name):
        if noted and not is_same:
            raise changed(folder, f'{kind} labels are others')
        folder.save_array(name, labels)
        return
    before = folder.load_array(name, labels.shape, 'i', layout.OTHER)
    if np.any(before != labels) and is_same:
        raise InputError(f'{folder.path}/{name}.npy is damaged; remove it, and rerun the command')
    for row in np.flatnonzero(before != labels):
        raise changed(folder, f'the {kind} label of image {row}, {ids[row]}, was {before[row]}, is {labels[row]}')


def changed(folder: WorkDir, how: str, remedy: str = layout.OTHER) -> InputError:
    return InputError(f'{folder.path}: the data has changed since this run began: {how}; {remedy}')


def _describe(splits: Splits) -> dict[str, Any]:
    unlabelled = splits.pool.label == NO_LABEL
    test = splits.test and _names(splits.test, slice(None)) | {'label': splits.test.label.tolist()}
    return {
        'version': _VERSION,
        'classes': list(splits.labelled.class_names),
        'train': _names(splits.labelled, slice(None)),
        'unlabelled': _names(splits.pool, unlabelled),
        'test': test,
        'labels': {'given': _sum(splits.labelled.label), 'true': _sum(splits.labelled.true_label)},
    }


def _sum(labels: np.ndarray | None) -> str | None:
    return None if labels is None else hashlib.sha256(labels.astype('<i8').tobytes()).hexdigest()


def _digest(noted: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(noted).encode()).hexdigest()


def _names(images: Dataset, rows: Any) -> dict[str, Any]:
    mark = None if images.mark is None else images.mark[rows].tolist()
    return {'id': images.id[rows].tolist(), 'mark': mark}


def difference(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """The first difference of two descriptions, such as 'image 17 was cat/3.png, is cat/4.png'; None where equal."""
    if before == now:
        return None
    if found := _first('class', before['classes'], now['classes']):
        return found
    for part, what in (('train', 'image'), ('unlabelled', 'unlabelled image'), ('test', 'test image')):
        old, new = (side[part] or {'id': [], 'mark': None, 'label': []} for side in (before, now))
        if found := _first(what, old['id'], new['id']):
            return found
        if old['mark'] and new['mark'] and (row := _unequal(old['mark'], new['mark'])) is not None:
            return f'{_called(what, row, new)} is another one'
        if part == 'test' and (row := _unequal(old['label'], new['label'])) is not None:
            return f'the label of {_called(what, row, new)} was {old["label"][row]}, is {new["label"][row]}'
    return None


def _called(what: str, row: int, part: dict[str, Any]) -> str:
    """Such as 'image 17', or 'image 17, cat/3.png,' where it has a name."""
    name = part['id'][row]
    return f'{what} {row}' if name == str(row) else f'{what} {row}, {name},'


def _first(what: str, before: list, now: list) -> str | None:
    row = _unequal(before, now)
    if row is None:
        return None
    if row >= len(now):
        return f'{what} {row}, {before[row]}, is not there'
    if row >= len(before):
        return f'{what} {row}, {now[row]}, is new'
    return f'{what} {row} was {before[row]}, is {now[row]}'


def _unequal(before: list, now: list) -> int | None:
    """The first place where two lists differ."""
    if before == now:
        return None
    same = min(len(before), len(now))
    return next((row for row in range(same) if before[row] != now[row]), same)
