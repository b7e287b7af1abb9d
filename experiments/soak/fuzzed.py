"""Random damage and extreme numbers: what a loader says of mutated files, and whether losses stay finite."""

import collections
import functools
import io
import pathlib
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from experiments.soak.photos import pixels

_SLOW = 2.0  # seconds for one small file
_CLASSES, _BATCH = 7, 16


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one to eight random changes: flipped bits, cut, repeated, removed or foreign stretches."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(0, len(data))) if data else 0
        length = int(rng.geometric(0.1))
        kind = rng.integers(0, 6)
        if kind == 0 and data:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4 and rng.random() < 0.3:
            del data[at:]
        else:
            data[at:at] = rng.choice([b'\0' * 4, b'\xff' * 4, b'\n', b'"', b',', b'9' * 20, b'\x7f\xff\xff\xff'])
    return bytes(data)


def _pictures() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(pixels()[0][0])
    deep = Image.fromarray(pixels()[0][0].astype(np.uint16) * 257)
    made = {
        'png': image,
        'png, palette': image.convert('P'),
        'png, 16 bits': deep,
        'png, RGBA': image.convert('RGBA'),
        'jpeg': image.convert('RGB'),
        'gif': image.convert('P'),
        'webp': image.convert('RGB'),
        'tiff': image,
        'bmp': image,
    }
    for name, picture in made.items():
        buffer = io.BytesIO()
        picture.save(buffer, name.partition(',')[0])
        yield name, buffer.getvalue()


def _npz() -> bytes:
    images, labels = pixels()
    buffer = io.BytesIO()
    np.savez(buffer, images=images[:6], labels=labels[:6])
    return buffer.getvalue()


_CSV = b'path,label\n' + b''.join(b'%d.png,%d\n' % (number, number % 2) for number in range(12))


def files(count: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """`count` mutations of each of small images, an .npz and a list, given to their loaders.

    Returns:
      By form: how many were read, refused by an InputError, ended by another exception, took over 2 s, and by how
      many MB the memory of the process grew.
    """
    from noisy_jax import data
    from noisy_jax.data.decoding import decode

    result = {}
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for number in range(12):
            Image.fromarray(pixels()[0][number]).save(place / f'{number}.png')

        def image(content: bytes) -> None:
            decode(io.BytesIO(content), name='x')

        def table(name: str) -> Callable[[bytes], None]:
            def read(content: bytes) -> None:
                (place / name).write_bytes(content)
                loader = data.kind_of(str(place / name))
                data.load(loader, split='train', path=str(place / name))

            return read

        subjects = [(name, content, image) for name, content in _pictures()]
        subjects += [('npz', _npz(), table('x.npz')), ('list', _CSV, table('x.csv'))]
        for name, content, read in subjects:
            result[name] = _tried(read, content, count, np.random.default_rng(seed))
    return result


def _tried(read: Callable[[bytes], None], content: bytes, count: int, rng: np.random.Generator) -> dict[str, Any]:
    import warnings

    from noisy_jax.errors import InputError

    counts, before = collections.Counter(), _megabytes()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for _ in range(count):
            damaged, began = mutated(content, rng), time.perf_counter()
            try:
                read(damaged)
                counts['read'] += 1
            except InputError as error:
                counts['refused' if '\n' not in str(error) else 'not one line'] += 1
            except Exception as error:
                counts[f'traceback: {type(error).__name__}'] += 1
            counts['slow'] += time.perf_counter() - began > _SLOW
    return {**counts, 'MB': _megabytes() - before}


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def losses(count: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """Every loss on `count` rows of extreme numbers, in float32, bfloat16 and float64.

    Magnitudes go from 1e-37 to 1e37 (differences of two such logits still have a float32); some entries are at the
    ends, at zero, or where exp overflows. Of the contrastive losses some rows are zeros, or all alike.

    Returns:
      By type: how many losses there were, and how many had a value or a gradient that is not a finite number.
    """
    import jax
    import jax.numpy as jnp

    from noisy_jax import losses as lib

    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((count, _CLASSES)) * 10.0 ** rng.uniform(-37, 37, (count, 1))
    ends = rng.choice([1e37, -1e37, 0.0, 88.8, -104.0], logits.shape)
    logits = np.clip(np.where(rng.random(logits.shape) < 0.05, ends, logits), -1e37, 1e37)
    labels, targets = rng.integers(0, _CLASSES, count), rng.dirichlet(np.full(_CLASSES, 0.05), count)
    rows = rng.standard_normal((count // _BATCH, _BATCH, 2, 16)) * 10.0 ** rng.uniform(
        -37, 37, (count // _BATCH, _BATCH, 1, 1)
    )
    rows[::3] *= rng.random((len(rows[::3]), _BATCH, 2, 1)) < 0.7
    rows[1::3] = rows[1::3, :1]
    rows = np.clip(rows, -1e37, 1e37)
    made = {
        'cross_entropy': lambda z, y: lib.cross_entropy(z, y),
        'focal': lambda z, y: lib.focal(z, y, gamma=2.0),
        'normalized_cross_entropy': lambda z, y: lib.normalized_cross_entropy(z, y),
        'normalized_focal': lambda z, y: lib.normalized_focal(z, y),
        'reverse_cross_entropy': lambda z, y: lib.reverse_cross_entropy(z, y),
        'mean_absolute_error': lambda z, y: lib.mean_absolute_error(z, y),
        'generalized_cross_entropy': lambda z, y: lib.generalized_cross_entropy(z, y),
        'label_smoothing': lambda z, y: lib.label_smoothing(z, y),
        'symmetric_cross_entropy': lambda z, y: lib.symmetric_cross_entropy(z, y, alpha=1.0, beta=1.0),
        'nfl_rce': lambda z, y: lib.nfl_rce(z, y, alpha=1.0, beta=1.0),
        'nce_rce': lambda z, y: lib.nce_rce(z, y, alpha=1.0, beta=1.0),
        'nce_mae': lambda z, y: lib.nce_mae(z, y, alpha=1.0, beta=1.0),
        'negative_entropy': lambda z, y: lib.negative_entropy(z),
        'elr': lambda z, y: lib.elr(z, y, jnp.asarray(targets, jnp.float32), lam=3.0),
    }
    pairs = {
        'nt_xent': lambda z: lib.nt_xent(z[:, 0], z[:, 1]),
        'sup_con': lambda z: lib.sup_con(z[:, 0], z[:, 1], jnp.arange(_BATCH) % 3, None),
    }
    result = {}
    with jax.enable_x64(True):
        for dtype in (jnp.float32, jnp.bfloat16, jnp.float64):
            counts = {'losses': 0, 'not finite': 0, 'of': []}
            for name, loss, batches in (
                *((name, functools.partial(loss, y=jnp.asarray(labels)), [logits]) for name, loss in made.items()),
                *((name, loss, rows) for name, loss in pairs.items()),
            ):
                both = jax.jit(lambda z, loss=loss: (loss(z), jax.grad(lambda z: loss(z).sum())(z)))
                for batch in batches:
                    values, gradients = (np.asarray(each, np.float64) for each in both(jnp.asarray(batch, dtype)))
                    fine = np.isfinite(values).all() and np.isfinite(gradients).all()
                    counts['losses'] += len(values)
                    counts['not finite'] += int((~np.isfinite(values)).sum() + (~np.isfinite(gradients)).any(-1).sum())
                    counts['of'] += [] if fine or name in counts['of'] else [name]
            result[np.dtype(dtype).name] = counts
    return result
