"""The digits table: three losses, and SSR, at 40, 60, 80 % symmetric noise, with the control of a random encoder.

  python experiments/accuracy/digits.py    runs what is missing of results/digits.json, then the table
  ... --table                              only the table, from the JSON
  ... --search                             compares settings on held-out noisy labels, never on the test set
  ... --picture runs/digits                the README's picture: the table, and label issues of that run

Pre-training sees no labels, so one encoder per seed serves all cells. The other phases of a cell took 19 seconds on two
cores.
"""

import csv
import itertools
import pathlib
import sys
from typing import Any

import numpy as np
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cells

RESULTS = record.RESULTS / 'digits.json'
LOSSES, RATES, SEEDS = ('ce', 'nfl_rce', 'elr'), (0.4, 0.6, 0.8), (0, 1, 2)
ROWS = (*LOSSES, 'ssr')
# SSR in place of a loss: its own epochs, rate of the encoder and views; it ends with (a2).
SSR: dict[str, Any] = {
    'phases': ('base', 'pretrain', 'classify'),
    'base.method': 'ssr',
    'base.encoder_scale': 1.0,
    'classify.method': 'ssr',
    'classify.head_epochs': 0,
    'classify.epochs': 40,
    'classify.optimizer.encoder_scale': 1.0,
    'ssr.strong_augment': 'handwriting',
}
COLUMNS = {'base': 'Base', 'pretrained': 'Pre-trained', 'finetuned': 'Fine-tuned'}

# What `--search` compares: changes to configs/digits.py by dotted key.
_CLASSIFIERS = ('base', 'classify', 'finetune')
_FROZEN = {'head_epochs': 40, 'epochs': 0}
CANDIDATES: dict[str, dict[str, Any]] = {
    'as configured': {},
    'encoder rate as the head': {
        'base.encoder_scale': 1.0,
        **{f'{phase}.optimizer.encoder_scale': 1.0 for phase in _CLASSIFIERS[1:]},
    },
    'classifier augmented': {f'{phase}.augment': 'handwriting' for phase in _CLASSIFIERS},
    'finetune weighted': {'finetune.weighted': True},
    'temperature 0.2': {'pretrain.temperature': 0.2},
    'encoder frozen': {f'{phase}.{key}': value for phase in _CLASSIFIERS[1:] for key, value in _FROZEN.items()},
}


def config_of(loss: str, rate: float, seed: int, phases: str = 'all', **changes: Any) -> ConfigDict:
    """configs/digits.py without accuracies between epochs, with changes by dotted key."""
    changes = {'seed': seed, 'eval_every': 0, **(SSR if loss == 'ssr' else {}), **changes}
    loss = 'elr' if loss == 'ssr' else loss
    return cells.config_of('digits', f'loss={loss},rate={rate},phases={phases}', changes)


def run_cell(loss: str, rate: float, seed: int, work: pathlib.Path) -> dict[str, Any]:
    """All phases of one cell, and its control."""
    summary = cells.run(config_of(loss, rate, seed), work / f'{loss}_{rate}_{seed}', work / 'phases')
    phases = cells.phases(summary)
    return {
        'base': phases['base']['test_accuracy_last'],
        'pretrained': phases['classify']['test_accuracy_last'],
        'finetuned': phases.get('finetune', {}).get('test_accuracy_last'),
        'knn_pretrain': phases['pretrain']['knn_accuracy'],
        'realised_rate': summary['noise']['realised_rate'],
        'selection': summary.get('selection'),
        'label_issues': summary['label_issues'],
        'seconds': {name: phase['seconds'] for name, phase in phases.items()},
        'device': summary['device'],
        'versions': summary['versions'],
        'random_encoder': None if loss == 'ssr' else _control(loss, rate, seed, work),
    }


def _control(loss: str, rate: float, seed: int, work: pathlib.Path) -> float:
    """Test accuracy of the same head on a frozen random encoder, for as many epochs as head and network have.

    Ten epochs of pre-training with a learning rate of 0 give the encoder its BatchNorm statistics, and nothing else.
    """
    config = config_of(loss, rate, seed, 'pretrained')
    config.pretrain.epochs, config.pretrain.optimizer.learning_rate = 10, 0.0
    config.classify.head_epochs, config.classify.epochs = config.classify.head_epochs + config.classify.epochs, 0
    summary = cells.run(config, work / f'{loss}_{rate}_{seed}_control', work / 'phases')
    return cells.phases(summary)['classify']['test_accuracy_last']


def table(done: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over the seeds, in %."""
    columns, qualities = {**COLUMNS, 'random_encoder': 'control: random encoder'}, ('precision', 'recall', 'auroc')
    rows = []
    for rate, loss in itertools.product(RATES, ROWS):
        chosen = [cell for cell in done if (cell['rate'], cell['loss']) == (rate, loss)]
        texts = [record.spread(cell[name] for cell in chosen if cell[name] is not None) for name in columns]
        for name in qualities:
            texts.append(f'{np.mean([cell["label_issues"][name] or 0 for cell in chosen]):.3f}')
        rows.append((f'{rate:.0%}', loss, *texts))
    return record.markdown(('noise', 'loss', *columns.values(), 'label issues: precision', 'recall', 'AUROC'), rows)


def search(work: pathlib.Path) -> str:
    """Accuracy on held-out noisy labels of each candidate, ELR at 60 and 80 %: what the settings were chosen by."""

    def run(candidate: str, rate: float, seed: int) -> dict[str, float]:
        config = config_of('elr', rate, seed, **{'data.valid_fraction': 0.2, **CANDIDATES[candidate]})
        number = list(CANDIDATES).index(candidate)
        summary = cells.run(config, work / f'search{number}_{rate}_{seed}', work / 'phases')
        phases = cells.phases(summary)
        return {key: phases[key]['valid_accuracy_last'] for key in _CLASSIFIERS}

    places = itertools.product(CANDIDATES, (0.6, 0.8), SEEDS)
    keys = [{'candidate': name, 'rate': rate, 'seed': seed} for name, rate, seed in places]
    found = record.complete(record.RESULTS / 'digits_search.json', keys, run)
    return record.means(found, ('candidate', 'rate'), _CLASSIFIERS)


# ---------------------------------------------------------------- picture


def _plot_accuracy(axes: Any, done: list[dict[str, Any]], loss: str) -> None:
    """Test accuracy against the noise rate, mean and range over the seeds."""
    for (name, title), colour in zip(COLUMNS.items(), ('#9aa0a6', '#4285b4', '#d1495b'), strict=True):
        values = np.array([[c[name] for c in done if (c['loss'], c['rate']) == (loss, rate)] for rate in RATES])
        axes.plot(RATES, values.mean(1), 'o-', color=colour, label=title)
        axes.fill_between(RATES, values.min(1), values.max(1), color=colour, alpha=0.2, linewidth=0)
    axes.set(title=loss.upper().replace('_', '+'), xlabel='symmetric noise', xticks=RATES, ylim=(0, 1.02))
    axes.spines[['top', 'right']].set_visible(False)


def _show_issues(axes: np.ndarray, workdir: pathlib.Path) -> None:
    """The images whose given label is least likely, one per given class."""
    from noisy_jax.data import digits

    with (workdir / 'labels.csv').open() as file:
        rows = [row for row in csv.DictReader(file) if row['is_suspect'] == '1']
    rows.sort(key=lambda row: (float(row['clean_probability']), -float(row['pred_prob'])))
    worst = {row['given_label']: row for row in reversed(rows)}
    shown = [row for row in rows if row is worst[row['given_label']]]
    images = digits.load('train').image[..., 0]
    for axis, row in zip(axes.flat, shown, strict=False):
        axis.imshow(images[int(row['index'])], cmap='gray_r')
        axis.set_title(f'{row["given_label"]} → {row["suggested_label"]}', fontsize=11)
    for axis in axes.flat:
        axis.axis('off')


def picture(done: list[dict[str, Any]], workdir: pathlib.Path, path: pathlib.Path) -> None:
    """Accuracies of the table beside the first label issues of a run of configs/digits.py."""
    import matplotlib as mpl

    mpl.use('agg')
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(12, 3.6), layout='constrained')
    left, right = figure.subfigures(1, 2, width_ratios=(1.7, 1))
    plots = left.subplots(1, 3, sharey=True)
    for axes, loss in zip(plots, LOSSES, strict=True):
        _plot_accuracy(axes, done, loss)
    plots[0].set_ylabel('test accuracy')
    plots[0].legend(frameon=False, loc='lower left')
    right.suptitle('label issues: given → suggested', fontsize=12)
    _show_issues(right.subplots(2, 5), workdir)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = record.table_parser(__doc__, 'digits_table')
    parser.add_argument('--search', action='store_true')
    parser.add_argument('--picture', type=pathlib.Path, metavar='RUN', help='a run of configs/digits.py')
    arguments = parser.parse_args()
    work = arguments.work
    if arguments.search:
        print(search(work))
        return
    places = itertools.product(SEEDS, RATES, ROWS)
    keys = [{'loss': loss, 'rate': rate, 'seed': seed} for seed, rate, loss in places]
    only_read = arguments.table or bool(arguments.picture)
    done = record.complete(RESULTS, keys, lambda **key: run_cell(**key, work=work), table=only_read)
    if arguments.picture:
        picture(done, arguments.picture, RESULTS.with_suffix('.png'))
    print(table(done))


if __name__ == '__main__':
    main()
