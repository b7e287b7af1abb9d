"""Small data of every form, and the commands that take it: what trials are made of."""

import functools
import os
import pathlib
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from PIL import Image

BATCH, PHASES = 16, ('pretrain', 'cross_fit', 'classify', 'select', 'contrast', 'finetune')


@functools.cache
def pixels() -> tuple[np.ndarray, np.ndarray]:
    """The digits 0 to 3: images uint8 [N, 8, 8], labels [N]."""
    from sklearn.datasets import load_digits

    found = load_digits()
    rows = found.target < 4
    return np.round(found.images[rows] * (255 / 16)).astype(np.uint8), found.target[rows]


def save(path: pathlib.Path, image: np.ndarray, **options: Any) -> pathlib.Path:
    """An image file; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def deep_colours(path: pathlib.Path, kind: int, values: np.ndarray) -> pathlib.Path:
    """A PNG of 16 bits a channel, '>u2' [H, W, C], which Pillow can read but not write; `kind` is its colour type."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    header = struct.pack('>IIBBBBB', values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    rows = b''.join(b'\0' + row.tobytes() for row in values)
    parts = chunk(b'IHDR', header), chunk(b'IDAT', zlib.compress(rows)), chunk(b'IEND', b'')
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(parts))
    return path


def folder(
    root: pathlib.Path, names: Iterable[str] = ('cat', 'dog'), each: int = 6, suffix: str = '.png'
) -> pathlib.Path:
    """Class folders of `each` images; returns the root."""
    images, labels = pixels()
    for number, name in enumerate(names):
        for place, image in enumerate(images[labels == number % 4][number // 4 * each :][:each]):
            save(root / name / f'{place:02}{suffix}', image)
    return root


def noisy(root: pathlib.Path, count: int = 120, seed: int = 0) -> pathlib.Path:
    """`count` images in four class folders, a tenth of them in a wrong one."""
    images, labels = pixels()
    rng = np.random.default_rng(seed)
    for number in range(count):
        wrong = rng.random() < 0.1
        save(root / f'class {(labels[number] + wrong) % 4}' / f'{number:03}.png', images[number])
    return root


def listed(file: pathlib.Path, labels: Iterable[str], each: int = 6) -> pathlib.Path:
    """A list, and beside it its images: `each` of every label, as it is written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, label in enumerate(labels):
        folder(file.parent, [f'photos/{number}'], each)
        rows += [f'photos/{number}/{place:02}.png,{label}' for place in range(each)]
    file.write_text('\n'.join(['path,label', *rows]) + '\n', encoding='utf-8', errors='surrogateescape')
    return file


def arrays(file: pathlib.Path, count: int = 24, **changes: Any) -> pathlib.Path:
    """An .npz of `count` images and labels; `changes` are other arrays, or functions of the usual ones."""
    images, labels = pixels()
    kept = {'images': images[:count], 'labels': labels[:count]}
    for name, change in changes.items():
        kept[name] = change(kept[name]) if callable(change) else change
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **kept)
    return file


def copied(source: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """A copy of a folder, to be damaged."""
    return pathlib.Path(shutil.copytree(source, target))


# ---------------------------------------------------------------- commands


Command = list[str]


def quick(data: str | os.PathLike, workdir: str | os.PathLike, *more: str) -> Command:
    """A run on own images that trains one classifier for one epoch."""
    return [
        'main',
        '--config=own_images:phases=base',
        f'--config.data.path={data}',
        f'--workdir={workdir}',
        '--config.base.epochs=1',
        '--config.base.batch_size=4',
        '--config.report.cross_fit=2',
        '--quiet',
        *more,
    ]


def whole(data: str | os.PathLike, workdir: str | os.PathLike, *more: str) -> Command:
    """A run on own images of all phases, each of 3 epochs, with a checkpoint after each."""
    own = ['main', '--config=own_images', f'--config.data.path={data}', f'--workdir={workdir}']
    own += ['--config.report.cross_fit=2', '--config.checkpoint_every=1']
    for phase in PHASES:
        own += [f'--config.{phase}.epochs=3', f'--config.{phase}.batch_size={BATCH}']
    return [*own, *more]


def command(name: str, *options: Any) -> Command:
    """`python -m noisy_jax.NAME OPTIONS`."""
    return [name, *map(str, options)]


Action = Command | Callable[[], Any]


def last(*made: Any) -> Any:
    """The last argument, after all of them have been made."""
    return made[-1]
