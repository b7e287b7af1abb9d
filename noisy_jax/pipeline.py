"""One run: data, labels, the phases in order (from the first unfinished one), the list of wrong labels, the summary."""

import functools
import importlib.metadata
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import automatic, judgement, phases, selection, settings, splits
from noisy_jax.data import augment, lazy
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.report import tables
from noisy_jax.schedule import LABEL_FREE, PHASES, REPEATED
from noisy_jax.training import compiling, representation, tensorboard, work
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.evaluate import Evaluator
from noisy_jax.training.loop import Journal, Session
from noisy_jax.training.mesh import to_host
from noisy_jax.training.method import create_network, views
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.progress import Progress
from noisy_jax.training.signals import StopSignal
from noisy_jax.training.state import Variables
from noisy_jax.training.steps import normaliser
from noisy_jax.workdir import WorkDir

_SHOWN = 12  # images of the pre-training whose views TensorBoard shows


def run(
    config: ConfigDict,
    workdir: str | os.PathLike,
    datasets: tuple[Dataset, Dataset | None] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Runs `config` in `workdir`, or goes on where an earlier run of the same config stopped.

    Args:
      config: as a file of configs/ gives it.
      workdir: gets everything the run writes.
      datasets: training and test set, instead of those that config.data names.
      quiet: prints nothing, neither progress nor the table at the end; warnings come all the same.

    Returns:
      The summary, as in summary.json.

    Raises:
      InputError: settings, data or a work directory that cannot be used; nothing of an earlier run is lost.
      Stopped: a stop signal came; the same call goes on.
    """
    lazy.quiet = quiet
    config = _resolved(config, workdir, datasets, quiet)
    compiling.keep_compiled(config.compile_cache)
    options = compiling.compiler_options(config.xla_options)
    mesh = mesh_lib.make_mesh(config.devices)
    images = splits.load(config, datasets)
    _check_batches(config, len(images.train), mesh)
    method = _method(config, images, mesh, options)
    folder = WorkDir(workdir, writes=mesh_lib.is_main())
    folder.claim(config.to_dict(), may_differ=settings.MACHINE)
    _keep_given(folder, images.judged)
    folder.save_json('data', images.description)
    mesh_lib.wait_for_all('workdir')
    if mesh_lib.in_any_process(not folder.is_claimed):
        raise InputError(f'--workdir: {folder.path} is not the same folder for all processes; take one that all share')

    board = _board(folder, config, images, method)
    metrics = MetricWriter(folder.metrics, board)
    summary = _header(config, mesh) | {'noise': images.noise, 'phases': []}
    train, variables, trained = images.train, None, 0
    pretrained: Variables | None = None
    last_classifier: phases.Outcome | None = None
    schedule = _schedule(config)
    plan = work.plan(config, schedule, len(images.train), len(images.pool))
    may_stop = config.early_stop != 'none'
    with StopSignal() as stop, Progress(plan, quiet=quiet, at_most=may_stop) as progress:
        session = Session(
            mesh,
            config.seed,
            metrics,
            stop,
            checkpoint_every=config.checkpoint_every,
            resident_bytes=config.resident_bytes,
            shard_state=config.shard_state,
            compiler_options=options,
            progress=progress,
        )
        for phase, name in schedule:
            without_labels = phase == 'pretrain' and config.pretrain.method in LABEL_FREE
            inputs = phases.Inputs(variables, images.pool if without_labels else train)
            outcome, record, fresh = _run_phase(phase, name, method, inputs, session, folder)
            trained += fresh
            progress.finish(name, record, trained=fresh)
            summary['phases'].append({'name': name, **record})
            if fresh:
                folder.save_json('summary', summary)
            if 'probabilities' in outcome.arrays:
                last_classifier = outcome
            if phase == 'base':  # only to compare: the other phases do not see it
                continue
            variables = outcome.variables
            if phase == 'pretrain':
                pretrained = variables
            if phase in ('classify', 'finetune'):
                train = train.replace(label=selection.pseudo_labels(outcome.arrays['probabilities']), weight=None)
            if phase == 'select':
                train = train.replace(weight=outcome.arrays['weight'], label=outcome.arrays['label'])
                summary['selection'] = _judge_selection(train)
                if board:
                    board.histogram(f'{name}/losses', outcome.arrays['selection_losses'][-1])
                    board.histogram(f'{name}/clean_probability', outcome.arrays['weight'])
    metrics.close()
    if last_classifier:
        issues = judgement.list_label_issues(folder, images, method, last_classifier, pretrained)
        summary['label_issues'] = issues.summary(images.judged.true_label) | {'cross_fit': config.report.cross_fit}
        if board:
            judgement.show(board, issues, images.judged)
    if board:
        board.close()
    summary['complete'] = True
    folder.save_json('summary', summary)
    if mesh_lib.is_main() and not quiet:
        if not trained:
            print(f'{folder.path}: this run is complete, nothing left to train', file=sys.stderr)
        print(tables.render(summary))
    if last_classifier and config.report.page:
        judgement.write_report(folder, images.judged, method, last_classifier, issues)
        if mesh_lib.is_main() and not quiet:
            print(f'\n{folder.path}/report.html shows the list and lets you decide')
    return summary


def _resolved(
    config: ConfigDict, workdir: str | os.PathLike, datasets: tuple[Dataset, Dataset | None] | None, quiet: bool
) -> ConfigDict:
    """The config with what it leaves to the data chosen and said; checked before the data is looked at, and after."""
    settings.validate(config, unchecked=automatic.open_settings(config))
    begun = (pathlib.Path(workdir) / 'config.json').exists()
    earlier = WorkDir.of_run(workdir).load_json('config') if begun else None
    if earlier is not None:
        settings.check_version(earlier, workdir)
    config, table = automatic.choose(config, earlier, datasets)
    if table and mesh_lib.is_main() and not quiet:
        print(table, file=sys.stderr, flush=True)
    settings.validate(config)
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
        fresh=_initialiser(network, train.image.shape[1:], config.seed, options),
        test=images.test,
        valid=images.valid,
    )


def _initialiser(
    network: Any, shape: tuple[int, ...], seed: int, options: compiling.Options
) -> Callable[[str], dict[str, Any]]:
    """fresh(name): new variables, the same in every run of this seed."""
    init = jax.jit(lambda key: network.init(key, jax.numpy.zeros((1, *shape)), train=False), compiler_options=options)

    def fresh(name: str) -> dict[str, Any]:
        names = (*PHASES, 'encoder', *(f'{phase}_second' for phase in PHASES))
        variables = to_host(init(jax.random.fold_in(jax.random.key(seed), names.index(name))))
        return {'batch_stats': {}, **variables}

    return fresh


def _board(
    folder: WorkDir, config: ConfigDict, images: splits.Splits, method: phases.Method
) -> tensorboard.Board | None:
    """For TensorBoard, where it is wanted and installed and the run is not over; with views that pre-training sees."""
    wanted = config.report.tensorboard and tensorboard.is_installed()
    if not wanted or not mesh_lib.is_main() or folder.is_complete:
        return None
    board = tensorboard.Board(folder.path / 'tensorboard')
    if 'pretrain' in config.phases:
        spread = np.linspace(0, len(images.pool) - 1, _SHOWN).astype(int)  # loaders may order by class
        shown = images.pool.image[spread]
        policy = views(method, config.pretrain)
        two_views = jax.jit(functools.partial(augment.two_views, policy))
        board.views(shown, np.asarray(two_views(jax.random.key(config.seed), shown)))
    return board


def _schedule(config: ConfigDict) -> list[tuple[str, str]]:
    """The phases in order, each with its name: from the second round on 'select_2', 'contrast_2', 'finetune_2'."""
    again = [phase for phase in config.phases if phase in REPEATED]
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
