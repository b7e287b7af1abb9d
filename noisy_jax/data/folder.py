"""Loader of class folders: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or PATH/CLASS/*.jpg without a test set.

PATH/train is the training set if folders with images lie in it (and, where it holds images itself too, no classes lie
beside it), and PATH/test, val or validation then the test set; in any case of letters. Else folders of these names that
hold images are classes, which a warning says.

Images of a class may lie in folders within its folder. A folder `unlabelled` (or `unlabeled`) in PATH or PATH/train is
no class: its images have no label. A warning counts what is left out, such as images beside the class folders.
A corrected copy of a list is refused: its folders may have the names of the classes before.
"""

import itertools
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from noisy_jax.data import image_files, list_file
from noisy_jax.data.dataset import NO_LABEL, Dataset, in_order
from noisy_jax.data.encoded import Paths
from noisy_jax.data.reading import DEFAULT, Decoding
from noisy_jax.errors import InputError, check_reachable, some

UNLABELLED = ('unlabelled', 'unlabeled')
_TRAIN, _TEST_NAMES = 'train', ('test', 'val', 'validation')
_LOOSE = 'image beside the class folders', 'images beside the class folders'
_OF_LIST = 'labels.csv', 'class_names.txt', 'changes.csv'  # beside the images that our clean copies from a list
_OF_SETS = re.compile(
    r'(?<![a-z])(train|test)(ing)?(?![a-z])|(?<![a-z])val(id(ation)?)?(?![a-z])|(?<![a-z])(fold|split)[\s_-]*[0-9]',
    re.IGNORECASE,
)
_NESTED = 3  # folders of one folder, as archives have them
_BESIDE = 'folder beside the training set', 'folders beside the training set'


def load(split: str, path: str, limit: int = 0, decoding: Decoding = DEFAULT, **_: Any) -> Dataset | None:
    """Loads the images of a split by class, then by path; those without a label come last.

    Classes are the names of the folders, by value if all are whole numbers, else as text.

    Args:
      split: 'train' or 'test'.
      path: the folder.
      limit: greatest number of images, the first of every class; others are not decoded. 0: all.
      decoding: how images are read.

    Returns:
      The data set, with one channel if all images are grey; None for a test set that does not exist.

    Raises:
      InputError: a folder is missing, empty or of a list, or an image cannot be decoded or has another size.
    """
    if not path or not os.path.isdir(path):
        check_reachable('data.path', path)
        raise InputError(f'data.path: {path!r} is not a folder; class folders of images are needed')
    image_files.refuse_run(path)
    if decoding.headers:  # else names are needed, not labels
        _refuse_list(path)
    top, level = (layout := _layout(path)).top, layout.training
    names = in_order(name for name in level.folders if not _is_any(name, UNLABELLED))
    if not names:
        raise InputError(f'{level.path}: it has no class folders; one folder of images per class is needed')
    left_out, notes, unlabelled = [top.left_out, layout.beside], layout.notes, []
    left_out += [level.left_out] if level is not top else []
    if split == 'train':
        unlabelled = [place.name(name) for place in (level, top) for name in place.folders if _is_any(name, UNLABELLED)]
    elif layout.test is None:
        return None
    else:
        level, left_out, notes = layout.test, [layout.test.left_out], ()
        if unknown := set(level.folders) - set(names):
            raise InputError(
                f'{level.path}/{min(unknown)}: the training set has no such class; classes: {some(names, 20)}'
            )
    places = [(label, level.name(name)) for label, name in enumerate(names) if name in level.folders]
    ids, label, rank = [], [], []
    for number, name in [*places, *((NO_LABEL, name) for name in dict.fromkeys(unlabelled))]:
        found = image_files.search(os.path.join(path, name), name)
        images = _once(path, found)
        if not images and number != NO_LABEL:
            raise InputError(f'{path}/{name}: it has no images that Pillow reads; fill or remove the folder')
        ids += images
        label += [number] * len(images)
        rank += range(len(images))
        left_out.append(found.left_out)
    image_files.warn(path, left_out, (*notes, *_lists(top, ids)) if split == 'train' else notes)
    kept = np.flatnonzero(np.array(rank) < (max(limit // len(names), 1) if limit else len(ids)))
    columns = {'label': np.array(label, np.int32)[kept], 'id': np.array(ids)[kept], 'row': kept}
    return Dataset.of_files(Paths(path, columns['id']), decoding, names, available=len(ids), **columns)


def _refuse_list(path: str) -> None:
    """Refuses a folder that is, or lies in, a corrected copy of a list."""
    root = pathlib.Path(os.path.abspath(path))
    for place in (root, *root.parents):
        if all(os.path.isfile(place / name) for name in _OF_LIST):
            labels, names, _ = (list_file.setting_of(place, name) for name in _OF_LIST)
            is_tested = os.path.isfile(place / 'test.csv')
            test = f', data.test_list={list_file.setting_of(place, "test.csv")}' if is_tested else ''
            raise InputError(
                f'{path}: a corrected copy of a list has its labels in {labels}, not in the names of folders; set what '
                f'clean printed: data.path={place}, data.list={labels}, data.class_names={names}{test}'
            )


class _Level(NamedTuple):
    """A folder of class folders.

    Attributes:
      path: of the folder.
      prefix: of the ids of its images, '' or 'train/'.
      folders: names of the folders in it.
      left_out: what else lies in it.
    """

    path: str
    prefix: str
    folders: list[str]
    left_out: image_files.LeftOut

    def name(self, folder: str) -> str:
        return f'{self.prefix}{folder}'

    def holding(self) -> list[str]:
        """The folders that hold images, in folders within them too."""
        return [name for name in self.folders if _has_images(os.path.join(self.path, name))]


class _Layout(NamedTuple):
    """What is where in a data set; `training` is `top` where there is no folder `train`."""

    top: _Level
    training: _Level
    test: _Level | None
    beside: image_files.LeftOut
    notes: tuple[str, ...]


def _layout(root: str) -> _Layout:
    top = _level(root)
    reserved = {name: _level(root, name) for name in top.folders if _is_any(name, (_TRAIN, *_TEST_NAMES))}
    sets = {name: level for name, level in reserved.items() if level.holding()}
    if train := _named(root, sets, (_TRAIN,)):
        others = [name for name in top.holding() if not _is_any(name, (_TRAIN, *_TEST_NAMES, *UNLABELLED))]
        if not (others and sets[train].left_out[_LOOSE]):
            test = _named(root, sets, _TEST_NAMES)
            beside = [name for name in top.holding() if name not in (train, test) and not _is_any(name, UNLABELLED)]
            return _Layout(top, sets[train], sets.get(test), {_BESIDE: beside}, ())
    for level in sets.values():
        if not level.left_out[_LOOSE]:
            raise InputError(
                f'{level.path}: a test set, as it looks, but there are no class folders in {root}/{_TRAIN}; move them '
                'there, or rename this folder'
            )
    classes = [name for name, level in reserved.items() if level.left_out[_LOOSE]]
    notes = tuple(f'{name} holds images and is taken for a class' for name in classes)
    return _Layout(top, top, None, {}, (*notes, *_like_sets(top)))


def _like_sets(top: _Level) -> Iterator[str]:
    """A note if the class folders hold no images themselves, but folders of the same names, as sets do.

    It may be in the only folder within them, as archives unpack. And a note of each class that holds other classes.
    """
    names, classes, sets = [name for name in top.folders if not _is_any(name, UNLABELLED)], 0, []
    for name in names:
        level = _level(top.path, name)
        if level.left_out[_LOOSE]:
            classes += 1
            continue
        within = {each for folder in level.folders for each in _level(level.path, folder).folders}
        if len(found := {*level.folders, *within} & (set(names) - {name})) > 1:
            yield f'{name} holds folders with names of classes ({some(sorted(found), 3)}), and is taken for a class'
        for _ in range(_NESTED):
            if len(level.folders) == 1 and not level.left_out[_LOOSE]:
                level = _level(level.path, level.folders[0])
        sets += [] if level.left_out[_LOOSE] else [set(level.folders)]
    are_named_so = len(names) > 1 and all(map(_OF_SETS.search, names))
    shared = len(set.intersection(*sets)) if len(sets) > 1 else 0  # classes, rather than who sorted the images of each
    if are_named_so or (not classes and shared >= max(len(sets), 2)):
        of = f'{_TRAIN} and {_TEST_NAMES[0]}'
        yield f'{some(names, 3)} look like sets, but are taken for classes; sets are named {of}'


def _lists(top: _Level, ids: list[str]) -> Iterator[str]:
    """A note of each table beside the class folders that names images `ids` in them, maybe with other labels."""
    places = {os.path.basename(each): os.path.dirname(each) for each in ids} | dict.fromkeys(ids, '')
    for name in top.left_out[image_files.OTHER]:
        if os.path.splitext(name)[1].lower() in list_file.TABLES:
            file = pathlib.Path(top.path, name)
            try:
                rows = [words for _, words in itertools.islice(list_file.records(file, labelled=True), 3) if any(words)]
            except InputError:
                continue
            for place in [places[words[0]] for words in rows if words[0] in places][:1]:
                how = (
                    f'data.path={os.path.join(top.path, place)} and data.list={file}' if place else f'data.path={file}'
                )
                yield f'{name} names images, but labels are the names of folders; {how} would read a list'


def _level(root: str, name: str = '') -> _Level:
    level = _Level(os.path.join(root, name) if name else root, f'{name}/' if name else '', [], {})
    level.left_out.update({_LOOSE: [], image_files.OTHER: [], image_files.HIDDEN: []})
    for entry in image_files.entries(level.path):
        if image_files.is_hidden(entry.name):
            kind = image_files.HIDDEN
        elif entry.is_dir() if not entry.is_symlink() else os.path.isdir(entry.path):
            level.folders.append(entry.name)
            continue
        else:
            kind = _LOOSE if image_files.is_image(entry.name) else image_files.OTHER
        level.left_out[kind] += [level.name(entry.name)] * image_files.is_missed(entry.name)
    return level


def _named(root: str, sets: dict[str, _Level], names: tuple[str, ...]) -> str:
    """The one of the `sets` with the first of these names, in any case of letters; '' if there is none."""
    for wanted in names:
        found = [name for name in sets if name.casefold() == wanted]
        if len(found) > 1:
            raise InputError(f'{root}: {found[0]} and {found[1]} are one name in two cases; rename one')
        if found:
            return found[0]
    return ''


def _is_any(name: str, names: tuple[str, ...]) -> bool:
    return name.casefold() in names


def _has_images(folder: str) -> bool:
    for _, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not image_files.is_hidden(name)]
        if any(image_files.is_image(name) and not image_files.is_hidden(name) for name in names):
            return True
    return False


def _once(root: str, found: image_files.FoundFiles) -> list[str]:
    """The images of a class without links to others of them, which count as left out."""
    if not found.links:
        return found.images
    links, again = set(found.links), found.left_out[image_files.AGAIN]
    folders = {os.path.dirname(name) for name in found.images}
    real = {folder: os.path.realpath(os.path.join(root, folder)) for folder in folders}
    files = (os.path.split(name) for name in found.images if name not in links)
    seen = {os.path.join(real[folder], name) for folder, name in files}
    for name in found.links:
        target = os.path.realpath(os.path.join(root, name))
        again += [name] if target in seen else []
        seen.add(target)
    left = set(again)
    return [name for name in found.images if name not in left]
