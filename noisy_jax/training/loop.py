"""fit(): the only epoch loop."""

import copy
import dataclasses
import time
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.compiling import Options
from noisy_jax.training.feed import Feed
from noisy_jax.training.mesh import check_batch_size, in_any_process, replicate, spread, to_host
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.progress import Progress
from noisy_jax.training.signals import Stopped, StopSignal
from noisy_jax.training.state import TrainState
from noisy_jax.training.steps import Step

Values = dict[str, float | None]
AfterEpoch = Callable[[TrainState, int], tuple[TrainState, Values]]

_IN_FLIGHT = 8  # steps that the host may be ahead of the devices: they never wait, and batches do not pile up
_AGREE_EVERY = 50  # steps between two times that several processes ask each other whether to stop


@dataclasses.dataclass(frozen=True)
class Session:
    """What all phases of a run share."""

    mesh: Mesh
    seed: int
    metrics: MetricWriter
    stop: StopSignal
    checkpoint_every: int = 10  # epochs
    resident_bytes: int = 2**31  # image arrays up to this size stay on the device
    shard_state: bool = False  # the optimiser's state and what a method remembers spread over the devices
    compiler_options: Options = dataclasses.field(default_factory=dict)
    progress: Progress = dataclasses.field(default_factory=Progress)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of training with one optimiser: `epochs` over a data set with `step`.

    `stop_when` looks at the metrics after an epoch and may end the stage early.
    """

    name: str
    step: Step
    epochs: int
    batch_size: int
    stop_when: Callable[[Values], bool] | None = None


class Journal:
    """Where one phase stands, kept through restarts: its checkpoints, and what it measured (`record`).

    `phase` names its settings, `name` the phase itself where it comes in several rounds.
    """

    def __init__(self, phase: str, session: Session, checkpoints: Checkpoints, name: str = '') -> None:
        self.phase, self.name, self.session, self.checkpoints = phase, name or phase, session, checkpoints
        meta = checkpoints.meta
        self.record: dict[str, Any] = meta.get('record', {'seconds': 0.0, 'images': 0, 'image_seconds': 0.0})
        self.stages_done: list[str] = meta.get('stages_done', [])
        self._saved_stage: str | None = meta.get('stage')
        self._offset = 0  # steps of the stages before this one
        self._start = time.monotonic() - self.record['seconds']
        position = meta['metrics_position'] if meta else session.metrics.start_of(self.name)
        session.metrics.rewind(position)

    def seed(self, stage: str) -> int:
        """A number for `stage` that is the same in every run of this seed: seeds its order and its keys."""
        return zlib.crc32(f'{self.session.seed}/{self.name}/{stage}'.encode())

    def is_past(self, stage: str) -> bool:
        """Whether the newest checkpoint belongs to a later stage."""
        return stage in self.stages_done and self._saved_stage != stage

    def restore(self, stage: str, state: TrainState) -> TrainState:
        """The saved state where the newest checkpoint is of this stage, else `state`."""
        return self.checkpoints.restore(state) if self._saved_stage == stage else state

    def save(self, stage: str, state: TrainState) -> None:
        self.checkpoints.save(self._offset + int(state.step), state, self.meta(stage))

    def leave(self, stage: str, steps: int) -> None:
        """The stage is over after `steps` steps."""
        self._offset += steps
        if stage not in self.stages_done:
            self.stages_done.append(stage)

    def end(self, stage: Stage, epochs: int) -> bool:
        """The stage ends after so many epochs, before its time; True."""
        self.record.setdefault('stopped_after_epoch', {})[stage.name] = epochs
        return True

    def epochs(self, stage: Stage) -> int:
        """How many epochs the stage has: fewer where it ended before its time."""
        return self.record.get('stopped_after_epoch', {}).get(stage.name, stage.epochs)

    def meta(self, stage: str | None) -> dict[str, Any]:
        self.record['seconds'] = time.monotonic() - self._start
        return {
            'stage': stage,
            'stages_done': list(self.stages_done),
            'record': copy.deepcopy(self.record),
            'metrics_position': self.session.metrics.position(),
        }

    def best(self, name: str, value: float | None) -> None:
        """Keeps the largest value of a metric in the record."""
        if value is not None:
            self.record[name] = max(value, self.record.get(name, value))

    def summary(self) -> dict[str, Any]:
        """The record as summary.json shows it; images/s of training alone, without compilation where it can be told."""
        values = dict(self.record)
        images, seconds = values.pop('images'), values.pop('image_seconds')
        return values | {'images_per_second': images / seconds if seconds else None}

    @property
    def next_step(self) -> int:
        return max(self._offset, self.checkpoints.step) + 1


def runner(step: Step, session: Session, state: TrainState) -> Callable:
    """Jits `step` with the gather of a resident batch before it; the state stays placed as `state` is.

    Returns run(state, resident, given, key) -> (state, metrics), of `Feed`'s arrays and `jax.random.key_data`.
    """
    placement = jax.tree.map(lambda array: array.sharding, state)

    def run(state: TrainState, resident: dict, given: dict, key: jax.Array) -> tuple[TrainState, dict]:
        # Tells a loss that sees the whole batch over which devices it is spread.
        with jax.sharding.use_abstract_mesh(session.mesh.abstract_mesh):
            return step(state, Feed.assemble(resident, given, state.step), jax.random.wrap_key_data(key))

    return jax.jit(run, donate_argnums=0, out_shardings=(placement, None), compiler_options=session.compiler_options)


def place(state: TrainState, session: Session) -> TrainState:
    """On the devices: copied, or with `shard_state` what only the update needs and what is remembered spread."""
    placed = replicate(state.replace(opt_state=(), extra={}), session.mesh)
    rest = (spread if session.shard_state else replicate)((state.opt_state, state.extra), session.mesh)
    return placed.replace(opt_state=rest[0], extra=rest[1])


def _stop_asked(session: Session, step: int) -> bool:
    """Whether to stop before this step; several processes agree on it, now and then."""
    if jax.process_count() == 1:
        return session.stop.requested
    return step % _AGREE_EVERY == 0 and in_any_process(session.stop.requested)


def fit(
    stage: Stage,
    state: TrainState,
    dataset: Dataset,
    journal: Journal,
    after_epoch: AfterEpoch | None = None,
) -> TrainState:
    """Trains `state` for `stage.epochs` epochs and returns it; resumes where the journal's checkpoint stands.

    The order of the samples is a function of (seed, phase, stage, epoch), randomness one of the step too, so that a
    resumed run ends with the same bits. `state.step` alone says where the stage stands. `after_epoch` may change the
    state (once an epoch) and adds values to the metrics.

    Raises:
      InputError: the batch does not fit the data or the devices; the loss is not finite.
      Stopped: a stop signal came; the state is saved.
    """
    if stage.epochs == 0:
        return state
    session, mesh = journal.session, journal.session.mesh
    check_batch_size(f'config.{journal.phase}.batch_size', stage.batch_size, len(dataset), mesh)
    steps_per_epoch = len(dataset) // stage.batch_size
    total = journal.epochs(stage) * steps_per_epoch
    if journal.is_past(stage.name):
        journal.leave(stage.name, total)
        return state

    state = journal.restore(stage.name, place(state, session))
    first = int(state.step)
    if first == total:
        journal.leave(stage.name, total)
        return state
    seed = journal.seed(stage.name)
    key = replicate(jax.random.key_data(jax.random.key(seed)), mesh)
    run = runner(stage.step, session, state)
    feed = Feed(dataset, mesh, stage.batch_size, session.resident_bytes)
    progress = session.progress
    progress.begin(journal.name, stage.name, stage.epochs, steps_per_epoch, stage.batch_size, first)
    for epoch in range(first // steps_per_epoch, stage.epochs):
        last = epoch + 1 == stage.epochs
        start, skip = time.monotonic(), max(first - epoch * steps_per_epoch, 0)
        parts = []  # metrics stay on the device until the epoch is over
        for given in feed.of_epoch(seed, epoch, skip):
            if _stop_asked(session, skip + len(parts)):
                journal.save(stage.name, state)
                raise Stopped(f'{journal.name}, stage {stage.name}, epoch {epoch + 1} of {stage.epochs}')
            with jax.transfer_guard('disallow'):
                state, metrics = run(state, feed.resident, given, key)
            parts.append(metrics)
            if len(parts) > _IN_FLIGHT:
                jax.block_until_ready(parts[-1 - _IN_FLIGHT])
            progress.step()
        fetched = to_host(parts)
        seconds = time.monotonic() - start
        values: Values = {name: float(np.mean([part[name] for part in fetched])) for name in fetched[0]}
        if not np.isfinite(values['loss']):
            raise InputError(
                f'loss is {values["loss"]} in phase {journal.name}, stage {stage.name}, epoch {epoch + 1}: '
                f'lower the learning rate of {journal.phase} in another work directory'
            )
        if epoch > first // steps_per_epoch or stage.epochs == 1:  # the first epoch also compiles
            journal.record['images'] += len(parts) * stage.batch_size
            journal.record['image_seconds'] += seconds
        if after_epoch:
            state, more = after_epoch(state, epoch)
            values |= more
        session.metrics.write(
            phase=journal.name, stage=stage.name, epoch=epoch + 1, step=(epoch + 1) * steps_per_epoch, **values
        )
        progress.epoch(epoch + 1, values, seconds)
        if not last and stage.stop_when and stage.stop_when(values):
            last = journal.end(stage, epoch + 1)
        if (epoch + 1) % session.checkpoint_every == 0 or last:
            journal.save(stage.name, state)
        if last:
            break
    journal.leave(stage.name, journal.epochs(stage) * steps_per_epoch)
    return state
