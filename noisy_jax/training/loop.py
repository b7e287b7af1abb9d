"""fit(): the only epoch loop."""

import collections
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from noisy_jax.data.dataset import Dataset
from noisy_jax.training.feed import Feed
from noisy_jax.training.journal import Journal
from noisy_jax.training.mesh import check_batch_size, in_any_process, place_like, replicate, shard, to_host
from noisy_jax.training.metrics import Means
from noisy_jax.training.session import Session
from noisy_jax.training.signals import Stopped
from noisy_jax.training.stage import Stage, Values
from noisy_jax.training.state import TrainState
from noisy_jax.training.steps import Step

# (state, epoch from 0) -> (state, more metrics); NumPy arrays in the state's memory are placed on the devices.
AfterEpoch = Callable[[TrainState, int], tuple[TrainState, Values]]

_IN_FLIGHT = 8  # steps that the host may be ahead of the devices: they never wait, and batches do not pile up
_AGREE_EVERY = 50  # steps between two times that several processes ask each other whether to stop


def runner(step: Step, session: Session, state: TrainState) -> Callable:
    """Jits `step` with the gather of a resident batch before it; the state stays placed as `state` is.

    Returns run(state, resident, given, key) -> (state, metrics), of `Feed`'s arrays and `jax.random.key_data`.
    """
    placement = jax.tree.map(lambda array: array.sharding, state)

    def run(state: TrainState, resident: dict, given: dict, key: jax.Array) -> tuple[TrainState, dict]:
        # A loss on the whole batch must know how it is sharded.
        with jax.sharding.use_abstract_mesh(session.mesh.abstract_mesh):
            return step(state, Feed.assemble(resident, given, state.step), jax.random.wrap_key_data(key))

    return jax.jit(run, donate_argnums=0, out_shardings=(placement, None), compiler_options=session.compiler_options)


def place(state: TrainState, session: Session) -> TrainState:
    """Replicates the state on the devices; with `shard_state` optimiser state and memory are sharded instead."""
    placed = replicate(state.replace(opt_state=(), extra={}), session.mesh)
    rest = (shard if session.shard_state else replicate)((state.opt_state, state.extra), session.mesh)
    return placed.replace(opt_state=rest[0], extra=rest[1])


def _placed(state: TrainState, like: TrainState) -> TrainState:
    """Arrays that host code put into the memory of the state, placed as those they replace."""

    def place(new: Any, old: jax.Array) -> jax.Array:
        return new if isinstance(new, jax.Array) and new.sharding == old.sharding else place_like(new, old)

    return state.replace(extra=jax.tree.map(place, state.extra, like.extra))


def _stop_asked(session: Session, step: int) -> bool:
    """Whether to stop before this step; several processes agree on it, now and then."""
    if jax.process_count() == 1:
        return session.stop.requested
    return step % _AGREE_EVERY == 0 and in_any_process(session.stop.requested)


def _stopped(journal: Journal, stage: Stage, epoch: int) -> Stopped:
    where = f'{journal.name}, stage {stage.name}, epoch {epoch + 1} of {stage.epochs}'
    return Stopped(f'stopped in {where}, saved', journal.session.stop.number)


def _fetch(ahead: collections.deque[dict], means: Means, *, but: int = 0) -> None:
    """Adds the metrics of all steps but the newest to the means; waits for the devices to have done them."""
    while len(ahead) > but:
        means.add(to_host(ahead.popleft()))


def fit(
    stage: Stage,
    step: Step,
    state: TrainState,
    dataset: Dataset,
    journal: Journal,
    after_epoch: AfterEpoch | None = None,
) -> TrainState:
    """Trains `state` for `stage.epochs` epochs and returns it; resumes from the journal's checkpoint.

    The order of the samples is a function of (seed, phase, stage, epoch) and other randomness also of the step, so that
    a resumed run ends with the same bits. `state.step` alone holds the position in the stage. `after_epoch` may change
    the state and adds metrics.

    Raises:
      InputError: the batch does not fit the data or the devices; the loss or the weights are not finite.
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
    run = runner(step, session, state)
    feed = Feed(dataset, mesh, stage.batch_size, session.resident_bytes)
    progress = session.progress
    progress.begin(journal.name, stage.name, stage.epochs, steps_per_epoch, stage.batch_size, first)
    for epoch in range(first // steps_per_epoch, stage.epochs):
        last = epoch + 1 == stage.epochs
        start, skip = time.monotonic(), max(first - epoch * steps_per_epoch, 0)
        means, steps = journal.means(stage.name, skip), skip
        ahead = collections.deque()  # metrics of steps that the devices may not have done yet
        weights = to_host(state.extra[stage.drawn_by]) if stage.drawn_by else None
        for given in feed.of_epoch(seed, epoch, skip, weights=weights):
            if _stop_asked(session, steps):
                _fetch(ahead, means)
                journal.save(stage.name, state, means)
                raise _stopped(journal, stage, epoch)
            with jax.transfer_guard('disallow'):
                state, metrics = run(state, feed.resident, given, key)
            session.stop.saves = True
            ahead.append(metrics)
            steps += 1
            _fetch(ahead, means, but=_IN_FLIGHT)
            progress.step()
        _fetch(ahead, means)
        seconds = time.monotonic() - start
        values: Values = means.values()
        if not np.isfinite(values['loss']):
            raise journal.diverged(f'loss is {values["loss"]}', stage.name, epoch + 1)
        if epoch > first // steps_per_epoch or stage.epochs == 1:  # the first epoch also compiles
            journal.record['images'] += (steps - skip) * stage.batch_size
            journal.record['image_seconds'] += seconds
        if after_epoch:
            after, more = after_epoch(state, epoch)
            state, values = _placed(after, state), values | more
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
    journal.checkpoints.wait()
    session.stop.saves = False
    if in_any_process(session.stop.requested):
        raise _stopped(journal, stage, epoch)
    journal.leave(stage.name, journal.epochs(stage) * steps_per_epoch)
    return state
