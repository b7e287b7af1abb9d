"""Labels, names of classes and files, and which files are read."""

import json
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from experiments.soak.left import begun
from experiments.soak.photos import Action, arrays, command, folder, last, listed, pixels, quick, save
from experiments.soak.trial import REFUSED, WORKS, Trial, call


def _data(at: pathlib.Path) -> dict:
    return json.loads((at / 'run' / 'data.json').read_text())


def _classes(*names: str) -> Callable[[pathlib.Path], bool]:
    return lambda at: _data(at)['classes'] == list(names)


def _images(count: int) -> Callable[[pathlib.Path], bool]:
    return lambda at: _data(at)['images'] == count


def _list(labels: Iterable[str]) -> Callable[[pathlib.Path], Action]:
    return lambda at: quick(listed(at / 'list.csv', labels), at / 'run')


def _quoted(at: pathlib.Path) -> Action:
    """As some programs write it: "path", "label"."""
    file = listed(at / 'list.csv', ('cat', 'dog'))
    rows = [line.split(',') for line in file.read_text().splitlines()]
    file.write_text(''.join(f'"{path}", "{label}"\n' for path, label in rows))
    return quick(file, at / 'run')


def _folder(*names: str) -> Callable[[pathlib.Path], Action]:
    return lambda at: quick(folder(at / 'photos', names), at / 'run')


def _arrays(**changes: object) -> Callable[[pathlib.Path], Action]:
    return lambda at: quick(arrays(at / 'a.npz', **changes), at / 'run')


def _predicted(*names: str) -> Callable[[pathlib.Path], Action]:
    """A run on classes of these names, and its predictions with a column for each."""

    def make(at: pathlib.Path) -> Action:
        root = folder(at / 'photos', names)
        call(quick(root, at / 'run'))
        return command('predict', f'--workdir={at / "run"}', f'--images={root}', f'--out={at / "p.csv"}', '--all')

    return make


def _named(name: str, in_class: str = 'cat') -> Callable[[pathlib.Path], Action]:
    """One file of class folders is called so."""

    def make(at: pathlib.Path) -> Action:
        root = folder(at / 'photos', (in_class, 'dog'))
        (root / in_class / '00.png').rename(root / in_class / name)
        return quick(root, at / 'run')

    return make


def _more(*paths: str, count: int = 12) -> Callable[[pathlib.Path], Action]:
    """More images beside twelve in two classes."""

    def make(at: pathlib.Path) -> Action:
        root = folder(at / 'photos')
        for path in paths:
            save(root / path, np.repeat(pixels()[0][300][..., None], 3, -1))
        return quick(root, at / 'run')

    return make


def _spelt(*spellings: str) -> Callable[[pathlib.Path], Action]:
    """A list that names one file in several ways."""

    def make(at: pathlib.Path) -> Action:
        file = listed(at / 'list.csv', 'ab')
        os.symlink('00.png', at / 'photos' / '0' / 'link.png')
        with file.open('a') as text:
            text.writelines(f'{each.format(at=at)},a\n' for each in spellings)
        return quick(file, at / 'run')

    return make


def _piped(at: pathlib.Path) -> Action:
    """A list of which one image is a pipe, for which a reader would wait."""
    file = listed(at / 'list.csv', 'ab')
    os.mkfifo(at / 'photos/0/pipe.png')
    with file.open('a') as text:
        text.write('photos/0/pipe.png,a\n')
    return quick(file, at / 'run')


def _work_directory(at: pathlib.Path, place: str) -> Action:
    """Class folders among which an earlier run was moved."""
    begun(at)
    (at / 'run').rename(at / 'photos' / place)
    return quick(at / 'photos', at / 'run')


def _text(content: str, name: str = 'list.csv', **more: str) -> Callable[[pathlib.Path], Action]:
    """A list of this content, where 00.png to 05.png are in photos/0 and photos/1."""

    def make(at: pathlib.Path) -> Action:
        listed(at / 'other.csv', 'ab')
        (at / name).write_text(content, newline='')
        for other, said in more.items():
            (at / f'{other}.txt').write_text(said)
        return quick(at / name, at / 'run', *(f'--config.data.{other}={at}/{other}.txt' for other in more))

    return make


_ROWS = ''.join(f'photos/{label}/0{place}.png,{label}\n' for label in (0, 1) for place in range(6))
_NAMES = '--config.data.class_names={at}/n.csv'
_TABLE = (
    ('zip codes', ('02134', '10001', '90210')),
    ('007 and 7', ('7', '007')),
    ('01 and 1', ('1', '01')),
    ('a number of 12 digits', ('1', '100000000017')),
    ('numbers from 5', ('5', '7', '9')),
    ('5,000 digits', ('1', '9' * 5000)),
    ('decimal numbers', ('0.5', '1.5')),
    ('words like numbers', ('1e3', 'nan')),
    ('TRUE and true', ('TRUE', 'true')),
    ('formulas', ('+1', '=1+1', '@a')),
    ('accents', ('café', 'naïve')),
    ('emoji', ('🐈', '🐕')),
    ('right to left', ('\u202eabc', 'חתול')),
    ('NFC and NFD', ('e\u0301', 'é')),
    ('script', ('"<script>alert(1)</script>', "'; drop")),
)
_UNREAD = ('\udcfc', 'a\rb', 'a\nb', "a'b", 'a"b', 'a,b', 'a\tb', ' a ', 'a\u2028b', '-a', '=a', '%s', '{a}', '💥')

TRIALS = [
    *(
        Trial(
            'labels',
            f'a list with {name}',
            WORKS,
            _list(labels),
            lambda at, labels=labels: sorted(_data(at)['classes']) == sorted(labels),
        )
        for name, labels in _TABLE
        if not any('"' in label for label in labels)
    ),
    Trial('labels', 'folders 0 to 11', WORKS, _folder(*map(str, range(12))), _classes(*map(str, range(12)))),
    Trial(
        'labels',
        'folders 01, 1, 10, 2',
        WORKS,
        _folder('01', '1', '10', '2'),
        lambda at: _data(at)['classes'][-1] == '10',
    ),
    Trial(
        'labels',
        'arrays of labels 5, 7, 9',
        WORKS,
        _arrays(labels=lambda y: np.array([5, 7, 9])[y % 3]),
        _classes(*'579'),
    ),
    Trial(
        'labels', 'arrays of text labels', WORKS, _arrays(labels=lambda y: np.array(list('abcd'))[y]), _classes(*'abcd')
    ),
    Trial(
        'labels',
        'arrays of labels about 10**12',
        WORKS,
        _arrays(labels=lambda y: y + 10**12),
        lambda at: len(_data(at)['classes']) == 4,
    ),
    Trial('labels', 'a list with blanks before quotation marks', WORKS, _quoted, _classes('cat', 'dog')),
    Trial('labels', 'arrays of pickled labels', REFUSED, _arrays(labels=lambda y: y.astype(object))),
    Trial('labels', 'arrays of labels 0.5', REFUSED, _arrays(labels=lambda y: y + 0.5)),
    Trial(
        'labels', 'arrays with labels of -1', WORKS, _arrays(labels=lambda y: np.where(y == 3, -1, y)), _classes(*'012')
    ),
    Trial('labels', 'arrays with labels of -2', REFUSED, _arrays(labels=lambda y: y - 2)),
    Trial('labels', 'arrays of NaN labels', REFUSED, _arrays(labels=lambda y: y * np.nan)),
    Trial('labels', 'fewer labels than images', REFUSED, _arrays(labels=lambda y: y[:-1])),
    Trial('labels', 'arrays with names too few', REFUSED, _arrays(class_names=np.array(['a', 'b']))),
    Trial('labels', 'arrays with a name twice', REFUSED, _arrays(class_names=np.array(['a', 'b', 'a', 'd']))),
    Trial(
        'labels',
        'arrays without labels',
        REFUSED,
        lambda at: last(np.savez(at / 'a.npz', images=pixels()[0]), quick(at / 'a.npz', at / 'run')),
    ),
    Trial(
        'labels',
        'arrays: class names a space and a case apart',
        WORKS,
        _arrays(class_names=np.array(['a', 'a ', 'A', 'b'])),
        _classes('a', 'a ', 'A', 'b'),
    ),
    Trial(
        'labels',
        'classes called as columns of predictions',
        WORKS,
        _predicted('label', 'path'),
        lambda at: (at / 'p.csv').read_text().startswith('path,label,probability,class:label,class:path\n'),
    ),
    Trial('labels', 'one class, folders', REFUSED, _folder('cat')),
    Trial('labels', 'one class, list', REFUSED, _list('a')),
    Trial('labels', 'one class, arrays', REFUSED, _arrays(labels=lambda y: y * 0)),
    Trial(
        'labels',
        'no class folders',
        REFUSED,
        lambda at: last(save(at / 'photos' / 'a.png', pixels()[0][0]), quick(at / 'photos', at / 'run')),
    ),
    Trial(
        'labels',
        '12 classes of 5',
        WORKS,
        lambda at: quick(folder(at / 'photos', map(str, range(12)), 5), at / 'run'),
        lambda at: _data(at)['held_out'] == 6,
    ),
    Trial('labels', 'a class of one image', WORKS, _more('bird/1.png'), _classes('bird', 'cat', 'dog')),
    Trial('labels', 'a list: class names with one twice', REFUSED, _text(_ROWS, class_names='a\na\n')),
    Trial('labels', 'a list: class names too few', REFUSED, _text(_ROWS, class_names='a\n')),
    Trial('labels', 'a list: class names', WORKS, _text(_ROWS, class_names='a\nb\n'), _classes('a', 'b')),
    Trial('labels', 'a list: numbered class names, order changed', REFUSED, _text(_ROWS, class_names='1 b\n0 a\n')),
    Trial('labels', 'a list: class names in JSON', REFUSED, _text(_ROWS, class_names='[\n"a",\n"b"\n]')),
    Trial('labels', 'a list: class names below a title', REFUSED, _text(_ROWS, class_names='# classes\na\nb\n')),
    Trial(
        'labels',
        'a list: class names below a header',
        WORKS,
        lambda at: last((at / 'n.csv').write_text('name\na\nb\n'), [*_text(_ROWS)(at), _NAMES.format(at=at)]),
        _classes('a', 'b'),
    ),
    Trial(
        'labels',
        'a list: class names in two columns',
        REFUSED,
        lambda at: last((at / 'n.csv').write_text('id,name\n0,a\n1,b\n'), [*_text(_ROWS)(at), _NAMES.format(at=at)]),
    ),
    Trial(
        'labels',
        'a list: class names in two columns, semicolons',
        REFUSED,
        lambda at: last((at / 'n.csv').write_text('id;name\n0;a\n1;b\n'), [*_text(_ROWS)(at), _NAMES.format(at=at)]),
    ),
    Trial(
        'labels',
        'a list: semicolons',
        WORKS,
        _text('path;label\n' + _ROWS.replace(',0', ';a, b').replace(',1', ';c')),
        _classes('a, b', 'c'),
    ),
    Trial(
        'labels',
        'a list: no separator where the label is empty',
        WORKS,
        _text('path,label\n' + _ROWS.replace('00.png,0', '00.png')),
        lambda at: _data(at)['unlabelled'] == 1,
    ),
    Trial(
        'labels',
        'a test list of training images',
        REFUSED,
        lambda at: [*_text(_ROWS)(at), f'--config.data.test_list={at}/list.csv'],
    ),
    Trial('labels', 'a list: empty', REFUSED, _text('')),
    Trial('labels', 'a list: a header alone', REFUSED, _text('path,label\n')),
    Trial('labels', 'a list: no labels', REFUSED, _text(_ROWS.replace(',0', ',').replace(',1', ','))),
    Trial('labels', 'a list: a field of 200,000 characters', REFUSED, _text(_ROWS + 'x' * 200_000 + ',1\n')),
    Trial('labels', 'a list: class names in brackets', REFUSED, _text(_ROWS, class_names='[1] b\n[0] a\n')),
    Trial('labels', 'a list: NUL far behind', REFUSED, _text(_ROWS + 'a,1\n' * 30_000 + 'a\0b/c,1\n')),
    Trial('labels', 'a list: a pipe as file', REFUSED, _piped),
    Trial('labels', 'arrays with ids of fields', REFUSED, _arrays(ids=np.zeros(24, [('a', int), ('b', int)]))),
    Trial('labels', 'a list: NUL', REFUSED, _text(_ROWS + 'a\0b,1\n')),
    Trial('labels', 'a list: three columns', REFUSED, _text(_ROWS + 'a,b,c\n')),
    Trial('labels', 'a list: an open quote', REFUSED, _text(_ROWS + '"a,1\n')),
    Trial(
        'labels',
        'a list: Windows line ends and a BOM',
        WORKS,
        _text('\ufeffpath,label\n'.replace('\n', '\r\n') + _ROWS.replace('\n', '\r\n')),
        _images(12),
    ),
    Trial('labels', 'a list: old Macintosh line ends', WORKS, _text(_ROWS.replace('\n', '\r')), _images(12)),
    Trial('labels', 'a list: a missing file', REFUSED, _text(_ROWS + 'photos/none.png,1\n')),
    Trial('labels', 'a list: a folder as file', REFUSED, _text(_ROWS + 'photos/0,1\n')),
    Trial('labels', 'a list: a line twice', REFUSED, _text(_ROWS + 'photos/0/00.png,1\n')),
    *(
        Trial('labels', f'a list: one file also as {each}', REFUSED, _spelt(each))
        for each in ('./photos/0/00.png', 'photos/../photos/0/00.png', '{at}/photos/0/00.png', 'photos/0/link.png')
    ),
    *(Trial('files', f'a file called {name!r}', WORKS, _named(f'{name}.png'), _images(12)) for name in _UNREAD),
    *(Trial('files', f'a class called {name!r}', WORKS, _named('00.png', name), _images(12)) for name in _UNREAD),
    *(
        Trial('files', f'a .{suffix} file', WORKS, _more(f'cat/x.{suffix}'), _images(13))
        for suffix in ('tif', 'tiff', 'gif', 'webp', 'bmp', 'jfif', 'avif', 'ppm', 'jp2', 'JPG', 'jpe')
    ),
    Trial('files', 'images in a sub-folder', WORKS, _more('cat/2021/x.png'), _images(13)),
    Trial('files', 'a work directory among the classes', REFUSED, lambda at: _work_directory(at, 'old')),
    Trial('files', 'a work directory in a class', WORKS, lambda at: _work_directory(at, 'class 0/old'), _images(60)),
    Trial('files', 'a loose image', WORKS, _more('x.png'), _images(12)),
    Trial(
        'files',
        'Train/ and Test/',
        WORKS,
        lambda at: last(folder(at / 'photos' / 'Test'), quick(folder(at / 'photos' / 'Train').parent, at / 'run')),
        _classes('cat', 'dog'),
    ),
    Trial(
        'files', 'folders of systems', WORKS, _more('@eaDir/x.png', 'cat/@eaDir/x.png', '__MACOSX/x.png'), _images(12)
    ),
    Trial(
        'files',
        'training/ and testing/',
        WORKS,
        lambda at: last(folder(at / 'p' / 'testing'), quick(folder(at / 'p' / 'training').parent, at / 'run')),
        _classes('testing', 'training'),
    ),
    Trial(
        'files',
        'a suffix .NPZ',
        WORKS,
        lambda at: last(arrays(at / 'a.npz').rename(at / 'A.NPZ'), quick(at / 'A.NPZ', at / 'run')),
        _images(24),
    ),
    Trial('files', 'a class called train', WORKS, _folder('bus', 'train'), _classes('bus', 'train')),
    Trial('files', 'a class called test', WORKS, _folder('bus', 'test'), _classes('bus', 'test')),
    Trial('files', 'classes train and test', WORKS, _folder('train', 'test'), _classes('test', 'train')),
    Trial(
        'files',
        'an unknown class in the test set',
        REFUSED,
        lambda at: last(
            folder(at / 'p' / 'test', ('cat', 'cow')), quick(folder(at / 'p' / 'train').parent, at / 'run')
        ),
    ),
    Trial(
        'files',
        'a link in a circle',
        WORKS,
        lambda at: last(os.symlink('..', folder(at / 'photos') / 'cat' / 'up'), quick(at / 'photos', at / 'run')),
        _images(12),
    ),
    Trial(
        'files',
        'a link to nothing',
        REFUSED,
        lambda at: last(
            os.symlink('none.png', folder(at / 'photos') / 'cat' / 'l.png'), quick(at / 'photos', at / 'run')
        ),
    ),
    Trial(
        'files',
        'a FIFO',
        WORKS,
        lambda at: last(os.mkfifo(folder(at / 'photos') / 'cat' / 'f.png'), quick(at / 'photos', at / 'run')),
        _images(12),
    ),
    Trial(
        'files',
        'predict where nothing is',
        REFUSED,
        lambda at: command('predict', f'--workdir={at}', f'--images={at}', f'--out={at}/p.csv'),
    ),
]
