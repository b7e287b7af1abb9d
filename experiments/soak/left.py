"""What an earlier run left, and what has become of its data since."""

import functools
import json
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.soak import photos
from experiments.soak.photos import Command, command, copied, last
from experiments.soak.trial import REFUSED, WORKS, Trial, call

_KEPT = tempfile.TemporaryDirectory()


@functools.cache
def _finished() -> pathlib.Path:
    """A folder with `photos` and `run`, a finished one."""
    root = pathlib.Path(_KEPT.name) / 'finished'
    photos.noisy(root / 'photos', 60)
    status, said = call(photos.quick(root / 'photos', root / 'run'))
    if status:
        raise RuntimeError(said)
    return root


def begun(at: pathlib.Path) -> pathlib.Path:
    """The work directory of a finished run in `at`, whose data is in `at`/photos."""
    root = _finished()
    copied(root / 'photos', at / 'photos')
    run = copied(root / 'run', at / 'run')
    config = run / 'config.json'
    config.write_text(config.read_text().replace(str(root), str(at)))
    return run


def again(at: pathlib.Path, *more: str) -> Command:
    """The command of the run, once more."""
    return photos.quick(at / 'photos', at / 'run', *more)


def _unfinished(at: pathlib.Path) -> pathlib.Path:
    """As `begun`, but its only phase has to be trained anew."""
    run = begun(at)
    for path in sorted((run / 'checkpoints').rglob('*'), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return run


def _renamed(at: pathlib.Path) -> Command:
    run = _unfinished(at)
    first = min((at / 'photos' / 'class 0').iterdir())
    first.rename(first.with_name('zzz.png'))
    return again(at) if run else []


def _swapped(at: pathlib.Path) -> Command:
    """Another image under the same name."""
    _unfinished(at)
    first = min((at / 'photos' / 'class 0').iterdir())
    photos.save(first, photos.pixels()[0][300])
    return again(at)


def _exchanged(at: pathlib.Path) -> Command:
    """Two images have exchanged their names, whose files have one size."""
    _unfinished(at)
    by_size: dict[int, pathlib.Path] = {}
    for path in sorted((at / 'photos').rglob('*.png')):
        other, content = by_size.setdefault(path.stat().st_size, path), path.read_bytes()
        if other.read_bytes() != content:
            path.write_bytes(other.read_bytes())
            other.write_bytes(content)
            return again(at)
    raise RuntimeError('no two files have one size')


def _class_renamed(at: pathlib.Path) -> Command:
    _unfinished(at)
    (at / 'photos' / 'class 0').rename(at / 'photos' / 'class 00')
    return again(at)


def _image_added(at: pathlib.Path) -> Command:
    _unfinished(at)
    photos.save(at / 'photos' / 'class 1' / 'new.png', photos.pixels()[0][300])
    return again(at)


def _with(name: str, change: Callable[[bytes], bytes | None], then: Callable[[pathlib.Path], Command] = again) -> Any:
    """A command after a file of the finished run has been changed, or removed (None)."""

    def make(at: pathlib.Path) -> Command:
        for path in begun(at).glob(name):
            if path.is_file():
                content = change(path.read_bytes())
                path.unlink() if content is None else path.write_bytes(content)
        return then(at)

    return make


def _json(change: Callable[[dict], Any]) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(change(json.loads(content))).encode()


def _array(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    import io

    def changed(content: bytes) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, change(np.load(io.BytesIO(content))))
        return buffer.getvalue()

    return changed


def _flipped(content: bytes) -> bytes:
    """One bit in the middle."""
    damaged = bytearray(content)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _part_linked(at: pathlib.Path) -> Command:
    """Where the report is written, a link leads to a file of the user's."""
    (at / 'mine').write_text('mine')
    (begun(at) / 'report.html').unlink()
    (at / 'run' / 'report.html.part').symlink_to(at / 'mine')
    return again(at)


def _predict(at: pathlib.Path) -> Command:
    return command('predict', f'--workdir={at / "run"}', f'--images={at / "photos"}', f'--out={at / "p.csv"}')


def _clean(at: pathlib.Path) -> Command:
    return command('clean', f'--workdir={at / "run"}', f'--out={at / "out"}', '--all-suspects')


def _export(at: pathlib.Path) -> Command:
    return command('export', f'--workdir={at / "run"}', f'--out={at / "out"}')


_BYTES: dict[str, Callable[[bytes], bytes]] = {
    'empty': lambda content: b'',
    'half of it': _half,
    'no JSON': lambda content: b'\xff{',
    'null': lambda content: b'null',
    '[]': lambda content: b'[]',
    '{}': lambda content: b'{}',
    '5,000 digits': lambda content: b'9' * 5000,
}
_NEEDED = {'config.json': (_predict, _clean, _export, again), 'data.json': (_predict, _clean, _export)}

TRIALS = [
    Trial('left', 'an image renamed since', REFUSED, _renamed),
    Trial('left', 'another image of the same name since', REFUSED, _swapped),
    Trial('left', 'two images of one size exchanged since', REFUSED, _exchanged),
    Trial('left', 'a class renamed since', REFUSED, _class_renamed),
    Trial('left', 'an image added since', REFUSED, _image_added),
    *(
        Trial('left', f'{name}: {what}, then {then.__name__.strip("_")}', REFUSED, _with(name, change, then))
        for name, commands in _NEEDED.items()
        for then in commands
        for what, change in _BYTES.items()
    ),
    Trial('left', 'config.json of other types', REFUSED, _with('config.json', _json(lambda c: c | {'data': 3}))),
    Trial(
        'left',
        'data.json with other classes',
        REFUSED,
        _with('data.json', _json(lambda d: d | {'classes': 3}), _predict),
    ),
    Trial('left', 'summary.json empty, then again', WORKS, _with('summary.json', lambda content: b'')),
    Trial('left', 'summary.json a list, then clean', REFUSED, _with('summary.json', lambda content: b'[]', _clean)),
    Trial(
        'left',
        'labels.csv removed, then again',
        WORKS,
        _with('labels.csv', lambda content: None),
        lambda at: (at / 'run' / 'labels.csv').exists(),
    ),
    Trial('left', 'labels.csv cut, then clean', REFUSED, _with('labels.csv', _half, _clean)),
    Trial(
        'left',
        'labels.csv no UTF-8, then clean',
        REFUSED,
        _with('labels.csv', lambda content: b'\xff' + content, _clean),
    ),
    Trial(
        'left',
        'labels/given.npy of other labels',
        REFUSED,
        _with('labels/given.npy', _array(lambda labels: labels * 0)),
    ),
    Trial('left', 'labels/given.npy of another shape', REFUSED, _with('labels/given.npy', _array(lambda a: a[:3]))),
    Trial(
        'left', 'labels/given.npy out of range', REFUSED, _with('labels/given.npy', _array(lambda labels: labels + 99))
    ),
    Trial('left', 'labels/given.npy cut', REFUSED, _with('labels/given.npy', _half)),
    Trial(
        'left',
        'probabilities of another shape',
        REFUSED,
        _with('labels/base_probabilities.npy', _array(lambda a: a[:3])),
    ),
    Trial(
        'left', 'probabilities of NaN', REFUSED, _with('labels/base_probabilities.npy', _array(lambda a: a * np.nan))
    ),
    Trial(
        'left',
        'probabilities as text',
        REFUSED,
        _with('labels/base_probabilities.npy', _array(lambda a: a.astype(str))),
    ),
    Trial('left', 'one bit of the weights, then again', REFUSED, _with('checkpoints/base/*/outcome/**/d/*', _flipped)),
    Trial(
        'left',
        'one bit of the weights, then predict',
        REFUSED,
        _with('checkpoints/base/*/outcome/**/d/*', _flipped, _predict),
    ),
    Trial(
        'left',
        'arrays of another run',
        REFUSED,
        _with('labels/base_*.npy', _array(lambda a: a / 2), _predict),
    ),
    Trial('left', 'weights cut', REFUSED, _with('checkpoints/base/*/outcome/**/d/*', _half, _predict)),
    Trial(
        'left',
        'meta of the checkpoint a list',
        REFUSED,
        _with('checkpoints/base/*/meta/metadata', lambda content: b'[]'),
    ),
    Trial(
        'left', 'meta of the checkpoint empty', REFUSED, _with('checkpoints/base/*/meta/metadata', lambda content: b'')
    ),
    Trial(
        'left', 'metrics.jsonl damaged, then again', REFUSED, _with('metrics.jsonl', lambda content: b'\xff{' + content)
    ),
    Trial(
        'left',
        'report.html removed, then again',
        WORKS,
        _with('report.html', lambda content: None),
        lambda at: (at / 'run' / 'report.html').exists(),
    ),
    Trial(
        'left',
        'report.html.part a link, then again',
        WORKS,
        _part_linked,
        lambda at: (at / 'mine').read_text() == 'mine',
    ),
    Trial(
        'left',
        'data.path written in another way, then again',
        WORKS,
        lambda at: last(begun(at), photos.quick(f'{at}/run/../photos/', at / 'run')),
    ),
    Trial('left', 'another config', REFUSED, lambda at: last(begun(at), again(at, '--config.seed=3'))),
]
