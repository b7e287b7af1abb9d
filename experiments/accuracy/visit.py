"""Fifteen minutes on one GPU, in a few calls that share a work folder: an encoder, and classifiers on it.

  python experiments/accuracy/visit.py PART --images cifar10_jpeg.tar.xz --human cifar10n_labels.npz --work W --out OUT

  probes    recipes of SimCLR side by side on nine tenths of the training images, compared by k-NN on the others; the
            best is kept in W/recipe.json
  encoder   SimCLR by that recipe, or by --recipe, on all training images; the encoder as bfloat16 in parts below 15 MiB
  cells     classifiers side by side on that encoder, or on that of experiments/encoders if W has none
  list      the names of all probes and cells, and which of them came home already
  home      what earlier calls left in OUT goes to experiments/results/gpu and experiments/encoders

Every call ends after --seconds and says by name what is left; what ended before is in OUT already. A second call with
the same W does what is left. `--cache` names a folder with compiled.zip of an earlier visit; a new one goes to OUT.
Keep W the same from visit to visit: its path is a part of the programs' keys. `--smoke` shrinks everything for a try on
a CPU; the numbers then mean nothing. Speed: experiments/speed/gpu.py.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import time
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import compiled, record
from experiments.accuracy import cifar10, encoders, jobs

GPU = record.RESULTS / 'gpu'


def _simclr(temperature: float, batch: int = 512, changes: dict[str, Any] | None = None, **own: Any) -> dict[str, Any]:
    """A recipe: SGD with two epochs of warm-up."""
    own = {'weight_decay': 5e-4, 'warmup_epochs': 2} | own
    settings = {'pretrain.batch_size': batch, 'pretrain.knn_every': 5, 'pretrain.temperature': temperature}
    return settings | {f'pretrain.optimizer.{name}': value for name, value in own.items()} | (changes or {})


# The first was the best of five after 15 epochs. From T 0.5 to 0.2 k-NN rose by 4 points, so that it may rise further
# at 0.1; a batch of 1024 has twice the negatives and may take less time by image. The others, by --only: smaller crops,
# which at T 0.5 made no difference, and colours that change half as much.
PROBES = {
    'sgd12_t02': _simclr(0.2, learning_rate=0.12),
    'sgd12_t01': _simclr(0.1, learning_rate=0.12),
    'sgd12_t02_batch1024': _simclr(0.2, batch=1024, learning_rate=0.12),
    'sgd12_t02_crop08': _simclr(0.2, changes={'augment.simclr.min_scale': 0.08}, learning_rate=0.12),
    'sgd12_t02_jitter05': _simclr(0.2, changes={'augment.simclr.jitter': 0.5}, learning_rate=0.12),
}
FIRST = tuple(PROBES)[:3]

LARGE = {f'{phase}.batch_size': 512 for phase in ('base', 'classify', 'select', 'contrast', 'finetune')}


def _cell(loss: str, labels: str, recipe: str = 'ours', column: str = 'pretrained', **changes: Any) -> jobs.Job:
    """A cell of configs/cifar10.py; `labels`: a share of symmetric noise in %, or a name of CIFAR-10N's."""
    human = labels if labels in cifar10.HUMAN else ''
    # At 90 % of other labels the right one would be no likelier than they are: there the rate counts labels that stay.
    kind = 'symmetric' if human or int(labels) < 90 else 'symmetric_may_keep'
    noise = 'noise=none' if human else f'noise={kind},rate={int(labels) / 100}'
    argument = f'loss={loss},{noise},phases={column},data=arrays,recipe={recipe}'
    # The paper's stages have batches of 256.
    return {'config': 'cifar10', 'argument': argument, 'human': human, 'data': 'cifar10'} | {
        'set': ({} if recipe == 'paper' else LARGE) | changes
    }


def _named(*cells: tuple[str, ...]) -> dict[str, jobs.Job]:
    """Cells by loss, labels, recipe and, unless it is 'pretrained', column."""
    return {'_'.join(name for name in cell if name != 'pretrained'): _cell(*cell) for cell in cells}


def _ssr(labels: str, epochs: int, **changes: Any) -> jobs.Job:
    """A cell of configs/cifar10_ssr.py, of batches of 256."""
    job = _cell('elr', labels)
    argument = [item for item in job['argument'].split(',') if not item.startswith(('loss=', 'recipe='))]
    own = {'classify.batch_size': 256, 'classify.epochs': epochs}
    return job | {'config': 'cifar10_ssr', 'argument': ','.join(argument), 'set': own | changes}


# In the order of their use. 24 of them are the paper's table without its fine-tuned column.
LOSSES, RATES = ('elr', 'nfl_rce', 'ce'), ('80', '60', '40', '20')
CELLS: dict[str, jobs.Job] = _named(
    *(('elr', labels, 'ours') for labels in (*RATES, 'worst')),
    ('elr', '80', 'ours', 'finetuned'),
)
CELLS |= {f'ssr_{labels}': _ssr(labels, 40) for labels in ('80', '50', '90', '20', 'worst')}
CELLS |= _named(
    *((loss, rate, 'ours') for loss in ('nfl_rce', 'ce') for rate in ('80', '40')),
    *((loss, rate, 'ours', 'base') for loss in LOSSES for rate in RATES),
    *((loss, rate, 'ours') for loss in ('nfl_rce', 'ce') for rate in ('60', '20', 'worst')),
    *(('elr', rate, 'paper') for rate in ('80', '40')),
)
# As many epochs as SSR's authors have after pre-training; as many of all weights as the paper has.
CELLS |= {f'ssr_{labels}_long': _ssr(labels, 150) for labels in ('80', 'worst')}
CELLS |= {f'elr_{labels}_long': _cell('elr', labels, **{'classify.epochs': 100}) for labels in ('80', '40', 'worst')}
# The first that came home had SCAN's strong views, of four operations and a hole, which are not those of SSR's authors.
_SCAN = {'ssr.strong_augment': 'scan', 'augment.scan.padding': 4}
CELLS |= {f'ssr_{labels}_scan': _ssr(labels, 40, **_SCAN) for labels in ('80', '50', '90', '20', 'worst')}
# The rate and weight decay of ELR's authors, one rate for encoder and head, as many epochs at the full rate; unguarded.
_AUTHORS = {'classify.epochs': 60, 'classify.optimizer.encoder_scale': 1.0, 'guard': False}
_AUTHORS |= {'classify.optimizer.learning_rate': 0.04, 'classify.optimizer.weight_decay': 1e-3}
_AUTHORS |= {'classify.optimizer.schedule': 'step', 'classify.optimizer.milestones': (40, 50)}
CELLS |= {f'elr_{labels}_authors': _cell('elr', labels, **_AUTHORS) for labels in ('80', '40')}


def _earlier(loss: str, labels: str, **changes: Any) -> jobs.Job:
    """A cell without a chosen head and a guard: 20 epochs of the head, then 20 of all weights or as given."""
    own = {'classify.head_epochs': 20, 'classify.epochs': 20, 'classify.head_loss': 'same', 'guard': False}
    return _cell(loss, labels, **own | changes)


_SLOW = {'classify.optimizer.encoder_scale': 0.1}
_THIRD = {'classify.optimizer.encoder_scale': 0.3, 'classify.epochs': 15}
_SURE = {'classify.head_loss': 'nfl_rce'}
_STRONG = {'classify.optimizer.encoder_scale': 1.0, 'loss_settings.elr.lam': 7.0}
CELLS |= {
    'elr_80_slow': _earlier('elr', '80', **_SLOW),
    'elr_80_sure_slow': _earlier('elr', '80', **_SURE, **_SLOW),
    'elr_80_sure_lam7': _earlier('elr', '80', **_SURE, **_STRONG),
    'elr_40_slow': _earlier('elr', '40', **_SLOW),
    'elr_worst_slow': _earlier('elr', 'worst', **_SLOW),
    'nfl_rce_80_slow': _earlier('nfl_rce', '80', **_SLOW, **{'classify.epochs': 15}),
    'elr_worst_third': _earlier('elr', 'worst', **_THIRD),
    'elr_40_third': _earlier('elr', '40', **_THIRD),
    'elr_80_third': _earlier('elr', '80', **_THIRD),
}


def probe_arrays(arguments: argparse.Namespace) -> pathlib.Path:
    """Nine tenths of the training images; the tenth that is held out stands as test set. No test image is seen."""
    folder = arguments.work / 'cifar10_probe'
    if folder.exists():
        return folder
    images = cifar10.unpack(arguments.images, arguments.work / 'cifar10')
    source = {path.stem: np.load(path, mmap_mode='r') for path in images.glob('*.npy')}
    held = np.arange(len(source['labels'])) % 10 == 0
    kept = {'class_names': source['class_names'], 'images': source['images'][~held], 'labels': source['labels'][~held]}
    return cifar10.keep(folder, kept | {'test_images': source['images'][held], 'test_labels': source['labels'][held]})


def _simclr_job(recipe: dict[str, Any], data: str, epochs: int) -> jobs.Job:
    job = {'config': 'cifar10', 'argument': 'data=arrays', 'phases': ['pretrain'], 'data': data}
    return job | {'set': recipe | {'pretrain.epochs': epochs}}


def probes(arguments: argparse.Namespace) -> None:
    probe_arrays(arguments)
    chosen = {name: PROBES[name] for name in arguments.only or FIRST}
    todo = {
        f'{name}_{arguments.epochs or 30}': _simclr_job(recipe, 'cifar10_probe', arguments.epochs or 30)
        for name, recipe in chosen.items()
    }

    def ended(results: jobs.Results) -> None:
        jobs.send_home(results, 'probes', arguments)

    results = jobs.side_by_side(todo, arguments, limit=arguments.limit, ended=ended)
    reached = {name.rpartition('_')[0]: each['phases'][0]['knn_accuracy'] for name, each in results.items()}
    if reached:
        best = max(reached, key=reached.get)
        record.save(arguments.work / 'recipe.json', best, None)
        print('k-NN on held-out training images:', reached, 'best:', best)


def encoder(arguments: argparse.Namespace) -> None:
    jobs.prepare({}, arguments)
    name, epochs = arguments.recipe or record.load(arguments.work / 'recipe.json', FIRST[0]), arguments.epochs or 230
    job = _simclr_job(PROBES[name] | {'pretrain.knn_every': 40}, 'cifar10', epochs) | {'recipe': name}
    job['set']['pretrain.optimizer.warmup_epochs'] = min(10, epochs // 3)
    results = jobs.side_by_side({f'encoder_{name}_{epochs}': job}, arguments, limit=arguments.limit)
    for result in results.values():
        store, kept = arguments.work / 'store' / 'cifar10' / result['store'], arguments.work / 'encoder'
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(store, kept)
        record.save(arguments.work / 'encoder.json', job, None)
        record.save(arguments.out / 'encoder.json', {'encoder': result}, None)
        print('packed in', encoders.pack(kept / 'checkpoint', arguments.out), 'files')


def classifiers(arguments: argparse.Namespace) -> None:
    """Cells on the encoder, whose settings they name as those of their pre-training."""
    if not arguments.smoke:
        encoders.unpack(arguments.work / 'encoder')
    of_encoder = record.load(arguments.work / 'encoder.json', encoders.measured()['job'])['set']
    home = record.load(GPU / 'cells.json', {})
    todo = {name: CELLS[name] for name in arguments.only or CELLS if arguments.only or name not in home}
    for name, job in todo.items():
        todo[name] = job | {'set': of_encoder | job['set'] | _epochs(arguments.epochs)}
    jobs.prepare(todo, arguments)

    def ended(results: jobs.Results) -> None:
        jobs.send_home(results, 'cells', arguments)

    jobs.side_by_side(todo, arguments, limit=arguments.limit, ended=ended)


def _epochs(epochs: int) -> dict[str, int]:
    """Those of all weights; from scratch as many more as a head has alone."""
    return {'classify.epochs': epochs, 'finetune.epochs': epochs, 'base.epochs': epochs + 20} if epochs else {}


def names() -> None:
    for part, known in (('probes', PROBES), ('cells', CELLS)):
        home = record.load(GPU / f'{part}.json', {})
        for name in known:
            print(part, name, 'home' if name in home else '')


def home(arguments: argparse.Namespace) -> None:
    """Adds the results in OUT to those of the repository; an encoder takes the place of the one before."""
    for path in sorted(arguments.out.glob('*.json')):
        record.save(GPU / path.name, record.load(GPU / path.name, {}) | record.load(path), None)
    parts = sorted(arguments.out.glob('cifar10_simclr_*.npz'))
    for old in encoders.KEPT.glob('cifar10_simclr_*.npz') if parts else ():
        old.unlink()
    for path in parts:
        shutil.copyfile(path, encoders.KEPT / path.name)


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('part', choices=('probes', 'encoder', 'cells', 'list', 'home'))
    record.add_images(parser)
    parser.add_argument('--work', type=pathlib.Path, help='where the calls find what the others made')
    parser.add_argument('--epochs', type=int, default=0, help="a probe's (30), the encoder's (230), of all weights")
    parser.add_argument('--seconds', type=float, default=560, help='after which the call ends')
    parser.add_argument('--together', type=int, default=5, help='how many runs share the card')
    parser.add_argument('--recipe', choices=tuple(PROBES), help="the encoder's; else the best probe")
    parser.add_argument('--only', nargs='*', choices=(*PROBES, *CELLS), help='probes or cells')
    parser.add_argument('--cache', type=pathlib.Path, help='a folder with compiled.zip; a new one goes to OUT')
    arguments = parser.parse_args()
    arguments.limit = time.time() + arguments.seconds - 5  # to send home what there is
    if arguments.part == 'list':
        return names()
    if arguments.out is None:
        parser.error('--out is needed: a folder for the results')
    if arguments.part == 'home':
        return home(arguments)
    if arguments.work is None or arguments.images is None:
        parser.error('--work and --images are needed')
    if 'JOB' in os.environ:
        return jobs.run(*json.loads(os.environ['JOB']), arguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    compiled.unpack(arguments.cache, arguments.work / 'compiled')
    started = time.time()
    {'probes': probes, 'encoder': encoder, 'cells': classifiers}[arguments.part](arguments)
    if arguments.cache:
        print('compiled programs left behind:', len(compiled.pack(arguments.work / 'compiled', arguments.out)))
    print(f'{time.time() - started:.0f} s')
    return None


if __name__ == '__main__':
    main()
