"""Checkpoints of one phase (Orbax): its state while it trains, its final variables once it is finished.

Every checkpoint carries a small JSON `meta`; commits are atomic, so that `meta` always describes the arrays. A digest
in it covers both, since Orbax does not notice a flipped bit; checkpoints of earlier versions lack it and are taken.
Orbax is used in this file only.
"""

import contextlib
import functools
import logging
import os
import pathlib
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp

from noisy_jax import files, json_files, layout
from noisy_jax.errors import MEND, InputError, first_line, is_damage, is_memory_short, warn_once
from noisy_jax.training import hosts, pytrees
from noisy_jax.training.mesh import is_main, to_host
from noisy_jax.training.state import TrainState

# Orbax logs every save at level INFO or WARNING, and what it raises besides; progress.py reports the run.
logging.getLogger('absl').setLevel(logging.CRITICAL)

_AGAIN = 'remove this folder to run the phase again'
_META = {
    'complete?': bool,
    'stage?': (str, None),
    'stages_done?': [str],
    'record?': {'seconds': float, 'images': int, 'image_seconds': float},
    'metrics_lines?': int,
    'metrics_position?': int,
}


class Damaged(InputError):
    """The newest checkpoint of a phase is not what was saved."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(f'{found}; {remedy}')
        self.found = found


class Checkpoints:
    """The newest checkpoint in a folder; steps count up within the phase."""

    def __init__(self, folder: pathlib.Path, check: Callable[[], None] = lambda: None) -> None:
        """`check` is called before anything is written, and where that fails; InputError: the folder cannot be used."""
        _hush_closed_loops()
        self.folder, self._check_place = folder.absolute(), check
        check()
        if fault := layout.path_fault(self.folder):
            raise InputError(f'{self.folder} {fault}')
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # Orbax takes a file for an empty folder
            self._manager = ocp.CheckpointManager(self.folder)
        except Exception as error:
            if hosts.is_lost(error) or is_memory_short(error):
                raise
            raise self._unread(str(self.folder), error) from error
        self._meta: dict[str, Any] | None = None
        self._is_settled = True

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
            if fault := json_files.fault(self._meta, _META):
                raise self.unreadable(fault)
        return self._meta

    def save(self, step: int, state: TrainState, meta: dict[str, Any]) -> None:
        """Saves beside the training; a step that is already there is left as it is.

        Raises:
          InputError: the system refuses this or the save before it, such as for want of space; so do all that wait.
        """
        if step > self.step:
            # Arrays sharded over several processes would have to be gathered for it.
            signed = pytrees.signed(meta, to_host(state)) if jax.process_count() == 1 else meta
            self._save(step, signed, state=ocp.args.StandardSave(state))

    def save_outcome(self, step: int, outcome: dict[str, Any], meta: dict[str, Any]) -> None:
        """Saves a tree of arrays as the phase's last checkpoint and waits for it."""
        self._save(step, pytrees.signed(meta, outcome), outcome=ocp.args.StandardSave(outcome))
        self.wait()

    def wait(self) -> None:
        """Returns when what is being saved stands on the disk."""
        with self._saving():
            self._settle()

    def restore(self, template: TrainState) -> TrainState:
        """The newest state, with the shapes, types and placement of `template`."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, template)
        state = self._restore(state=ocp.args.StandardRestore(abstract))['state']
        if jax.process_count() == 1:
            self._check(to_host(state))
        return state

    def restore_outcome(self) -> dict[str, Any]:
        """The tree of `save_outcome`, as NumPy arrays."""
        outcome = self._restore(outcome=ocp.args.StandardRestore())['outcome']
        self._check(outcome)
        return outcome

    def go_back(self, fault: Damaged) -> bool:
        """Whether there is a checkpoint before the newest, which is damaged; it becomes the newest, with a warning.

        That is so after a loss of power while one was saved. Several processes do not, since each would remove it.
        """
        if not self._before or jax.process_count() > 1:
            return False
        self._manager.delete(self.step)
        self._meta = None
        warn_once(f'{fault.found}; the phase goes on from checkpoint {self.step}')
        return True

    def close(self) -> None:
        """Waits for what is being saved."""
        with self._saving():
            try:
                self._settle()
            except Exception:  # what comes of it at the end says less
                with contextlib.suppress(Exception):
                    self._manager.close()
                raise
            self._manager.close()

    def _save(self, step: int, meta: dict[str, Any], **items: Any) -> None:
        with self._saving():
            self._settle()
            self._manager.save(step, args=ocp.args.Composite(meta=ocp.args.JsonSave(meta), **items))
        self._meta, self._is_settled = meta, False

    def _settle(self) -> None:
        """Waits for what is being saved; removes the checkpoints before it when it would outlast a loss of power.

        Orbax leaves that to the system, which may have written nothing of a file that already has its name.
        """
        is_settled, self._is_settled = self._is_settled, True  # also where the save has failed
        self._manager.wait_until_finished()
        if is_settled:
            return
        if is_main():
            files.sync(self.folder / str(self.step))
            for half in self.folder.glob('*.orbax-checkpoint-tmp'):  # of a process that was killed
                shutil.rmtree(half, ignore_errors=True)
        for step in self._before:
            self._manager.delete(step)

    @property
    def _before(self) -> list[int]:
        """The steps before the newest; there are some where a run was ended meanwhile."""
        return sorted(self._manager.all_steps())[:-1]

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        self._check_place()
        try:
            yield
        except Exception as error:
            self._check_place()
            if why := _refusal(error) or ('it is gone' if not self.folder.exists() else None):
                raise InputError(f'{self.folder}: a checkpoint cannot be saved ({why}); {MEND}') from error
            raise

    def _restore(self, **items: Any) -> Any:
        try:
            return self._manager.restore(self.step, args=ocp.args.Composite(**items))
        except Exception as error:
            if hosts.is_lost(error) or is_memory_short(error):
                raise
            logging.getLogger('asyncio').setLevel(logging.CRITICAL)  # those that read beside it fail too
            raise self._unread(f'{self.folder}: checkpoint {self.step}', error, self._again) from error

    def _check(self, tree: Any) -> None:
        if not pytrees.is_as_signed(self.meta, tree):
            raise self.unreadable('it is not what was saved')

    def unreadable(self, reason: str) -> Damaged:
        """The error that says what is wrong with the newest checkpoint."""
        return Damaged(f'{self.folder}: checkpoint {self.step} cannot be read ({reason})', self._again)

    @property
    def _again(self) -> str:
        """What to do where the newest checkpoint is damaged."""
        before = self._before
        return f'remove {self.folder / str(self.step)} to go on from checkpoint {before[-1]}' if before else _AGAIN

    def _unread(self, which: str, error: Exception, again: str = _AGAIN) -> InputError:
        """The error of a folder or checkpoint that cannot be read, by what went wrong."""
        number = _errno(error)
        # tensorstore goes on with all that it was asked for
        reason = re.split(r' \[| See full', first_line(error))[0] if number is None else os.strerror(number)
        found = f'{which} cannot be read ({reason})'
        return Damaged(found, again) if is_damage(number) else InputError(f'{found}; {MEND}')


def _refusal(error: Exception) -> str | None:
    """Why the system refused a file; None where it did not."""
    if number := _errno(error):
        return os.strerror(number)
    return first_line(error) if isinstance(error, OSError) else None


def _errno(error: Exception) -> int | None:
    """The number of an error of the system, which tensorstore hides in a long text."""
    found = re.search(r"\[os_error_code='(\d+)'\]", str(error))
    return int(found[1]) if found else getattr(error, 'errno', None)


@functools.cache
def _hush_closed_loops() -> None:
    """Where one read or write of Orbax has failed, those beside it end after their loop, and would print tracebacks."""
    before = sys.unraisablehook
    sys.unraisablehook = lambda said: None if str(said.exc_value) == 'Event loop is closed' else before(said)
