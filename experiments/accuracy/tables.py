"""The paper's tables on CIFAR-10, cell by cell: each cell is a run of its own and writes one JSON.

  python experiments/accuracy/tables.py --scale cpu --images cifar10_jpeg.tar.xz --human cifar10n_labels.npz
  ... --scale full --images ... --budget 540     stops in time; rerun the same command to resume
  ... --scale full --list                        the cells that are missing, in their order
  ... --scale cpu --render                       Markdown and picture, from the JSON alone
  ... --scale cpu --search --images ...          compares optimisers on held-out noisy labels
  ... --scale smoke                              random images; the numbers mean nothing

  full    ResNet-18, all images, the paper's settings (configs/cifar10.py): for a GPU
  cpu     a network of 6 small convolutions, 10,000 images of 16x16 pixels: 331 minutes on two cores in all

A rerun does only what is missing, and resumes a cell that was interrupted. Pre-training sees no labels: all cells of a
seed share it, and a fine-tuned cell starts from its pre-trained one. Test labels are for the tables alone; how settings
were chosen: docs/reproducing.md.
"""

import argparse
import contextlib
import dataclasses
import itertools
import os
import pathlib
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cells, cifar10
from experiments.accuracy.recipes import CANDIDATES, HUMAN, SCALES, VARIANTS, Cell, compared, config_of
from experiments.accuracy.rendering import NAMES, load_cells, picture, render
from noisy_jax.errors import InputError
from noisy_jax.training.signals import Stopped, StopSignal

RESULTS = record.RESULTS / 'tables'


def papers_cells(scale: str) -> list[Cell]:
    """The paper's table, the most telling cells first: its claim, human labels, fine-tuning, then more seeds."""
    ordered = []
    for seed in range(SCALES[scale].seeds):
        rows = [('symmetric', rate, loss) for loss in ('elr', 'nfl_rce', 'ce') for rate in (0.8, 0.4, 0.6, 0.2)]
        human = [(name, 0.0, 'elr') for name in ('worst', 'random1', 'aggregate')]
        ordered += [Cell(*row, column, seed) for row in rows for column in ('pretrained', 'base')]
        ordered += [Cell(*human[0], column, seed) for column in NAMES]
        ordered += [Cell(*row, 'finetuned', seed) for row in rows]
        ordered += [Cell(*row, column, seed) for row in human[1:] for column in NAMES]
    return ordered


def our_cells(scale: str) -> list[Cell]:
    """Our recipe at the rates of its rivals, human labels, then more seeds."""
    places = [('symmetric', rate) for rate in (0.8, 0.5, 0.9, 0.2)] + [(name, 0.0) for name in reversed(HUMAN)]
    seeds = range(SCALES[scale].seeds)
    return [Cell(*place, 'elr', 'finetuned', seed, 'ours') for seed in seeds for place in places]


def parts_cells(scale: str) -> list[Cell]:
    """What each part of our recipe brings, measured on held-out noisy labels."""
    seeds = range(SCALES[scale].seeds)
    return [
        Cell('symmetric', 0.5, 'elr', 'finetuned', seed, recipe, 0.2) for seed in seeds for recipe in compared(scale)
    ]


def variant_cells(scale: str) -> list[Cell]:
    """Why pre-training does not help ELR where few labels are wrong (--scale=cpu)."""
    rows = itertools.product((0.2, 0.4), VARIANTS, range(SCALES[scale].seeds))
    return [Cell('symmetric', rate, 'elr', 'pretrained', seed, variant) for rate, variant, seed in rows]


TABLES = {'paper': papers_cells, 'parts': parts_cells, 'ours': our_cells, 'variants': variant_cells}


# ---------------------------------------------------------------- running


def arrays_of(cell: Cell, arguments: argparse.Namespace) -> pathlib.Path:
    """The folder of arrays of a cell's images and labels, made where it is missing."""
    scale, folder = arguments.scale, arguments.work / arguments.scale / 'data'
    size = SCALES[scale]
    folder.mkdir(parents=True, exist_ok=True)
    if scale == 'smoke':
        source = random_images(folder / 'random')
    elif arguments.images is None:
        raise InputError('--images is needed: a tar of class folders (train/CLASS/*, test/CLASS/*)')
    else:
        source = cifar10.unpack(arguments.images, folder / 'cifar10')
    source = cifar10.smaller(source, folder / scale, count=size.images, test_count=size.test_images, shrink=size.shrink)
    if cell.labels == 'symmetric':
        return source
    if arguments.human is None:
        raise InputError('--human is needed: the labels of CIFAR-10N as .npz')
    return cifar10.with_human_labels(source, arguments.human, cell.labels, folder / f'{scale}_{cell.labels}')


def random_images(folder: pathlib.Path) -> pathlib.Path:
    """What stands in for CIFAR-10 in a smoke test."""
    if folder.exists():
        return folder
    rng = np.random.default_rng(0)
    arrays = {'class_names': np.array(list('0123456789'))}
    for prefix, count in (('', 400), ('test_', 200)):
        arrays |= {
            f'{prefix}images': rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
            f'{prefix}labels': np.arange(count, dtype=np.int32) % 10,
        }
    return cifar10.keep(folder, arrays)


def train(cell: Cell, scale: str, work: pathlib.Path, data: pathlib.Path) -> dict[str, Any]:
    """Trains a cell and returns its JSON."""
    config = config_of(cell, scale, data)
    known = config.to_dict()
    known['data']['path'] = data.name  # not where it lies on this machine
    workdir = work / 'cells' / cell.name
    shared = tuple(phase for phase in config.phases if phase != 'base')
    summary = cells.run(config, workdir, work / 'phases', cell.labels, shared)
    phases = cells.phases(summary)
    last = summary['phases'][-1]
    shutil.rmtree(workdir / 'checkpoints')  # what other cells need is among the kept phases
    return {
        **dataclasses.asdict(cell),
        'scale': scale,
        'accuracy_last': last['test_accuracy_last'],
        'accuracy_best': last['test_accuracy_best'],
        'accuracy_held_out': last.get('valid_accuracy_last'),
        'realised_rate': summary['noise']['realised_rate'],
        'knn': {name: phases[name]['knn_accuracy'] for name in ('pretrain', 'contrast') if name in phases},
        'selection': summary.get('selection'),
        'label_issues': summary['label_issues'],
        'seconds': {name: phase['seconds'] for name, phase in phases.items()},
        'images_per_second': {name: phase['images_per_second'] for name, phase in phases.items()},
        'device': summary['device'],
        'versions': summary['versions'],
        'config': known,
    }


def search(arguments: argparse.Namespace) -> str:
    """Accuracy on held-out noisy labels of each candidate, ELR at 60 %: what the settings of a scale were chosen by."""
    work = arguments.work / f'{arguments.scale}_search'

    def run(candidate: str, column: str) -> dict[str, float]:
        cell = Cell('symmetric', 0.6, 'elr', column)
        config = config_of(cell, arguments.scale, arrays_of(cell, arguments))
        changes = {'data.valid_fraction': 0.2, 'eval_every': 0, **CANDIDATES[candidate]}
        config.update_from_flattened_dict(changes)
        number = list(CANDIDATES).index(candidate)
        summary = cells.run(config, work / f'{number}_{column}', work / 'phases')
        return {'accuracy': summary['phases'][-1]['valid_accuracy_last']}

    places = itertools.product(CANDIDATES, ('base', 'pretrained'))
    keys = [{'candidate': name, 'column': column} for name, column in places]
    found = record.complete(RESULTS / f'{arguments.scale}_search.json', keys, run)
    return record.means(found, ('candidate', 'column'), ('accuracy',))


@contextlib.contextmanager
def _budget(seconds: float) -> Iterator[None]:
    """Asks the program to stop after so many seconds, as Ctrl-C does: a cell in training saves where it stands."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    if seconds:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run_missing(todo: list[Cell], arguments: argparse.Namespace, results: pathlib.Path) -> list[Cell]:
    """Trains cell after cell until all are done or the budget is spent; returns those that are left."""
    with contextlib.ExitStack() as until_the_end:
        stop = until_the_end.enter_context(StopSignal())
        stop.saves = True  # before the signal may come
        until_the_end.enter_context(_budget(arguments.budget))
        for number, cell in enumerate(todo):
            try:
                data = arrays_of(cell, arguments)
                if stop.requested:
                    return todo[number:]
                print(f'{cell.name}: cell {number + 1} of {len(todo)}', file=sys.stderr, flush=True)
                result = train(cell, arguments.scale, arguments.work / arguments.scale, data)
            except Stopped:
                return todo[number:]
            record.save(results / f'{cell.name}.json', result)
    return []


def left(todo: list[Cell], done: list[dict[str, Any]]) -> str:
    """How many cells are missing, and their time by that of done cells of the same column and recipe."""

    def kind(cell: dict[str, Any]) -> tuple[str, str]:
        return cell['column'], cell['recipe'].split()[0]

    taken: dict[tuple, list[float]] = {}
    for cell in done:
        # Without what it shares with others: the encoder, and the paper's classifier before (b1).
        shared = {'pretrain', 'classify'} if kind(cell) == ('finetuned', 'paper') else {'pretrain'}
        own = sum(value for phase, value in cell['seconds'].items() if phase not in shared)
        taken.setdefault(kind(cell), []).append(own)
    known = [taken.get(kind(dataclasses.asdict(cell))) for cell in todo]
    minutes = sum(np.mean(values) for values in known if values) / 60
    text = f'{len(todo)} cells are left, about {minutes:.0f} minutes'
    text += f' and {known.count(None)} cells of unknown time' if None in known else ''
    return f'{text}; rerun the same command to resume with {todo[0].name}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--table', choices=tuple(TABLES), default='paper')
    parser.add_argument('--scale', choices=tuple(SCALES), required=True)
    record.add_images(parser)
    parser.add_argument('--budget', type=float, default=0, help='seconds; 0: until all is done')
    parser.add_argument('--work', type=pathlib.Path, default=pathlib.Path('runs/tables'), help='work directories')
    parser.add_argument('--results', type=pathlib.Path, help='where the JSON goes; experiments/results/tables/SCALE')
    for name in ('--list', '--render', '--search'):
        parser.add_argument(name, action='store_true')
    arguments = parser.parse_args()
    with record.user_errors():
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Runs, lists or renders a table."""
    scale, smoke = arguments.scale, arguments.scale == 'smoke'
    if arguments.search:
        print(search(arguments))
        return
    results = arguments.results or (arguments.work / 'smoke' / 'results' if smoke else RESULTS / scale)
    ordered = [cell for cell in TABLES[arguments.table](scale) if cell.labels in ('symmetric', *SCALES[scale].human)]
    todo = [cell for cell in ordered if not (results / f'{cell.name}.json').exists()]
    print(f'{len(ordered) - len(todo)} of {len(ordered)} cells are done')
    if arguments.list:
        print('\n'.join(cell.name for cell in todo))
        return
    if not arguments.render:
        todo = run_missing(todo, arguments, results)
    done = load_cells(results)
    if todo:
        print(left(todo, done))
    print(render(results, scale))
    if arguments.render and done:
        picture(done, scale, results.with_suffix('.png'))


if __name__ == '__main__':
    main()
