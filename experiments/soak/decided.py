"""Corrected copies: what people decide, how a spreadsheet saves it, and whether the copy is read back as decided."""

import csv
import json
import pathlib
from collections.abc import Callable

import numpy as np

from experiments.soak.left import begun
from experiments.soak.photos import Command, arrays, command, folder, listed, quick
from experiments.soak.trial import REFUSED, WORKS, Trial, call

_HEADER = 'index,id,given_label,decision,label'


def _cleaned(at: pathlib.Path, decide: Callable[[str, str], str | None], out: str = 'out') -> Command:
    """`clean` with decisions such as 'drop,' on the images of at/run, by id and label; None: nobody decided."""
    lines = [_HEADER]
    with (at / 'run' / 'labels.csv').open(newline='') as file:
        for row in csv.DictReader(file):
            if made := decide(row['id'], row['given_label']):
                lines.append(f'{row["index"]},{row["id"]},{row["given_label"]},{made}')
    (at / 'd.csv').write_text('\n'.join(lines) + '\n')
    return command('clean', f'--workdir={at / "run"}', f'--out={at}/{out}', f'--decisions={at / "d.csv"}', '--write')


def _run(at: pathlib.Path, *more: str, of: str = 'photos') -> None:
    status, said = call(quick(at / of, at / 'run', *more))
    if status:
        raise RuntimeError(said)


def _set(at: pathlib.Path, name: str, out: str = 'out') -> Command:
    """The images of a class with the name of a set and those of another, which lie in folders within it, change."""
    folder(at / 'photos', (name, 'bus/2021', 'bus/2022'), 4)
    _run(at)
    return _cleaned(at, lambda _, given: f'relabel,{"bus" if given == name else name}', out)


def _emptied(at: pathlib.Path, *lists: str, out: str = 'out') -> Command:
    """No image of one of three classes stays; the test set has them all."""
    for split in ('train', 'test'):
        folder(at / 'photos' / split, 'abc')
        names = [path.relative_to(at / 'photos') for path in sorted((at / 'photos' / split).rglob('*.png'))]
        (at / 'photos' / f'{split}.csv').write_text('\n'.join(f'{name},{name.parent.name}' for name in names))
    _run(at, *lists)
    return _cleaned(at, lambda _, given: 'drop,' if given == 'c' else None, out)


def _test_classes(at: pathlib.Path, **settings: str) -> set[str]:
    """The classes of the test images of the copy."""
    from noisy_jax import data
    from noisy_jax.settings import default

    test = data.load_splits(default().data.to_dict() | {'path': str(at / 'out')} | settings)[1]
    return {test.class_names[label] for label in test.label}


def _kept(at: pathlib.Path, *names: str) -> Command:
    begun(at)
    return _cleaned(at, lambda _, given: None if given in names else 'drop,')


def _saved(at: pathlib.Path, change: Callable[[str], str], encoding: str = 'utf-8', out: str = 'out') -> Command:
    """The decision on some images, saved by something else or for another place."""
    begun(at)
    made = _cleaned(at, lambda name, _: 'drop,' if name.endswith('0.png') else None, out)
    (at / 'd.csv').write_bytes(change((at / 'd.csv').read_text()).encode(encoding))
    return made


def _in_memory(at: pathlib.Path, out: str) -> Command:
    """As an estimator leaves its work directory."""
    made, config = _saved(at, str, out=out), at / 'run' / 'config.json'
    values = json.loads(config.read_text())
    values['data']['path'] = ''
    config.write_text(json.dumps(values))
    return made


def _moved(at: pathlib.Path, name: str) -> Command:
    """A list and its images, in another folder since, the list maybe with another name; one of 12 images is dropped."""
    listed(at / 'in' / 'photos.csv', 'ab')
    _run(at, of='in/photos.csv')
    made = _cleaned(at, lambda image, _: 'drop,' if image.endswith('0/00.png') else None)
    (at / 'in').rename(at / 'moved')
    (at / 'moved' / 'photos.csv').rename(at / 'moved' / name)
    return [*made, f'--data={at / "moved"}']


def _as_folders(at: pathlib.Path) -> Command:
    """A copy of a list whose images lie in class folders, trained on by these."""
    folder(at / 'photos')
    names = [path.relative_to(at / 'photos') for path in sorted((at / 'photos').rglob('*.png'))]
    (at / 'photos' / 'list.csv').write_text('\n'.join(f'{name},{name.parent}' for name in names))
    _run(at, of='photos/list.csv')
    call(_cleaned(at, lambda name, _: 'relabel,dog' if name == 'cat/00.png' else None))
    return quick(at / 'out', at / 'run2')


def _negative(at: pathlib.Path, out: str) -> Command:
    folder(at / 'photos', ('-1', '0', '1'))
    _run(at)
    return _cleaned(at, lambda name, _: 'relabel,1' if name == '0/00.png' else None, out)


def _untested(at: pathlib.Path, part: str) -> Command:
    """The test set, or the images without a label, are gone since the run."""
    for split in ('train', 'test'):
        folder(at / 'photos' / split)
    folder(at / 'photos', ['unlabelled'])
    _run(at)
    (at / 'photos' / part).rename(at / part)
    return _cleaned(at, lambda name, _: 'drop,' if name.endswith('/00.png') else None)


def _one_based(at: pathlib.Path) -> Command:
    """Labels from 1 without names; the first image becomes another class."""
    arrays(at / 'photos.npz', labels=lambda labels: labels + 1)
    _run(at, of='photos.npz')
    return _cleaned(at, lambda name, given: f'relabel,{5 - int(given)}' if name == '0' else None)


def _stays_one_based(at: pathlib.Path) -> bool:
    before = np.load(at / 'photos.npz')['labels']
    return np.load(at / 'out' / 'labels.npy').tolist() == [5 - before[0], *before[1:]]


def _has_54(at: pathlib.Path) -> bool:
    """Whether the copy has all but the six images that were dropped."""
    return len(list((at / 'out').rglob('*.png'))) == 54


def _greys(at: pathlib.Path) -> Command:
    """Floats without an axis of channels, and ids that are numbers; the first image is dropped."""
    arrays(at / 'photos.npz', images=lambda images: images / 255, ids=np.arange(100, 124))
    _run(at, of='photos.npz')
    return _cleaned(at, lambda name, _: 'drop,' if name == '100' else None)


def _still_greys(at: pathlib.Path) -> bool:
    images, ids = (np.load(at / 'out' / f'{name}.npy') for name in ('images', 'ids'))
    return images.shape == (23, 8, 8) and ids.tolist() == [*range(101, 124)]


_LISTS = ('--config.data.list=train.csv', '--config.data.test_list=test.csv')
_SETTINGS = {'name': 'filelist', 'list': 'labels.csv', 'test_list': 'test.csv', 'class_names': 'class_names.txt'}

TRIALS = [
    *(
        Trial('decisions', f'a class {name} that is left with folders alone', REFUSED, lambda at, n=name: _set(at, n))
        for name in ('train', 'Test', 'val')
    ),
    Trial('decisions', 'the same into a list', WORKS, lambda at: _set(at, 'train', 'out.csv')),
    Trial(
        'decisions', 'a class left out, with a test set', WORKS, _emptied, lambda at: _test_classes(at) == {'a', 'b'}
    ),
    Trial(
        'decisions',
        'a class left out, with a test list',
        WORKS,
        lambda at: _emptied(at, *_LISTS),
        lambda at: _test_classes(at, **_SETTINGS) == {'a', 'b'},
    ),
    Trial('decisions', 'all left out', REFUSED, _kept),
    Trial('decisions', 'all of one class', WORKS, lambda at: _kept(at, 'class 0')),
    Trial('decisions', 'images of an estimator', REFUSED, lambda at: _in_memory(at, 'out')),
    Trial('decisions', 'images of an estimator, a list', WORKS, lambda at: _in_memory(at, 'out.csv')),
    Trial('decisions', 'for other data', REFUSED, lambda at: _saved(at, lambda text: text.replace('.png', '.jpg'))),
    *(
        Trial('decisions', f'--out={out}', REFUSED, lambda at, out=out: _saved(at, str, out=out))
        for out in ('out.tsv', 'out.csv/', 'out.npz')
    ),
    Trial('decisions', '--out=X.CSV', WORKS, lambda at: _saved(at, str, out='X.CSV'), lambda at: _is_file(at, 'X.CSV')),
    *(
        Trial('decisions', name, WORKS, lambda at, change=change: _saved(at, change), _has_54)
        for name, change in {
            'semicolons': lambda text: text.replace(',', ';'),
            'a first line sep=,': lambda text: f'sep=,\n{text}',
            'no separator at the end': lambda text: text.replace(',\n', '\n'),
            'rows of empty cells': lambda text: f'{text},,,,\n',
        }.items()
    ),
    Trial(
        'decisions',
        'a list that has moved',
        WORKS,
        lambda at: _moved(at, 'photos.csv'),
        lambda at: len(list((at / 'out').rglob('*.png'))) == 11,
    ),
    Trial('decisions', 'a list that has moved and been renamed', REFUSED, lambda at: _moved(at, 'other.csv')),
    Trial('decisions', 'the copy of a list, taken for class folders', REFUSED, _as_folders),
    Trial('decisions', 'classes -1, 0 and 1', WORKS, lambda at: _negative(at, 'out')),
    Trial('decisions', 'classes -1, 0 and 1, a list', REFUSED, lambda at: _negative(at, 'out.csv')),
    *(
        Trial('decisions', f'{part} is gone since the run', REFUSED, lambda at, part=part: _untested(at, part))
        for part in ('test', 'unlabelled')
    ),
    Trial('decisions', 'arrays with labels from 1', WORKS, _one_based, _stays_one_based),
    Trial('decisions', 'arrays of floats without channels', WORKS, _greys, _still_greys),
    Trial('decisions', 'UTF-16', REFUSED, lambda at: _saved(at, str, 'utf-16')),
]


def _is_file(at: pathlib.Path, name: str) -> bool:
    return (at / name).is_file()
