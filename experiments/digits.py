"""The digits table: three losses at 40, 60, 80 % symmetric noise, three seeds, with the control of a random encoder.

  python experiments/digits.py                  runs what is missing of experiments/results/digits.json, then the table
  python experiments/digits.py --search         compares settings on held-out noisy labels, never on the test set
  python experiments/digits.py --table          only the table, from the JSON

Pre-training sees no labels, so one encoder per seed serves all cells. A cell takes about half a minute on two cores.
"""

import argparse
import itertools
import json
import pathlib
import runpy

import cells
import numpy as np
from ml_collections import ConfigDict

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / 'results'
LOSSES, RATES, SEEDS = ('ce', 'nfl_rce', 'elr'), (0.4, 0.6, 0.8), (0, 1, 2)

# What `--search` compares: changes to configs/digits.py by dotted key.
CANDIDATES = {
    'as configured': {},
    'encoder rate as the head': {
        'base.optimizer.encoder_scale': 1.0,
        'classify.optimizer.encoder_scale': 1.0,
        'finetune.optimizer.encoder_scale': 1.0,
    },
    'classifier augmented': {
        'base.augment': 'handwriting',
        'classify.augment': 'handwriting',
        'finetune.augment': 'handwriting',
    },
    'finetune weighted': {'finetune.weighted': True},
    'temperature 0.2': {'pretrain.temperature': 0.2},
    'encoder at rest': {
        'classify.head_epochs': 40,
        'classify.epochs': 0,
        'finetune.head_epochs': 40,
        'finetune.epochs': 0,
    },
}


def config_of(loss: str, rate: float, seed: int, phases: str = 'all', **changes: object) -> ConfigDict:
    """configs/digits.py without accuracies between epochs, with changes by dotted key."""
    config = runpy.run_path(str(HERE.parent / 'configs' / 'digits.py'))['get_config'](
        f'loss={loss},rate={rate},phases={phases}'
    )
    config.seed = seed
    config.eval_every = 0
    config.update_from_flattened_dict(changes)
    return config


def _cell(loss: str, rate: float, seed: int, folder: pathlib.Path) -> dict:
    """All phases of one cell."""
    summary = cells.run(config_of(loss, rate, seed), folder / f'{loss}_{rate}_{seed}', folder / 'phases')
    phases = cells.phases(summary)
    return {
        'loss': loss,
        'rate': rate,
        'seed': seed,
        'base': phases['base']['test_accuracy_last'],
        'pretrained': phases['classify']['test_accuracy_last'],
        'finetuned': phases['finetune']['test_accuracy_last'],
        'knn_pretrain': phases['pretrain']['knn_accuracy'],
        'realised_rate': summary['noise']['realised_rate'],
        'selection': summary['selection'],
        'label_issues': summary['label_issues'],
        'seconds': {name: phase['seconds'] for name, phase in phases.items()},
        'device': summary['device'],
        'versions': summary['versions'],
    }


def _control(loss: str, rate: float, seed: int, folder: pathlib.Path) -> float:
    """Test accuracy of the same head on a random encoder at rest, for as many epochs as head and network have.

    Ten epochs of pre-training with a learning rate of 0 give the encoder its BatchNorm statistics, and nothing else.
    """
    config = config_of(loss, rate, seed, 'pretrained')
    config.pretrain.epochs, config.pretrain.optimizer.learning_rate = 10, 0.0
    config.classify.head_epochs, config.classify.epochs = config.classify.head_epochs + config.classify.epochs, 0
    summary = cells.run(config, folder / f'{loss}_{rate}_{seed}_control', folder / 'phases')
    return cells.phases(summary)['classify']['test_accuracy_last']


def run_missing(path: pathlib.Path, folder: pathlib.Path) -> list[dict]:
    """Adds the cells that `path` lacks, one by one."""
    done = json.loads(path.read_text()) if path.exists() else []
    known = {(cell['loss'], cell['rate'], cell['seed']): cell for cell in done}
    for seed, rate, loss in itertools.product(SEEDS, RATES, LOSSES):
        cell = known.get((loss, rate, seed))
        if cell is None:
            cell = _cell(loss, rate, seed, folder)
            done.append(cell)
        if 'random_encoder' not in cell:
            cell['random_encoder'] = _control(loss, rate, seed, folder)
            path.write_text(json.dumps(done, indent=1) + '\n')
    return done


def table(done: list[dict]) -> str:
    """Markdown: mean and standard deviation over the seeds, in %."""
    columns = {
        'base': 'Base',
        'pretrained': 'Pre-trained',
        'finetuned': 'Fine-tuned',
        'random_encoder': 'control: random encoder',
    }
    lines = [
        '| noise | loss | ' + ' | '.join(columns.values()) + ' | wrong labels: precision | recall | AUROC |',
        '|---' * (len(columns) + 5) + '|',
    ]
    for rate, loss in itertools.product(RATES, LOSSES):
        chosen = [cell for cell in done if (cell['rate'], cell['loss']) == (rate, loss)]
        if not chosen:
            continue
        values = [100 * np.array([cell[name] for cell in chosen]) for name in columns]
        texts = [f'{value.mean():.1f} ± {value.std(ddof=min(len(value) - 1, 1)):.1f}' for value in values]
        for name in ('precision', 'recall', 'auroc'):
            texts.append(f'{np.mean([cell["label_issues"][name] or 0 for cell in chosen]):.3f}')
        lines.append(f'| {rate:.0%} | {loss} | ' + ' | '.join(texts) + ' |')
    return '\n'.join(lines)


def search(path: pathlib.Path, folder: pathlib.Path) -> None:
    """Accuracy on held-out noisy labels of each candidate, ELR at 60 and 80 %: what the settings were chosen by."""
    results = json.loads(path.read_text()) if path.exists() else {}
    for number, (name, changes) in enumerate(CANDIDATES.items()):
        if name in results:
            continue
        rows = []
        for rate, seed in itertools.product((0.6, 0.8), SEEDS):
            config = config_of('elr', rate, seed, **{'data.valid_fraction': 0.2, **changes})
            summary = cells.run(config, folder / f'search{number}_{rate}_{seed}', folder / 'phases')
            phases = cells.phases(summary)
            accuracies = {key: phases[key]['valid_accuracy_last'] for key in ('base', 'classify', 'finetune')}
            rows.append({'rate': rate, 'seed': seed, **accuracies})
        results[name] = rows
        path.write_text(json.dumps(results, indent=1) + '\n')
    for name, rows in results.items():
        for rate in (0.6, 0.8):
            chosen = [row for row in rows if row['rate'] == rate]
            means = {key: np.mean([row[key] for row in chosen]) for key in ('base', 'classify', 'finetune')}
            print(f'{name:<28}{rate:.0%}  ' + '  '.join(f'{key} {value:.3f}' for key, value in means.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--search', action='store_true')
    parser.add_argument('--table', action='store_true')
    parser.add_argument('--work', type=pathlib.Path, default=pathlib.Path('runs/digits_table'), help='work directories')
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    RESULTS.mkdir(exist_ok=True)
    if arguments.search:
        search(RESULTS / 'digits_search.json', arguments.work)
        return
    path = RESULTS / 'digits.json'
    print(table(json.loads(path.read_text()) if arguments.table else run_missing(path, arguments.work)))


if __name__ == '__main__':
    main()
