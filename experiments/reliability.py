"""What becomes of bad input, interruptions and damage: counts of what was tried and of how it ended.

  python experiments/reliability.py                      everything, about an hour on two cores
  python experiments/reliability.py --only labels kills  these parts
  python experiments/reliability.py --smoke              a few of each
  python experiments/reliability.py --table              the tables from the JSON alone

The inputs (experiments/soak/) are tried in one process: each must be refused in one line, with exit status 2, before
anything is trained, or must work, with the right result; files of the user may never change. Runs are killed
(SIGKILL) at random moments until they end by themselves, and started twice; copies of the disk that one writes on are
what a loss of power leaves, and main, pack and clean find a small disk full (only where mounting is allowed). Small
files are mutated at random, losses get extreme numbers.
"""

import argparse
import importlib
import json
import os
import pathlib
import sys
import tempfile
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from experiments import record

RESULTS = record.RESULTS / 'reliability.json'
_INPUTS = ('places', 'left', 'names', 'pictures', 'typed', 'decided')  # modules of experiments/soak
# Name, module and function of the other parts, with how much is tried.
_OTHERS = {
    'kills': ('interrupted', 'kills', 50),
    'loss of power': ('interrupted', 'power', 20),
    'twice': ('interrupted', 'twice', 10),
    'full disk': ('interrupted', 'full_disk', None),
    'mutated files': ('fuzzed', 'files', 1000),
    'losses': ('fuzzed', 'losses', 10_000),
}


def inputs(module: str, most: int | None) -> dict[str, Any]:
    """Counts by part of what the trials of a module were expected to do and did, and which went wrong."""
    trial = importlib.import_module('experiments.soak.trial')
    result: dict[str, Any] = {}
    for each in importlib.import_module(f'experiments.soak.{module}').TRIALS[:most]:
        outcome, said = trial.run(each)
        counts = result.setdefault(each.part, {'tried': 0, 'right': 0, 'wrong': []})
        counts['tried'] += 1
        counts['right'] += outcome == 'right'
        if outcome != 'right':
            counts['wrong'].append(f'{each.name}: {outcome}')
            print(f'{each.part}, {each.name}: {outcome}\n  {said}', file=sys.stderr, flush=True)
    return result


def other(name: str, smoke: bool) -> Any:
    """What one of the other parts returns."""
    module, function, count = _OTHERS[name]
    own = getattr(importlib.import_module(f'experiments.soak.{module}'), function)
    if count is None:
        return own((0.2, 1), (12,)) if smoke else own()
    return own(max(count // 100, 2) if smoke else count)


def tables(found: dict[str, Any]) -> str:
    """Markdown: inputs by part, and what else was tried."""
    columns = [column for column in ('before', 'now') if column in found]
    parts = dict.fromkeys(part for column in columns for part in found[column].get('inputs', {}))
    rows = [(part, *(_right(found[column].get('inputs', {}).get(part)) for column in columns)) for part in parts]
    rows += [
        (name, *(_SAID[name](found[column][name]) if name in found[column] else '-' for column in columns))
        for name in _OTHERS
    ]
    return record.markdown(('what', *columns), rows)


def _right(counts: dict[str, Any] | None) -> str:
    return f'{counts["right"]} of {counts["tried"]} right' if counts else '-'


def _kills(found: dict[str, Any]) -> str:
    return f'{found["kills"]} kills in {found["runs"]} runs: {_resumed(found)}'


def _power(found: dict[str, Any]) -> str:
    return f'{found["disks"]} disks: {_resumed(found)}; {found["gone back"]} went back a checkpoint'


def _resumed(found: dict[str, Any]) -> str:
    return f'{found["other bits"]} of other bits, {found["refused"]} refused, {found["left behind"]} with leftovers'


def _twice(found: dict[str, Any]) -> str:
    told = f'{found["told"]} of {found["rounds"]} times one is told that the other runs'
    return f'{told}; {found["traceback"]} tracebacks, {found["wrong"]} wrong results'


def _full_disk(found: dict[str, Any]) -> str:
    return '; '.join(
        f'{name}: {counts["refused"]} refused in one line, {counts["otherwise"]} ended otherwise, '
        f'{counts["same bits later"]} with the same bits when there was room'
        for name, counts in found.items()
    )


def _mutated(found: dict[str, Any]) -> str:
    faults = sum(
        n for counts in found.values() for what, n in counts.items() if what.startswith(('traceback', 'not one'))
    )
    tried = sum(n for counts in found.values() for what, n in counts.items() if what not in ('slow', 'MB'))
    slow, most = (pick(counts[what] for counts in found.values()) for pick, what in ((sum, 'slow'), (max, 'MB')))
    return f'{faults} tracebacks of {tried:,} files; {slow} took over 2 s; at most {most} MB more memory'


def _losses(found: dict[str, Any]) -> str:
    total, bad = (sum(counts[what] for counts in found.values()) for what in ('losses', 'not finite'))
    return f'{bad} of {total:,} not finite'


_SAID = {
    'kills': _kills,
    'loss of power': _power,
    'twice': _twice,
    'full disk': _full_disk,
    'mutated files': _mutated,
    'losses': _losses,
}


def main() -> None:
    """Tries what is asked for, adds it to the JSON, and prints the tables."""
    parser = record.parser(__doc__, RESULTS)
    parser.add_argument('--only', nargs='*', choices=(*_INPUTS, *_OTHERS), help='parts; default: all')
    parser.add_argument('--column', default='now', help="name of the results, such as 'before'")
    parser.add_argument('--table', action='store_true', help='only the tables')
    parser.add_argument('--worker', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        with tempfile.TemporaryDirectory() as home:  # the compiled programs of one part
            os.environ['HOME'] = home
            name, smoke = arguments.worker, arguments.smoke
            print(json.dumps(inputs(name, 3 if smoke else None) if name in _INPUTS else other(name, smoke)))
        return
    out = record.destination(arguments)
    found = record.load(RESULTS if arguments.table else out, {}) if out or arguments.table else {}
    if not arguments.table:
        column = found.setdefault(arguments.column, {})
        column.update(device=record.device(), versions=record.versions())
        for name in arguments.only or (*_INPUTS, *_OTHERS):
            more = ['--smoke'] if arguments.smoke else []
            result = record.in_own_process('experiments.reliability', name, *more)
            if name in _INPUTS:
                column.setdefault('inputs', {}).update(result)
            else:
                column[name] = result
            record.save(out, found)
    print(tables(found))


if __name__ == '__main__':
    main()
