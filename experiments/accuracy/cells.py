"""One cell of a table: a run of the pipeline that takes the phases that another cell has trained already."""

import fnmatch
import hashlib
import json
import pathlib
import shutil
from typing import Any

from ml_collections import ConfigDict

from experiments import record
from noisy_jax import config as config_lib
from noisy_jax import phases as phases_lib
from noisy_jax import pipeline, settings
from noisy_jax.schedule import PHASES
from noisy_jax.workdir import WorkDir

# Settings that change no phase's outcome, or that only say where things are. Optimisers are told apart by the stages.
_OUTSIDE = (*settings.MACHINE, 'name', 'phases', 'data.path', 'shard_state', 'eval_batch_size', 'rounds')
_OUTSIDE += ('*optimizer.*',)
_OF_LABELS = ('noise.*', 'loss', 'loss_settings.*')


def config_of(name: str, argument: str, changes: dict[str, Any]) -> ConfigDict:
    """configs/NAME.py of an argument, with changes by dotted key."""
    config = config_lib.load(f'{record.ROOT / "configs" / name}.py:{argument}')
    config.update_from_flattened_dict(changes)
    return config


def digest(config: ConfigDict, phase: str, labels: str) -> str:
    """A name for all that determines the outcome of `phase`: equal where two runs would train the same.

    Args:
      config: of the run.
      phase: one of its phases.
      labels: names the labels before noise is added; label-free pre-training does not depend on them.
    """
    busy = [name for name in config.phases[: config.phases.index(phase)] if name != 'base']  # no later phase sees base
    methods = {name: phases_lib.method_of(config, name) for name in (*busy, phase)}
    outside = [*_OUTSIDE, *(f'{name}.*' for name in PHASES if name not in methods)]
    if not any(method.sees_labels for method in methods.values()):
        outside, labels = [*outside, *_OF_LABELS], ''
    values = {key: value for key, value in config_lib.flatten(config) if not _is_any(key, outside)}
    stages = [stage for name, method in methods.items() for stage in method.stages(config, name) if stage.epochs]
    values |= {'labels': labels, 'optimizers': [stage.optimizer.to_dict() for stage in stages]}
    text = json.dumps(values, sort_keys=True, default=list)
    return f'{phase}_{hashlib.sha256(text.encode()).hexdigest()[:16]}'


def _is_any(key: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    store: pathlib.Path,
    labels: str = '',
    shared: tuple[str, ...] = ('pretrain', 'classify'),
) -> dict[str, Any]:
    """`pipeline.run`; phases of `shared` are taken from `store` where it has them, else kept there.

    Returns:
      The summary, as in summary.json.
    """
    kept = {phase: store / digest(config, phase, labels) for phase in config.phases if phase in shared}
    config.report.page = False  # nobody looks at each of so many runs
    WorkDir(workdir).claim(config.to_dict(), may_differ=settings.MACHINE)  # a folder of other files would be refused
    for phase, source in kept.items():
        if source.exists() and not (workdir / 'checkpoints' / phase).exists():
            shutil.copytree(source / 'labels', workdir / 'labels', dirs_exist_ok=True)
            shutil.copytree(source / 'checkpoint', workdir / 'checkpoints' / phase)
    summary = pipeline.run(config, workdir)
    for phase, target in kept.items():
        if not target.exists():
            partial = target.with_name(target.name + '.partial')
            shutil.rmtree(partial, ignore_errors=True)
            (partial / 'labels').mkdir(parents=True)
            for array in (workdir / 'labels').glob(f'{phase}_[!0-9]*.npy'):  # not those of a later round
                shutil.copy(array, partial / 'labels')
            shutil.copytree(workdir / 'checkpoints' / phase, partial / 'checkpoint')
            partial.rename(target)
    return summary


def phases(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The records of a summary's phases by name."""
    return {phase['name']: phase for phase in summary['phases']}
