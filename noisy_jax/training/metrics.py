"""Means of metrics over an epoch; metrics.jsonl: one JSON object a line; only process 0 writes."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from noisy_jax import files
from noisy_jax.errors import named, warn_once
from noisy_jax.training.mesh import is_main
from noisy_jax.training.tensorboard import Board
from noisy_jax.workdir import WorkDir


class Means:
    """Means of the metrics of an epoch's steps.

    Sums are of float64 and in the order of the steps, so that an epoch that was stopped and resumed, from `saved`, ends
    with the bits of one that was not.
    """

    def __init__(self, saved: Mapping[str, Any] | None = None) -> None:
        self.steps: int = saved['steps'] if saved else 0
        self._sums: dict[str, float] = dict(saved['sums']) if saved else {}

    def add(self, metrics: Mapping[str, Any]) -> None:
        """The metrics of one more step, each a number or an array of one."""
        self.steps += 1
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)

    def values(self) -> dict[str, float]:
        return {name: value / self.steps for name, value in self._sums.items()}

    def saved(self) -> dict[str, Any]:
        """What a checkpoint in the middle of the epoch keeps, as JSON."""
        return {'steps': self.steps, 'sums': dict(self._sums)}


def check(folder: WorkDir) -> None:
    """Checks metrics.jsonl of a run that goes on; a line that was cut off by a kill is dropped.

    Raises:
      InputError: it is damaged: better now than when all is trained.
    """
    if not folder.metrics.exists():
        return
    content = folder.metrics.read_bytes()
    whole = content[: content.rfind(b'\n') + 1]
    if not folder.is_complete:
        files.own(folder.metrics)
        if whole != content:
            os.truncate(folder.metrics, len(whole))
    folder.epochs()


class MetricWriter:
    """Appends to metrics.jsonl: {"phase", "stage", "epoch", "step", name: value, ...}; a board shows the same."""

    def __init__(self, path: pathlib.Path, board: Board | None = None) -> None:
        self._path, self.board = path, board
        self._shown = 0  # bytes that the board shows
        self._file = path.open('a', encoding='utf-8') if is_main() else None

    def write(self, *, phase: str, stage: str, epoch: int, step: int, **values: float | None) -> None:
        """Writes one line; `epoch` counts from 1, `step` within the stage, None becomes null."""
        if self._file:
            line = {'phase': phase, 'stage': stage, 'epoch': epoch, 'step': step, **values}
            with named(self._path):
                self._file.write(json.dumps(line) + '\n')
                self._file.flush()
            self._show()

    def lines_of(self, phase: str, within: int | None = None) -> int:
        """How many lines a phase has, `within` so many bytes; `keep` comes back to them, also after a loss of power."""
        if not self._file:
            return 0
        os.fsync(self._file.fileno())
        return sum(_is_of(phase, line) for line in self._path.read_bytes()[:within].splitlines())

    def keep(self, phase: str, count: int) -> None:
        """Forgets the lines of a phase after the first `count`: a resumed run writes them anew.

        Those of later phases stay, which are there where a phase is run again.
        """
        if not self._file:
            return
        lines, kept, found = self._path.read_bytes().splitlines(keepends=True), [], 0
        for line in lines:
            is_own = _is_of(phase, line)
            found += is_own
            if not is_own or found <= count:
                kept.append(line)
        if found < count:
            warn_once(f'{self._path} lacks lines of this run: it was cut or removed meanwhile')
        if len(kept) < len(lines):
            self._file.close()
            files.write(self._path, b''.join(kept))
            self._file = self._path.open('a', encoding='utf-8')
            self._shown = min(self._shown, self._path.stat().st_size)

    def close(self) -> None:
        if self._file:
            self._show()
            self._file.close()

    def _show(self) -> None:
        """What is new to the board: at first all that an earlier process has left, after `keep`."""
        if self.board:
            with self._path.open('rb') as lines:
                lines.seek(self._shown)
                for line in lines:
                    self.board.scalars(json.loads(line))
                self._shown = lines.tell()


def _is_of(phase: str, line: bytes) -> bool:
    return f'"phase": "{phase}"'.encode() in line
