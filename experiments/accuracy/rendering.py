"""The tables of the paper as Markdown and as a picture, from the JSON of their cells alone."""

import itertools
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.accuracy.recipes import HUMAN, VARIANTS, compared
from experiments.record import load, markdown, spread

NAMES = {'base': 'Base', 'pretrained': 'Pre-trained', 'finetuned': 'Fine-tuned'}
LOSSES, RATES, OUR_RATES = ('ce', 'elr', 'nfl_rce'), (0.2, 0.4, 0.6, 0.8), (0.2, 0.5, 0.8, 0.9)

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


def load_cells(results: pathlib.Path) -> list[dict[str, Any]]:
    """All cells that are done."""
    return [load(path) for path in sorted(results.glob('*.json'))]


def accuracies(
    done: list[dict[str, Any]], place: tuple[str, float, str], column: str, recipe: str = 'paper'
) -> list[float]:
    """Test accuracy of the last epoch, one per seed; `place` is labels, rate and loss."""
    where = dict(zip(('labels', 'rate', 'loss'), place, strict=True)) | {'column': column, 'recipe': recipe}
    chosen = [cell for cell in done if where.items() <= cell.items()]
    return [cell['accuracy_last'] for cell in sorted(chosen, key=lambda cell: cell['seed'])]


def _columns(rates: tuple[float, ...], human: Iterable[str]) -> dict[str, tuple[str, float]]:
    """What the columns of a table are about, by title: kind of labels and rate."""
    symmetric = {f'{rate:.0%}': ('symmetric', rate) for rate in rates}
    return symmetric | {f'CIFAR-10N {name}': (name, 0.0) for name in human}


def table(done: list[dict[str, Any]], scale: str) -> str:
    """Markdown: base / pre-trained / fine-tuned for each loss and noise; at full scale the published numbers beside."""
    human = sorted({c['labels'] for c in done if c['recipe'] == 'paper'} - {'symmetric'}, key=HUMAN.index)
    columns, rows = _columns(RATES, human), []
    for loss, (place, (column, title)) in itertools.product(LOSSES, enumerate(NAMES.items())):
        numbers = [spread(accuracies(done, (*where, loss), column)) for where in columns.values()]
        rows.append((loss if not place else '', title, *numbers))
        if scale == 'full' and column != 'finetuned':
            rows.append(('', f'{title}, published', *(pair[place] for pair in PUBLISHED[loss]), *[''] * len(human)))
    return markdown(('loss', '', *columns), rows)


def our_table(done: list[dict[str, Any]], scale: str) -> str:
    """Markdown: our recipe beside the paper's; at full scale its rivals' published numbers below."""
    columns, rows = _columns(OUR_RATES, HUMAN), []
    for recipe in ('paper', 'ours'):
        numbers = [spread(accuracies(done, (*where, 'elr'), 'finetuned', recipe)) for where in columns.values()]
        if set(numbers) != {'-'}:
            rows.append((recipe, *numbers))
    if scale == 'full':
        rows += [(f'{name}, published', *row, '', '', '') for name, row in RIVALS.items()]
        rows += [(f'{name}, published', '', '', '', '', *row) for name, row in HUMAN_RIVALS.items()]
    return markdown(('recipe', *columns), rows)


def parts_table(done: list[dict[str, Any]], scale: str) -> str:
    """Markdown: accuracy without each part of our recipe, on held-out noisy labels (which decide) and on the test."""
    numbers, rows = {}, []
    for recipe in compared(scale):
        chosen = [cell for cell in done if cell['recipe'] == recipe]
        if chosen:
            keys = ('accuracy_held_out', 'accuracy_last')
            numbers[recipe] = [100 * np.mean([cell[key] for cell in chosen]) for key in keys]
    for recipe, values in numbers.items():
        gains = ['', '']
        if ' without ' in recipe:
            gains = [f'{whole - value:+.1f}' for whole, value in zip(numbers['all parts'], values, strict=True)]
        rows.append((recipe, f'{values[0]:.1f}', gains[0], f'{values[1]:.1f}', gains[1]))
    return markdown(('recipe, ELR at 50%', 'held-out noisy labels', 'part brings', 'test', 'part brings'), rows)


def variants_table(done: list[dict[str, Any]]) -> str:
    """Markdown: the pre-trained column with one change, ELR."""
    rows = [('base', 'paper', 'Base'), ('pretrained', 'paper', 'Pre-trained')]
    rows += [('pretrained', variant, f'Pre-trained, {variant}') for variant in VARIANTS]
    columns = _columns(RATES, ())
    return markdown(
        ('ELR', *columns),
        [
            (title, *(spread(accuracies(done, (*where, 'elr'), column, recipe)) for where in columns.values()))
            for column, recipe, title in rows
        ],
    )


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
            before, after = accuracies(done, place, less), accuracies(done, place, more)
            if before and after:
                gains[place] = 100 * (np.mean(after) - np.mean(before))
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
    # A phase that cells share has the same time, to the last digit, in each.
    minutes = sum(value for _, value in {phase for cell in done for phase in cell['seconds'].items()}) / 60
    seeds = len({cell['seed'] for cell in done})
    knn = ', '.join(f'{100 * value:.1f} %' for value in sorted({c['knn']['pretrain'] for c in done if c['knn']}))
    return (
        f'{len(done)} cells in {minutes:.0f} minutes on {", ".join(sorted({cell["device"] for cell in done}))}; '
        f'{"one seed" if seeds == 1 else f"mean and standard deviation over up to {seeds} seeds"}; '
        f'images: CIFAR-10 (JPEG 75); k-NN accuracy after pre-training: {knn or "-"}.'
    )


def picture(done: list[dict[str, Any]], scale: str, path: pathlib.Path) -> None:
    """Accuracy against noise, a panel per loss; published numbers dashed at full scale."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(LOSSES), figsize=(9, 3), sharey=True, layout='constrained')
    colours = {'base': 'tab:gray', 'pretrained': 'tab:blue', 'finetuned': 'tab:orange'}
    ticks = [100 * rate for rate in RATES]
    names = {'ce': 'cross-entropy', 'elr': 'ELR', 'nfl_rce': 'NFL+RCE'}
    for axis, loss in zip(axes, LOSSES, strict=True):
        for place, (column, colour) in enumerate(colours.items()):
            values = [accuracies(done, ('symmetric', rate, loss), column) for rate in RATES]
            points = [(100 * rate, 100 * np.mean(v)) for rate, v in zip(RATES, values, strict=True) if v]
            if points:
                axis.plot(*zip(*points, strict=True), 'o-', color=colour, label=NAMES[column])
            if scale == 'full' and column != 'finetuned':
                published = [pair[place] for pair in PUBLISHED[loss]]
                axis.plot(ticks, published, '--', color=colour, label=f'{NAMES[column]}, published')
        axis.set(title=names[loss], xlabel='symmetric noise, %', xticks=ticks)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel('test accuracy, %')
    axes[-1].legend(fontsize='small')
    figure.savefig(path, dpi=120)
    plt.close(figure)


def render(results: pathlib.Path, scale: str) -> str:
    """The table, what it shows, and on what it was made."""
    everything = load_cells(results)
    done = [cell for cell in everything if not cell.get('held_out')]
    if not everything:
        return f'no cell of --scale={scale} is done'
    parts = [table(done, scale), claims(done)]
    if any(cell['recipe'] == 'ours' for cell in done):
        parts.append(our_table(done, scale))
    held_out = [cell for cell in everything if cell not in done]
    if any(cell['recipe'] == 'all parts' for cell in held_out):
        parts.append(parts_table(held_out, scale))
    if any(cell['recipe'] in VARIANTS for cell in done):
        parts.append(variants_table(done))
    return '\n\n'.join([*parts, notes(everything)])
