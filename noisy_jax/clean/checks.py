"""What `python -m noisy_jax.clean` refuses, before anything is written."""

import functools
import itertools
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from noisy_jax import spreadsheet
from noisy_jax.clean import destination, originals
from noisy_jax.clean.changes import Changes
from noisy_jax.clean.estimate import Count
from noisy_jax.clean.messages import Request
from noisy_jax.data import identity, output_places
from noisy_jax.data.class_names import negative
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError, some
from noisy_jax.files import read_text
from noisy_jax.labels.issues import MOST
from noisy_jax.workdir import WorkDir


def options(request: Request, folder: WorkDir) -> None:
    """Refuses options that do not fit each other, the run or the disk."""
    given, settings = request.options, request.settings
    if given.decisions is None and not given.all_suspects:
        raise InputError(
            'nothing says what to change: --decisions=reviewed.csv takes what you decided in the report, '
            '--all-suspects changes all label issues'
        )
    if not given.all_suspects and (given.threshold is not None or given.mode == 'drop'):
        name = '--mode=drop' if given.threshold is None else '--threshold'
        raise InputError(f'{name} is for --all-suspects only; with --decisions alone, all others keep their label')
    if given.threshold is not None and not 0 <= given.threshold <= 1:
        raise InputError(f'--threshold: {given.threshold} is not allowed; from 0 to 1')
    if given.all_suspects and request.distrust is not None:
        raise InputError(
            f'--all-suspects: the list of this run is not to be trusted ({request.distrust}); take --decisions alone'
        )
    if given.mode == 'csv' and not request.is_list:
        raise InputError(f'--out: {given.out} must end in .csv with --mode csv')
    if request.in_memory and not request.is_list:
        raise InputError(
            'the images of this run were given in memory, as to an estimator, so that there are no files to copy; '
            '--out=NAME.csv lists the row in X, from 0, and the label of each that stays'
        )
    if settings['name'] not in originals.KINDS and not request.is_list:
        raise InputError(f'data.name={settings["name"]} has no files to copy; take --mode csv and an --out of *.csv')
    destination.check(given.out, settings)
    folder.check_apart(given.out, '--out')
    if not request.is_list:  # a list may lie beside its images
        output_places.check_of_run(given.out, folder, '--out')


def labels_file(request: Request, folder: WorkDir, labels: dict[str, np.ndarray]) -> None:
    """Refuses labels.csv with rows missing, or with values that the run cannot have written."""
    path, noted, class_names, given = folder.path / 'labels.csv', request.noted, request.class_names, None
    if folder.has_array('labels/given'):
        given = folder.load_array('labels/given', (None,), 'i')
    rows = len(given) if given is not None else len(labels['index'])
    if not np.array_equal(labels['index'], np.arange(rows)):
        raise InputError(f'{path}: rows are missing or doubled; rerun the command of the run to write it')
    named = some(class_names, 20)
    share = labels['clean_probability']
    found = [
        ('given_label', np.isin(labels['given_label'], class_names), f'a class of this run; {named}'),
        ('suggested_label', np.isin(labels['suggested_label'], class_names), f'a class of this run; {named}'),
        ('clean_probability', (share >= 0) & (share <= 1), 'a probability; from 0 to 1'),
    ]
    # Runs of earlier versions noted less.
    if noted and len(noted['train']['id']) == rows:
        found.append(('id', _same(labels['id'], noted['train']['id']), 'the image of this row in the run'))
    if given is not None:
        known = np.array([*class_names, ''])[np.where((given >= 0) & (given < len(class_names)), given, -1)]
        found.append(('given_label', labels['given_label'] == known, 'the label that the run was given'))
    for column, fits, allowed in found:
        if not fits.all():
            index = int(np.argmin(fits))
            line, value = _find(folder, index), str(labels[column][index])
            raise InputError(f'{path}, line {line}: {column} {value!r} is not {allowed}')


def something_left(changes: Changes) -> None:
    """Refuses changes that leave out all images."""
    if not changes.kept.any():
        raise InputError(f'none of the {len(changes.kept)} images with a label would be left; keep some')


def same_data(folder: WorkDir, request: Request, changes: Changes, found: originals.Originals) -> None:
    """Refuses originals that are others now than the run began with, as far as it noted them."""
    noted, names = request.noted, np.array([*found.train.class_names, 'unlabelled'])
    looked_at = os.path.abspath(request.settings['path'])
    changed = functools.partial(identity.changed, folder, remedy=f'{looked_at} was read; --data names another place')
    if noted:
        _same_part(noted, 'unlabelled', changed, found.train, found.unlabelled)
        _same_part(noted, 'test', changed, found.test, range(len(found.test or ())))
    if noted and noted['train']['mark'] and found.train.mark is not None:
        for row in np.flatnonzero(~_same(found.train.mark[found.listed], noted['train']['mark'])):
            raise changed(f'{changes.id[row]} is another image')
    if noted and request.noise == 'none':
        now = names[found.train.label[found.listed]]  # NO_LABEL is the last
        for row in np.flatnonzero(now != changes.given):
            raise changed(f'the label of {changes.id[row]} was {changes.given[row]}, is {now[row]}')
    for name in sorted(set(changes.new[changes.kept]) - set(found.train.class_names)):
        raise changed(f'there is no class {name}')


def _same_part(
    noted: dict[str, Any],
    part: str,
    changed: Callable[[str], InputError],
    images: Dataset | None,
    rows: Iterable[int],
) -> None:
    """Refuses `images`, those of `rows`, that lack some which the run noted in this part, or have others for them."""
    before = noted[part] or {'id': []}
    place = {} if images is None else {images.id[row]: row for row in rows}
    if gone := [name for name in before['id'] if name not in place]:
        count = f'{len(gone)} of {len(before["id"])} are missing'
        raise changed(f'{part} image {gone[0]} is not there ({count})')
    if not before['id']:
        return
    found = [place[name] for name in before['id']]
    if before['mark'] and images.mark is not None:
        for row in np.flatnonzero(~_same(images.mark[found], before['mark'])):
            raise changed(f'{part} image {before["id"][row]} is another one')
    if 'label' in before:
        names, known = np.array(images.class_names)[images.label[found]], dict(enumerate(noted['classes']))
        for row in np.flatnonzero(~_same(names, [*map(known.get, before['label'])])):
            raise changed(f'the label of {part} image {before["id"][row]} is another, {names[row]}')


def _same(now: np.ndarray, noted: list) -> np.ndarray:
    """Where values [N] are those that were noted, of which some may be missing: bool [N]."""
    return np.array([each == other for each, other in itertools.zip_longest(now.tolist(), noted[: len(now)])])


def _find(folder: WorkDir, index: int) -> int:
    """The line of labels.csv, in which rows can have any order, that has `index`."""
    with read_text(folder.path / 'labels.csv') as file:
        (_, header), *rows = spreadsheet.read(file)
        return next(line for line, row in rows if row and int(row[header.index('index')]) == index)


def probabilities(folder: WorkDir, labels: dict[str, np.ndarray], class_names: tuple[str, ...]) -> np.ndarray:
    """Probabilities of the classifier, float32 [N, C]; InputError: they are not there, or not those of labels.csv."""
    found = folder.load_array('pred_probs', (len(labels['index']), len(class_names)), 'f')
    suggested = np.array(class_names)[found.argmax(1)]
    if not np.all((found >= 0) & (found <= MOST)) or not np.array_equal(suggested, labels['suggested_label']):
        path = folder.path / 'pred_probs.npy'
        raise InputError(f'{path} is not of this labels.csv; rerun the command of the run to write both')
    return found


def readable_list(request: Request, changes: Changes, unlabelled: np.ndarray) -> None:
    """Refuses a list whose reader would find other names: it takes off white space around them; or would refuse it.

    Args:
      request: for the list.
      changes: what becomes of the listed images.
      unlabelled: ids of those without a label, str [U].
    """
    for what, names in (('image', [*changes.id[changes.kept], *unlabelled]), ('class', set(changes.new))):
        for name in names:
            if name != name.strip() or (what == 'class' and {'\n', '\r'} & set(name)):
                raise InputError(
                    f'--out: a list cannot hold the {what} {str(name)!r} (white space at an end, or a line break); '
                    'rename it, or take a new folder as --out'
                )
    named = not request.lists_files or request.settings['class_names']
    if not named and (number := negative(set(changes.new[changes.kept]))):
        raise InputError(
            f'--out: a list cannot hold the class {number!r} where all are numbers, as -1 often means no label; '
            'take a new folder as --out'
        )


def suggestions(changes: Changes, decided: Changes, after: Count, without: Count, dropped: Count) -> None:
    """Refuses suggestions that take all images of a class, or leave a larger share of wrong labels than without them.

    Relabelling leaves all images, so that a larger share is a larger number; dropping makes the number smaller anyway.

    Args:
      changes: with the suggestions.
      decided: without them.
      after: the count of `changes`.
      without: the count of `decided`.
      dropped: the count where label issues are dropped.
    """
    emptied = sorted(set(changes.emptied) - set(decided.emptied))
    if emptied:
        raise InputError(
            f'no image would be left of {some(emptied, 20)}: the classifier of this run is not good enough; '
            'train longer, lower --threshold, or take --decisions without --all-suspects'
        )
    if after.share > without.share + 1e-9:  # float64 sums in another order differ by less
        way = f', or --mode=drop, which leaves {dropped}' if dropped.share < without.share else ''
        raise InputError(
            f'--all-suspects might leave more wrong labels: if no more are wrong than the least that the '
            f'run claims, {without}, then {after}; take --decisions alone{way}'
        )
