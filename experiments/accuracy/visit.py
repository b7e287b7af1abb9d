"""Fifteen minutes on one GPU, in three calls that share a work folder: an encoder, and classifiers on it.

  python experiments/accuracy/visit.py probes  --images cifar10_jpeg.tar.xz --work W --out OUT
  python experiments/accuracy/visit.py encoder --images ... --work W --out OUT --epochs 230
  python experiments/accuracy/visit.py cells   --images ... --human cifar10n_labels.npz --work W --out OUT

probes   recipes of SimCLR side by side on nine tenths of the training images, compared by k-NN on the tenth held out;
         the best is kept in W/recipe.json
encoder  SimCLR by that recipe on all training images; the encoder as bfloat16 in parts below 15 MiB, its k-NN curve
cells    classifiers side by side on that encoder, or on that of experiments/encoders if W has none; accuracies by
         epoch, probabilities of the training set

`--smoke` shrinks everything for a try on a CPU; the numbers then mean nothing.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cifar10

COMMON = {'model.dtype': 'bfloat16', 'checkpoint_every': 1000, 'eval_every': 1, 'report.page': False}
COMMON |= {'report.tensorboard': False, 'contrast.knn_every': 0}


def _simclr(temperature: float, changes: dict[str, Any] | None = None, **optimizer: Any) -> dict[str, Any]:
    """A recipe: SGD with two epochs of warm-up, batch 512, unless `optimizer` or `changes` say otherwise."""
    own = {'weight_decay': 5e-4, 'warmup_epochs': 2} | optimizer
    settings = {'pretrain.batch_size': 512, 'pretrain.knn_every': 5, 'pretrain.temperature': temperature}
    return settings | {f'pretrain.optimizer.{name}': value for name, value in own.items()} | (changes or {})


# The demo of the original; lightly's recipe (SGD 0.06 for 128, T 0.5, crops from 0.08), and what differs from it.
_DEMO = {'name': 'adam', 'learning_rate': 1e-3, 'weight_decay': 1e-6, 'schedule': 'constant', 'warmup_epochs': 0}
PROBES = {
    'adam_paper': _simclr(0.5, {'pretrain.augment': 'moco'}, **_DEMO),
    'sgd12_t05_crop08': _simclr(0.5, {'augment.simclr.min_scale': 0.08}, learning_rate=0.12),
    'sgd12_t05': _simclr(0.5, learning_rate=0.12),
    'sgd12_t02': _simclr(0.2, learning_rate=0.12),
    'sgd24_t02_decay1e-4': _simclr(0.2, learning_rate=0.24, weight_decay=1e-4),
}
TRAIN = {'classify.batch_size': 512, 'classify.head_epochs': 20, 'classify.epochs': 25}
SLOW, SURE = {'classify.optimizer.encoder_scale': 0.1}, {'classify.head_loss': 'nfl_rce'}
STRONG = {'loss_settings.elr.lam': 7.0, 'classify.optimizer.encoder_scale': 1.0}
CELLS: dict[str, dict[str, Any]] = {
    'elr80_slow': {'set': SLOW},
    'sure_elr80_slow': {'set': SURE | SLOW},
    'sure_elr80_lam7': {'set': SURE | STRONG},
    'nfl80_slow': {'loss': 'nfl_rce', 'set': SLOW},
    'elr40_slow': {'rate': 0.4, 'set': SLOW},
    'elr_worst_slow': {'human': 'worst', 'set': SLOW},
    'elr40_third': {'rate': 0.4, 'set': {'classify.optimizer.encoder_scale': 0.3}},
    'elr80_third': {'set': {'classify.optimizer.encoder_scale': 0.3}},
    'elr_worst_third': {'human': 'worst', 'set': {'classify.optimizer.encoder_scale': 0.3}},
}


def arrays(arguments: argparse.Namespace) -> pathlib.Path:
    return cifar10.unpack(arguments.images, arguments.work / 'cifar10')


def probe_arrays(arguments: argparse.Namespace) -> pathlib.Path:
    """Nine tenths of the training images; the tenth that is held out stands as test set. No test image is seen."""
    folder = arguments.work / 'cifar10_probe'
    if folder.exists():
        return folder
    source = {path.stem: np.load(path, mmap_mode='r') for path in arrays(arguments).glob('*.npy')}
    held = np.arange(len(source['labels'])) % 10 == 0
    kept = {'class_names': source['class_names'], 'images': source['images'][~held], 'labels': source['labels'][~held]}
    return cifar10.keep(folder, kept | {'test_images': source['images'][held], 'test_labels': source['labels'][held]})


def run_job(name: str, job: dict[str, Any], arguments: argparse.Namespace) -> None:
    """One run in this process; its result in W/results."""
    from experiments.accuracy import cells  # imports JAX: the process that waits for the jobs leaves it alone

    human, phases = job.get('human'), tuple(job['phases'])
    noise = 'none' if human else 'symmetric'
    argument = f'loss={job.get("loss", "elr")},noise={noise},rate={job.get("rate", 0.8)},phases=all,data=arrays'
    config = cells.config_of('cifar10', argument, COMMON | job['set'])
    data = arguments.work / job['data']
    if human:
        data = cifar10.with_human_labels(data, arguments.human, human, arguments.work / f'cifar10_{human}')
    config.phases, config.seed, config.data.path = phases, job.get('seed', 0), str(data)
    if arguments.smoke:
        config.model.encoder, config.data.limit, config.data.test_limit = 'resnet_tiny', 1000, 500
    workdir, results = arguments.work / 'runs' / name, arguments.work / 'results'
    if job.get('packed'):
        keep_packed(arguments.work / 'store' / cells.digest(config, 'pretrain', ''))
        return record.save(results / f'{name}.json', {}, None)
    started = time.time()
    summary = cells.run(config, workdir, arguments.work / 'store', labels=human or '')
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    result = {'name': name, 'job': job, 'seconds': time.time() - started}
    result |= {key: summary.get(key) for key in ('device', 'versions', 'seed', 'phases', 'selection', 'label_issues')}
    result['noise'] = {key: value for key, value in summary['noise'].items() if key != 'transition_matrix'}
    if 'classify' in phases:
        results.mkdir(exist_ok=True)
        np.save(results / f'{name}_probabilities.npy', np.load(workdir / 'pred_probs.npy').astype(np.float16))
        lines = [line for line in lines if line['phase'] != 'pretrain']
    record.save(results / f'{name}.json', result | {'epochs': lines}, None)


def together(jobs: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All jobs side by side on one card, each in a process of its own; the results of those that ended in time."""
    command = [sys.executable, *sys.argv]
    running = {}
    for name, job in jobs.items():
        log = (arguments.work / f'{name}.log').open('w')
        share = str(round(0.88 / len(jobs), 3))
        environment = {**os.environ, 'JOB': json.dumps([name, job]), 'XLA_PYTHON_CLIENT_MEM_FRACTION': share}
        running[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    limit, results = time.time() + arguments.seconds, {}
    for name, process in running.items():
        try:
            code = process.wait(max(limit - time.time(), 1))
        except subprocess.TimeoutExpired:
            process.kill()
            code = 'out of time'
        if code == 0:
            results[name] = record.load(arguments.work / 'results' / f'{name}.json')
        else:
            tail = (arguments.work / f'{name}.log').read_text().replace('\r', '\n').splitlines()[-12:]
            print(f'== {name}: {code}', *tail, sep='\n')
        metrics = arguments.work / 'runs' / name / 'metrics.jsonl'
        for line in map(json.loads, metrics.read_text().splitlines() if metrics.exists() else ()):
            shown = [key for key in ('knn_accuracy', 'test_accuracy') if line.get(key) is not None]
            if shown and (line['phase'] == 'pretrain' or line['epoch'] % 5 == 0 or line['epoch'] == 1):
                print(name, line['phase'], line['stage'], line['epoch'], *(round(line[key], 4) for key in shown))
    return results


def probes(arguments: argparse.Namespace) -> None:
    probe_arrays(arguments)
    jobs = {
        name: {'phases': ['pretrain'], 'data': 'cifar10_probe', 'set': recipe | {'pretrain.epochs': arguments.epochs}}
        for name, recipe in PROBES.items()
    }
    results = together(jobs, arguments)
    reached = {name: result['phases'][0]['knn_accuracy'] for name, result in results.items()}
    best = max(reached, key=reached.get)
    record.save(arguments.work / 'recipe.json', [best, PROBES[best]], None)
    record.save(arguments.out / 'probes.json', results, None)
    print('k-NN on held-out training images:', reached, 'best:', best)


def encoder(arguments: argparse.Namespace) -> None:
    arrays(arguments)
    name, recipe = arguments.recipe, PROBES.get(arguments.recipe)
    if not name:
        name, recipe = record.load(arguments.work / 'recipe.json')
    recipe = recipe | {'pretrain.epochs': arguments.epochs, 'pretrain.knn_every': 40}
    if recipe['pretrain.optimizer.warmup_epochs']:
        recipe['pretrain.optimizer.warmup_epochs'] = min(10, arguments.epochs // 3)
    job = {'phases': ['pretrain'], 'data': 'cifar10', 'recipe': name, 'set': recipe}
    record.save(arguments.work / 'encoder.json', job, None)
    results = together({'encoder': job}, arguments)
    record.save(arguments.out / 'encoder.json', results, None)
    if results:
        pack(arguments)


def pack(arguments: argparse.Namespace) -> None:
    """Encoder and projection head as bfloat16 bits (uint16), small arrays as float32, in files below 15 MiB."""
    os.environ['JAX_PLATFORMS'] = 'cpu'
    import jax
    import ml_dtypes

    from noisy_jax.training.checkpoints import Checkpoints

    newest = max((arguments.work / 'store').glob('pretrain_*/checkpoint'), key=lambda path: path.stat().st_mtime)
    checkpoints = Checkpoints(newest)
    leaves = jax.tree_util.tree_leaves_with_path(checkpoints.restore_outcome())
    checkpoints.close()
    named = {jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf) for path, leaf in leaves}
    parts: list[dict[str, np.ndarray]] = [{}]
    for name in sorted(name for name in named if 'classifier' not in name):
        leaf = named[name]
        value = leaf.astype(ml_dtypes.bfloat16).view(np.uint16) if leaf.size > 4096 else leaf.astype(np.float32)
        if sum(each.nbytes for each in parts[-1].values()) + value.nbytes > 14 * 2**20:
            parts.append({})
        parts[-1][name] = value
    for number, part in enumerate(parts):
        np.savez_compressed(arguments.out / f'cifar10_simclr_{number}.npz', **part)
    print('packed', sum(map(len, parts)), 'arrays in', len(parts), 'files')


def packed_encoder(folder: pathlib.Path = record.ROOT / 'experiments' / 'encoders') -> dict[str, Any]:
    """The variables that `pack` wrote: float32, {'params': {'encoder', 'projection'}, 'batch_stats': ...}."""
    import ml_dtypes
    from flax.traverse_util import unflatten_dict

    arrays = {}
    for part in sorted(folder.glob('cifar10_simclr_*.npz')):
        with np.load(part) as file:
            arrays |= {name: file[name] for name in file.files}
    wide = {
        name: array.view(ml_dtypes.bfloat16).astype(np.float32) if array.dtype == np.uint16 else array
        for name, array in arrays.items()
    }
    return unflatten_dict(wide, sep='/')


def keep_packed(folder: pathlib.Path) -> None:
    """Puts the encoder of experiments/encoders where cells look for a finished pre-training."""
    from noisy_jax.training.checkpoints import Checkpoints

    summary = {key: value for key, value in _measured()['phases'][0].items() if key != 'name'}
    checkpoints = Checkpoints(folder / 'checkpoint')
    checkpoints.save_outcome(1, packed_encoder(), {'complete': True, 'arrays': [], 'summary': summary})
    checkpoints.close()
    (folder / 'labels').mkdir()


def _measured() -> dict[str, Any]:
    """The result of the run that trained the encoder of experiments/encoders."""
    return record.load(record.RESULTS / 'gpu' / 'encoder.json')['encoder']


def classifiers(arguments: argparse.Namespace) -> None:
    if not (arguments.work / 'encoder.json').exists():
        arrays(arguments)
        job = _measured()['job']
        together({'encoder': job | {'packed': True}}, arguments)
        record.save(arguments.work / 'encoder.json', job, None)
    of_encoder = record.load(arguments.work / 'encoder.json')['set']
    jobs = {}
    for name in arguments.only or CELLS:
        cell = CELLS[name]
        settings = of_encoder | TRAIN | ({'classify.epochs': arguments.epochs} if arguments.epochs else {})
        jobs[name] = cell | {'phases': ['pretrain', 'classify'], 'data': 'cifar10', 'set': settings | cell['set']}
    results = together(jobs, arguments)
    record.save(arguments.out / 'cells.json', results, None)
    files = (arguments.work / 'results').glob('*_probabilities.npy')
    np.savez_compressed(arguments.out / 'probabilities.npz', **{file.stem: np.load(file) for file in files})


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('part', choices=('probes', 'encoder', 'cells'))
    record.add_images(parser, required=True)
    parser.add_argument('--work', type=pathlib.Path, required=True, help='where the calls find what the others made')
    parser.add_argument('--epochs', type=int, default=0, help='for a probe, the encoder or all weights in a cell')
    parser.add_argument('--seconds', type=float, default=300, help='after which running jobs are killed')
    parser.add_argument('--recipe', choices=tuple(PROBES), help="the encoder's; else the best probe")
    parser.add_argument('--only', nargs='*', choices=tuple(CELLS), help='cells')
    arguments = parser.parse_args()
    if arguments.out is None:
        parser.error('--out is needed: a folder for the results')
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    if 'JOB' in os.environ:
        run_job(*json.loads(os.environ['JOB']), arguments)
    else:
        started = time.time()
        {'probes': probes, 'encoder': encoder, 'cells': classifiers}[arguments.part](arguments)
        print(f'{time.time() - started:.0f} s')


if __name__ == '__main__':
    main()
