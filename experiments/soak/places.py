"""Where things lie: folders in each other, names that cannot be used, files that would be overwritten."""

import csv
import json
import os
import pathlib

from experiments.soak.left import begun
from experiments.soak.photos import Command, command, copied, folder, last, listed, quick
from experiments.soak.trial import REFUSED, WORKS, Trial, call


def _list_in(at: pathlib.Path, name: str) -> Command:
    """A run on a list of this name, in the folder of the list."""
    return quick(listed(at / 'own' / name, 'ab'), at / 'own')


def _beside(at: pathlib.Path, name: str) -> Command:
    """A run in a folder that holds a file of this name."""
    (at / 'own').mkdir()
    (at / 'own' / name).write_text('{"mine": true}')
    return quick(folder(at / 'photos'), at / 'own')


def _home(at: pathlib.Path) -> Command:
    os.environ['HOME'] = str(at / 'home')
    folder(at / 'home' / 'photos')
    return quick('~/photos', '~/run')


def _suggested(at: pathlib.Path, label: str, column: str = 'suggested_label') -> Command:
    """All suspects of an edited labels.csv become `label`."""
    run = begun(at)
    with (run / 'labels.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    rows[0] |= {column: label, 'is_suspect': '1', 'clean_probability': '0.1'}
    with (run / 'labels.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return command('clean', f'--workdir={run}', f'--out={at / "out"}', '--all-suspects', '--threshold=0.2', '--write')


def _linked(at: pathlib.Path, out: str) -> Command:
    (at / 'elsewhere').mkdir()
    (at / 'link').symlink_to(at / 'elsewhere')
    run, decisions = begun(at), at / 'decisions.csv'
    decisions.write_text('index,id,given_label,decision,label\n0,class 0/000.png,class 0,drop,\n')
    return command('clean', f'--workdir={run}', f'--out={out}', f'--decisions={decisions}', '--write')


def _cleaned(at: pathlib.Path, out: str, data: str = '') -> Command:
    run, more = begun(at), [f'--data={at / data}'] if data else []
    return command('clean', f'--workdir={run}', f'--out={out}', '--all-suspects', '--write', *more)


def _cleaned_backup(at: pathlib.Path) -> Command:
    """A copy among the originals, made of a backup of them."""
    run, data = begun(at), copied(at / 'photos', at / 'backup')
    options = ('--all-suspects', '--threshold=0.2', '--write')
    return command('clean', f'--workdir={run}', f'--data={data}', f'--out={at}/photos/out', *options)


def _linked_deep(at: pathlib.Path, out: str) -> Command:
    """Into what a link deep in a class folder leads to, or a link in that."""
    run = begun(at)
    (at / 'photos/class 0/deep/er').mkdir(parents=True)
    for link, target in (('photos/class 0/deep/er/more', 'second'), ('second/again', 'third')):
        (at / target).mkdir()
        (at / link).symlink_to(at / target)
    return command('export', f'--workdir={run}', f'--out={at / out}')


def _out(at: pathlib.Path, name: str, out: str, *more: str) -> Command:
    return command(name, f'--workdir={begun(at)}', f'--out={out}', *more)


def _predicted(at: pathlib.Path, out: str) -> Command:
    return _out(at, 'predict', out, f'--images={at / "photos"}')


def _packed_run(at: pathlib.Path) -> Command:
    """A run on what `pack` made of class folders with images without a label."""
    folder(folder(at / 'photos'), ['unlabelled'], 2)
    status, said = call(_packed(at, f'{at}/packed'))
    if status:
        raise RuntimeError(said)
    return quick(at / 'packed', at / 'run')


def _packed(at: pathlib.Path, out: str) -> Command:
    return command('data.pack', '--name=folder', f'--path={folder(at / "photos")}', f'--out={out}')


def _class_linked(at: pathlib.Path) -> Command:
    """A work directory in the folder that a class links to."""
    folder(at / 'photos')
    (at / 'photos' / 'bird').symlink_to(folder(at / 'birds', ['all']) / 'all')
    return quick(at / 'photos', at / 'birds' / 'all' / 'r')


_OURS = ('labels.csv', 'data_issues.csv', 'metrics.jsonl', 'summary.json', 'report.html', 'pred_probs.npy')

TRIALS = [
    *(
        Trial('places', f'a list named {name} in the work directory', REFUSED, lambda at, name=name: _list_in(at, name))
        for name in ('labels.csv', 'data_issues.csv')
    ),
    *(
        Trial('places', f'a work directory that holds a {name} of another', REFUSED, lambda at, n=name: _beside(at, n))
        for name in (*_OURS, 'config.json', 'notes.txt')
    ),
    Trial('places', 'a work directory in the data', REFUSED, lambda at: quick(folder(at / 'photos'), at / 'photos/r')),
    Trial(
        'places', 'the data as work directory', REFUSED, lambda at: quick(folder(at / 'photos'), folder(at / 'photos'))
    ),
    Trial('places', 'data in the work directory', REFUSED, lambda at: quick(folder(at / 'run' / 'photos'), at / 'run')),
    Trial(
        'places',
        'data in the work directory, by a link',
        REFUSED,
        lambda at: last(
            folder(at / 'run' / 'photos'),
            (at / 'link').symlink_to(at / 'run' / 'photos'),
            quick(at / 'link', at / 'run'),
        ),
    ),
    Trial('places', 'an empty --workdir', REFUSED, lambda at: quick(folder(at / 'photos'), '')),
    Trial('places', 'a file as --workdir', REFUSED, lambda at: _file_as_workdir(at)),
    Trial(
        'places',
        'a --workdir below a file',
        REFUSED,
        lambda at: quick(folder(at / 'photos'), at / 'photos/cat/00.png/r'),
    ),
    Trial('places', 'a name of 300 characters', REFUSED, lambda at: quick(folder(at / 'photos'), at / ('r' * 300))),
    *(
        Trial('places', f'--workdir={name}', REFUSED, lambda at, n=name: quick(folder(at / 'photos'), at / n))
        for name in ('run [1]', 'run*')
    ),
    Trial('places', 'a name that is not UTF-8', REFUSED, lambda at: quick(folder(at / 'photos'), f'{at}/r\udcfc')),
    *(
        Trial('places', f'--workdir={address}', REFUSED, lambda at, a=address: quick(folder(at / 'photos'), a))
        for address in ('gs://bucket/run', 's3://bucket/run', 'file:///run')
    ),
    Trial('places', 'a work directory in a class folder that is a link', REFUSED, _class_linked),
    Trial(
        'places',
        'compiled programs in the data',
        REFUSED,
        lambda at: quick(folder(at / 'photos'), at / 'run', f'--config.compile_cache={at}/photos'),
    ),
    Trial('places', 'clean of a backup into the originals', REFUSED, _cleaned_backup),
    *(
        Trial('places', f'export into what links lead to, {out}', REFUSED, lambda at, o=out: _linked_deep(at, o))
        for out in ('second/out', 'third/out')
    ),
    Trial('places', 'NUL in --workdir', REFUSED, lambda at: quick(folder(at / 'photos'), f'{at}/r\0n')),
    Trial('places', 'NUL in data.path', REFUSED, lambda at: quick(f'{at}/p\0s', at / 'run')),
    Trial('places', 'no data there', REFUSED, lambda at: quick(at / 'none', at / 'run')),
    Trial('places', 'data.path of 5,000 characters', REFUSED, lambda at: quick('p' * 5000, at / 'run')),
    Trial('places', '~ is the home', WORKS, _home, lambda at: (at / 'home' / 'run' / 'labels.csv').exists()),
    Trial('places', 'suggested ../escaped', REFUSED, lambda at: _suggested(at, '../escaped')),
    Trial('places', 'suggested an absolute path', REFUSED, lambda at: _suggested(at, f'{at}/escaped')),
    Trial('places', 'suggested an unknown class', REFUSED, lambda at: _suggested(at, 'bird')),
    Trial('places', 'an id with ../', REFUSED, lambda at: _suggested(at, '../../escaped.png', 'id')),
    Trial('places', 'clean through a link', WORKS, lambda at: _linked(at, f'{at}/link/out')),
    Trial('places', 'clean onto a link', REFUSED, lambda at: _linked(at, f'{at}/link')),
    *(
        Trial('places', f'clean --out={out or "(empty)"}', REFUSED, lambda at, out=out: _cleaned(at, out.format(at=at)))
        for out in (
            '',
            '/',
            '.',
            '..',
            'gs://bucket/out',
            '{at}',
            '{at}/photos',
            '{at}/photos/out',
            '{at}/run',
            '{at}/run/labels.csv',
        )
    ),
    *(
        Trial(
            'places', f'export --out={out or "(empty)"}', REFUSED, lambda at, o=out: _out(at, 'export', o.format(at=at))
        )
        for out in ('', '/', '.', 'gs://bucket/out', '{at}/photos/out', '{at}/photos/class 0/000.png', '{at}/none/out')
    ),
    *(
        Trial('places', f'predict --out={out or "(empty)"}', REFUSED, lambda at, o=out: _predicted(at, o.format(at=at)))
        for out in (
            '',
            '/',
            '.',
            '{at}/photos/class 0/000.png',
            '{at}/run/labels.csv',
            '{at}/none/p.csv',
            f'/{"p" * 300}',
            '{at}/p.csv/',
        )
    ),
    *(
        Trial('places', f'pack --out={out or "(empty)"}', REFUSED, lambda at, o=out: _packed(at, o.format(at=at)))
        for out in ('', '/', 'gs://bucket/out', '{at}/photos', '{at}/photos/out', '{at}/photos/cat/00.png')
    ),
    Trial(
        'places',
        'a pack with images without a label',
        WORKS,
        _packed_run,
        lambda at: json.loads((at / 'run' / 'data.json').read_text())['unlabelled'] == 2,
    ),
    Trial('places', 'no run there', REFUSED, lambda at: command('export', f'--workdir={at}', f'--out={at / "out"}')),
]


def _file_as_workdir(at: pathlib.Path) -> Command:
    return quick(folder(at / 'photos'), at / 'photos/cat/00.png')
