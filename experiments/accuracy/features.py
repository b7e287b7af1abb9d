"""The method at full size without images: its own phases on frozen features of all of CIFAR-10, on a CPU.

  python experiments/accuracy/features.py --features F.npz --human cifar10n_labels.npz --name NAME
  ... --labels 0.8 worst --recipes ours paper --seeds 0    some of the cells
  ... --embed --images cifar10_jpeg.tar.xz                 makes F.npz by the encoder of experiments/encoders (9 min)
  ... --lists                                              label issues by other means, on the same features
  ... --table                                              from the JSON alone

F.npz has `train` [50000, D] in the order of cifar10n_labels.npz and `test` [10000, D]; `test_label`, or 1,000 test
images of each class in the order of the classes. The encoder is a residual network on the features that begins as the
identity: it stands for a pre-trained encoder and can memorise every label, as a real one does. There are no
augmentation and no convolutions: a recipe that memorises here does so on images too; which is best, images say.
"""

import argparse
import itertools
import json
import pathlib
import sys
import tempfile
import time
from typing import Any

import flax.linen as nn
import jax
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cells, cifar10, encoders
from noisy_jax import pipeline
from noisy_jax.data import noise
from noisy_jax.data.dataset import Dataset
from noisy_jax.labels import cross_fit, selection
from noisy_jax.models.heads import Classifier, ProjectionHead
from noisy_jax.models.network import Network
from noisy_jax.models.norm import BatchNorm
from noisy_jax.training import knn
from noisy_jax.training.context import create_network
from noisy_jax.training.evaluate import Evaluator
from noisy_jax.training.mesh import make_mesh
from noisy_jax.training.steps import normaliser

RESULTS = record.RESULTS / 'features'
LABELS = ('0.2', '0.4', '0.6', '0.8', *cifar10.HUMAN)
SEEDS = (0, 1, 2)

Changes = dict[str, Any]

_SURE = {'classify.head_loss': 'nfl_rce'}
_ONE_RATE = {'classify.optimizer.encoder_scale': 1.0, 'guard': False}
# As the first run at full size, which memorised (results/gpu/one_rate_h200.json).
_FIRST_RUN = {'classify.head_loss': 'same', **_ONE_RATE, 'classify.head_epochs': 5, 'classify.epochs': 40}
# Changes to configs/cifar10.py with its own recipe.
RECIPES: dict[str, Changes] = {
    'ours': {},
    'first run': _FIRST_RUN,
    'first run, guarded': {**_FIRST_RUN, 'guard': True},
    'one rate': {'classify.head_loss': 'same', **_ONE_RATE},
    'ELR head, slow': {'classify.head_loss': 'same'},
    'NFL+RCE head, slow': _SURE,
    # Without views there is nothing for its consistency to compare.
    'SSR': {
        'classify.method': 'ssr',
        'classify.head_epochs': 0,
        'classify.epochs': 10,
        'classify.optimizer.encoder_scale': 1.0,
        'classify.optimizer.learning_rate': 0.04,
        'classify.optimizer.weight_decay': 5e-4,
        'ssr.strong_augment': 'none',
        'ssr.consistency': 0.0,
    },
    'NFL+RCE head, lambda 7': {**_SURE, **_ONE_RATE, 'loss_settings.elr.lam': 7.0},
}
# Beside the recipe; as many epochs as the cells of experiments/accuracy/visit.py have.
_COMMON: Changes = {
    'pretrain.epochs': 0,
    'eval_every': 5,
    'eval_batch_size': 5000,
    'checkpoint_every': 1000,
    'report.page': False,
    'report.tensorboard': False,
    'classify.batch_size': 512,
    'classify.head_epochs': 20,
    'classify.epochs': 20,
    'classify.augment': 'none',
}


class Residual(nn.Module):
    """Features as images [B, 1, 1, D] -> [B, D]: two residual blocks that add nothing at first."""

    width: int = 1024

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        x = images.reshape(len(images), -1)
        for _ in range(2):
            hidden = nn.relu(BatchNorm()(nn.Dense(self.width)(x), train=train))
            x = x + nn.Dense(x.shape[-1], kernel_init=nn.initializers.zeros)(hidden)
        return x


def embed(images: pathlib.Path, human: pathlib.Path, work: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the embeddings of all images, float32 [N, 512], by the encoder of experiments/encoders."""
    folder, config = cifar10.unpack(images, work / 'cifar10'), cells.config_of('cifar10_simclr', '', {})
    config.model.dtype = 'float32'
    normalise, mesh = normaliser(config.data.mean, config.data.std), make_mesh()
    evaluator = Evaluator(create_network(config, 10, 32), normalise, mesh, 250)
    variables, names, made = encoders.packed_encoder(), tuple(map(str, range(10))), {}
    for part, prefix in (('train', ''), ('test', 'test_')):
        labels = np.load(folder / f'{prefix}labels.npy')
        dataset = Dataset(np.load(folder / f'{prefix}images.npy'), labels, names)
        made[part], made[f'{part}_label'] = evaluator.embed(variables, dataset), labels
    with np.load(human) as known:  # whose images are in the data set's order; here they stand class by class
        order = np.argsort(known['clean_label'], kind='stable')
    made['train'] = made['train'][np.argsort(order)]
    np.savez(out, train=made['train'], test=made['test'], test_label=made['test_label'])


def as_images(features: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Features [N, D] as uint8 [N, 1, 1, D], each in 256 steps from its `low` to its `high`."""
    return np.round(255 * np.clip((features - low) / (high - low), 0, 1)).astype(np.uint8)[:, None, None, :]


def load(features: pathlib.Path, human: pathlib.Path) -> tuple[Dataset, Dataset, Changes]:
    """Training and test set with right labels, and the normalisation that turns images back into features."""
    with np.load(features) as file, np.load(human) as labels:
        train, test = file['train'].astype(np.float32), file['test'].astype(np.float32)
        right = labels['clean_label'].astype(np.int32)
        of_test = file['test_label'] if 'test_label' in file else np.arange(len(test)) * 10 // len(test)
    low, high = np.minimum(train.min(0), 0), train.max(0) + 1e-6
    names = tuple(map(str, range(10)))
    parts = (train, right), (test, of_test.astype(np.int32))
    sets = [Dataset(as_images(part, low, high), label, names, true_label=label) for part, label in parts]
    back = {'data.mean': (-low / (high - low)).tolist(), 'data.std': (1 / (high - low)).tolist()}
    return *sets, back


def given_labels(labels: str, right: np.ndarray, human: pathlib.Path, seed: int) -> np.ndarray:
    """Labels by people of that name, or symmetric noise of that rate."""
    if labels not in cifar10.HUMAN:
        return noise.symmetric(right, float(labels), 10, np.random.default_rng(seed)).astype(np.int32)
    with np.load(human) as file:
        return file[cifar10.HUMAN[labels]].astype(np.int32)


def found(suspicion: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    """How well wrong labels stand first by `suspicion`: the F1 of the best cut, AUROC; float [N], bool [N]."""
    caught = np.cumsum(wrong[np.argsort(-suspicion, kind='stable')])
    best = (2 * caught / (np.arange(len(wrong)) + 1 + wrong.sum())).max()
    return {'best_f1': float(best), 'auroc': selection.quality(suspicion, wrong)['auroc']}


def against_given(probabilities: np.ndarray, given: np.ndarray) -> np.ndarray:
    """By how much another class is more probable than the given one, [N]; [N, C], int [N]."""
    rows = np.arange(len(given))
    others = probabilities.copy()
    others[rows, given] = -1
    return others.max(1) - probabilities[rows, given]


def list_quality(probabilities: np.ndarray, given: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """How well wrong labels are found where another class is the more probable than the given one: best F1, AUROC."""
    return found(against_given(probabilities, given), given != right)


def all_lists(workdir: pathlib.Path) -> dict[str, dict[str, float]]:
    """The same of a finished run by its margin, its clean probability and, where SSR gave one, the neighbours' vote."""
    arrays = {path.stem: np.load(path) for path in (workdir / 'labels').glob('*.npy')}
    given, probabilities = arrays['given'], np.load(workdir / 'pred_probs.npy')
    scores = {'margin': against_given(probabilities, given), 'clean_probability': 1 - arrays['clean_probability']}
    if 'classify_vote' in arrays:
        scores['vote'] = 1 - arrays['classify_vote']
    return {name: found(score, given != arrays['true']) for name, score in scores.items()}


def run_cell(labels: str, recipe: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Accuracies after the head, by epoch and at the end; label issues by the last classifier, which saw the labels."""
    train, test, back = load(arguments.features, arguments.human)
    given = given_labels(labels, train.true_label, arguments.human, seed)
    argument = 'loss=elr,noise=none,phases=pretrained,data=arrays'
    config = cells.config_of('cifar10', argument, _COMMON | back | RECIPES[recipe] | {'seed': seed})
    if arguments.smoke:
        config.classify.head_epochs = config.classify.epochs = config.eval_every = 1
    network = Network(encoder=Residual(), projection=ProjectionHead(), classifier=Classifier(10))
    started = time.time()
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        summary = pipeline.run(config, folder, (train.replace(label=given), test), quiet=True, network=network)
        lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
        probabilities = np.load(folder / 'pred_probs.npy')
    phase = cells.phases(summary)['classify']
    epochs = [
        {name: value for name, value in line.items() if name not in ('phase', 'step')}
        for line in lines
        if line['phase'] == 'classify' and line.get('test_accuracy') is not None
    ]
    return {
        'head': next((line['test_accuracy'] for line in reversed(epochs) if line['stage'] == 'head'), None),
        'last': phase['test_accuracy_last'],
        'list': list_quality(probabilities, given, train.true_label),
        'realised_rate': float(np.mean(given != train.true_label)),
        'heads': phase.get('heads'),
        'rejected': phase.get('rejected'),
        'epochs': epochs,
        'seconds': round(time.time() - started),
        'device': summary['device'],
        'versions': summary['versions'],
    }


def run_lists(labels: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Label issues by cross-fitted logistic regression, by neighbours, and by cleanlab on the first."""
    with np.load(arguments.features) as file, np.load(arguments.human) as known:
        features, right = file['train'].astype(np.float32), known['clean_label'].astype(np.int32)
    given = given_labels(labels, right, arguments.human, seed)
    votes = np.asarray(knn.predict(features, given, features, k=200, num_classes=10, leave_one_out=True))
    regression, _ = cross_fit.cross_fit(features, given, 10, folds=5, seed=seed)
    found = {
        'neighbours': list_quality(votes / votes.sum(1, keepdims=True), given, right),
        'votes_right': float(np.mean(votes.argmax(1) == right)),
        'logistic regression': list_quality(regression, given, right),
        'logistic_regression_right': float(np.mean(regression.argmax(1) == right)),
    }
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        return found
    listed, wrong = find_label_issues(given, regression), given != right
    return found | {'cleanlab': {'f1': float(2 * (listed & wrong).sum() / (listed.sum() + wrong.sum()))}}


def table(name: str) -> str:
    """Markdown: test accuracy in % after the head and at the end, and the best F1 of label issues."""
    rows, lines = record.load(RESULTS / f'{name}.json', []), []
    for labels, recipe in itertools.product(LABELS, RECIPES):
        chosen = [row for row in rows if (row['labels'], row['recipe']) == (labels, recipe)]
        if chosen:
            head, last = (record.spread(row[key] for row in chosen if row[key]) for key in ('head', 'last'))
            losses = ', '.join(sorted({row['heads']['chosen'] for row in chosen if row['heads']}))
            returned = sum(bool(row['rejected']) for row in chosen)
            f1 = np.mean([row['list']['best_f1'] for row in chosen])
            lines.append((labels, recipe, losses, head, last, f'{returned} of {len(chosen)}', f'{f1:.3f}'))
    text = record.markdown(('labels', 'recipe', 'head by', 'head', 'last', 'returned to the head', 'list F1'), lines)
    others = record.load(RESULTS / f'{name}_lists.json', [])
    methods = ('logistic regression', 'neighbours', 'cleanlab')
    if others:
        shown = [
            (
                row['labels'],
                *(f'{max(row[m].values(), key=float) if m == "cleanlab" else row[m]["best_f1"]:.3f}' for m in methods),
            )
            for row in others
        ]
        text += '\n\n' + record.markdown(('labels: list F1', *methods), shown)
    return text


def main() -> None:
    parser = record.table_parser(__doc__, 'features')
    parser.add_argument('--smoke', action='store_true', help='one epoch of each; the numbers mean nothing')
    parser.add_argument('--features', type=pathlib.Path, help='.npz')
    parser.add_argument('--human', type=pathlib.Path, help='labels of CIFAR-10N, .npz')
    parser.add_argument('--name', required=True, help='of the features, and of the JSON')
    parser.add_argument('--labels', nargs='*', default=LABELS, choices=LABELS)
    parser.add_argument('--recipes', nargs='*', default=tuple(RECIPES), choices=tuple(RECIPES))
    parser.add_argument('--seeds', nargs='*', type=int, default=SEEDS)
    parser.add_argument('--lists', action='store_true', help='label issues by other means')
    parser.add_argument('--embed', action='store_true', help='makes the features')
    parser.add_argument('--images', type=pathlib.Path, help='a tar of train/CLASS/* and test/CLASS/*')
    arguments = parser.parse_args()
    if not arguments.table and not (arguments.features and arguments.human):
        parser.error('--features and --human are needed')
    if arguments.embed:
        return embed(arguments.images, arguments.human, arguments.work, arguments.features)
    folder = arguments.work if arguments.smoke else RESULTS

    def run(**key: Any) -> dict[str, Any]:
        return (run_lists if arguments.lists else run_cell)(**key, arguments=arguments)

    if arguments.lists:
        keys = [{'labels': labels, 'seed': 0} for labels in arguments.labels]
        record.complete(folder / f'{arguments.name}_lists.json', keys, run, table=arguments.table)
    else:
        chosen = itertools.product(arguments.seeds, arguments.labels, arguments.recipes)
        keys = [{'labels': labels, 'recipe': recipe, 'seed': seed} for seed, labels, recipe in chosen]
        record.complete(folder / f'{arguments.name}.json', keys, run, table=arguments.table)
    return print(table(arguments.name))


if __name__ == '__main__':
    main()
