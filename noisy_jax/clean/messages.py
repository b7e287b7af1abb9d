"""What `python -m noisy_jax.clean` is asked for, and what it prints."""

import argparse
import dataclasses
import os
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

import numpy as np

from noisy_jax.clean import destination
from noisy_jax.clean.changes import Changes
from noisy_jax.clean.estimate import Count
from noisy_jax.clean.originals import KINDS, Originals
from noisy_jax.config import completed
from noisy_jax.data import array_files, filelist, identity, list_file, output_places
from noisy_jax.data.settings import DATA, NOISE
from noisy_jax.errors import InputError, one_line, shortened, some
from noisy_jax.workdir import WorkDir

_SHOWN = 20  # classes in the table
_NO_TEST = {'test_list': '', 'test_labels': '', 'test_path': ''}
_PAIRS = 10  # relabellings that are named


@dataclasses.dataclass(frozen=True)
class Request:
    """The command line and what it needs to know of the run.

    Attributes:
      options: of the command line.
      settings: config.data of the run, with the path where the originals are now.
      noise: config.noise.kind of the run.
      issues: `label_issues` of summary.json.
      class_names: C names.
      unlabelled: how many images without a label the run had.
      noted: `identity.recorded`, which images the run began with.
    """

    options: argparse.Namespace
    settings: dict[str, Any]
    noise: str
    issues: dict[str, Any]
    class_names: tuple[str, ...]
    unlabelled: int
    noted: dict[str, Any] | None

    @classmethod
    def of(cls, options: argparse.Namespace, folder: WorkDir) -> 'Request':
        """Reads the run's part; raises InputError where a file is missing or broken."""
        config = completed(folder.load_config(), {'data': DATA, 'noise': NOISE}, folder.path / 'config.json')
        data, issues = folder.load_json('data'), folder.load_json('summary').get('label_issues')
        if not issues:
            raise InputError(f'{folder.path}: this run has no label issues; it is not finished or has no classifier')
        now, place = options.data, data.get('place')
        if not now and place and os.path.exists(place) and not output_places.holds(config.data.path, folder):
            now = place  # a relative path, seen from elsewhere
        settings = config.data.to_dict() | {'path': _path(now, config.data)}
        if settings['list'] and settings['path'] and place:
            settings |= filelist.found_again(settings, config.data.path, place)
        unlabelled, noted = data.get('unlabelled', 0), identity.recorded(folder)
        return cls(options, settings, config.noise.kind, issues, tuple(data['classes']), unlabelled, noted)

    @property
    def distrust(self) -> str | None:
        """Why the run says that its list is not to be trusted; None where it does not say so."""
        if self.issues.get('trusted', True):
            return None
        return ' '.join(str(self.issues.get('why') or 'it gives no reason').split())

    @property
    def is_list(self) -> bool:
        """Whether only a list is written."""
        return destination.is_list(self.options.out)

    @property
    def in_memory(self) -> bool:
        """Whether the run was given its images as arrays, as an estimator is."""
        return self.settings['name'] in KINDS and not self.settings['path']

    @property
    def lists_files(self) -> bool:
        """Whether only a list is written, of image files, which can be trained on."""
        return self.is_list and self.settings['name'] in ('folder', 'filelist') and not self.in_memory

    @property
    def has_data(self) -> bool:
        """Whether the images are where the run found them, so that a list too is checked against them."""
        return self.settings['name'] in KINDS and bool(self.settings['path']) and os.path.exists(self.settings['path'])

    @property
    def tests_by_names(self) -> bool:
        """Whether the run's test list will be read with the labels of the corrected list for classes."""
        settings = self.settings
        return self.is_list and bool(settings['test_list']) and not settings['class_names']

    def needs_originals(self, changes: Changes) -> bool:
        """Whether a list does: for images without a label, or a test list that may not fit it any more."""
        if self.in_memory or self.settings['name'] not in KINDS:
            return False
        return self.unlabelled > 0 or (self.tests_by_names and bool(changes.emptied or self.settings['max_classes']))


def _path(now: str | None, settings: Mapping[str, Any]) -> str:
    """Where the originals of a run are: `now`, as --data says, or data.path; '' where images were in memory."""
    if not settings['path'] or not now:
        return settings['path']
    if not _is_listed(settings) or not os.path.isdir(now):
        return now
    name = os.path.basename(settings['path'])
    if not os.path.isfile(os.path.join(now, name)):
        raise InputError(f'--data: no list {name} in {now}; take the path of the list, --data={now}/NAME.csv')
    return os.path.join(now, name)


def _is_listed(settings: Mapping[str, Any]) -> bool:
    """Whether data.path is that of a list, in the folder of its images."""
    return settings['name'] == 'filelist' and not settings['list']


def planned(request: Request, changes: Changes, found: Originals | None, estimate: str) -> list[str]:
    """What would change, in lines; `estimate` is one of them."""
    lines = [_rule(request, changes)]
    if request.noise != 'none':
        lines.append(f'given labels are those with the {request.noise} noise that the run added')
    lines += _table(changes)
    pairs = [f'{shortened(given)} -> {shortened(new)} {count}' for (given, new), count in changes.pairs()]
    if pairs:
        more = f', {len(pairs) - _PAIRS} other pairs' if len(pairs) > _PAIRS else ''
        lines.append(f'relabelled: {", ".join(pairs[:_PAIRS])}{more}')
    if found is not None:
        counts = [(len(found.unlabelled), 'without a label')]
        counts += [(len(found.test or ()), 'of the test set')] if not request.is_list else []
        included = [f'{count} {kind}' for count, kind in counts if count]
        lines += [f'images that are included as they are: {", ".join(included)}'] if included else []
        if found.left_out:
            lines.append(
                f'left out: {found.left_out} images not in labels.csv (data.limit, broken, or newer than the run)'
            )
        if found.test and found.test.broken and not request.is_list:
            lines.append(f'left out: {len(found.test.broken)} broken images of the test set')
    return [*lines, *_untested(request, found), *_one_class(changes), estimate]


def _untested(request: Request, found: Originals | None) -> list[str]:
    """Which test images are left out, in a line if there are any."""
    if request.lists_files and request.settings['name'] == 'folder' and request.noted and request.noted['test']:
        return ['left out: the test set, as a list of class folders has training images alone; a copy keeps it']
    if found is None or not found.untested or (request.is_list and not request.tests_by_names):
        return []
    classes = some([f'{shortened(name)} ({count})' for name, count in sorted(found.untested.items())], 10)
    count, why = sum(found.untested.values()), 'of classes that no training image has any more'
    if request.is_list:
        others = '; a copy keeps the others' if found.test else ''
        return [f'left out: the test set, as {count} images of it are {why}: {classes}{others}']
    return [f'left out: {count} images of the test set, {why}: {classes}']


def _of_arrays(request: Request, found: Originals | None) -> list[str]:
    """What else than labels differs in a copy of arrays, a line each."""
    if request.is_list or request.settings['name'] != 'arrays':
        return []
    path, lines = request.settings['path'], []
    prefixes = ('', 'test_') if found.test else ('',)
    if any(array_files.form_of_images(path, prefix)[1] != np.uint8 for prefix in prefixes):
        lines.append('images are written as whole numbers from 0 to 255 (uint8), which floats in [0, 1] are read as')
    if not array_files.are_named(path) and array_files.are_named(request.options.out):
        lines.append(
            'class_names.npy is new, as some true labels are of classes that no label is of any more; labels that are '
            'numbers are its rows'
        )
    return lines


def _by_number(settings: dict[str, Any]) -> bool:
    """Whether labels of the run's lists are numbers; also where its training list is not there any more."""
    try:
        return settings['name'] == 'filelist' and filelist.labels_are_numbers(
            settings['path'], **{field: settings[field] for field in ('list', 'labels', 'class_names', 'max_classes')}
        )
    except InputError:
        return True


def _one_class(changes: Changes) -> list[str]:
    """A line where all labels that are left are of one class, so that nothing can be trained on them alone."""
    names = set(changes.new[changes.kept])
    if len(names) > 1:
        return []
    return [f'all labels are {shortened(*names)}: to train on it, images of another class are needed too']


def _rule(request: Request, changes: Changes) -> str:
    options, suspect = request.options, changes.suspect
    decided = f'{changes.decided.sum()} images become what was decided'
    if not options.all_suspects:
        return f'{decided}, all others stay'
    same = int((suspect & (changes.new == changes.given)).sum())
    fate = 'are left out' if options.mode == 'drop' else 'get the suggested label'
    which = 'is_suspect' if options.threshold is None else f'clean probability below {options.threshold:g}'
    rule = f'{suspect.sum()} label issues ({which}) {fate}'
    rule += f', which {same} have already' if same else ''
    return rule if options.decisions is None else f'{decided}; of the others, {rule}'


def estimated(request: Request, before: Count, after: Count) -> str:
    """The numbers of wrong labels before and after, in a line."""
    decided = '' if request.options.decisions is None else ', taking what was decided as right'
    line = f'estimated wrong labels: {before} before, {after} after{decided}'
    return line if request.distrust is None else f'{line}; not to be trusted: {request.distrust}'


def _table(changes: Changes) -> list[str]:
    """For each class, its images before, what becomes of them, its images after; most changed first."""
    rows = []
    for name in changes.class_names:
        given = changes.given == name
        kept, relabelled = given & (changes.new == name), given & changes.relabelled
        dropped, after = given & ~changes.kept, changes.new == name
        rows.append((name, *(int(part.sum()) for part in (given, kept, relabelled, dropped, after))))
    total = ('all', *np.sum([row[1:] for row in rows], axis=0))
    if len(rows) > _SHOWN:
        rows.sort(key=lambda row: row[2] - row[1])
        rows = [*rows[:_SHOWN], (f'... {len(rows) - _SHOWN} more',)]
    rows = [('class', 'given', 'kept', 'relabelled', 'dropped', 'after'), *rows, total]
    rows = [(one_line(shortened(row[0])), *row[1:]) for row in rows]
    width = max(len(row[0]) for row in rows)
    return [f'{row[0]:{width}}' + ''.join(f'{value:>12}' for value in row[1:]) for row in rows]


def written(request: Request, changes: Changes, found: Originals | None, linked: int, estimate: str) -> list[str]:
    """What was written, and the options that train on it, in lines; `estimate` is one of them."""
    out, settings = request.options.out, request.settings
    lines = [f'{out} is written' + (f'; {linked} files are hard links, do not edit them in place' if linked else '')]
    lines += [*_untested(request, found), *_of_arrays(request, found), estimate]
    if alone := _one_class(changes):
        return [*lines, *alone]
    reads = {'path': out}
    if request.is_list:
        if not request.lists_files:
            return lines
        root = pathlib.Path(settings['path'])
        root = root.parent if _is_listed(settings) else root
        listed = os.path.abspath(out) if (root / out).exists() else out  # a list of this name there would be read first
        reads = {'name': 'filelist', 'path': str(root), 'list': listed, 'labels': ''}
        if not root.is_dir():
            reads['path'] = 'FOLDER'
            lines.append(f'there is no {root} any more: FOLDER below is the folder where the images are now')
        reads['class_names'] = settings['class_names']
        if request.tests_by_names and found is not None and found.untested:
            reads |= _NO_TEST
        if settings['test_list'] and _by_number(settings):
            reads |= _NO_TEST
            lines.append(
                'left out: the test set, as its labels are numbers and those of the list names; a copy keeps it'
            )
    elif settings['name'] == 'filelist':
        tested = found.test is not None
        files = {'list': 'labels.csv', 'class_names': 'class_names.txt'} | ({'test_list': 'test.csv'} if tested else {})
        reads |= {'labels': '', 'test_list': '', 'test_labels': ''}
        reads |= {field: list_file.setting_of(out, name) for field, name in files.items()}
        reads['test_path'] = settings['test_path'] if tested else ''
    # They serve with the options of the run, and without.
    needed = {key: value for key, value in reads.items() if not value == settings[key] == DATA[key].default}
    options = ' '.join(shlex.quote(f'--config.data.{key}={value}') for key, value in needed.items())
    return [*lines, f'to train on it: {options}']
