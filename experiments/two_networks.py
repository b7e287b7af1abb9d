"""One network against two that teach each other: ELR, ELR+ and DivideMix after (a1), digits, 60 % symmetric noise.

  python experiments/two_networks.py            runs what is missing of results/two_networks.json; table and picture
  python experiments/two_networks.py --search   compares DivideMix's settings on held-out noisy labels
  python experiments/two_networks.py --table    only the table and the picture, from the JSON

All start from one pre-trained encoder per seed and take forty epochs. DivideMix takes half a minute on two cores.
"""

import argparse
import itertools
import json
import pathlib
from typing import Any

import cells
import numpy as np
from digits import config_of

RESULTS = pathlib.Path(__file__).resolve().parent / 'results'
RATE, SEEDS = 0.6, (0, 1, 2, 3, 4, 5)
SEARCHED = SEEDS[:3]

# What `--search` compares: changes to DivideMix's settings.
_VIEWS = {'classify.augment': 'handwriting'}
_SHORT = _VIEWS | {'dividemix.warmup_epochs': 2}
CANDIDATES = {
    'as configured': {},
    'views': _VIEWS,
    'views, warm-up 2': _SHORT,
    'views, warm-up 2, weight 5': _SHORT | {'dividemix.unlabelled_weight': 5.0},
}
CHOSEN = 'as configured'
# Changes to configs/digits.py; the loss is ELR where the method has none of its own.
METHODS: dict[str, dict[str, Any]] = {
    'ELR': {},
    'ELR+': {'classify.method': 'elr_plus'},
    'DivideMix': {'classify.method': 'dividemix', **CANDIDATES[CHOSEN]},
}


def _run(changes: dict[str, Any], seed: int, workdir: pathlib.Path) -> dict[str, Any]:
    """The summary of pretrain and classify, whose epochs are as many for every method."""
    config = config_of('elr', RATE, seed, 'pretrained', **changes)
    if config.classify.method == 'dividemix':
        config.classify.epochs -= config.dividemix.warmup_epochs
    return cells.run(config, workdir, workdir.parent / 'phases', shared=('pretrain',))


def _curves(workdir: pathlib.Path) -> dict[str, list]:
    """What was measured after each epoch of the classifier."""
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    epochs = [line for line in lines if line['phase'] == 'classify']
    return {name: [epoch[name] for epoch in epochs] for name in ('stage', 'loss', 'test_accuracy')}


def run_missing(path: pathlib.Path, folder: pathlib.Path) -> list[dict[str, Any]]:
    """Adds the runs that `path` lacks, one by one."""
    done = json.loads(path.read_text()) if path.exists() else []
    for seed, (method, changes) in itertools.product(SEEDS, METHODS.items()):
        if any((run['method'], run['seed']) == (method, seed) for run in done):
            continue
        workdir = folder / f'{method}_{seed}'
        summary = _run(changes | {'eval_every': 1}, seed, workdir)
        record = cells.phases(summary)['classify']
        done.append(
            {
                'method': method,
                'seed': seed,
                'test_accuracy': record['test_accuracy_last'],
                'seconds': record['seconds'],
                'device': summary['device'],
                'versions': summary['versions'],
                'curves': _curves(workdir),
            }
        )
        path.write_text(json.dumps(done) + '\n')
    return done


def search(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Accuracy on held-out noisy labels, of at most 40 %, of each candidate: what the settings were chosen by."""
    results = json.loads(path.read_text()) if path.exists() else {}
    for number, (name, changes) in enumerate(CANDIDATES.items()):
        for seed in SEARCHED:
            if len(results.setdefault(name, [])) > seed:
                continue
            own = {'classify.method': 'dividemix', 'data.valid_fraction': 0.2, **changes}
            summary = _run(own, seed, folder / f'search{number}_{seed}')
            results[name].append(cells.phases(summary)['classify']['valid_accuracy_last'])
            path.write_text(json.dumps(results, indent=1) + '\n')
    for name, values in results.items():
        print(f'{name:<30}{np.mean(values):.3f}')


def table(done: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard deviation over the seeds, in %."""
    lines = ['| after (a1) | test accuracy | seconds |', '|---|---|---|']
    for method in METHODS:
        runs = [run for run in done if run['method'] == method]
        values = 100 * np.array([run['test_accuracy'] for run in runs])
        seconds = np.median([run['seconds'] for run in runs])
        lines.append(f'| {method} | {values.mean():.1f} ± {values.std(ddof=1):.1f} | {seconds:.0f} |')
    return '\n'.join(lines)


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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--search', action='store_true')
    parser.add_argument('--table', action='store_true')
    parser.add_argument('--work', type=pathlib.Path, default=pathlib.Path('runs/two_networks'), help='work directories')
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.search:
        search(RESULTS / 'two_networks_search.json', arguments.work)
        return
    path = RESULTS / 'two_networks.json'
    done = json.loads(path.read_text()) if arguments.table else run_missing(path, arguments.work)
    picture(done, path.with_suffix('.png'))
    print(table(done))


if __name__ == '__main__':
    main()
