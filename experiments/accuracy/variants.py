"""Every variant of every part, one change to the config at a time: do all of them learn?

  python experiments/accuracy/variants.py --images cifar10_jpeg.tar.xz --human cifar10n_labels.npz
  ... --data digits        one of the data sets alone
  ... --table              from the JSON alone

Two data sets: scikit-learn's digits by configs/digits.py, and CIFAR-10 at the size of a smoke test by
configs/cifar10.py; 40 % symmetric noise but where the noise is what varies, one seed. They learn from noisy labels and
are evaluated on right ones. A rerun does only what is missing.
"""

import argparse
import pathlib
import re
import sys
from typing import Any

import numpy as np
from ml_collections import ConfigDict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cells, cifar10
from experiments.accuracy.digits import config_of as digits_config
from experiments.accuracy.recipes import SCALES, Cell
from experiments.accuracy.recipes import config_of as cifar10_config
from noisy_jax.errors import InputError
from noisy_jax.losses import CRITERIA

RESULTS = record.RESULTS / 'variants'
CHANCE = 0.1  # ten classes in both
RATE = 0.4

Changes = dict[str, Any]


def _classifier(**changes: Any) -> Changes:
    """Changes to (a2) and (b3)."""
    return {f'{phase}.{name}': value for phase in ('classify', 'finetune') for name, value in changes.items()}


def _encoder(name: str, width: int) -> Changes:
    """An encoder by name; a ResNet takes minutes where others take seconds, so it is trained a third as long."""
    short = {'pretrain.epochs': 20, 'contrast.epochs': 5, **_classifier(head_epochs=5, epochs=10)}
    small = {} if name.startswith('cnn') else short
    return {'model.encoder': name, 'model.width': width, **small}


# CIFAR-10's settings beside those of the tables' scale 'cpu'.
_SMOKE = {
    'model.encoder': 'cnn_small',
    'model.width': 0,
    'eval_every': 0,
    'pretrain.epochs': 40,
    'contrast.epochs': 5,
    **_classifier(head_epochs=5, epochs=15),
    **{f'{phase}.batch_size': 128 for phase in ('pretrain', 'classify', 'select', 'contrast', 'finetune')},
}
_SSR = _classifier(method='ssr', **{'optimizer.encoder_scale': 1.0}, head_epochs=0)  # as its authors train
_HELD_OUT = {'data.valid_fraction': 0.1, 'early_stop': 'stable_predictions'}
# Part -> variant -> changes. What the config has already ('simclr', 'elr') is the first row alone.
VARIANTS: dict[str, dict[str, Changes]] = {
    '': {'as configured': {}},
    'loss': {name: {'loss': name} for name in CRITERIA if name != 'elr'},
    'classifier': {
        'moving average': _classifier(average=0.99),
        'mixup': {'loss': 'ce', **_classifier(mixup=1.0)},
        'bootstrap': {'loss': 'ce', 'bootstrap.warmup_epochs': 4, **_classifier(method='bootstrap')},
        'elr_plus': {'loss_settings.elr.lam': 1.0, **_classifier(method='elr_plus')},
        'dividemix': {'loss': 'ce', 'dividemix.warmup_epochs': 4, **_classifier(method='dividemix')},
        'early_stop': _HELD_OUT,
    },
    '(a1)': {
        **{name: {'pretrain.method': name} for name in ('moco', 'sup_con', 'sup_moco')},
        'mopro': {'pretrain.method': 'mopro', 'mopro.start_epoch': 5},
    },
    '(b1)': {
        'neighbours': {'select.neighbours': 50},
        'negative_entropy': {'select.negative_entropy': True},
    },
    '(b2)': {
        **{name: {'contrast.method': name} for name in ('simclr', 'moco', 'sup_moco')},
        'mopro': {'contrast.method': 'mopro', 'mopro.start_epoch': 2},
    },
    '(b3)': {'weighted': {'finetune.weighted': True}, 'rounds=2': {'rounds': 2}},
    'encoder': {name: _encoder(name, 8) for name in ('resnet18', 'resnet50', 'preact_resnet18', 'resnet_tiny')},
    'head': {name: {'model.classifier': name} for name in ('bn_linear', 'multilayer', 'multilayer2048')},
    'projection': {name: {'model.projection': name} for name in ('linear', 'none')},
    'BatchNorm': {
        'batch_norm_splits=2': {'model.batch_norm_splits': 2},
        'batch_norm_blocks=2': {'model.batch_norm_blocks': 2},
    },
    'precision': {'bfloat16': {'model.dtype': 'bfloat16'}},
    'noise': {
        name: {'noise.kind': name}
        for name in ('symmetric_may_keep', 'asymmetric', 'asymmetric_blocks', 'pair', 'instance', 'matrix')
    },
}
# What only one of them can show.
OWN: dict[str, dict[str, dict[str, Changes]]] = {
    'digits': {
        'classifier': {'ssr': _SSR | _classifier(epochs=40) | {'ssr.strong_augment': 'handwriting'}},
        'encoder': {'cnn6': _encoder('cnn6', 16), 'resnet34': _encoder('resnet34', 8)},
    },
    'cifar10': {
        'classifier': {'ssr': _SSR | _classifier(epochs=20) | {'ssr.strong_augment': 'scan', 'augment.scan.cutout': 8}},
        'encoder': {
            'resnet18, large stem': _encoder('resnet18', 8) | {'model.stem': 'large'},
        },
        'noise': {'human': {'noise.kind': 'human'}},
        'views of (a1)': {name: {'pretrain.augment': name} for name in ('moco', 'mopro', 'mopro_strong')},
        'views of the classifier': {
            'none': _classifier(augment='none'),
            'rotated': {'augment.standard.degrees': 20.0},
            'scan': {'augment.scan.cutout': 8, **_classifier(augment='scan')},
            'autoaugment': {'augment.autoaugment.padding': 2, **_classifier(augment='autoaugment')},
        },
    },
}
DATA = tuple(OWN)


def variants_of(data: str) -> dict[tuple[str, str], Changes]:
    """All variants of a data set by part and name."""
    parts = list(dict.fromkeys([*VARIANTS, *OWN[data]]))
    return {
        (part, name): changes
        for part in parts
        for name, changes in (VARIANTS.get(part, {}) | OWN[data].get(part, {})).items()
    }


def _config(data: str, changes: Changes, work: pathlib.Path, arguments: argparse.Namespace) -> ConfigDict:
    """The config of a variant; files that it needs are made in `work`."""
    if data == 'digits':
        config = digits_config('elr', RATE, 0, 'finetuned')
    else:
        config = cifar10_config(Cell('symmetric', RATE, 'elr', 'finetuned'), 'cpu', _arrays(work, arguments))
        config.update_from_flattened_dict(_SMOKE)
    queues = {f'{name}.queue': 1024 for name in ('moco', 'sup_moco', 'mopro')}
    config.update_from_flattened_dict(queues | changes)
    if config.noise.kind == 'matrix':
        work.mkdir(parents=True, exist_ok=True)
        config.noise.matrix = str(work / 'matrix.npy')
        nearest = np.roll(np.eye(10), 1, 1), np.roll(np.eye(10), -1, 1)
        np.save(config.noise.matrix, 0.6 * np.eye(10) + 0.3 * nearest[0] + 0.1 * nearest[1])
    if config.noise.kind == 'human':
        human = cifar10.with_human_labels(
            pathlib.Path(config.data.path), arguments.human, 'worst', work / 'cifar10_worst'
        )
        config.noise.labels = str(human / 'labels.npy')
    return config


def _arrays(work: pathlib.Path, arguments: argparse.Namespace) -> pathlib.Path:
    """2,000 images of CIFAR-10 to train, 1,000 to test, of 16x16 pixels."""
    full = cifar10.unpack(arguments.images, work / 'cifar10')
    return cifar10.smaller(full, work / 'cifar10_smoke', count=2000, test_count=1000, shrink=SCALES['cpu'].shrink)


def run_missing(data: str, arguments: argparse.Namespace) -> None:
    """Adds the variants that the JSON of `data` lacks, one by one."""
    known = variants_of(data)

    def run(part: str, variant: str) -> dict[str, Any]:
        changes = known[part, variant]
        workdir = arguments.work / re.sub(r'\W+', '-', f'{data} {part} {variant}')
        summary = cells.run(_config(data, changes, arguments.work, arguments), workdir, arguments.work / 'phases')
        phases = cells.phases(summary)
        return {
            'changes': changes,
            'knn': phases['pretrain']['knn_accuracy'],
            'pretrained': phases['classify']['test_accuracy_last'],
            'finetuned': phases['finetune']['test_accuracy_last'],
            'realised_rate': summary['noise']['realised_rate'],
            'seconds': sum(phase['seconds'] for phase in phases.values()),
            'device': summary['device'],
            'versions': summary['versions'],
        }

    record.complete(RESULTS / f'{data}.json', [{'part': part, 'variant': name} for part, name in known], run)


def load() -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """What was measured: data set -> (part, variant) -> run."""
    paths = sorted(RESULTS.glob('*.json'), reverse=True)  # digits first
    return {path.stem: {(run['part'], run['variant']): run for run in record.load(path)} for path in paths}


def table(found: dict[str, dict[tuple[str, str], dict[str, Any]]]) -> str:
    """Markdown: test accuracy of the last epoch in %, and how far the least is above chance."""
    columns = [f'{data}: {column}' for data in found for column in ('Pre-trained', 'Fine-tuned')]
    rows, before = [], None
    for part, name in _rows(found):
        texts = []
        for runs in found.values():
            run = runs.get((part, name))
            texts += [f'{100 * run[column]:.1f}' if run else '-' for column in ('pretrained', 'finetuned')]
        rows.append((part if part != before else '', name, *texts))
        before = part
    lines = [record.markdown(('part', 'variant', *columns), rows), '']
    for data, runs in found.items():
        least = min(runs.values(), key=lambda run: run['finetuned'])
        lines.append(
            f'The least of {len(runs)} on {data} is {100 * least["finetuned"]:.1f} % ({least["variant"]}), '
            f'{least["finetuned"] / CHANCE:.1f} times chance.'
        )
    return '\n'.join(lines)


def _rows(found: dict[str, dict[tuple[str, str], dict[str, Any]]]) -> list[tuple[str, str]]:
    """What was run, the variants of a part together."""
    known = list(dict.fromkeys(key for data in DATA for key in variants_of(data)))
    parts = list(dict.fromkeys(part for part, _ in known))
    ordered = sorted(known, key=lambda key: parts.index(key[0]))
    return [key for key in ordered if any(key in runs for runs in found.values())]


def main() -> None:
    parser = record.table_parser(__doc__, 'variants')
    parser.add_argument('--data', choices=DATA, help='one of them alone')
    record.add_images(parser)
    arguments = parser.parse_args()
    chosen = [arguments.data] if arguments.data else DATA
    with record.user_errors():
        if 'cifar10' in chosen and not arguments.table and not (arguments.images and arguments.human):
            raise InputError('--images and --human are needed: a tar of class folders, and the labels of CIFAR-10N')
        for data in () if arguments.table else chosen:
            run_missing(data, arguments)
    print(table(load()))


if __name__ == '__main__':
    main()
