"""The paper's tables on CIFAR-10, cell by cell: each cell is a run of its own and writes one JSON.

  python experiments/tables.py --scale cpu --images cifar10_jpeg.tar.xz --human cifar10n_labels.npz
  python experiments/tables.py --scale full --images ... --budget 540     stops in time; the same command goes on
  python experiments/tables.py --scale full --list                        the cells, in their order, and what is left
  python experiments/tables.py --scale cpu --render                       Markdown and picture, from the JSON alone
  python experiments/tables.py --scale smoke                              random images; the numbers mean nothing

  full    ResNet-18, all images, the paper's settings (configs/cifar10.py): for a GPU
  cpu     a network of 6 small convolutions, 10,000 images of 16x16 pixels: 90 minutes on two cores

A rerun does only what is missing, and goes on inside a cell that was interrupted. Pre-training sees no labels: all
cells of a seed share it, and a fine-tuned cell goes on from its pre-trained one. Every choice of settings is told in
experiments/README.md; test labels are for the tables alone.
"""

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import cells
import cifar10
import numpy as np
from recipes import CANDIDATES, HUMAN, OURS, SCALES, Cell, config_of

from noisy_jax.errors import InputError
from noisy_jax.training.signals import Stopped, StopSignal

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / 'results' / 'tables'
LOSSES, RATES, OUR_RATES = ('ce', 'elr', 'nfl_rce'), (0.2, 0.4, 0.6, 0.8), (0.2, 0.5, 0.8, 0.9)
# Columns by the phases that such a cell trains itself, with what is shared already there; the last is the classifier.
COLUMNS = {'base': ('base',), 'pretrained': ('classify',), 'finetuned': ('select', 'contrast', 'finetune')}

# Test accuracy in %, CIFAR-10, symmetric noise of OUR_RATES, as their authors give it.
RIVALS = {
    'C2D (SimCLR + DivideMix)': (96.4, 95.3, 94.4, 93.6),
    'ProMix': (97.7, 97.4, 95.5, 93.4),
    'SSR+': (96.7, 96.1, 95.6, 95.2),
}
# CIFAR-10N: aggregate, random1, worst.
HUMAN_RIVALS = {'ELR+': (95.3, 94.9, 91.8), 'DivideMix': (95.6, 95.7, 93.1), 'ProMix': (97.7, 97.4, 96.3)}
# Test accuracy in %, CIFAR-10, symmetric noise of RATES (the authors' poster): {loss: ((base, pre-trained), ...)}.
PUBLISHED = {
    'ce': ((77.2, 87.7), (58.2, 78.0), (35.2, 59.2), (17.0, 27.3)),
    'elr': ((90.3, 93.0), (82.3, 92.0), (64.2, 90.4), (18.3, 84.8)),
    'nfl_rce': ((91.0, 92.7), (87.0, 91.4), (80.2, 88.1), (42.8, 59.9)),
}


def papers_cells(seeds: int) -> list[Cell]:
    """The paper's table, the most telling cells first: its claim, human labels, fine-tuning, then more seeds."""
    ordered = []
    for seed in range(seeds):
        rows = [('symmetric', rate, loss) for loss in ('elr', 'nfl_rce', 'ce') for rate in (0.8, 0.4, 0.6, 0.2)]
        human = [(name, 0.0, 'elr') for name in ('worst', 'random1', 'aggregate')]
        ordered += [Cell(*row, column, seed) for row in rows for column in ('pretrained', 'base')]
        ordered += [Cell(*human[0], column, seed) for column in COLUMNS]
        ordered += [Cell(*row, 'finetuned', seed) for row in rows]
        ordered += [Cell(*row, column, seed) for row in human[1:] for column in COLUMNS]
    return ordered


def our_cells(seeds: int) -> list[Cell]:
    """Our recipe at the rates of its rivals, what each of its parts brings at 80 %, human labels, then more seeds."""
    ordered = []
    for seed in range(seeds):
        ordered += [Cell('symmetric', rate, 'elr', 'finetuned', seed, 'ours') for rate in (0.8, 0.5, 0.9, 0.2)]
        ordered += [Cell('symmetric', 0.8, 'elr', 'finetuned', seed, f'ours without {part}') for part in OURS]
        ordered += [Cell(name, 0.0, 'elr', 'finetuned', seed, 'ours') for name in reversed(HUMAN)]
    return ordered


TABLES = {'paper': papers_cells, 'ours': our_cells}


# ---------------------------------------------------------------- running


def arrays_of(
    cell: Cell, scale: str, work: pathlib.Path, images: pathlib.Path | None, human: pathlib.Path | None
) -> pathlib.Path:
    """The folder of arrays of a cell's images and labels, made where it is missing."""
    size = SCALES[scale]
    folder = work / 'data'
    folder.mkdir(parents=True, exist_ok=True)
    if scale == 'smoke':
        source = random_images(folder / 'random')
    elif images is None:
        raise InputError('--images is needed: a tar of class folders (train/CLASS/*, test/CLASS/*)')
    else:
        source = cifar10.unpack(images, folder / 'cifar10')
    source = cifar10.smaller(source, folder / scale, count=size.images, test_count=size.test_images, shrink=size.shrink)
    if cell.labels == 'symmetric':
        return source
    if human is None:
        raise InputError('--human is needed: the labels of CIFAR-10N as .npz')
    return cifar10.with_human_labels(source, human, cell.labels, folder / f'{scale}_{cell.labels}')


def random_images(folder: pathlib.Path) -> pathlib.Path:
    """What stands in for CIFAR-10 in a smoke test."""
    rng = np.random.default_rng(0)
    arrays = {'class_names': np.array(list('0123456789'))}
    for prefix, count in (('', 400), ('test_', 200)):
        arrays |= {
            f'{prefix}images': rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
            f'{prefix}labels': np.arange(count, dtype=np.int32) % 10,
        }
    return folder if folder.exists() else cifar10.keep(folder, arrays)


def train(cell: Cell, scale: str, work: pathlib.Path, data: pathlib.Path) -> dict[str, Any]:
    """Trains a cell and returns its JSON."""
    config = config_of(cell, scale, data)
    workdir = work / 'cells' / cell.name
    summary = cells.run(config, workdir, work / 'phases', labels=cell.labels)
    phases = cells.phases(summary)
    last = phases[COLUMNS[cell.column][-1]]
    shutil.rmtree(workdir / 'checkpoints')  # what other cells need is among the kept phases
    return {
        **dataclasses.asdict(cell),
        'scale': scale,
        'accuracy_last': last['test_accuracy_last'],
        'accuracy_best': last['test_accuracy_best'],
        'realised_rate': summary['noise']['realised_rate'],
        'knn': {name: phases[name]['knn_accuracy'] for name in ('pretrain', 'contrast') if name in phases},
        'selection': summary.get('selection'),
        'label_issues': summary['label_issues'],
        'seconds': {name: phase['seconds'] for name, phase in phases.items()},
        'images_per_second': {name: phase['images_per_second'] for name, phase in phases.items()},
        'device': summary['device'],
        'versions': summary['versions'],
        'config': config.to_dict(),
    }


def search(arguments: argparse.Namespace) -> str:
    """Accuracy on held-out noisy labels of each candidate, ELR at 60 %: what the settings of a scale were chosen by."""
    path = RESULTS / f'{arguments.scale}_search.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(path.read_text()) if path.exists() else {}
    work = arguments.work / f'{arguments.scale}_search'
    for number, (name, changes) in enumerate(CANDIDATES.items()):
        for column in ('base', 'pretrained'):
            cell = Cell('symmetric', 0.6, 'elr', column)
            data = arrays_of(cell, arguments.scale, work, arguments.images, arguments.human)
            if column in found.get(name, {}):
                continue
            config = config_of(cell, arguments.scale, data)
            config.update_from_flattened_dict({'data.valid_fraction': 0.2, 'eval_every': 0, **changes})
            summary = cells.run(config, work / f'{number}_{column}', work / 'phases')
            accuracy = cells.phases(summary)[COLUMNS[column][-1]]['valid_accuracy_last']
            found.setdefault(name, {})[column] = accuracy
            path.write_text(json.dumps(found, indent=1) + '\n')
    lines = ['| candidate | Base | Pre-trained |', '|---|---|---|']
    return '\n'.join([*lines, *(f'| {name} | {v["base"]:.3f} | {v["pretrained"]:.3f} |' for name, v in found.items())])


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
    work = arguments.work / arguments.scale
    results.mkdir(parents=True, exist_ok=True)
    with StopSignal() as stop, _budget(arguments.budget):
        for number, cell in enumerate(todo):
            try:
                data = arrays_of(cell, arguments.scale, work, arguments.images, arguments.human)
                if stop.requested:
                    return todo[number:]
                print(f'{cell.name}: cell {number + 1} of {len(todo)}', file=sys.stderr, flush=True)
                record = train(cell, arguments.scale, work, data)
            except Stopped:
                return todo[number:]
            (results / f'{cell.name}.json').write_text(json.dumps(record, indent=1) + '\n')
    return []


# ---------------------------------------------------------------- rendering


def load(results: pathlib.Path) -> list[dict[str, Any]]:
    """All cells that are done."""
    return [json.loads(path.read_text()) for path in sorted(results.glob('*.json'))]


def seconds(done: list[dict[str, Any]], column: str) -> list[float]:
    """How long the cells of a column took, without what they share with others."""
    return [sum(cell['seconds'][phase] for phase in COLUMNS[column]) for cell in done if cell['column'] == column]


def accuracies(
    done: list[dict[str, Any]], labels: str, rate: float, loss: str, column: str, recipe: str = 'paper'
) -> np.ndarray:
    """Test accuracy of the last epoch in %, one per seed."""
    where = {'labels': labels, 'rate': rate, 'loss': loss, 'column': column, 'recipe': recipe}
    chosen = [cell for cell in done if where.items() <= cell.items()]
    return 100 * np.array([cell['accuracy_last'] for cell in sorted(chosen, key=lambda cell: cell['seed'])])


def _number(values: np.ndarray) -> str:
    if not len(values):
        return '-'
    return f'{values.mean():.1f}' + (f' ± {values.std(ddof=1):.1f}' if len(values) > 1 else '')


def table(done: list[dict[str, Any]], scale: str) -> str:
    """Markdown: base / pre-trained / fine-tuned for each loss and noise; at full scale the published numbers beside."""
    human = sorted({c['labels'] for c in done if c['recipe'] == 'paper'} - {'symmetric'}, key=HUMAN.index)
    places = [('symmetric', rate) for rate in RATES] + [(name, 0.0) for name in human]
    titles = [f'{rate:.0%}' if labels == 'symmetric' else f'CIFAR-10N {labels}' for labels, rate in places]
    lines = ['| loss | | ' + ' | '.join(titles) + ' |', '|---' * (len(titles) + 2) + '|']
    for loss, (place, (column, title)) in itertools.product(LOSSES, enumerate(NAMES.items())):
        numbers = [_number(accuracies(done, *where, loss, column)) for where in places]
        lines.append(f'| {loss if not place else ""} | {title} | ' + ' | '.join(numbers) + ' |')
        if scale == 'full' and column != 'finetuned':
            published = [pair[place] for pair in PUBLISHED[loss]]
            lines.append(f'| | {title}, published | ' + ' | '.join(map(str, published)) + ' |' + ' |' * len(human))
    return '\n'.join(lines)


def our_table(done: list[dict[str, Any]], scale: str) -> str:
    """Markdown: our recipe, and without each of its parts; at full scale its rivals' published numbers below."""
    places = [('symmetric', rate) for rate in OUR_RATES] + [(name, 0.0) for name in HUMAN]
    titles = [f'{rate:.0%}' for rate in OUR_RATES] + [f'CIFAR-10N {name}' for name in HUMAN]
    lines = ['| recipe | ' + ' | '.join(titles) + ' |', '|---' * (len(titles) + 1) + '|']
    for recipe in ('ours', *(f'ours without {part}' for part in OURS)):
        numbers = [_number(accuracies(done, *where, 'elr', 'finetuned', recipe)) for where in places]
        if set(numbers) != {'-'}:
            lines.append(f'| {recipe} | ' + ' | '.join(numbers) + ' |')
    if scale == 'full':
        lines += [f'| {name}, published | ' + ' | '.join(map(str, row)) + ' | | | |' for name, row in RIVALS.items()]
        human = HUMAN_RIVALS.items()
        lines += [f'| {name}, published | | | | | ' + ' | '.join(map(str, row)) + ' |' for name, row in human]
    return '\n'.join(lines)


def claims(done: list[dict[str, Any]]) -> str:
    """What the paper says and whether it holds here, pair by pair: pre-training helps, fine-tuning helps further."""
    places = sorted({(cell['labels'], cell['rate'], cell['loss']) for cell in done if cell['recipe'] == 'paper'})
    lines = []
    for less, more, text in (
        ('base', 'pretrained', 'Pre-training helps'),
        ('pretrained', 'finetuned', 'Fine-tuning adds'),
    ):
        gains = {}
        for place in places:
            before, after = accuracies(done, *place, less), accuracies(done, *place, more)
            if len(before) and len(after):
                gains[place] = after.mean() - before.mean()
        against = [
            f'{loss} at {f"{rate:.0%}" if labels == "symmetric" else labels} ({gain:+.1f})'
            for (labels, rate, loss), gain in gains.items()
            if gain <= 0
        ]
        if gains:
            mean = np.mean(list(gains.values()))
            line = f'{text} in {len(gains) - len(against)} of {len(gains)} pairs, on average {mean:+.1f} points'
            lines.append(line + (f'; not with {", ".join(against)}.' if against else '.'))
    return '\n'.join(lines)


def notes(done: list[dict[str, Any]]) -> str:
    """On what the cells ran, for how long, and how many seeds they have."""
    shared = {cell['seed']: cell['seconds']['pretrain'] for cell in done if 'pretrain' in cell['seconds']}
    minutes = (sum(sum(seconds(done, column)) for column in COLUMNS) + sum(shared.values())) / 60
    seeds = len({cell['seed'] for cell in done})
    knn = ', '.join(f'{100 * value:.1f} %' for value in sorted({c['knn']['pretrain'] for c in done if c['knn']}))
    return (
        f'{len(done)} cells in {minutes:.0f} minutes on {", ".join(sorted({cell["device"] for cell in done}))}; '
        f'{"one seed" if seeds == 1 else f"mean and standard deviation over up to {seeds} seeds"}; '
        f'images: CIFAR-10 (JPEG 75); k-NN accuracy after pre-training: {knn or "-"}.'
    )


NAMES = {'base': 'Base', 'pretrained': 'Pre-trained', 'finetuned': 'Fine-tuned'}


def picture(done: list[dict[str, Any]], scale: str, path: pathlib.Path) -> None:
    """Accuracy against noise, a panel per loss; published numbers dashed at full scale."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(LOSSES), figsize=(9, 3), sharey=True, layout='constrained')
    colours = {'base': 'tab:gray', 'pretrained': 'tab:blue', 'finetuned': 'tab:orange'}
    names = {'ce': 'cross-entropy', 'elr': 'ELR', 'nfl_rce': 'NFL+RCE'}
    for axis, loss in zip(axes, LOSSES, strict=True):
        for place, (column, colour) in enumerate(colours.items()):
            values = [accuracies(done, 'symmetric', rate, loss, column) for rate in RATES]
            points = [(100 * rate, v.mean()) for rate, v in zip(RATES, values, strict=True) if len(v)]
            if points:
                axis.plot(*zip(*points, strict=True), 'o-', color=colour, label=NAMES[column])
            if scale == 'full' and column != 'finetuned':
                published = [pair[place] for pair in PUBLISHED[loss]]
                axis.plot(
                    [100 * rate for rate in RATES], published, '--', color=colour, label=f'{NAMES[column]}, published'
                )
        axis.set(title=names[loss], xlabel='symmetric noise, %', xticks=[100 * rate for rate in RATES])
        axis.grid(alpha=0.3)
    axes[0].set_ylabel('test accuracy, %')
    axes[-1].legend(fontsize='small')
    figure.savefig(path, dpi=120)
    plt.close(figure)


def render(results: pathlib.Path, scale: str) -> str:
    """The table, what it shows, and on what it was made."""
    done = load(results)
    if not done:
        return f'no cell of --scale={scale} is done'
    parts = [table(done, scale), claims(done)]
    if any(cell['recipe'] != 'paper' for cell in done):
        parts.append(our_table(done, scale))
    return '\n\n'.join([*parts, notes(done)])


def left(todo: list[Cell], done: list[dict[str, Any]]) -> str:
    """What is still to be done, and for how long, judged by the cells of the same column."""
    known = {column: np.mean(taken) for column in COLUMNS if (taken := seconds(done, column))}
    minutes = sum(known.get(cell.column, 0) for cell in todo) / 60
    unknown = sorted({cell.column for cell in todo} - known.keys())
    time_left = f'about {minutes:.0f} minutes' + (f' and the time of {", ".join(unknown)} cells' if unknown else '')
    return f'{len(todo)} cells are left, {time_left}; the same command goes on with {todo[0].name}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--table', choices=tuple(TABLES), default='paper')
    parser.add_argument('--scale', choices=tuple(SCALES), required=True)
    parser.add_argument('--images', type=pathlib.Path, help='a tar of class folders: train/CLASS/*, test/CLASS/*')
    parser.add_argument('--human', type=pathlib.Path, help='the labels of CIFAR-10N, .npz')
    parser.add_argument('--budget', type=float, default=0, help='seconds; 0: until all is done')
    parser.add_argument('--work', type=pathlib.Path, default=pathlib.Path('runs/tables'), help='work directories')
    parser.add_argument('--results', type=pathlib.Path, help='where the JSON goes; experiments/results/tables/SCALE')
    parser.add_argument('--list', action='store_true')
    parser.add_argument('--render', action='store_true')
    parser.add_argument('--search', action='store_true', help='compare settings on held-out noisy labels')
    arguments = parser.parse_args()
    scale, smoke = SCALES[arguments.scale], arguments.scale == 'smoke'
    results = arguments.results or (arguments.work / 'smoke' / 'results' if smoke else RESULTS / arguments.scale)
    ordered = [cell for cell in TABLES[arguments.table](scale.seeds) if cell.labels in ('symmetric', *scale.human)]
    todo = [cell for cell in ordered if not (results / f'{cell.name}.json').exists()]
    print(f'{len(ordered) - len(todo)} of {len(ordered)} cells are done')
    if arguments.list:
        print('\n'.join(cell.name for cell in todo))
        return
    if arguments.search:
        print(search(arguments))
        return
    if not arguments.render:
        try:
            todo = run_missing(todo, arguments, results)
        except InputError as error:
            sys.exit(f'tables.py: {error}')
    if todo:
        print(left(todo, load(results)))
    print(render(results, arguments.scale))
    if arguments.render and load(results):
        picture(load(results), arguments.scale, results.with_suffix('.png'))


if __name__ == '__main__':
    main()
