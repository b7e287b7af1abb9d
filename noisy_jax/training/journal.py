"""The progress of one phase, kept across restarts."""

import copy
import time
import zlib
from typing import TYPE_CHECKING, Any

from noisy_jax.errors import InputError
from noisy_jax.training import optim, pytrees
from noisy_jax.training.mesh import to_host
from noisy_jax.training.metrics import Means
from noisy_jax.training.session import Session
from noisy_jax.training.stage import Stage
from noisy_jax.training.state import TrainState

if TYPE_CHECKING:
    from noisy_jax.training.checkpoints import Checkpoints  # which takes Orbax: a mistake in a command needs none


class Journal:
    """The checkpoints and measurements (`record`) of one phase.

    `phase` names its settings; `name` differs from it in later rounds.
    """

    def __init__(self, phase: str, session: Session, checkpoints: 'Checkpoints', name: str = '') -> None:
        self.phase, self.name, self.session, self.checkpoints = phase, name or phase, session, checkpoints
        meta = checkpoints.meta
        self.record: dict[str, Any] = meta.get('record', {'seconds': 0.0, 'images': 0, 'image_seconds': 0.0})
        self.stages_done: list[str] = meta.get('stages_done', [])
        self._saved_stage: str | None = meta.get('stage')
        self._epoch: dict[str, Any] | None = meta.get('epoch')
        self._offset = 0  # steps of the stages before this one
        self._start = time.monotonic() - self.record['seconds']
        before = meta.get('metrics_position', 0)  # bytes, as an earlier version has it
        session.metrics.keep(self.name, meta.get('metrics_lines') or session.metrics.lines_of(self.name, before))

    def seed(self, stage: str) -> int:
        """The random seed of a stage, for its shuffling and its keys; a function of the run's seed."""
        return zlib.crc32(f'{self.session.seed}/{self.name}/{stage}'.encode())

    def is_past(self, stage: str) -> bool:
        """Whether the newest checkpoint belongs to a later stage."""
        return stage in self.stages_done and self._saved_stage != stage

    def restore(self, stage: str, state: TrainState) -> TrainState:
        """The saved state if the newest checkpoint is of this stage, else `state`; InputError: its weights diverged."""
        if self._saved_stage != stage:
            return state
        saved = self.checkpoints.restore(state)
        self._check(stage, saved)
        return saved

    def means(self, stage: str, steps: int) -> Means:
        """The metrics of an epoch of which so many steps are done: those of a saved epoch go on."""
        epoch = self._epoch if self._saved_stage == stage else None
        return Means(epoch if epoch and epoch['steps'] == steps else None)

    def save(self, stage: str, state: TrainState, epoch: Means | None = None) -> None:
        """Saves the state; `epoch`: in the middle of one, its metrics so far.

        Raises:
          InputError: the weights diverged, as they can after a finite loss; no phase goes on from them.
        """
        self._check(stage, state)
        meta = self.meta(stage) | ({'epoch': epoch.saved()} if epoch else {})
        self.checkpoints.save(self._offset + int(state.step), state, meta)

    def _check(self, stage: str, state: TrainState) -> None:
        if found := pytrees.not_finite(to_host(state.variables)):
            raise self.diverged(f'NaN or infinite values of {found}', stage)

    def diverged(self, what: str, stage: str = '', epoch: int | None = None) -> InputError:
        """The error that says what is not finite, and where within the phase."""
        where = (f', stage {stage}' if stage else '') + (f', epoch {epoch}' if epoch else '')
        section = optim.section_of(self.phase, head=stage == 'head')
        return InputError(
            f'{what} in phase {self.name}{where}: lower config.{section}.learning_rate in another work directory'
        )

    def leave(self, stage: str, steps: int) -> None:
        """Records that the stage has finished after `steps` steps."""
        self._offset += steps
        if stage not in self.stages_done:
            self.stages_done.append(stage)

    def end(self, stage: Stage, epochs: int) -> bool:
        """Records that the stage is stopped early after so many epochs; returns True."""
        self.record.setdefault('stopped_after_epoch', {})[stage.name] = epochs
        return True

    def epochs(self, stage: Stage) -> int:
        """The number of epochs of the stage, fewer if it was stopped early."""
        return self.record.get('stopped_after_epoch', {}).get(stage.name, stage.epochs)

    def meta(self, stage: str | None) -> dict[str, Any]:
        self.record['seconds'] = time.monotonic() - self._start
        return {
            'stage': stage,
            'stages_done': list(self.stages_done),
            'record': copy.deepcopy(self.record),
            'metrics_lines': self.session.metrics.lines_of(self.name),
        }

    def best(self, name: str, value: float | None) -> None:
        """Keeps the maximum of a metric in the record."""
        if value is not None:
            self.record[name] = max(value, self.record.get(name, value))

    def summary(self) -> dict[str, Any]:
        """The record as in summary.json; images/s counts training only, without compilation after the first epoch."""
        values = dict(self.record)
        images, seconds = values.pop('images'), values.pop('image_seconds')
        return values | {'images_per_second': images / seconds if seconds else None}

    @property
    def next_step(self) -> int:
        return max(self._offset, self.checkpoints.step) + 1
