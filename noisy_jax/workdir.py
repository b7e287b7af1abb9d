"""The layout of a work directory; each file in it is written whole or not at all."""

import contextlib
import errno
import fnmatch
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from noisy_jax import files, json_files, labels_csv, layout, locks, spreadsheet
from noisy_jax.config import flatten, from_json
from noisy_jax.errors import InputError, first_line, remedy_of, some, warn_once

_FOR_PEOPLE = ('labels.csv', 'data_issues.csv', 'report.html')  # who may write notes into them
_WRITTEN = 'labels/written.txt'  # SHA-256 and name of each of these that the run has written


class WorkDir:
    """The files of one run.

    config.json; data.json (classes, image shape, numbers of images); weights.json (a digest of model.weights);
    metrics.jsonl; labels/ (arrays of every phase, and images.json: which images it began with); labels.csv;
    data_issues.csv; pred_probs.npy; summary.json; checkpoints/; plots/; report.html; tensorboard/. While a run writes
    there, also lock.
    """

    def __init__(self, path: str | os.PathLike, writes: bool = True) -> None:
        """`path`: `~` is the home folder. `writes`: whether this is the process that writes; the others share it."""
        if not files.is_local(path):
            raise InputError(f'workdir: {os.fspath(path)!r} is not allowed; the name of a local folder is needed')
        self.path, self._writes = pathlib.Path(os.path.expanduser(path)), writes
        self._check_held: Callable[[], None] = lambda: None  # another within `held`

    @classmethod
    def of_run(cls, path: str | os.PathLike) -> 'WorkDir':
        """The work directory of an earlier run, to be read.

        Raises:
          InputError: there is none.
        """
        folder = cls(path)
        try:
            is_run = (folder.path / layout.MARK).is_file()
        except OSError as error:
            raise InputError(f'--workdir: {folder.path} cannot be read ({error.strerror})') from error
        if not is_run:
            raise InputError(f'--workdir: {str(path)!r} is not the work directory of a run (no config.json in it)')
        return folder

    @property
    def metrics(self) -> pathlib.Path:
        return self.path / 'metrics.jsonl'

    def checkpoints(self, phase: str) -> pathlib.Path:
        return self.path / 'checkpoints' / phase

    def check_free(self, spare: str | os.PathLike = '') -> None:
        """Checks that a run can begin or resume here; a folder `spare` in it may be there before.

        Raises:
          InputError: the folder holds other files but no run, or cannot be read, or its path is so long that none fits
            into it, or one that Orbax cannot read; names what was found.
        """
        if fault := layout.path_fault(self.path):
            raise InputError(f'workdir: {self.path.absolute()} {fault}')
        try:
            os.lstat(self.path.absolute() / ('n' * layout.DEEPEST))
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InputError(f'workdir: {self.path} cannot be used ({error.strerror})') from error
        inside = files.lies_in(spare, self.path) if spare else None
        files.check_free(self.path, layout.MARK, 'workdir', (*layout.BEFORE_IT, *(inside.parts[:1] if inside else ())))

    def check_apart(self, path: str | os.PathLike, field: str) -> None:
        """Checks that `path`, which a run reads or a command writes, is none of the files of this run.

        Raises:
          InputError: it is; `field` is how it names the path.
        """
        inside = files.lies_in(path, self.path)
        if inside and inside.parts and inside.parts[0].lower().removesuffix('.part') in layout.OWN:
            raise InputError(f'{field}: {path} is among the files of the run in {self.path}; choose another place')

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder, and keeps other runs out of it until the end of the block.

        Raises:
          InputError: another run goes on here, or the folder cannot be made or written; nothing in it is changed.
        """
        with locks.locked(self.path / layout.LOCK, self.path, 'workdir') as self._check_held:
            try:
                yield
            finally:
                self._check_held = lambda: None

    def check_held(self) -> None:
        """InputError: the folder that this process holds was moved or removed; another may have its name now."""
        self._check_held()

    def claim(
        self,
        config: dict[str, Any],
        may_differ: tuple[str, ...] = (),
        defaults: Mapping[str, Any] | None = None,
        meant: Callable[[str, Any], Any] = lambda key, value: value,
    ) -> None:
        """Writes config.json, or checks that the existing one is the same except for the keys (patterns) `may_differ`.

        A key that it lacks counts as having the value in `defaults`. What is compared is what a value is `meant` for,
        given its key.

        Raises:
          InputError: another run's work directory; names each key that differs.
        """
        if not self.is_claimed:
            self.save_bytes('config.json', files.as_json(config, sort_keys=True))
            return
        before, now = (dict(flatten(values)) for values in (self.load_config(), from_json(config)))
        before = dict(defaults or {}) | before
        values = {key: (before.get(key), now.get(key)) for key in sorted(before.keys() | now.keys())}
        different = {key: pair for key, pair in values.items() if pair[0] != pair[1]}
        differing = [key for key, (one, other) in different.items() if meant(key, one) != meant(key, other)]
        keys = [key for key in differing if not any(fnmatch.fnmatchcase(key, pattern) for pattern in may_differ)]
        if keys:
            differences = some([f'{key} was {before.get(key)!r}, is {now.get(key)!r}' for key in keys], 5)
            path = self.path / 'config.json'
            raise InputError(f'{path}: this run has another config: {differences}; {layout.OTHER}')

    @property
    def is_claimed(self) -> bool:
        """Whether config.json exists: if not, the process that writes has another folder."""
        return (self.path / 'config.json').exists()

    @property
    def holder(self) -> str:
        """What the lock says of the process that writes; '' where none does, or another folder is seen."""
        return locks.holder(self.path / layout.LOCK)

    @property
    def is_complete(self) -> bool:
        """Whether the run is finished."""
        return self._summary.get('complete', False)

    @property
    def issues(self) -> dict[str, Any]:
        """What summary.json says of label_issues and data_issues, as far as they are there."""
        return {name: self._summary[name] for name in ('label_issues', 'data_issues') if name in self._summary}

    @property
    def _summary(self) -> dict[str, Any]:
        """summary.json, or {}: the run writes it anew."""
        try:
            return self.load_json('summary')
        except InputError:
            return {}

    def save_array(self, name: str, array: np.ndarray) -> None:
        """Writes `<name>.npy`, e.g. 'pred_probs' or 'labels/given'."""
        self.save_bytes(f'{name}.npy', files.as_npy(array))

    def load_array(
        self, name: str, shape: tuple[int | None, ...] | None = None, kinds: str = 'iuf', remedy: str = layout.AGAIN
    ) -> np.ndarray:
        """Reads what `save_array` wrote.

        Args:
          name: as there.
          shape: that it must have, None for any length; without one, any shape.
          kinds: the kinds of NumPy's types that it may have.
          remedy: what to do where it is not that.

        Raises:
          InputError: the file is missing, broken or something else.
        """
        path = self.path / f'{name}.npy'
        try:
            with path.open('rb') as file:
                array = np.lib.format.read_array(file)
        except MemoryError:
            raise
        except Exception as error:  # damaged bytes raise many kinds
            remedy = remedy_of(getattr(error, 'errno', None), remedy)
            raise InputError(f'{path} cannot be read ({first_line(error)}); {remedy}') from error
        lengths = array.shape if shape is None else shape
        fits = array.ndim == len(lengths) and all(n in (None, m) for n, m in zip(lengths, array.shape, strict=True))
        if not fits or array.dtype.kind not in kinds:
            axes = ', '.join('*' if n is None else str(n) for n in lengths)
            wanted = 'numbers' if shape is None else f'numbers [{axes}]'
            raise InputError(f'{path}: {array.dtype} {array.shape} found, {wanted} are needed; {remedy}')
        return array

    def has_array(self, name: str) -> bool:
        return (self.path / f'{name}.npy').exists()

    def save_json(self, name: str, value: dict[str, Any]) -> None:
        """Writes `<name>.json`, e.g. 'summary' or 'data'."""
        self.save_bytes(f'{name}.json', files.as_json(value))

    def load_json(self, name: str) -> dict[str, Any]:
        """Reads what `save_json` wrote, such as 'config', 'data' or 'summary'.

        Raises:
          InputError: the file is missing, broken or something else.
        """
        return json_files.read(self.path / f'{name}.json', *layout.FORMS.get(name, (dict, layout.OTHER)))

    def load_config(self) -> ConfigDict:
        """The run's config; InputError: as `load_json`."""
        saved = self.load_json('config')
        try:
            return from_json(saved)
        except Exception as error:  # names that ConfigDict does not take raise many kinds
            raise InputError(f'{self.path}/config.json: no config ({first_line(error)}); {layout.OTHER}') from error

    def epochs(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; InputError: one is broken."""
        remedy = 'remove it, and the report has no curves'
        try:
            lines = [json.loads(line) for line in self.metrics.read_text(encoding='utf-8').splitlines()]
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f'{self.metrics} cannot be read ({first_line(error)}); {remedy}') from error
        for number, line in enumerate(lines, 1):
            if found := layout.epoch_fault(line):
                raise InputError(f'{self.metrics}, line {number}: {found}; {remedy}')
        return lines

    def save_bytes(self, name: str, content: bytes) -> None:
        """Writes a file as it is, e.g. 'report.html', if this is the process that writes.

        One of those that people open which somebody has changed is kept beside it, with a warning.

        Raises:
          InputError: the folder is gone, which a run has made and holds.
        """
        self.check_held()
        if self._writes:
            if name in _FOR_PEOPLE:
                self._keep_changed(self.path / name, content)
            files.write(self.path / name, content)

    def _keep_changed(self, path: pathlib.Path, content: bytes) -> None:
        """Keeps a file under another name that is neither `content` nor what the run has written before."""
        note = self.path / _WRITTEN
        lines = note.read_text(errors='replace').splitlines() if note.is_file() else []
        noted = [line for line in lines if line.endswith(f' {path.name}')]  # none by an earlier version
        before = path.read_bytes() if path.is_file() else content
        is_ours = _line(before, path) in noted if noted else path.name != 'labels.csv' or labels_csv.is_one(path)
        if before != content and not is_ours:
            names = (f'{path.stem}_changed_{number}{path.suffix}' for number in itertools.count(1))
            name = next(name for name in names if not (self.path / name).exists())
            path.rename(self.path / name)
            warn_once(f'{path} is not as the run wrote it; it is kept as {name}')
        if (line := _line(content, path)) not in lines:
            files.write(note, '\n'.join([*lines, line]).encode())

    def remove(self, name: str) -> None:
        """Removes a file, if there is one, and if this is the process that writes."""
        if self._writes:
            (self.path / name).unlink(missing_ok=True)

    def save_labels(self, columns: dict[str, np.ndarray], order: np.ndarray) -> None:
        """Writes labels.csv, a row per labelled training image.

        Args:
          columns: as `load_labels` returns them; 'true_label' may be absent.
          order: int [N], the rows in the order in which they are written.
        """
        self.save_bytes('labels.csv', labels_csv.as_csv(columns, order))

    def save_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Writes `<name>.csv`, e.g. 'data_issues'; texts that a spreadsheet would run get an apostrophe in front."""
        self.save_bytes(f'{name}.csv', spreadsheet.as_csv(header, rows))

    def load_table(self, name: str, header: Sequence[str]) -> list[dict[str, str]]:
        """Reads what `save_table` wrote with this `header`: a row as {column: text}.

        Raises:
          InputError: the file is missing or broken.
        """
        path = self.path / f'{name}.csv'
        try:
            with files.read_text(path) as file:
                found, rows = spreadsheet.table(file, header)
            return [dict(zip(found, row, strict=True)) for row in rows]
        except (OSError, ValueError, spreadsheet.Error) as error:
            raise InputError(f'{path} cannot be read ({error}); rerun the command of the run to write it') from error

    def load_labels(self) -> dict[str, np.ndarray]:
        """The columns of labels.csv by name, each [N], in the order of `index` and of the rows of pred_probs.npy.

        Labels and ids are str, numbers float64, `index` int64, `is_suspect` bool; 'true_label' only where known.

        Raises:
          InputError: the file is missing or broken.
        """
        path = self.path / 'labels.csv'
        try:
            return labels_csv.read(path)
        except (OSError, ValueError, spreadsheet.Error) as error:
            raise InputError(f'{path} cannot be read ({error}); a finished run writes it') from error


def _line(content: bytes, path: pathlib.Path) -> str:
    return f'{hashlib.sha256(content).hexdigest()} {path.name}'
