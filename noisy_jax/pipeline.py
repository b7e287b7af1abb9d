"""One run: data, labels, the phases in order (from the first unfinished one), the list of wrong labels, the summary."""

import importlib.metadata
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import automatic, data, label_issues, losses, models, phases, selection, splits
from noisy_jax import config as config_lib
from noisy_jax.data import augment, noise
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.label_issues import LabelIssues
from noisy_jax.report import tables
from noisy_jax.training import classifier, compiling, optim, probe, representation
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.evaluate import Evaluator
from noisy_jax.training.loop import Journal, Session
from noisy_jax.training.mesh import to_host
from noisy_jax.training.method import create_network
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.signals import StopSignal
from noisy_jax.training.state import Variables
from noisy_jax.training.steps import normaliser
from noisy_jax.workdir import WorkDir

CHOICES = {
    'data.name': data.LOADERS,
    'noise.kind': noise.KINDS,
    'loss': losses.CRITERIA,
    '*.loss': losses.CRITERIA,  # of a method
    'model.encoder': tuple(models.ENCODERS),
    'model.stem': models.STEMS,
    'model.classifier': tuple(models.CLASSIFIERS),
    'model.projection': tuple(models.PROJECTIONS),
    'model.dtype': ('float32', 'bfloat16'),
    '*.*augment': tuple(augment.POLICIES),
    '*optimizer.name': optim.OPTIMIZERS,
    '*optimizer.schedule': optim.SCHEDULES,
    '*.own_view_weight': ('one', 'sample'),
    'report.sort': ('index', 'suspicion'),
    'early_stop': ('none', 'stable_predictions'),
    **dict.fromkeys(('base.method', 'classify.method', 'finetune.method'), classifier.METHODS),
    **dict.fromkeys(('pretrain.method', 'contrast.method'), representation.METHODS),
}


def run(
    config: ConfigDict, workdir: str | os.PathLike, datasets: tuple[Dataset, Dataset | None] | None = None
) -> dict[str, Any]:
    """Runs `config` in `workdir`, or goes on where an earlier run of the same config stopped.

    Args:
      config: as a file of configs/ gives it.
      workdir: gets everything the run writes.
      datasets: training and test set, instead of those that config.data names.

    Returns:
      The summary, as in summary.json.

    Raises:
      InputError: settings, data or a work directory that cannot be used; nothing of an earlier run is lost.
      Stopped: a stop signal came; the same call goes on.
    """
    config = _resolved(config, workdir, datasets)
    compiling.keep_compiled(config.compile_cache)
    options = compiling.compiler_options(config.xla_options)
    mesh = mesh_lib.make_mesh(config.devices)
    images = splits.load(config, datasets)
    _check_batches(config, len(images.train), mesh)
    method = _method(config, images, mesh, options)
    folder = WorkDir(workdir, writes=mesh_lib.is_main())
    folder.claim(config.to_dict(), may_differ=config_lib.MACHINE)
    _keep_given(folder, images.judged)
    folder.save_json('data', images.description)
    mesh_lib.wait_for_all('workdir')
    if mesh_lib.in_any_process(not folder.is_claimed):
        raise InputError(f'--workdir: {folder.path} is not the same folder for all processes; take one that all share')

    metrics = MetricWriter(folder.metrics)
    summary = _header(config, mesh) | {'noise': images.noise, 'phases': []}
    train, variables, trained = images.train, None, 0
    encoders: dict[str, Variables] = {}  # by phase
    last_classifier: dict[str, np.ndarray] = {}
    with StopSignal() as stop:
        session = Session(
            mesh,
            config.seed,
            metrics,
            stop,
            checkpoint_every=config.checkpoint_every,
            resident_bytes=config.resident_bytes,
            shard_state=config.shard_state,
            compiler_options=options,
        )
        for phase, name in _schedule(config):
            without_labels = phase == 'pretrain' and config.pretrain.method in config_lib.LABEL_FREE
            inputs = phases.Inputs(variables, images.pool if without_labels else train)
            outcome, record, fresh = _run_phase(phase, name, method, inputs, session, folder)
            trained += fresh
            summary['phases'].append({'name': name, **record})
            if fresh:
                folder.save_json('summary', summary)
            if 'probabilities' in outcome.arrays:
                last_classifier = outcome.arrays
            if phase == 'base':  # only to compare: the other phases do not see it
                continue
            variables = encoders[phase] = outcome.variables
            if phase in ('classify', 'finetune'):
                train = train.replace(label=selection.pseudo_labels(last_classifier['probabilities']), weight=None)
            if phase == 'select':
                train = train.replace(weight=outcome.arrays['weight'], label=outcome.arrays['label'])
                summary['selection'] = _judge_selection(train)
    metrics.close()
    if last_classifier:
        issues = _list_label_issues(config, folder, images, last_classifier, method, encoders)
        summary['label_issues'] = issues.summary(images.judged.true_label) | {'cross_fit': config.report.cross_fit}
    summary['complete'] = True
    folder.save_json('summary', summary)
    if mesh_lib.is_main():
        if not trained:
            print(f'{folder.path}: this run is complete, nothing left to train', file=sys.stderr)
        print(tables.render(summary))
    return summary


def _resolved(
    config: ConfigDict, workdir: str | os.PathLike, datasets: tuple[Dataset, Dataset | None] | None
) -> ConfigDict:
    """The config with what it leaves to the data chosen and said; checked before the data is looked at, and after."""
    config_lib.validate(automatic.placeholders(config), CHOICES)
    begun = (pathlib.Path(workdir) / 'config.json').exists()
    earlier = WorkDir.of_run(workdir).load_json('config') if begun else None
    config, table = automatic.choose(config, earlier, datasets)
    if table and mesh_lib.is_main():
        print(table, file=sys.stderr, flush=True)
    config_lib.validate(config, CHOICES)
    return config


def _check_batches(config: ConfigDict, images: int, mesh: jax.sharding.Mesh) -> None:
    """All batch sizes before anything is trained: the last phase's would be found hours later."""
    blocks, splits = (max(config.model[f'batch_norm_{name}'], 1) for name in ('blocks', 'splits'))
    for phase in config.phases:
        field, size = f'config.{phase}.batch_size', config[phase].batch_size
        mesh_lib.check_batch_size(field, size, images, mesh)
        way = config[phase].get('method')
        if way in representation.QUEUED and config.moco.queue < size:
            raise InputError(f'config.moco.queue: {config.moco.queue} is smaller than a batch; at least {size}')
        rows = 2 * size if way in representation.TWO_VIEWS else size
        if rows % (blocks * splits) and phase != 'select':  # which rests the encoder
            raise InputError(
                f'{field}: its {rows} rows do not divide into {blocks} x {splits} parts (model.batch_norm_blocks x '
                'model.batch_norm_splits); take a multiple'
            )


def _keep_given(folder: WorkDir, train: Dataset) -> None:
    """Saves the labels that training starts from, once; they must not change under a run."""
    for name, labels in (('labels/given', train.label), ('labels/true', train.true_label)):
        if labels is None:
            continue
        if not folder.has_array(name):
            folder.save_array(name, labels)
        elif not np.array_equal(folder.load_array(name), labels):
            raise InputError(
                f'{folder.path}/{name}.npy: the data has changed since this run began; take another --workdir'
            )


def _method(
    config: ConfigDict, images: splits.Splits, mesh: jax.sharding.Mesh, options: compiling.Options
) -> phases.Method:
    train = images.train
    network = create_network(config, train.num_classes, train.image.shape[1])
    normalise = normaliser(config.data.mean, config.data.std)
    return phases.Method(
        config=config,
        network=network,
        normalise=normalise,
        evaluator=Evaluator(network, normalise, mesh, config.eval_batch_size, options),
        fresh=_initialiser(network, train.image.shape[1:], config.seed),
        test=images.test,
        valid=images.valid,
    )


def _initialiser(network: Any, shape: tuple[int, ...], seed: int) -> Callable[[str], dict[str, Any]]:
    """fresh(name): new variables, the same in every run of this seed."""
    init = jax.jit(lambda key: network.init(key, jax.numpy.zeros((1, *shape)), train=False))

    def fresh(name: str) -> dict[str, Any]:
        names = (*config_lib.PHASES, 'encoder', *(f'{phase}_second' for phase in config_lib.PHASES))
        variables = to_host(init(jax.random.fold_in(jax.random.key(seed), names.index(name))))
        return {'batch_stats': {}, **variables}

    return fresh


def _schedule(config: ConfigDict) -> list[tuple[str, str]]:
    """The phases in order, each with its name: from the second round on 'select_2', 'contrast_2', 'finetune_2'."""
    again = [phase for phase in config.phases if phase in config_lib.REPEATED]
    more = [(phase, f'{phase}_{number}') for number in range(2, config.rounds + 1) for phase in again]
    return [(phase, phase) for phase in config.phases] + more


def _run_phase(
    phase: str, name: str, method: phases.Method, inputs: phases.Inputs, session: Session, folder: WorkDir
) -> tuple[phases.Outcome, dict[str, Any], bool]:
    """The phase's outcome and record, and whether it was trained now; a finished phase is read back."""
    checkpoints = Checkpoints(folder.checkpoints(name))
    try:
        meta = checkpoints.meta
        if meta.get('complete'):
            arrays = {array: folder.load_array(f'labels/{name}_{array}') for array in meta['arrays']}
            return phases.Outcome(checkpoints.restore_outcome(), arrays), meta['summary'], False
        journal = Journal(phase, session, checkpoints, name)
        outcome = phases.PHASES[phase](method, inputs, journal)
        for kind, array in outcome.arrays.items():
            folder.save_array(f'labels/{name}_{kind}', array)
        outcome = phases.Outcome(to_host(outcome.variables), outcome.arrays)
        meta = {**journal.meta(None), 'complete': True, 'arrays': list(outcome.arrays), 'summary': journal.summary()}
        checkpoints.save_outcome(journal.next_step, outcome.variables, meta)
        return outcome, meta['summary'], True
    finally:
        checkpoints.close()


def _judge_selection(train: Dataset) -> dict[str, Any]:
    """How well the weights tell right pseudo-labels from wrong ones."""
    if train.true_label is None:
        return {'selected': int(np.sum(train.weight > 0.5))}
    return selection.quality(train.weight, train.label == train.true_label)


def _list_label_issues(
    config: ConfigDict,
    folder: WorkDir,
    images: splits.Splits,
    classified: dict[str, np.ndarray],
    method: phases.Method,
    encoders: dict[str, Variables],
) -> LabelIssues:
    """Writes labels.csv and pred_probs.npy: the trust in each given label."""
    judged, settings = images.judged, config.report
    if settings.cross_fit:
        probabilities = _cross_fitted(config, folder, judged, method, encoders['pretrain'])
    else:
        probabilities = images.in_order(classified['probabilities'], classified.get('valid_probabilities'))
    issues = label_issues.find(probabilities, judged.label, threshold=settings.threshold, seed=config.seed)
    folder.save_array('pred_probs', issues.probabilities)
    folder.save_labels(
        order=issues.by_suspicion if settings.sort == 'suspicion' else np.arange(len(judged)),
        ids=judged.id,
        class_names=judged.class_names,
        given=judged.label,
        suggested=issues.suggested,
        pred_prob=issues.pred_prob,
        clean_probability=issues.clean_probability,
        is_suspect=issues.is_suspect,
        true=judged.true_label,
    )
    return issues


def _cross_fitted(
    config: ConfigDict, folder: WorkDir, judged: Dataset, method: phases.Method, encoder: Variables
) -> np.ndarray:
    """Probabilities [N, C] by heads that did not see the label they judge, on embeddings that saw none; kept."""
    name = f'labels/cross_fit_{config.report.cross_fit}'
    if not folder.has_array(name):
        embeddings = method.evaluator.embed(encoder, judged)
        folds = config.report.cross_fit
        probabilities = probe.cross_fit(embeddings, judged.label, judged.num_classes, folds=folds, seed=config.seed)
        folder.save_array(name, probabilities)
        mesh_lib.wait_for_all(name)
    return folder.load_array(name)


def _header(config: ConfigDict, mesh: jax.sharding.Mesh) -> dict[str, Any]:
    device = mesh.devices.flat[0]
    cores = f', {os.cpu_count()} cores' if device.platform == 'cpu' else ''
    packages = ('noisy_jax', 'jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy', 'scikit-learn')
    return {
        'config': config.name,
        'seed': config.seed,
        'device': f'{mesh.size} x {device.device_kind}{cores}',
        'processes': jax.process_count(),
        'versions': {'python': sys.version.split()[0], **{name: _version(name) for name in packages}},
        'complete': False,
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None  # run from a checkout without installing
