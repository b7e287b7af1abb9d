"""The tables of the paper as Markdown and as a picture, from the JSON of their cells alone."""

import itertools
import json
import pathlib
from typing import Any

import numpy as np
from recipes import HUMAN, VARIANTS, compared

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


def load(results: pathlib.Path) -> list[dict[str, Any]]:
    """All cells that are done."""
    return [json.loads(path.read_text()) for path in sorted(results.glob('*.json'))]


def whole(done: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells that were trained on all images."""
    return [cell for cell in done if not cell.get('held_out')]


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
    """Markdown: our recipe beside the paper's; at full scale its rivals' published numbers below."""
    places = [('symmetric', rate) for rate in OUR_RATES] + [(name, 0.0) for name in HUMAN]
    titles = [f'{rate:.0%}' for rate in OUR_RATES] + [f'CIFAR-10N {name}' for name in HUMAN]
    lines = ['| recipe | ' + ' | '.join(titles) + ' |', '|---' * (len(titles) + 1) + '|']
    for recipe in ('paper', 'ours'):
        numbers = [_number(accuracies(done, *where, 'elr', 'finetuned', recipe)) for where in places]
        if set(numbers) != {'-'}:
            lines.append(f'| {recipe} | ' + ' | '.join(numbers) + ' |')
    if scale == 'full':
        lines += [f'| {name}, published | ' + ' | '.join(map(str, row)) + ' | | | |' for name, row in RIVALS.items()]
        human = HUMAN_RIVALS.items()
        lines += [f'| {name}, published | | | | | ' + ' | '.join(map(str, row)) + ' |' for name, row in human]
    return '\n'.join(lines)


def parts_table(done: list[dict[str, Any]], scale: str) -> str:
    """Markdown: what goes without each part of our recipe, on held-out noisy labels (which decide) and on the test."""
    lines = [
        '| recipe, ELR at 50% | held-out noisy labels | part brings | test | part brings |',
        '|---|---|---|---|---|',
    ]
    numbers = {}
    for recipe in compared(scale):
        chosen = [cell for cell in done if cell['recipe'] == recipe]
        if chosen:
            keys = ('accuracy_held_out', 'accuracy_last')
            numbers[recipe] = [100 * np.mean([cell[key] for cell in chosen]) for key in keys]
    for recipe, values in numbers.items():
        part, gains = recipe.partition(' without ')[2], ['', '']
        if part:
            gains = [f'{whole - value:+.1f}' for whole, value in zip(numbers['all parts'], values, strict=True)]
        lines.append(f'| {recipe} | {values[0]:.1f} | {gains[0]} | {values[1]:.1f} | {gains[1]} |')
    return '\n'.join(lines)


def variants_table(done: list[dict[str, Any]]) -> str:
    """Markdown: the pre-trained column with one change, ELR."""
    lines = ['| ELR | ' + ' | '.join(f'{rate:.0%}' for rate in RATES) + ' |', '|---' * (len(RATES) + 1) + '|']
    rows = [('base', 'paper', 'Base'), ('pretrained', 'paper', 'Pre-trained')]
    rows += [('pretrained', variant, f'Pre-trained, {variant}') for variant in VARIANTS]
    for column, recipe, title in rows:
        numbers = [_number(accuracies(done, 'symmetric', rate, 'elr', column, recipe)) for rate in RATES]
        lines.append(f'| {title} | ' + ' | '.join(numbers) + ' |')
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
    # A phase that cells share has the same time, to the last digit, in each.
    minutes = sum(value for _, value in {phase for cell in done for phase in cell['seconds'].items()}) / 60
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
    everything = load(results)
    done = whole(everything)
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
