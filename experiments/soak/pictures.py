"""Pixels: depth, shape, size, damage."""

import json
import pathlib
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image

from experiments.soak.left import begun
from experiments.soak.photos import Action, arrays, command, deep_colours, folder, pixels, quick
from experiments.soak.trial import REFUSED, WORKS, Trial

_BROKEN: dict[str, Callable[[bytes], bytes]] = {
    'empty': lambda content: b'',
    'text': lambda content: b'no image',
    'cut': lambda content: content[: len(content) // 2],
    'a header alone': lambda content: content[:24],
    'HTML': lambda content: b'<html>404</html>',
}


def _one(name: str, make: Callable[[pathlib.Path], object], *more: str) -> Callable[[pathlib.Path], Action]:
    """Twelve images in two classes, and one that `make` writes."""

    def made(at: pathlib.Path) -> Action:
        root = folder(at / 'photos')
        make(root / 'cat' / name)
        return quick(root, at / 'run', *more)

    return made


def _broken(damage: Callable[[bytes], bytes], *more: str) -> Callable[[pathlib.Path], Action]:
    def made(at: pathlib.Path) -> Action:
        root = folder(at / 'photos')
        first = root / 'cat' / '00.png'
        first.write_bytes(damage(first.read_bytes()))
        return quick(root, at / 'run', *more)

    return made


def _deep(suffix: str, highest: float, dtype: type, at: pathlib.Path) -> Action:
    """All images with values from 0 to `highest`."""
    images, labels = pixels()
    for number in range(24):
        path = at / 'photos' / 'ab'[labels[number] % 2] / f'{number:02}.{suffix}'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((images[number] * (highest / 255)).astype(dtype)).save(path)
    return quick(at / 'photos', at / 'run')


def _images(at: pathlib.Path) -> np.ndarray:
    """The images that the run sees."""
    from noisy_jax.config import from_json
    from noisy_jax.data import splits
    from noisy_jax.workdir import WorkDir

    config = from_json(WorkDir.of_run(at / 'run').load_json('config'))
    return splits.load(config).labelled.image[:]


def _levels(at: pathlib.Path) -> int:
    """How many grey levels the run sees."""
    return len(np.unique(_images(at)))


def _seventeen(at: pathlib.Path) -> bool:
    return _levels(at) >= 15  # the digits have 17 levels


def _dark(at: pathlib.Path) -> bool:
    return _seventeen(at) and not _images(at)[:, 0, 0].any()  # the corner of a digit


def _nan(path: pathlib.Path) -> None:
    image = pixels()[0][0] / np.float32(255)
    image[0, 0] = np.nan
    Image.fromarray(image).save(path)


def _bomb(path: pathlib.Path, side: int = 13_000, mode: str = 'P') -> None:
    Image.new(mode, (side, side)).save(path)


def _predicted(at: pathlib.Path, count: int) -> Action:
    """Four palette images of 169 million pixels."""
    run = begun(at)
    (at / 'new').mkdir()
    for number in range(count):
        _bomb(at / 'new' / f'{number}.png')
    return command('predict', f'--workdir={run}', f'--images={at / "new"}', f'--out={at / "p.csv"}')


def _held(count: int) -> Callable[[pathlib.Path], bool]:
    return lambda at: json.loads((at / 'run' / 'data.json').read_text())['images'] == count


def _rgb48(path: pathlib.Path) -> None:
    deep_colours(path, 2, np.arange(8 * 8 * 3, dtype='>u2').reshape(8, 8, 3))


def _transparent(path: pathlib.Path) -> None:
    deep_colours(path, 4, np.arange(8 * 8 * 2, dtype='>u2').reshape(8, 8, 2))


def _postscript(path: pathlib.Path) -> None:
    Image.new('RGB', (8, 8)).save(path, format='EPS')


def _no_data(path: pathlib.Path) -> None:
    image = pixels()[0][0] / np.float32(255)
    image[0, 0] = -3.4e38
    Image.fromarray(image).save(path)


def _unsigned(at: pathlib.Path) -> Action:
    """TIFF of 32-bit numbers without sign, up to 4,080,000,000."""
    action = _deep('tif', 4.08e9, np.uint32, at)
    signed, unsigned = (struct.pack('<HHIHH', 339, 3, 1, kind, 0) for kind in (2, 1))  # the tag SampleFormat
    for path in (at / 'photos').rglob('*.tif'):
        path.write_bytes(path.read_bytes().replace(signed, unsigned))
    return action


def _first(path: pathlib.Path) -> None:
    frames = [Image.fromarray(image) for image in pixels()[0][:3]]
    frames[0].save(path, save_all=True, append_images=frames[1:])


TRIALS = [
    Trial('pixels', '12 bits in 16-bit PNG', WORKS, lambda at: _deep('png', 4095, np.uint16, at), _seventeen),
    Trial('pixels', '12 bits in 16-bit TIFF', WORKS, lambda at: _deep('tif', 4095, np.uint16, at), _seventeen),
    Trial('pixels', '16-bit PNG', WORKS, lambda at: _deep('png', 65535, np.uint16, at), _seventeen),
    Trial('pixels', 'TIFF of floats to 1', WORKS, lambda at: _deep('tif', 1, np.float32, at), _seventeen),
    Trial('pixels', 'TIFF of floats to 300', WORKS, lambda at: _deep('tif', 300, np.float32, at), _seventeen),
    Trial('pixels', 'TIFF of floats to 1e-3', WORKS, lambda at: _deep('tif', 1e-3, np.float32, at), _seventeen),
    Trial('pixels', 'TIFF of 32-bit numbers', WORKS, lambda at: _deep('tif', 10**6, np.int32, at), _seventeen),
    Trial('pixels', 'TIFF of 32-bit numbers without sign', WORKS, _unsigned, _dark),
    Trial('pixels', 'one NaN in a TIFF of floats', REFUSED, _one('x.tif', _nan)),
    Trial('pixels', 'one NaN, left out', WORKS, _one('x.tif', _nan, '--config.data.broken=leave_out'), _held(12)),
    Trial('pixels', 'one -3.4e38 in a TIFF of floats', REFUSED, _one('x.tif', _no_data)),
    Trial(
        'pixels', 'one -3.4e38, left out', WORKS, _one('x.tif', _no_data, '--config.data.broken=leave_out'), _held(12)
    ),
    Trial('pixels', 'PostScript as .jpg', REFUSED, _one('x.jpg', _postscript)),
    Trial(
        'pixels',
        'channels first, arrays',
        REFUSED,
        lambda at: quick(arrays(at / 'a.npz', images=lambda x: np.repeat(x[:, None], 3, 1)), at / 'run'),
    ),
    Trial(
        'pixels',
        '13 bands first, arrays',
        REFUSED,
        lambda at: quick(arrays(at / 'a.npz', images=lambda x: np.repeat(x[:, None], 13, 1)), at / 'run'),
    ),
    Trial(
        'pixels',
        'floats to 1 by a Fourier transform, arrays',
        WORKS,
        lambda at: quick(arrays(at / 'a.npz', images=lambda x: np.fft.ifft2(np.fft.fft2(x / 255.0)).real), at / 'run'),
    ),
    Trial(
        'pixels',
        'five channels',
        WORKS,
        lambda at: quick(arrays(at / 'a.npz', images=lambda x: np.repeat(x[..., None], 5, 3)), at / 'run'),
    ),
    Trial(
        'pixels',
        'five channels, TensorBoard',
        WORKS,
        lambda at: quick(
            arrays(at / 'a.npz', images=lambda x: np.repeat(x[..., None], 5, 3)),
            at / 'run',
            '--config.report.tensorboard=True',
        ),
    ),
    *(
        Trial(
            'pixels',
            f'arrays of {name}',
            REFUSED,
            lambda at, change=change: quick(arrays(at / 'a.npz', images=change), at / 'run'),
        )
        for name, change in {
            'int32': lambda x: x.astype(np.int32),
            'floats to 255': lambda x: x.astype(float),
            'NaN': lambda x: x * np.nan,
            'text': lambda x: x.astype(str),
            'two dimensions': lambda x: x.reshape(len(x), -1),
            'no images': lambda x: x[:0],
            'five dimensions': lambda x: x[:, None, None],
            'infinite values': lambda x: x / np.float32(0),
        }.items()
    ),
    *(Trial('pixels', f'a file that is {name}', REFUSED, _broken(damage)) for name, damage in _BROKEN.items()),
    *(
        Trial(
            'pixels',
            f'a file that is {name}, left out',
            WORKS,
            _broken(damage, '--config.data.broken=leave_out'),
            _held(11),
        )
        for name, damage in _BROKEN.items()
    ),
    Trial('pixels', 'an animation', WORKS, _one('x.gif', _first), _held(13)),
    Trial(
        'pixels',
        '1x60,000 pixels',
        WORKS,
        _one('x.png', lambda path: Image.new('L', (1, 60_000)).save(path)),
        _held(13),
    ),
    Trial(
        'pixels',
        '60,000x1 pixels',
        WORKS,
        _one('x.png', lambda path: Image.new('L', (60_000, 1)).save(path)),
        _held(13),
    ),
    Trial(
        'pixels',
        'palette with transparency',
        WORKS,
        _one('x.png', lambda path: Image.new('P', (8, 8)).save(path, transparency=0)),
        _held(13),
    ),
    Trial('pixels', 'CMYK', WORKS, _one('x.jpg', lambda path: Image.new('CMYK', (8, 8)).save(path)), _held(13)),
    Trial('pixels', '48-bit PNG', WORKS, _one('x.png', _rgb48), _held(13)),
    Trial('pixels', '16 bits of grey and transparency', WORKS, _one('x.png', _transparent), _held(13)),
    Trial('pixels', '900 million pixels', REFUSED, _one('x.png', lambda path: _bomb(path, 30_000, '1'))),
    Trial('pixels', 'four palette images of 169 million pixels', WORKS, lambda at: _predicted(at, 4)),
]
