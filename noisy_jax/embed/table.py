"""An .npy file that is filled batch after batch, and resumed after a kill."""

import io
import itertools
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from noisy_jax import files, json_files, outputs
from noisy_jax.data.embeddings import origin
from noisy_jax.errors import InputError


class Table:
    """Features float32 [N, D] in the file NAME, the first rows of which are there.

    NAME.part has the header of the whole file, then these rows; it becomes NAME when all are there. From the start
    NAME.json says of which images they are, {"ids": [N names], ...}: `data.embeddings` compares that with a run's.

    Attributes:
      done: how many rows are there.
    """

    def __init__(
        self,
        file: pathlib.Path,
        ids: Sequence[str],
        made_of: dict[str, Any],
        width: int,
        batch: int,
        sizes: Sequence[int] = (),
    ) -> None:
        """Begins the file, or resumes it.

        Rows up to the first whose image has another id or size now are kept, such as those before a broken image that
        was removed. Of a batch that a kill has cut none is kept, so that each image goes through the network beside the
        same others.

        Args:
          file: NAME.
          ids: of the images [N].
          made_of: what the features depend on besides the image, as JSON has it.
          width: D.
          batch: rows that are appended at a time.
          sizes: bytes of the files of the images [N], where they are files.

        Raises:
          InputError: the files there are of other features or of another kind, or the disk refuses.
        """
        self._file, self._part, self._row_bytes, self._rows = file, files.partial(file), 4 * width, len(ids)
        state = json.loads(json.dumps(made_of | {'features': width})) | {'ids': list(ids), 'sizes': list(sizes)}
        header = _header(len(ids), width)
        self._begin, self.done = len(header), 0
        try:
            before = self._earlier()
            if before and before != state and not self._part.exists():
                raise InputError(f'--out: {origin(file)} is there already, of other features; move or remove it')
            if self._part.exists():
                self._refuse_other(before, state)
                self._check_begin(header)
                files.own(self._part)
                pairs = zip(_images(before), _images(state), strict=False)
                same = itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)
                there = (self._part.stat().st_size - self._begin) // self._row_bytes
                self.done = min(max(there, 0), len(list(same))) // batch * batch
                if self.done and self._has_hole(self.done - batch):
                    self.done -= batch
                os.truncate(self._part, self._size())  # before the ids change, so that no row gets another's
            files.write(origin(file), json.dumps(state, indent=0).encode())
            with self._part.open('r+b' if self._part.exists() else 'wb') as part:
                part.write(header)
        except OSError as error:
            raise self._unwritable(error) from error

    def append(self, features: np.ndarray) -> None:
        """Adds the next rows, float32 [B, D].

        Raises:
          InputError: the disk refuses them; what is there can be resumed.
        """
        try:
            with self._part.open('ab') as part:
                part.write(features.astype('<f4').tobytes())
                part.flush()
                os.fsync(part.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        self.done += len(features)

    def finish(self) -> None:
        """Gives the file its name, after the last row.

        Raises:
          InputError: another program has changed the file, or has made one of that name.
        """
        found = self._part.stat().st_size if self._part.exists() else 0
        if self.done != self._rows or found != self._size():
            raise InputError(f'--out: {self._part} has {found} bytes, {self._size()} are needed; remove it and rerun')
        try:
            outputs.give(self._part, self._file)
        except OSError as error:
            raise InputError(f'--out: {self._file} cannot be made ({error.strerror}); {self._part} is whole') from error

    def _size(self) -> int:
        """Bytes of the header and the rows that are there."""
        return self._begin + self.done * self._row_bytes

    def _earlier(self) -> dict[str, Any]:
        """What NAME.json says; nothing where there is none."""
        place = origin(self._file)
        if not place.exists():
            return {}
        return json_files.read(place, {'ids': [str], 'sizes?': [int]}, 'choose another name for --out')

    def _refuse_other(self, before: dict[str, Any], now: dict[str, Any]) -> None:
        if not before:
            raise InputError(f'--out: {self._part} is there without {origin(self._file).name}; remove it')
        for name in sorted((before.keys() | now.keys()) - {'ids', 'sizes'}):
            if before.get(name) != now.get(name):
                raise InputError(
                    f'--out: {self._part} was begun with {name} {before.get(name)!r}, now it is {now.get(name)!r}; '
                    'take the same, or remove it'
                )

    def _has_hole(self, first: int) -> bool:
        """Whether a row from `first` on is all 0: a disk may have noted its length alone when the machine failed."""
        numbers = np.fromfile(self._part, '<f4', offset=self._begin + first * self._row_bytes)
        whole = len(numbers) * 4 // self._row_bytes
        return not numbers[: whole * self._row_bytes // 4].reshape(whole, -1).any(1).all()

    def _check_begin(self, header: bytes) -> None:
        """InputError: NAME.part is not what was begun: a link, or begins in another way."""
        with self._part.open('rb') as file:
            found = file.read(len(header))
        same = np.lib.format.MAGIC_PREFIX
        if self._part.is_symlink() or (found and (len(found) < len(header) or not found.startswith(same))):
            raise InputError(f'--out: {self._part} is no unfinished file of features; move or remove it')

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f'--out: {self._file} cannot be written ({error.strerror})')


def _images(state: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """What is known of each image: its id, and the size of its file, 0 where it is none."""
    return itertools.zip_longest(state['ids'], state.get('sizes', ()), fillvalue=0)


def _header(rows: int, width: int) -> bytes:
    """The header of an .npy file; NumPy pads it, so that its length is the same for any number of rows."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {'descr': '<f4', 'fortran_order': False, 'shape': (rows, width)})
    return header.getvalue()
