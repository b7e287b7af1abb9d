"""How soon SimCLR reaches 90 % k-NN accuracy on CIFAR-10: ResNet-18, bfloat16, the project's own `fit`.

  python experiments/knn_target.py --images cifar10.npz --workdir runs/knn --out knn.json
  python experiments/knn_target.py ... --seconds 400     stops cleanly after that; the same command goes on
  python experiments/knn_target.py --smoke --workdir runs/knn_smoke      the small CNN on random images

Images are an .npz (images, labels, test_images, test_labels), a folder of class folders (train/CLASS/*.jpg and
test/CLASS/*.jpg) or a tar of such folders, which is decoded once into the work directory.

Every `--every` epochs the test images are classified by weighted k-NN (k = 200, cosine, temperature 0.1) among the
training images, with their true labels, on embeddings of the encoder at rest. Training seconds are those of the whole
`fit`, compilation and checkpoints too, without these evaluations, whose seconds stand beside them.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import threading
import time
from typing import Any

import cifar10
import jax
import jax.numpy as jnp
import numpy as np

from noisy_jax import data, losses, models
from noisy_jax.data import augment
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.training import compiling, knn, loop, optim, state
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.evaluate import Evaluator
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.signals import Stopped, StopSignal
from noisy_jax.training.steps import contrastive_step, normaliser

TARGET, K, VOTE_TEMPERATURE = 0.9, 200, 0.1
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
SMOKE = {'encoder': 'cnn_small', 'dtype': 'float32', 'batch_size': 100, 'epochs': 2, 'warmup_epochs': 1}


def load(path: pathlib.Path, workdir: pathlib.Path) -> tuple[Dataset, Dataset]:
    """Training and test images."""
    if path.is_file() and path.suffix != '.npz':
        path = cifar10.unpack(path, workdir / 'images')
    loader = 'arrays' if path.suffix == '.npz' or (path / 'images.npy').exists() else 'folder'
    train, test = (data.load(loader, split=split, path=str(path)) for split in ('train', 'test'))
    if test is None:
        raise InputError(f'--images: {path} has no test images')
    return train, test


def random_images() -> tuple[Dataset, Dataset]:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (500, 32, 32, 3), np.uint8), np.arange(500) % 10
    everything = Dataset(pixels, labels, tuple('0123456789'))
    return everything.take(np.arange(400)), everything.take(np.arange(400, 500))


class Run:
    """One training, in its work directory."""

    def __init__(self, recipe: dict[str, Any], train: Dataset, test: Dataset, workdir: pathlib.Path) -> None:
        self.recipe, self.train, self.test, self.workdir = recipe, train, test, workdir
        self.options, self.mesh = compiling.compiler_options(), mesh_lib.make_mesh()
        self.network = models.create(
            recipe['encoder'],
            num_classes=train.num_classes,
            projection_dim=recipe['projection_dim'],
            dtype=jnp.dtype(recipe['dtype']),
            image_size=train.image.shape[1],
        )
        self.normalise = normaliser(MEAN, STD)
        self.evaluator = Evaluator(self.network, self.normalise, self.mesh, 1000, self.options)

    def stage(self) -> tuple[loop.Stage, state.TrainState]:
        """What `fit` trains, and where it starts."""
        recipe, shape = self.recipe, self.train.image.shape[1:]
        optimizer = optim.optimizer(
            'sgd',
            learning_rate=recipe['learning_rate'],
            weight_decay=recipe['weight_decay'],
            momentum=recipe['momentum'],
            schedule='cosine',
            warmup_epochs=recipe['warmup_epochs'],
            epochs=recipe['epochs'],
            steps_per_epoch=len(self.train) // recipe['batch_size'],
            batch_size=recipe['batch_size'],
        )

        def loss(z1: jax.Array, z2: jax.Array, batch: dict) -> jax.Array:
            del batch
            return losses.nt_xent(z1, z2, temperature=recipe['temperature'])

        views = augment.policy('simclr', min_scale=recipe['min_scale'])
        trained = optim.REPRESENTATION
        step = contrastive_step(self.network, optimizer, loss, views, self.normalise, trained=trained)
        init = jax.jit(lambda key: self.network.init(key, jnp.zeros((1, *shape)), train=False))
        variables = mesh_lib.to_host(init(jax.random.key(recipe['seed'])))
        stage = loop.Stage('encoder', step, recipe['epochs'], recipe['batch_size'])
        return stage, state.create(variables, optimizer, trained)

    def knn_accuracy(self, variables: state.Variables) -> float:
        bank, queries = (self.evaluator.embed(variables, part) for part in (self.train, self.test))
        settings = {'k': K, 'temperature': VOTE_TEMPERATURE, 'num_classes': self.train.num_classes}
        return knn.accuracy(bank, self.train.label, queries, self.test.label, **settings)

    def go_on(self, every: int, seconds: float) -> bool:
        """Trains until the end or for so many seconds; whether it has ended."""
        metrics = MetricWriter(self.workdir / 'metrics.jsonl')
        checkpoints = Checkpoints(self.workdir / 'checkpoints')
        with StopSignal() as stop:
            timer = threading.Timer(seconds, lambda: setattr(stop, 'requested', True))
            timer.daemon = True
            timer.start()
            session = loop.Session(
                self.mesh, self.recipe['seed'], metrics, stop, checkpoint_every=50, compiler_options=self.options
            )
            journal = loop.Journal('pretrain', session, checkpoints)
            journal.record.setdefault('evaluation_seconds', 0.0)

            def watch(current: state.TrainState, epoch: int) -> tuple[state.TrainState, dict[str, float]]:
                if (epoch + 1) % every and epoch + 1 < self.recipe['epochs']:
                    return current, {}
                all_seconds = journal.meta('encoder')['record']['seconds']
                trained_for = all_seconds - journal.record['evaluation_seconds']
                started = time.monotonic()
                accuracy = self.knn_accuracy(current.variables)
                journal.record['evaluation_seconds'] += time.monotonic() - started
                print(f'epoch {epoch + 1}: k-NN {accuracy:.4f} after {trained_for:.0f} s of training', flush=True)
                return current, {
                    'knn_accuracy': accuracy,
                    'training_seconds': trained_for,
                    'evaluation_seconds': journal.record['evaluation_seconds'],
                }

            try:
                loop.fit(*self.stage(), self.train, journal, watch)
                return True
            except Stopped as stopped:
                print(f'stopped: {stopped}; the same command goes on', file=sys.stderr)
                return False
            finally:
                timer.cancel()
                checkpoints.close()
                metrics.close()

    def curve(self) -> list[dict[str, float]]:
        """The evaluated epochs so far, with their losses."""
        lines = [json.loads(line) for line in (self.workdir / 'metrics.jsonl').read_text().splitlines()]
        names = ('epoch', 'training_seconds', 'evaluation_seconds', 'knn_accuracy', 'loss')
        return [{name: line[name] for name in names} for line in lines if 'knn_accuracy' in line]


def claim(workdir: pathlib.Path, recipe: dict[str, Any]) -> None:
    """Keeps the recipe in the work directory.

    Raises:
      InputError: another recipe is there.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / 'recipe.json'
    if path.exists() and json.loads(path.read_text()) != recipe:
        raise InputError(f'--workdir: {path} is of another recipe; take another work directory')
    path.write_text(json.dumps(recipe, indent=1) + '\n')


def report(run: Run, complete: bool, source: str) -> dict[str, Any]:
    device = jax.devices()[0]
    cores = f', {os.cpu_count()} cores' if device.platform == 'cpu' else ''
    curve = run.curve()
    versions = {name: importlib.metadata.version(name) for name in ('jax', 'jaxlib', 'flax', 'optax', 'numpy')}
    return {
        'device': device.device_kind + cores,
        'versions': {'python': platform.python_version(), **versions},
        'compiler_options': run.options,
        'images': {'source': source, 'train': len(run.train), 'test': len(run.test)},
        'recipe': run.recipe,
        'knn': {'k': K, 'temperature': VOTE_TEMPERATURE, 'similarity': 'cosine', 'labels': 'true', 'on': 'test'},
        'complete': complete,
        'target': TARGET,
        'reached': next((row for row in curve if row['knn_accuracy'] >= TARGET), None),
        'curve': curve,
    }


def table(curve: list[dict[str, float]]) -> str:
    lines = ['| epoch | training s | evaluation s | loss | k-NN |', '|---' * 5 + '|']
    for row in curve:
        seconds = f'{row["training_seconds"]:.1f} | {row["evaluation_seconds"]:.1f}'
        lines.append(f'| {row["epoch"]} | {seconds} | {row["loss"]:.3f} | {row["knn_accuracy"]:.2%} |')
    return '\n'.join(lines)


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=pathlib.Path)
    parser.add_argument('--workdir', type=pathlib.Path, required=True)
    parser.add_argument('--seconds', type=float, default=1e6, help='of this call, from its start')
    parser.add_argument('--every', type=int, default=10, help='epochs between two evaluations')
    parser.add_argument('--encoder', default='resnet18')
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='bfloat16')
    parser.add_argument('--batch-size', type=int, default=512)
    parser.add_argument('--epochs', type=int, default=200)
    parser.add_argument('--warmup-epochs', type=int, default=10)
    parser.add_argument('--learning-rate', type=float, default=0.06, help='for a batch of 256; scales with the batch')
    parser.add_argument('--momentum', type=float, default=0.9)
    parser.add_argument('--weight-decay', type=float, default=5e-4)
    parser.add_argument('--temperature', type=float, default=0.2)
    parser.add_argument('--min-scale', type=float, default=0.2)
    parser.add_argument('--projection-dim', type=int, default=128)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--smoke', action='store_true')
    parser.add_argument('--out', type=pathlib.Path, help='JSON')
    arguments = parser.parse_args()
    if not arguments.smoke and arguments.images is None:
        parser.error('--images is needed')
    recipe = {name: value for name, value in vars(arguments).items() if isinstance(value, (str, int, float))}
    for name in ('seconds', 'every', 'smoke'):
        del recipe[name]
    recipe |= {'optimizer': 'sgd', 'schedule': 'cosine', **(SMOKE if arguments.smoke else {})}
    claim(arguments.workdir, recipe)
    compiling.keep_compiled(str(arguments.workdir / 'compiled'))
    train, test = random_images() if arguments.smoke else load(arguments.images, arguments.workdir)
    run = Run(recipe, train, test, arguments.workdir)
    every = 1 if arguments.smoke else arguments.every
    complete = run.go_on(every, max(arguments.seconds - (time.monotonic() - started), 0))
    result = report(run, complete, 'random' if arguments.smoke else arguments.images.name)
    print(table(result['curve']))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + '\n')


if __name__ == '__main__':
    main()
