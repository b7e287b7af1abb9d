"""Checkpoints of one phase (Orbax): its state while it trains, its final variables once it is finished.

Every checkpoint carries a small JSON `meta`; commits are atomic, so that `meta` always describes the arrays. Orbax is
used in this file only.
"""

import logging
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from noisy_jax.errors import InputError
from noisy_jax.training.state import TrainState

# Orbax logs every save at level INFO or WARNING; progress.py reports the run.
logging.getLogger('absl').setLevel(logging.ERROR)


class Checkpoints:
    """The newest checkpoint in a folder; steps count up within the phase."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder.absolute()
        self._manager = ocp.CheckpointManager(self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=1))
        self._meta: dict[str, Any] | None = None

    @property
    def step(self) -> int:
        """The newest step, or -1."""
        latest = self._manager.latest_step()
        return -1 if latest is None else latest

    @property
    def meta(self) -> dict[str, Any]:
        """The JSON saved with the newest checkpoint, or {}."""
        if self._meta is None:
            self._meta = self._restore(meta=ocp.args.JsonRestore())['meta'] if self.step >= 0 else {}
        return self._meta

    def save(self, step: int, state: TrainState, meta: dict[str, Any]) -> None:
        """Saves beside the training; a step that is already there is left as it is."""
        if step > self.step:
            self._save(step, meta, state=ocp.args.StandardSave(state))

    def save_outcome(self, step: int, outcome: dict[str, Any], meta: dict[str, Any]) -> None:
        """Saves a tree of arrays as the phase's last checkpoint and waits for it."""
        self._save(step, meta, outcome=ocp.args.StandardSave(outcome))
        self._manager.wait_until_finished()

    def restore(self, template: TrainState) -> TrainState:
        """The newest state, with the shapes, types and placement of `template`."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        return self._restore(state=ocp.args.StandardRestore(abstract))['state']

    def restore_outcome(self) -> dict[str, Any]:
        """The tree of `save_outcome`, as NumPy arrays."""
        return self._restore(outcome=ocp.args.StandardRestore())['outcome']

    def close(self) -> None:
        """Waits for what is being saved."""
        self._manager.close()

    def _save(self, step: int, meta: dict[str, Any], **items: Any) -> None:
        self._manager.save(step, args=ocp.args.Composite(meta=ocp.args.JsonSave(meta), **items))
        self._meta = meta

    def _restore(self, **items: Any) -> Any:
        try:
            return self._manager.restore(self.step, args=ocp.args.Composite(**items))
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f'{self.folder}: checkpoint {self.step} cannot be read ({reason}); '
                'remove this folder to run the phase again'
            ) from error
