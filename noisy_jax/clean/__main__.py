"""Makes a corrected copy of the data set of a run; the originals stay as they are.

  python -m noisy_jax.clean --workdir=runs/photos --out=photos_clean --decisions=reviewed.csv           shows changes
  python -m noisy_jax.clean --workdir=runs/photos --out=photos_clean --decisions=reviewed.csv --write   makes them

Each image in --decisions, the CSV that the report's button gives, becomes what was decided; all others stay. With
--all-suspects, all other label issues change too, as --mode says; where by the run's own estimate more labels would be
wrong than without, nothing is written. The copy has the form of the original, so that the same loader reads it: class
folders, a list and its files, or arrays; test images of its classes and images without a label are included.
changes.csv in it lists what differs.
"""

import argparse
import os
import pathlib
import shlex
import sys
from collections.abc import Sequence

from noisy_jax import cli, streams
from noisy_jax.clean import checks, copies, estimate, originals, readback
from noisy_jax.clean.changes import decide, suggest, unchanged
from noisy_jax.clean.messages import Request, estimated, planned, written
from noisy_jax.errors import one_line
from noisy_jax.files import folders
from noisy_jax.labels.verdict import Verdict
from noisy_jax.outputs import new_file, new_folder
from noisy_jax.workdir import WorkDir


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and cleans; returns the exit status (2: user error, 130 or 143: stopped)."""
    parser = cli.of_command('clean', __doc__)
    parser.add_argument('--workdir', required=True, type=os.path.expanduser, help='work directory of the run')
    parser.add_argument(
        '--out',
        required=True,
        type=os.path.expanduser,
        help='a new folder; or a new .csv file, which gets a list: path,label',
    )
    parser.add_argument(
        '--decisions',
        type=os.path.expanduser,
        help='CSV: index,id,given_label,decision (relabel, keep or drop),label',
    )
    parser.add_argument('--all-suspects', action='store_true', help='all label issues change, without a look at them')
    parser.add_argument(
        '--mode',
        choices=('relabel', 'drop', 'csv'),
        default='relabel',
        help='--all-suspects get the suggested label, or are left out; csv: as relabel, but --out gets a list alone',
    )
    parser.add_argument(
        '--threshold', type=float, help="clean probability below which --all-suspects acts (default: the run's)"
    )
    parser.add_argument(
        '--data',
        type=os.path.expanduser,
        help='where the originals are now (else config.data.path of the run, seen from here or from where it began)',
    )
    parser.add_argument(
        '--copy',
        action='store_true',
        help='copies files; else they are hard links, which take no space, but to edit one in place edits the original',
    )
    parser.add_argument('--write', action='store_true', help='writes; else only shows what would be written')
    again = ['python', '-m', 'noisy_jax.clean', *(sys.argv[1:] if argv is None else argv), '--write']
    return cli.exit_status(lambda: clean(parser.parse_args(argv), shlex.join(again)))


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
    checks.options(request, folder)
    labels = folder.load_labels()
    checks.labels_file(request, folder, labels)
    decided = unchanged(labels, request.class_names)
    if options.decisions is not None:
        decided = decide(decided, options.decisions)
    wrong = estimate.wrong_given(labels['clean_probability'], request.issues)
    before, without = estimate.before(wrong, request.issues), estimate.after(wrong, decided)
    changes, after = decided, without
    if options.all_suspects:
        probabilities = checks.probabilities(folder, labels, request.class_names)
        dropped = suggest(decided, labels, drop=True, threshold=options.threshold)
        changes = dropped
        if options.mode != 'drop':
            changes = suggest(decided, labels, drop=False, threshold=options.threshold)
        verdict = Verdict.load(folder) if 'judge' in request.issues else None
        after = estimate.after(wrong, changes, probabilities, verdict.sharpness if verdict else 1.0)
    checks.something_left(changes)
    found = None
    if not request.is_list or request.has_data or request.needs_originals(changes):
        found = originals.find(request.settings, changes.id)
        checks.same_data(folder, request, changes, found)
        found = found.for_classes(set(changes.new))
    meant = {}
    if request.settings['name'] == 'folder' and not request.is_list:
        meant = readback.meant(changes, found)
        readback.check_planned(options.out, meant)
    if request.is_list:
        checks.readable_list(request, changes, found.train.id[found.unlabelled] if found else ())
    estimates = estimated(request, before, after)
    _say(planned(request, changes, found, estimates))
    if options.all_suspects:
        # Cautiously: by the least that a judge says of each label, and by its own doubts of what it suggests.
        least = verdict.wrong[0] if verdict else wrong
        checks.suggestions(
            changes,
            decided,
            estimate.after(least, changes, probabilities),
            estimate.after(least, decided),
            estimate.after(least, dropped),
        )
    if not options.write:
        _say([f'nothing is written yet; this writes {options.out}:', f'  {command}'])
        return
    linked = 0
    with folders(pathlib.Path(options.out).parent, '--out'):
        if request.is_list:
            with new_file(options.out) as file:
                copies.write_list(file, changes, found)
        else:
            with new_folder(options.out) as new:
                linked = copies.write(new, request.settings, changes, found, copy=options.copy)
                readback.check_written(new, options.out, meant)
    _say(written(request, changes, found, linked, estimates))


def _say(lines: list[str]) -> None:
    """Prints lines; a reader who has gone (`| head`) does not keep the copy from being written."""
    try:
        print('\n'.join(map(one_line, lines)), flush=True)
    except OSError as error:
        if not streams.is_unread(error, sys.stdout):
            raise
        streams.to_nobody(sys.stdout)


if __name__ == '__main__':
    sys.exit(main())
