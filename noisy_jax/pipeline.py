"""One run: data, labels, the phases in order (from the first unfinished one), the label issues, the summary."""

import contextlib
import dataclasses
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import sklearn
from jax.sharding import Mesh
from ml_collections import ConfigDict

from noisy_jax import claim, optional, phases, results, schedule, settings
from noisy_jax.data import encoded
from noisy_jax.data import splits as splits_lib
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.splits import Splits
from noisy_jax.errors import InputError, warn_once
from noisy_jax.labels.issues import LabelIssues
from noisy_jax.models.network import Network
from noisy_jax.report import tables
from noisy_jax.settings import automatic
from noisy_jax.training import compiling, memory, outcome, tensorboard
from noisy_jax.training import mesh as mesh_lib
from noisy_jax.training import metrics as metrics_lib
from noisy_jax.training.checkpoints import Checkpoints, Damaged
from noisy_jax.training.context import Belief, Context
from noisy_jax.training.evaluate import views_of
from noisy_jax.training.journal import Journal
from noisy_jax.training.progress import Progress
from noisy_jax.training.session import Session
from noisy_jax.training.signals import StopSignal
from noisy_jax.workdir import WorkDir

Given = tuple[Dataset, Dataset | None]  # training and test set

_SHOWN = 12  # images of the pre-training whose views TensorBoard shows


@memory.needed()
def run(
    config: ConfigDict,
    workdir: str | os.PathLike,
    datasets: Given | None = None,
    quiet: bool = False,
    network: Network | None = None,
) -> dict[str, Any]:
    """Runs `config` in `workdir`, or resumes where an earlier run of the same config stopped.

    Args:
      config: as a file of configs/ gives it; config.json has it with the home folder for `~` in its paths.
      workdir: gets everything the run writes; a new or empty folder outside of the data, or that of the run.
      datasets: training and test set, instead of those that config.data names.
      quiet: prints nothing, neither progress nor the table at the end; warnings come all the same.
      network: instead of that of config.model; whoever resumes the run or reads the classifier passes it again.

    Returns:
      The summary, as in summary.json.

    Raises:
      InputError: settings, data, a work directory or memory that do not serve, or another run that goes on there;
        nothing of an earlier run is lost.
      Stopped: a stop signal came; the same call resumes.
    """
    settings.validate(config, unchecked=automatic.open_settings(config))
    config = claim.at_home(config)
    mesh = mesh_lib.make_mesh(config.devices)  # first of all that needs a device
    mesh_lib.check_code()
    mesh_lib.check_same(settings.of_all_hosts(config), 'config.')
    mesh_lib.check_same({'jax_enable_x64': jax.config.jax_enable_x64, 'num_processes': jax.process_count()}, '')
    if datasets is None:
        claim.check_cache(config)
    folder = WorkDir(workdir, writes=mesh_lib.is_main())
    compiling.keep_compiled(config.compile_cache)  # before the first program, which `in_main` may be
    # A notebook may have asked scikit-learn for data frames, which are indexed in another way, and NumPy to raise.
    with (
        sklearn.config_context(transform_output='default'),
        np.errstate(all='warn', under='ignore'),
        contextlib.ExitStack() as until_the_end,
    ):
        held = claim.held(folder, config, reads_data=datasets is None)
        mesh_lib.in_main(lambda: until_the_end.enter_context(held))
        return _run(config, folder, mesh, datasets, quiet, network)


def _run(
    config: ConfigDict, folder: WorkDir, mesh: Mesh, datasets: Given | None, quiet: bool, network: Network | None
) -> dict[str, Any]:
    """The run, in a folder that is its own."""
    with encoded.progress(quiet=quiet):
        config, chosen = _resolved(config, folder, datasets)
        options = compiling.compiler_options(config.xla_options)
        splits = splits_lib.load(config, datasets)
    _check_phases(config, splits, mesh)
    context = Context.create(config, splits, folder, mesh, options, network)
    claim.claim(folder, context)
    mesh_lib.in_main(lambda: metrics_lib.check(folder))
    # Here, where nothing is refused any more: an error takes one line.
    for note in filter(None, (chosen, *splits.notes)) if mesh_lib.is_main() and not quiet else ():
        print(note, file=sys.stderr, flush=True)
    board = _board(folder, context)
    summary = _header(config, mesh) | {'noise': splits.noise, 'phases': []}
    with _session(context, metrics_lib.MetricWriter(folder.metrics, board), options, quiet) as session:
        if config.report.cross_fit and config.report.page and config.phases:
            summary |= _first_list(folder, context, summary, session)
        beliefs, trained, issues = _fold(context, session, folder, summary)
    if issues is None:
        issues, found = _look(folder, context, beliefs)
        summary |= found
    if board:
        if issues:
            results.show_label_issues(board, splits.labelled, issues)
        board.close()
    summary['complete'] = True
    folder.save_json('summary', summary)
    if issues and config.report.page:
        results.write_report(folder, context, beliefs, issues)
    elif mesh_lib.is_main() and (folder.path / 'report.html').exists():
        warn_once(f'{folder.path}/report.html was written earlier, and may show another list (report.page=False)')
    if mesh_lib.is_main() and not quiet:  # last: the reader may have gone (`| head`)
        if config.phases and not trained:
            print(f'{folder.path}: this run is complete, nothing left to train', file=sys.stderr)
        print(tables.render(summary))
        if issues and config.report.page:
            print(f'\n{folder.path}/report.html shows the label issues and lets you decide')
    return summary


def _first_list(folder: WorkDir, context: Context, summary: dict[str, Any], session: Session) -> dict[str, Any]:
    """List and report before anything is trained, by features that need no training, unless there is a list already.

    Returns:
      What summary.json says of the list and of the data, until training ends.
    """
    earlier = folder.issues
    if not mesh_lib.in_any_process('label_issues' not in earlier):  # all decide before one of them writes
        return earlier
    issues, found = _look(folder, context, {})
    found['label_issues']['first'] = True
    folder.save_json('summary', summary | found)
    results.write_report(folder, context, {}, issues)
    session.progress.note(
        'first list', f'{folder.path}/labels.csv and report.html; training goes on and may improve it'
    )
    return found


def _look(folder: WorkDir, context: Context, beliefs: dict[str, Belief]) -> tuple[LabelIssues | None, dict[str, Any]]:
    """Writes what is wrong with labels and data; returns the label issues, and what summary.json says of both."""
    known = results.features(context, beliefs)
    issues = results.find_label_issues(folder, context, beliefs, known)
    found: dict[str, Any] = {'data_issues': results.find_data_issues(folder, context, issues, known)}
    if issues:
        found['label_issues'] = issues.numbers | {'cross_fit': context.config.report.cross_fit}
    return issues, found


@contextlib.contextmanager
def _session(
    context: Context, metrics: metrics_lib.MetricWriter, options: compiling.Options, quiet: bool
) -> Iterator[Session]:
    """How the phases are executed; within the block a stop signal is noted instead of ending the process."""
    config, splits = context.config, context.splits
    plan = phases.work_plan(config, images=len(splits.train), pool=len(splits.pool))
    with StopSignal() as stop, Progress(plan, quiet=quiet, at_most=config.early_stop != 'none') as progress:
        session = Session(
            context.evaluator.mesh,
            config.seed,
            metrics,
            stop,
            checkpoint_every=config.checkpoint_every,
            resident_bytes=config.resident_bytes,
            shard_state=config.shard_state,
            compiler_options=options,
            progress=progress,
        )
        try:
            yield session
        except BaseException:
            metrics.close()
            if metrics.board:
                metrics.board.close()
            raise
        metrics.close()


def _fold(
    context: Context, session: Session, folder: WorkDir, summary: dict[str, Any]
) -> tuple[dict[str, Belief], bool, LabelIssues | None]:
    """Folds the phases over the belief; `summary` gets their records.

    Returns:
      The beliefs that label issues need, by the name of their phase: those that judges judge by, and the last
      classifier; whether any phase was trained now; and the label issues where later phases do not change them.
    """
    entries, issues = schedule.entries(context.config), None
    judged_by = schedule.judged_by(context.config.phases) if context.config.report.cross_fit else ()
    needed = (*judged_by, schedule.last_classifier(entry.name for entry in entries))
    beliefs, belief, trained = {}, Belief.of(context.splits.train, context.pretrained), False
    for entry in entries:
        after, record, is_new = _run_phase(entry, context, belief, session, folder)
        beliefs |= {entry.name: after} if entry.name in needed else {}
        belief, trained = belief if entry.is_comparison else after, trained or is_new
        session.progress.finish(entry.name, record, trained=is_new)
        summary['phases'].append({'name': entry.name, **record})
        if entry.phase == 'select':
            summary['selection'] = results.selection_quality(context.splits.train, belief)
            if session.metrics.board:
                results.show_selection(session.metrics.board, entry.name, belief)
        if is_new:
            folder.save_json('summary', summary)
        if judged_by and entry.name == judged_by[-1]:
            issues, found = _look(folder, context, beliefs)
            summary |= found
            if context.config.report.page and entry is not entries[-1]:
                folder.save_json('summary', summary)
                results.write_report(folder, context, beliefs, issues)
                session.progress.note('list', f'{folder.path}/labels.csv and report.html are final; training goes on')
    return beliefs, trained, issues


def _resolved(config: ConfigDict, folder: WorkDir, datasets: Given | None) -> tuple[ConfigDict, str]:
    """The config with what it leaves to the data chosen, and validated again; and a table of what was chosen, or ''."""
    earlier = settings.of_run(folder.load_config(), folder.path) if folder.is_claimed else None
    config, table = automatic.choose(config, earlier, datasets)
    settings.validate(config)
    return config, table


def _check_phases(config: ConfigDict, splits: Splits, mesh: Mesh) -> None:
    """Checks epochs and batch sizes of all phases before training: an error in the last one would come hours later."""
    groups = max(config.model.batch_norm_blocks, 1) * max(config.model.batch_norm_splits, 1)
    for phase in config.phases:
        field, size, method = f'config.{phase}.batch_size', config[phase].batch_size, phases.method_of(config, phase)
        mesh_lib.check_batch_size(field, size, phases.fewest_images(config, phase, splits), mesh)
        method.check(config, phase)
        if schedule.title(phase) and not any(stage.epochs for stage in method.stages(config, phase)):
            raise InputError(f'config.{phase}.epochs: 0 trains no classifier; at least 1 is needed')
        rows = size * method.rows_per_image
        if rows % groups:
            raise InputError(
                f'{field}: its {rows} rows do not divide into {groups} groups (model.batch_norm_blocks x '
                'model.batch_norm_splits); use a multiple'
            )


def _board(folder: WorkDir, context: Context) -> tensorboard.Board | None:
    """TensorBoard, if wanted and installed and the run is not finished; shows some views of the pre-training."""
    config, pool = context.config, context.splits.pool
    if not config.report.tensorboard or not mesh_lib.is_main() or folder.is_complete:
        return None
    if not optional.is_usable('tensorboardX.writer', 'nothing is written for TensorBoard'):
        return None
    board = tensorboard.Board(folder.path / 'tensorboard')
    if 'pretrain' in config.phases:
        spread = np.linspace(0, len(pool) - 1, _SHOWN).astype(int)  # loaders may order by class
        shown = pool.image[spread]
        board.views(shown, views_of(context.policy(config.pretrain.augment), config.seed, shown))
    return board


def _run_phase(
    entry: schedule.Entry, context: Context, belief: Belief, session: Session, folder: WorkDir
) -> tuple[Belief, dict[str, Any], bool]:
    """The belief after the phase, its record, and whether it was trained now rather than restored."""
    checkpoints = Checkpoints(folder.checkpoints(entry.name), folder.check_held)
    try:
        while True:
            try:
                after, is_new = _from_newest(checkpoints, entry, context, belief, session, folder)
                return _with_classifier(entry, after), checkpoints.meta['summary'], is_new
            except Damaged as fault:
                if not checkpoints.go_back(fault):
                    raise
    finally:
        checkpoints.close()


def _from_newest(
    checkpoints: Checkpoints,
    entry: schedule.Entry,
    context: Context,
    belief: Belief,
    session: Session,
    folder: WorkDir,
) -> tuple[Belief, bool]:
    """The belief after the phase, from its newest checkpoint, and whether it was trained now rather than restored."""
    if checkpoints.meta.get('complete'):
        return outcome.restore(folder, entry.name, checkpoints, context.splits, belief), False
    journal = Journal(entry.phase, session, checkpoints, entry.name)
    after = phases.PHASES[entry.phase](context, belief, journal)
    return outcome.save(folder, journal, belief, after), True


def _with_classifier(entry: schedule.Entry, belief: Belief) -> Belief:
    return dataclasses.replace(belief, classifier=belief.variables) if schedule.title(entry.name) else belief


def _header(config: ConfigDict, mesh: Mesh) -> dict[str, Any]:
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
