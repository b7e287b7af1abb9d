"""One network against two that teach each other: ELR, ELR+ and DivideMix after (a1), digits, 60 % symmetric noise.

  python experiments/accuracy/two_networks.py    runs what is missing of results/two_networks.json; table and picture
  ... --table                                    only the table and the picture, from the JSON
  ... --search                                   compares DivideMix's settings on held-out noisy labels

All start from one pre-trained encoder per seed and take forty epochs. DivideMix takes half a minute on two cores.
"""

import itertools
import json
import pathlib
import sys
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cells
from experiments.accuracy.digits import config_of

RESULTS = record.RESULTS / 'two_networks.json'
RATE, SEEDS = 0.6, (0, 1, 2, 3, 4, 5)
SEARCHED = SEEDS[:3]

# What `--search` compares: changes to DivideMix's settings. The first is what the table has.
_VIEWS = {'classify.augment': 'handwriting'}
_SHORT = _VIEWS | {'dividemix.warmup_epochs': 2}
CANDIDATES: dict[str, dict[str, Any]] = {
    'as configured': {},
    'views': _VIEWS,
    'views, warm-up 2': _SHORT,
    'views, warm-up 2, weight 5': _SHORT | {'dividemix.unlabelled_weight': 5.0},
}
# Changes to configs/digits.py; the loss is ELR where the method has none of its own.
METHODS: dict[str, dict[str, Any]] = {
    'ELR': {},
    'ELR+': {'classify.method': 'elr_plus'},
    'DivideMix': {'classify.method': 'dividemix'},
}


def _run(changes: dict[str, Any], seed: int, workdir: pathlib.Path) -> dict[str, Any]:
    """The summary of pretrain and classify, with as many epochs for every method."""
    config = config_of('elr', RATE, seed, 'pretrained', **changes)
    if config.classify.method == 'dividemix':
        config.classify.epochs -= config.dividemix.warmup_epochs
    return cells.run(config, workdir, workdir.parent / 'phases', shared=('pretrain',))


def run_method(method: str, seed: int, work: pathlib.Path) -> dict[str, Any]:
    """Accuracy and seconds of a method's classifier, and what was measured after each epoch."""
    workdir = work / f'{method}_{seed}'
    summary = _run(METHODS[method] | {'eval_every': 1}, seed, workdir)
    phase = cells.phases(summary)['classify']
    lines = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
    epochs = [line for line in lines if line['phase'] == 'classify']
    return {
        'test_accuracy': phase['test_accuracy_last'],
        'seconds': phase['seconds'],
        'device': summary['device'],
        'versions': summary['versions'],
        'curves': {name: [epoch[name] for epoch in epochs] for name in ('stage', 'loss', 'test_accuracy')},
    }


def search(work: pathlib.Path) -> str:
    """Accuracy on held-out noisy labels, of at most 40 %, of each candidate: what the settings were chosen by."""

    def run(candidate: str, seed: int) -> dict[str, float]:
        own = {'classify.method': 'dividemix', 'data.valid_fraction': 0.2, **CANDIDATES[candidate]}
        summary = _run(own, seed, work / f'search{list(CANDIDATES).index(candidate)}_{seed}')
        return {'accuracy': cells.phases(summary)['classify']['valid_accuracy_last']}

    keys = [{'candidate': name, 'seed': seed} for name, seed in itertools.product(CANDIDATES, SEARCHED)]
    found = record.complete(record.RESULTS / 'two_networks_search.json', keys, run)
    return record.means(found, ('candidate',), ('accuracy',))


def table(done: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over the seeds, in %."""
    rows = []
    for method in METHODS:
        runs = [run for run in done if run['method'] == method]
        seconds = np.median([run['seconds'] for run in runs])
        rows.append((method, record.spread(run['test_accuracy'] for run in runs), f'{seconds:.0f}'))
    return record.markdown(('after (a1)', 'test accuracy', 'seconds'), rows)


def picture(done: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Training loss and test accuracy by epoch, mean and range over the seeds."""
    import matplotlib as mpl  # the table needs none

    mpl.use('agg')
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout='constrained')
    for axes, name, title in zip(panels, ('loss', 'test_accuracy'), ('training loss', 'test accuracy'), strict=True):
        for method, colour in zip(METHODS, ('#9aa0a6', '#4285b4', '#d1495b'), strict=True):
            curves = np.array([run['curves'][name] for run in done if run['method'] == method])
            epochs = np.arange(1, curves.shape[1] + 1)
            axes.plot(epochs, curves.mean(0), color=colour, label=method)
            axes.fill_between(epochs, curves.min(0), curves.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel='epoch of the classifier')
        axes.spines[['top', 'right']].set_visible(False)
    panels[1].set_ylim(0.8, 1.0)
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = record.table_parser(__doc__, 'two_networks')
    parser.add_argument('--search', action='store_true')
    arguments = parser.parse_args()
    work = arguments.work
    if arguments.search:
        print(search(work))
        return
    keys = [{'method': method, 'seed': seed} for seed, method in itertools.product(SEEDS, METHODS)]
    done = record.complete(RESULTS, keys, lambda **key: run_method(**key, work=work), None, arguments.table)
    picture(done, RESULTS.with_suffix('.png'))
    print(table(done))


if __name__ == '__main__':
    main()
