"""Writes the corrected data set, in the form that the originals have."""

import os
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any, TextIO

import numpy as np
from tqdm import tqdm

from noisy_jax import spreadsheet
from noisy_jax.clean.changes import CHANGES_HEADER, Changes
from noisy_jax.clean.originals import Originals
from noisy_jax.data import array_files
from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.data.lazy import Images
from noisy_jax.errors import MEND, InputError
from noisy_jax.files import open_text, reserve

_CHUNK_BYTES = 2**25  # of arrays that are copied
_LONGEST_NAME = 255  # bytes, on most disks


class CopyFolder:
    """Image files that are linked or copied into the folder `out`.

    A hard link takes no space and stays when the original is removed. Where the disk has none, files are copied.
    """

    def __init__(self, out: pathlib.Path, copy: bool) -> None:
        self._out, self._copy = out, copy
        self._taken: set[str] = set()
        self._folders: set[str] = set()  # of these
        self._placed: set[tuple[str, str]] = set()  # sources and targets
        self._folds = os.path.lexists(out.with_name(out.name.swapcase()))  # the disk takes A.jpg and a.jpg for one
        self.linked = 0

    def place(self, source: str, target: str) -> None:
        """`source` as `out`/`target`; InputError as `new`."""
        source = os.path.realpath(source)  # a link to a relative link would lead nowhere
        pair = source, os.path.normpath(target)
        if pair in self._placed:  # in two lists
            return
        path = self.new(target)
        self._placed.add(pair)
        if not self._copy:
            try:
                os.link(source, path)
                self.linked += 1
                return
            except OSError:
                pass  # another disk, or another owner's files
        shutil.copy2(source, path)

    def place_rows(self, dataset: Dataset, rows: np.ndarray, folder: str = '') -> None:
        """Images under their ids in `folder`; InputError as `new`."""
        for row in _progress(rows):
            self.place(dataset.image.name(row), os.path.join(folder, dataset.id[row]))

    def new(self, target: str) -> pathlib.Path:
        """The path of `out`/`target`, which does not exist; its folder does.

        Raises:
          InputError: it leads out of the copy; or it is taken, so that writing would go into another file, which can
            be a link to an original.
        """
        if os.path.isabs(target) or '..' in target.split('/'):
            raise InputError(f'{target} would lie outside of the copy; --mode csv writes a list alone')
        path = self._out / target
        if not self._out.is_dir():
            raise InputError(f'--out: {self._out} was moved or removed while a command wrote it; {MEND}')
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            raise InputError(f'two files would be {target} in the copy; --mode csv writes a list alone')
        self._taken.add(self._key(target))
        self._folders.update(self._key(str(parent)) for parent in pathlib.PurePath(target).parents)
        return path

    def check_all_there(self) -> None:
        """InputError: somebody has removed a part of the copy meanwhile."""
        if missing := [target for target in self._taken if not os.path.lexists(self._out / target)]:
            raise InputError(f'--out: {len(missing)} files of the copy were removed while it was written; {MEND}')

    def free(self, folder: str, name: str, mark: str) -> str:
        """'folder/name', or where that is taken 'folder/stem_mark.suffix', 'folder/stem_mark_2.suffix', ...

        Of a name that would be too long for a disk, the longer one of stem and mark is cut.
        """
        stem, suffix = os.path.splitext(name)
        target, number = f'{folder}/{name}', 1
        while (key := self._key(target)) in self._taken or key in self._folders:
            end = f'_{number}{suffix}' if number > 1 else suffix
            while len(os.fsencode(f'{stem}_{mark}{end}')) > _LONGEST_NAME:
                stem, mark = (stem[:-1], mark) if len(stem) >= len(mark) else (stem, mark[:-1])
            target = f'{folder}/{stem}_{mark}{end}'
            number += 1
        return target

    def _key(self, target: str) -> str:
        target = os.path.normpath(target)
        return target.lower() if self._folds else target


def write(
    out: pathlib.Path, settings: dict[str, Any], changes: Changes, originals: Originals, *, copy: bool = False
) -> int:
    """Fills the folder `out`; returns how many files are hard links.

    Args:
      out: an empty folder.
      settings: config.data of the run.
      changes: what becomes of the listed images.
      originals: those images, images without a label and the test set.
      copy: whether files are copied instead of linked.
    """
    files = CopyFolder(out, copy)
    if settings['name'] == 'folder':
        _folder(files, changes, originals)
    elif settings['name'] == 'filelist':
        _file_list(files, settings['test_path'], changes, originals)
    else:
        _arrays(out, settings['path'], changes, originals)
    with open_text(files.new('changes.csv')) as text:
        spreadsheet.write(text, [CHANGES_HEADER, *changes.rows()])
    files.check_all_there()
    return files.linked


def write_list(file: TextIO, changes: Changes, originals: Originals | None) -> None:
    """Writes path,label of every image that stays, in the order of the originals; no label where there was none."""
    rows = [(changes.id[i], changes.new[i]) for i in np.flatnonzero(changes.kept)]
    if originals is not None:
        place = {name: row for row, name in enumerate(originals.train.id)}
        rows += [(originals.train.id[row], '') for row in originals.unlabelled]
        rows.sort(key=lambda row: place[row[0]])
    spreadsheet.write(file, [('path', 'label'), *rows])


def _folder(files: CopyFolder, changes: Changes, originals: Originals) -> None:
    """[train/]CLASS/[folder/]file; the id of an image is its path."""
    train, test, folders = originals.train, originals.test, class_folders(changes, originals)
    moves = np.array([os.path.dirname(name) != folder for name, folder in zip(changes.id, folders, strict=True)])
    # Those that stay in their folder come first and keep their names.
    for i in _progress([*np.flatnonzero(changes.kept & ~moves), *np.flatnonzero(changes.kept & moves)]):
        name, row = os.path.basename(changes.id[i]), originals.listed[i]
        target = files.free(folders[i], name, f'from_{train.class_names[train.label[row]]}')
        files.place(train.image.name(row), target)
    files.place_rows(train, originals.unlabelled)
    if test is not None:
        files.place_rows(test, np.arange(len(test)))


def class_folders(changes: Changes, originals: Originals) -> np.ndarray:
    """The folder of each listed image in a copy of class folders, str [N]; of no use where the image is left out."""
    train = originals.train
    classes = np.array(train.class_names)[train.label[originals.listed]].tolist()
    level = 0 if all(name.startswith(f'{given}/') for name, given in zip(changes.id, classes, strict=True)) else 1
    parts = [name.split('/')[:-1] for name in changes.id]
    folders = [[*part[:level], new, *part[level + 1 :]] for part, new in zip(parts, changes.new, strict=True)]
    return np.array(['/'.join(folder) for folder in folders], object)


def _file_list(files: CopyFolder, test_path: str, changes: Changes, originals: Originals) -> None:
    """Files in the same paths, labels.csv and class_names.txt, test.csv."""
    train, test = originals.train, originals.test
    files.place_rows(train, np.append(originals.listed[changes.kept], originals.unlabelled))
    with open_text(files.new('labels.csv')) as text:
        write_list(text, changes, originals)
    emptied = set(changes.emptied)
    with open_text(files.new('class_names.txt')) as text:
        text.writelines(f'{name}\n' for name in changes.class_names if name not in emptied)
    if test is not None:
        files.place_rows(test, np.arange(len(test)), test_path)
        with open_text(files.new('test.csv')) as text:
            labels = np.array(test.class_names)[test.label]
            spreadsheet.write(text, [('path', 'label'), *zip(test.id, labels, strict=True)])


def _arrays(out: pathlib.Path, path: str, changes: Changes, originals: Originals) -> None:
    """images.npy, labels.npy, ids.npy, true_labels.npy and class_names.npy as in `path`; the same of the test set."""
    train, test, kept = originals.train, originals.test, originals.listed[changes.kept]
    number = {name: number for number, name in enumerate(train.class_names)}
    label = np.full(len(train), NO_LABEL)
    label[kept] = [number[name] for name in changes.new[changes.kept]]
    rows = np.sort(np.concatenate([kept, originals.unlabelled]))
    splits = {'': train.replace(label=label).take(rows)} | ({} if test is None else {'test_': test})
    for prefix, dataset in splits.items():
        _write_images(out / f'{prefix}images.npy', dataset.image, array_files.form_of_images(path, prefix)[0])
    array_files.save_labels(out, splits, like=path)


def _write_images(file: pathlib.Path, images: Images, axes: int) -> None:
    """Images [N, H, W, C]; with 3 axes, without the last, of one channel."""
    shape = images.shape[:axes]
    written = np.lib.format.open_memmap(file, 'w+', np.uint8, shape)
    reserve(file)
    chunk = max(_CHUNK_BYTES // images[:1].nbytes, 1)
    for start in _progress(range(0, len(images), chunk)):
        written[start : start + chunk] = images[start : start + chunk].reshape(-1, *shape[1:])
    written.flush()


def _progress(items: Any) -> Iterable[Any]:
    return tqdm(items, desc='writing', delay=3, disable=None, leave=False)
