"""Makes a corrected copy of the data set that a run has judged; the originals stay as they are.

  python -m noisy_jax.clean --workdir=runs/photos --out=photos_clean            says what would change
  python -m noisy_jax.clean --workdir=runs/photos --out=photos_clean --write    does it

The copy has the form of the original, so that the same loader reads it: class folders, a list and its files, or arrays;
test images and images without a label come along. changes.csv in it lists what is different. With --decisions, the CSV
that the report's button gives, decided images become what was decided, all others what --mode says.
"""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from noisy_jax import command, files
from noisy_jax.clean import copies, originals
from noisy_jax.clean.changes import Changes, decide, suggested, unchanged
from noisy_jax.errors import InputError
from noisy_jax.workdir import WorkDir

_SHOWN = 20  # classes
_PAIRS = 10  # of labels


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and cleans; returns the exit status (2: user error, 130: stopped)."""
    parser = argparse.ArgumentParser(
        'python -m noisy_jax.clean', formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    parser.add_argument('--workdir', required=True, help='of the run')
    parser.add_argument('--out', required=True, help='a new folder; or a new .csv file, which gets a list: path,label')
    parser.add_argument(
        '--mode',
        choices=('relabel', 'drop', 'csv'),
        default='relabel',
        help='suspects get the suggested label, or are left out; csv: as relabel, but only a list is written to --out',
    )
    parser.add_argument('--threshold', type=float, help="clean probability below which a label is suspect; the run's")
    parser.add_argument('--decisions', help='CSV: index,id,given_label,decision (relabel, keep or drop),label')
    parser.add_argument(
        '--only-decisions', action='store_true', help='images without a decision keep their given label'
    )
    parser.add_argument('--data', help='where the originals are now; config.data.path of the run, from the folder here')
    parser.add_argument(
        '--copy',
        action='store_true',
        help='copies files; else they are hard links, which take no space, but to edit one in place edits the original',
    )
    parser.add_argument('--write', action='store_true', help='writes; else only says what would be written')
    options = parser.parse_args(argv)
    again = ['python', '-m', 'noisy_jax.clean', *(sys.argv[1:] if argv is None else argv), '--write']
    return command.exit_status(lambda: clean(options, shlex.join(again)))


def clean(options: argparse.Namespace, command: str) -> None:
    """Says what would change, and writes it where --write asks; `command` does it.

    Raises:
      InputError: options, a run or data that cannot be used; nothing is written.
    """
    folder = WorkDir.of_run(options.workdir)
    config, description = folder.load_json('config'), folder.load_json('data')
    settings = config['data'] | ({'path': options.data} if options.data else {})
    listing = options.out.endswith('.csv')
    _check(options, settings, tuple(description['classes']), listing)
    changes = _changes(options, folder, tuple(description['classes']))
    found = None
    if not listing or (settings['name'] in originals.KINDS and description['unlabelled']):
        found = originals.find(settings, changes.id)
    _say(options, folder, config, changes, found, listing)
    if changes.emptied and not options.only_decisions:
        raise InputError(
            f'no image would be left of {", ".join(changes.emptied)}: the classifier of this run is not good enough; '
            'train longer, lower --threshold, or take --decisions with --only-decisions'
        )
    if not options.write:
        print(f'nothing is written yet; this writes {options.out}:\n  {command}')
        return
    linked = 0
    if listing:
        with files.new_file(options.out) as file:
            copies.write_list(pathlib.Path(file.name), changes, found)
    else:
        with files.new_folder(options.out) as new:
            linked = copies.write(new, settings, changes, found, copy=options.copy)
    _say_written(options, settings, found, linked)


def _check(options: argparse.Namespace, settings: dict[str, Any], names: tuple[str, ...], listing: bool) -> None:
    """Options that do not fit each other, the run or the disk."""
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise InputError(f'--threshold: {options.threshold} is not allowed; from 0 to 1')
    if options.only_decisions and not options.decisions:
        raise InputError('--only-decisions needs --decisions')
    if options.mode == 'csv' and not listing:
        raise InputError(f'--out: {options.out} must end in .csv with --mode csv')
    if settings['name'] not in originals.KINDS and not listing:
        raise InputError(f'data.name={settings["name"]} has no files to copy; take --mode csv and an --out of *.csv')
    files.check_new(options.out)
    root = pathlib.Path(settings['path'])
    if not listing and root.is_dir() and pathlib.Path(options.out).resolve().is_relative_to(root.resolve()):
        raise InputError(f'--out: {options.out} lies in {root}, the data itself; take another place')
    written_by_name = listing or settings['name'] == 'filelist'
    if written_by_name and all(map(str.isdecimal, names)) and set(names) != set(map(str, range(len(names)))):
        raise InputError(
            f'classes {", ".join(names[:5])}, ... are numbers but not 0 to {len(names) - 1}: in a list they would be '
            'taken for others; take names, or --mode relabel or drop with class folders'
        )


def _changes(options: argparse.Namespace, folder: WorkDir, names: tuple[str, ...]) -> Changes:
    labels = folder.load_labels()
    if not np.array_equal(labels['index'], np.arange(len(labels['index']))):
        raise InputError(f'{folder.path}/labels.csv: rows are missing; the command of the run writes it anew')
    if options.only_decisions:
        changes = unchanged(labels, names)
    else:
        changes = suggested(labels, names, drop=options.mode == 'drop', threshold=options.threshold)
    return decide(changes, options.decisions) if options.decisions else changes


def _say(
    options: argparse.Namespace,
    folder: WorkDir,
    config: dict[str, Any],
    changes: Changes,
    found: originals.Originals | None,
    listing: bool,
) -> None:
    """What would change."""
    print(_rule(options, folder, changes))
    if config['noise']['kind'] != 'none':
        print(f'given labels are those with the {config["noise"]["kind"]} noise that the run put in')
    print('\n'.join(_table(changes)))
    pairs = [f'{given} -> {new} {count}' for (given, new), count in changes.pairs()]
    if pairs:
        more = f', {len(pairs) - _PAIRS} other pairs' if len(pairs) > _PAIRS else ''
        print(f'relabelled: {", ".join(pairs[:_PAIRS])}{more}')
    if found is not None:
        along = {'without a label': len(found.unlabelled), 'of the test set': 0 if listing else len(found.test or ())}
        along = [f'{count} {what}' for what, count in along.items() if count]
        if along:
            print(f'images that come along: {", ".join(along)}')
        if found.left_out:
            print(f'left out: {found.left_out} images that this run has not judged (data.limit, or newer than the run)')


def _rule(options: argparse.Namespace, folder: WorkDir, changes: Changes) -> str:
    threshold = options.threshold
    if threshold is None:
        threshold = folder.load_json('summary')['label_issues']['threshold']
    suspect = changes.suspect & ~changes.decided
    same = int((suspect & (changes.new == changes.given)).sum())
    fate = 'are left out' if options.mode == 'drop' else 'get the suggested label'
    rule = f'{suspect.sum()} suspects (clean probability below {threshold:g}) {fate}'
    rule += f', which {same} have already' if same else ''
    if not options.decisions:
        return rule
    decided = f'{changes.decided.sum()} images become what was decided'
    return f'{decided}, all others stay' if options.only_decisions else f'{decided}; of the others, {rule}'


def _table(changes: Changes) -> list[str]:
    """Of each class how many images it had, what becomes of them, how many it has then; most changed first."""
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
    width = max(len(str(row[0])) for row in rows)
    return [f'{row[0]:{width}}' + ''.join(f'{value:>12}' for value in row[1:]) for row in rows]


def _say_written(
    options: argparse.Namespace, settings: dict[str, Any], found: originals.Originals | None, linked: int
) -> None:
    out = options.out
    how = f'; {linked} files are hard links, do not edit them in place' if linked else ''
    print(f'{out} is written{how}')
    reads = {'path': out}
    if out.endswith('.csv'):
        if settings['name'] not in ('folder', 'filelist'):
            return
        root = pathlib.Path(settings['path'])
        reads = {'name': 'filelist', 'path': str(root.parent if root.is_file() else root), 'list': out, 'labels': ''}
        if settings['class_names']:
            reads['class_names'] = settings['class_names']
    elif settings['name'] == 'filelist':
        reads |= {'list': 'labels.csv', 'class_names': 'class_names.txt', 'labels': ''}
        if found.test is not None:
            reads |= {'test_list': 'test.csv', 'test_labels': ''}
    changed = {key: value for key, value in reads.items() if settings[key] != value}
    print('to train on it: ' + ' '.join(shlex.quote(f'--config.data.{key}={value}') for key, value in changed.items()))


if __name__ == '__main__':
    sys.exit(main())
