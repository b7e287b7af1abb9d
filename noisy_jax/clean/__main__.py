"""Makes a corrected copy of the data set of a run; the originals stay as they are.

  python -m noisy_jax.clean --workdir=runs/photos --out=photos_clean            shows what would change
  python -m noisy_jax.clean --workdir=runs/photos --out=photos_clean --write    does it

The copy has the form of the original, so that the same loader reads it: class folders, a list and its files, or arrays;
test images and images without a label are included. changes.csv in it lists what differs. With --decisions, the CSV
that the report's button gives, each decided image becomes what was decided; --mode applies to the others.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence

import numpy as np

from noisy_jax.clean import copies, originals, target
from noisy_jax.clean.changes import Changes, decide, suggested
from noisy_jax.clean.messages import Request, planned, written
from noisy_jax.errors import InputError, exit_status
from noisy_jax.files import new_file, new_folder
from noisy_jax.workdir import WorkDir


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and cleans; returns the exit status (2: user error, 130: stopped)."""
    parser = argparse.ArgumentParser(
        'python -m noisy_jax.clean', formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__
    )
    parser.add_argument('--workdir', required=True, help='work directory of the run')
    parser.add_argument('--out', required=True, help='a new folder; or a new .csv file, which gets a list: path,label')
    parser.add_argument(
        '--mode',
        choices=('relabel', 'drop', 'csv'),
        default='relabel',
        help='label issues get the suggested label, or are left out; csv: as relabel, but --out gets a list alone',
    )
    parser.add_argument('--threshold', type=float, help="clean probability below which a label is an issue; the run's")
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
    parser.add_argument('--write', action='store_true', help='writes; else only shows what would be written')
    options = parser.parse_args(argv)
    again = ['python', '-m', 'noisy_jax.clean', *(sys.argv[1:] if argv is None else argv), '--write']
    return exit_status(lambda: clean(options, shlex.join(again)))


def clean(options: argparse.Namespace, command: str) -> None:
    """Shows what would change; with --write, does it.

    Args:
      options: of the command line.
      command: the command line that writes.

    Raises:
      InputError: options, a run or data that cannot be used; nothing is written.
    """
    folder = WorkDir.of_run(options.workdir)
    request = Request.of(options, folder)
    _check(request)
    changes = _changes(request, folder.load_labels())
    found = None
    if not request.is_list or (request.settings['name'] in originals.KINDS and request.unlabelled):
        found = originals.find(request.settings, changes.id)
    _say(planned(request, changes, found))
    if changes.emptied and not options.only_decisions:
        raise InputError(
            f'no image would be left of {", ".join(changes.emptied)}: the classifier of this run is not good enough; '
            'train longer, lower --threshold, or take --decisions with --only-decisions'
        )
    if not options.write:
        _say([f'nothing is written yet; this writes {options.out}:\n  {command}'])
        return
    linked = 0
    with target.folders_above(options.out):
        if request.is_list:
            with new_file(options.out) as file:
                copies.write_list(file, changes, found)
        else:
            with new_folder(options.out) as new:
                linked = copies.write(new, request.settings, changes, found, copy=options.copy)
    _say(written(request, found, linked))


def _say(lines: list[str]) -> None:
    """Prints; a reader who has gone (`| head`) does not keep the copy from being written."""
    try:
        print('\n'.join(lines), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check(request: Request) -> None:
    """Refuses options that do not fit each other, the run or the disk."""
    options, settings, names = request.options, request.settings, request.class_names
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise InputError(f'--threshold: {options.threshold} is not allowed; from 0 to 1')
    if options.only_decisions and not options.decisions:
        raise InputError('--only-decisions needs --decisions')
    if options.mode == 'csv' and not request.is_list:
        raise InputError(f'--out: {options.out} must end in .csv with --mode csv')
    if settings['name'] not in originals.KINDS and not request.is_list:
        raise InputError(f'data.name={settings["name"]} has no files to copy; take --mode csv and an --out of *.csv')
    target.check(options.out, settings['path'])
    written_by_name = request.is_list or settings['name'] == 'filelist'
    if written_by_name and all(map(str.isdecimal, names)) and set(names) != set(map(str, range(len(names)))):
        raise InputError(
            f'classes {", ".join(names[:5])}, ... are numbers but not 0 to {len(names) - 1}: in a list they would be '
            'taken for others; take names, or --mode relabel or drop with class folders'
        )


def _changes(request: Request, labels: dict[str, np.ndarray]) -> Changes:
    options = request.options
    if not np.array_equal(labels['index'], np.arange(len(labels['index']))):
        raise InputError(f'{options.workdir}/labels.csv: rows are missing; rerun the command of the run to write it')
    threshold = -1.0 if options.only_decisions else options.threshold  # below which no label is
    changes = suggested(labels, request.class_names, drop=options.mode == 'drop', threshold=threshold)
    return decide(changes, options.decisions) if options.decisions else changes


if __name__ == '__main__':
    sys.exit(main())
