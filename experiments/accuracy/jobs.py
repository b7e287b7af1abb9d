"""Runs of the pipeline side by side on one card, each in a process of its own, until the time is over."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments import record
from experiments.accuracy import cifar10, encoders

# 'config' and its 'argument', 'phases' unless the argument names them, 'data', labels by people ('human') or none, and
# changes ('set').
Job = dict[str, Any]
Results = dict[str, dict[str, Any]]

COMMON = {'model.dtype': 'bfloat16', 'checkpoint_every': 20, 'eval_every': 1, 'report.page': False}
COMMON |= {'report.tensorboard': False, 'contrast.knn_every': 0}
_SMOKE = {'model.encoder': 'cnn_small', 'model.width': 4, 'model.dtype': 'float32', 'data.limit': 200}
_SMOKE |= {f'{phase}.batch_size': 50 for phase in ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')}
_SMOKE |= {f'{phase}.epochs': 1 for phase in ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')}
_SMOKE |= {'data.test_limit': 100, 'classify.head_epochs': 1, 'finetune.head_epochs': 1, 'pretrain.knn_every': 1}
_SMOKE |= {'ssr.neighbours': 10}
_MOST = 15 * 2**20  # bytes of a file that comes home


def prepare(jobs: dict[str, Job], arguments: argparse.Namespace) -> None:
    """Makes the data that several jobs share."""
    cifar10.unpack(arguments.images, arguments.work / 'cifar10')
    for human in {job['human'] for job in jobs.values() if job.get('human')}:
        folder = arguments.work / f'cifar10_{human}'
        cifar10.with_human_labels(arguments.work / 'cifar10', arguments.human, human, folder)


def run(name: str, job: Job, arguments: argparse.Namespace) -> None:
    """One job in this process; its result in W/results."""
    from experiments.accuracy import cells, features  # import JAX: the process that waits for the jobs leaves it alone

    human = job.get('human', '')
    config = cells.config_of(job['config'], job['argument'], COMMON | job['set'] | (_SMOKE if arguments.smoke else {}))
    config.phases = tuple(job.get('phases', config.phases))
    config.data.path = str(arguments.work / (f'cifar10_{human}' if human else job['data']))
    config.compile_cache = str(arguments.work / 'compiled')
    folders = f'runs/{name}', 'results', f'store/{job["data"]}'
    workdir, results, store = (arguments.work / folder for folder in folders)
    trains_encoder = config.phases == ('pretrain',)
    kept = store / cells.digest(config, 'pretrain', human) if 'pretrain' in config.phases else None
    if kept and not trains_encoder and (arguments.work / 'encoder').exists():
        encoders.share(arguments.work / 'encoder', kept)
    started = time.time()
    summary = cells.run(config, workdir, store, labels=human)
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    result = {'name': name, 'job': job, 'seconds': time.time() - started}
    result |= {key: summary.get(key) for key in ('device', 'versions', 'seed', 'phases', 'selection', 'label_issues')}
    result['noise'] = {key: value for key, value in summary['noise'].items() if key != 'transition_matrix'}
    if trains_encoder:
        result['store'] = kept.name
    else:
        lines = [line for line in lines if line['phase'] != 'pretrain']
        probabilities = np.load(workdir / 'pred_probs.npy')
        result['lists'] = features.all_lists(workdir)
        results.mkdir(exist_ok=True)
        np.save(results / f'{name}_probabilities.npy', probabilities.astype(np.float16))
    partial = results / f'{name}.json.partial'
    record.save(partial, result | {'epochs': lines}, None)
    partial.rename(results / f'{name}.json')


def command(name: str, job: Job) -> tuple[list[str], dict[str, str]]:
    """This program again, for one job."""
    return [sys.executable, *sys.argv], {**os.environ, 'JOB': json.dumps([name, job])}


def side_by_side(
    jobs: dict[str, Job],
    arguments: argparse.Namespace,
    *,
    limit: float,
    ended: Callable[[Results], None] = lambda results: None,
    command: Callable[[str, Job], tuple[list[str], dict[str, str]]] = command,
) -> Results:
    """The results of the jobs that end before `limit`, `arguments.together` at a time, in their order.

    A job whose result is in W/results is not run again. None starts when less is left than the shortest took; those
    that run at the limit are killed. `ended` is called with all results after each job.
    """
    results: Results = {}
    waiting = []
    for name, job in jobs.items():
        known = record.load(arguments.work / 'results' / f'{name}.json')
        results |= {name: known} if known else {}
        waiting += [] if known else [(name, job)]
    running: dict[str, tuple[subprocess.Popen, float]] = {}
    share = str(round(0.88 / max(min(arguments.together, len(waiting)), 1), 3))
    took: list[float] = []
    while waiting or running:
        left = limit - time.time()
        while waiting and len(running) < arguments.together and left > min(took, default=0):
            name, job = waiting.pop(0)
            words, environment = command(name, job)
            with (arguments.work / f'{name}.log').open('w') as log:
                environment = environment | {'XLA_PYTHON_CLIENT_MEM_FRACTION': share}
                running[name] = subprocess.Popen(words, stdout=log, stderr=log, env=environment), time.time()
        if not running:
            break
        for name, (process, started) in list(running.items()):
            code = process.poll()
            if code is None and left > 0:
                continue
            if code is None:
                process.kill()
                process.wait()
                code = 'out of time'
            del running[name]
            if code == 0:
                took.append(time.time() - started)
                results[name] = record.load(arguments.work / 'results' / f'{name}.json')
                ended(results)
            else:
                tail = (arguments.work / f'{name}.log').read_text().replace('\r', '\n').splitlines()[-12:]
                print(f'== {name}: {code}', *tail, sep='\n', flush=True)
            _show(name, arguments.work / 'runs' / name / 'metrics.jsonl')
        if left <= 0:
            break
        time.sleep(0.2)
    missing = [name for name in jobs if name not in results]
    print('left:', ' '.join(missing) if missing else 'nothing', flush=True)
    return results


def _show(name: str, metrics: pathlib.Path) -> None:
    """Some accuracies of a run, also of one that was killed."""
    for line in map(json.loads, metrics.read_text().splitlines() if metrics.exists() else ()):
        shown = [key for key in ('knn_accuracy', 'test_accuracy') if line.get(key) is not None]
        if shown and (line['phase'] == 'pretrain' or line['epoch'] % 5 == 0 or line['epoch'] == 1):
            print(name, line['phase'], line['stage'], line['epoch'], *(round(line[key], 4) for key in shown))


def send_home(results: Results, part: str, arguments: argparse.Namespace) -> None:
    """OUT/PART.json with all results, and the probabilities of as many as fit in one file."""
    record.save(arguments.out / f'{part}.json', results, None)
    files, size = {}, 0
    for name in results:
        path = arguments.work / 'results' / f'{name}_probabilities.npy'
        size += path.stat().st_size if path.exists() else 0
        if path.exists() and size < _MOST:
            files[name] = np.load(path)
    if files:
        np.savez_compressed(arguments.out / f'{part}_probabilities.npz', **files)
