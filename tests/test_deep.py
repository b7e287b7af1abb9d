"""Grey images of more than 8 bits keep their depth: the range of the training set becomes 0 to 255, everywhere."""

import dataclasses
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from conftest import refused
from PIL import Image, PngImagePlugin, TiffImagePlugin
from random_weights import random_classifier

from experiments.soak.photos import deep_colours
from noisy_jax import data, errors
from noisy_jax.data import conversion, depth, lazy, pack, splits
from noisy_jax.data.decoding import decode, levels_of
from noisy_jax.data.depth import Levels
from noisy_jax.inference import predict
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.settings import default

LOW, HIGH = 3, 4095
VALUES = np.linspace(LOW, HIGH, 4 * 16 * 16).round().astype(np.uint16).reshape(4, 16, 16)  # 12 bits
MEMORY = [2**30, 0]


def _scaled(values, low=LOW, high=HIGH):
    return np.round((np.clip(values.astype(float), low, high) - low) / (high - low) * 255)[..., None]


@pytest.fixture
def root(tmp_path):
    """Four deep images to train and two beyond their range to test, of two classes; a shallow one of each kind."""
    for part, images in (('train', VALUES), ('test', np.stack([VALUES[0] * 0, VALUES[3] + 999]))):
        for row, image in enumerate(images):
            folder = tmp_path / part / 'ab'[row % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / (f'{row}.png' if row < 3 else f'{row}.tif'))
    Image.fromarray(np.full((16, 16), 200, np.uint8)).save(tmp_path / 'train' / 'b' / '9.png')
    return tmp_path


def _config(root, **changes):
    config = default()
    config.noise.kind, config.data.mean, config.data.std = 'none', (0.5,), (0.25,)
    config.data.update({'name': 'filelist', 'path': str(root), 'list': 'train.csv', 'test_list': 'test.csv', **changes})
    for part in ('train', 'test'):
        files = sorted((root / part).glob('*/*'), key=lambda file: file.name)
        lines = [f'{file.relative_to(root)},{file.parent.name}\n' for file in files]
        (root / f'{part}.csv').write_text(''.join(lines))
    return config


@pytest.mark.parametrize('memory_bytes', MEMORY)
def test_all_levels_are_kept_in_training_and_test_set(root, memory_bytes):
    loaded = splits.load(_config(root, memory_bytes=memory_bytes))
    images = loaded.train.image[:]
    np.testing.assert_array_equal(images[:4], _scaled(VALUES))
    assert len(np.unique(images[:4])) == 256
    assert (images[4] == 200).all()  # 8 bits are pixels already
    assert loaded.train.levels == (LOW, HIGH)
    np.testing.assert_array_equal(loaded.test.image[:], _scaled(np.stack([VALUES[0] * 0, VALUES[3] + 999])))
    assert loaded.description['levels'] == (LOW, HIGH)
    assert loaded.notes == ['test set: 2 images', 'pixels of more than 8 bits, from 3 to 4095, are scaled to 0..255']


def test_without_deep_images_there_is_nothing_to_say(root):
    for file in root.glob('train/*/[0-3].*'):
        file.unlink()
    for name in ('7.png', '8.png'):
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(root / 'train' / 'a' / name)
    config = _config(root, test_list='')
    assert splits.load(config).description['levels'] is None
    assert splits.load(config).notes == []
    config.data.test_list = 'test.csv'
    refused(lambda: splits.load(config), root / 'test' / 'a' / '0.png', 'more than 8 bits', 'no training image')


@pytest.mark.parametrize('dtype', [np.float32, np.int32])
def test_floats_and_negative_numbers(tmp_path, dtype):
    values = np.array([[-1000, -500], [0, 1000]], dtype)
    Image.fromarray(values).save(tmp_path / 'a.tif')
    found = decode(tmp_path / 'a.tif', levels=Levels(-1000, 1000))
    np.testing.assert_array_equal(found[..., 0], [[0, 64], [128, 255]])
    constant = decode(tmp_path / 'a.tif', levels=Levels(-2000, -2000))
    assert not constant.any()


@pytest.mark.parametrize('compression', [None, 'tiff_deflate'])
def test_whole_numbers_beyond_31_bits(tmp_path, monkeypatch, compression):
    """Pillow reads them as negative ones."""
    monkeypatch.setattr(conversion, '_STRIP', 40)
    values = np.linspace(0, 2**32 - 1, 300).astype(np.uint32).reshape(15, 20)
    buffer = io.BytesIO()
    Image.fromarray(values.view(np.int32)).save(buffer, 'TIFF', compression=compression)
    signed, unsigned = (struct.pack('<HHIHH', 339, 3, 1, kind, 0) for kind in (2, 1))  # its tag SampleFormat
    assert signed in buffer.getvalue()
    (tmp_path / 'a.tif').write_bytes(buffer.getvalue().replace(signed, unsigned))
    levels = levels_of(tmp_path / 'a.tif')
    assert levels == (0, 2**32 - 1)
    np.testing.assert_array_equal(decode(tmp_path / 'a.tif', levels=levels), _scaled(values, *levels))


def test_a_negative_of_16_bits(tmp_path):
    """Pillow inverts those of 8 bits alone."""
    values = np.linspace(0, 2**16 - 1, 300).astype(np.uint16).reshape(15, 20)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, 'TIFF')
    positive, negative = (struct.pack('<HHIHH', 262, 3, 1, kind, 0) for kind in (1, 0))  # PhotometricInterpretation
    assert positive in buffer.getvalue()
    (tmp_path / 'a.tif').write_bytes(buffer.getvalue().replace(positive, negative))
    np.testing.assert_array_equal(
        decode(tmp_path / 'a.tif', levels=(0, 2**16 - 1)), 255 - _scaled(values, 0, 2**16 - 1)
    )


@pytest.mark.parametrize('memory_bytes', MEMORY)
@pytest.mark.parametrize('value', [np.nan, np.inf, -3.4028235e38])
def test_a_value_that_is_none(root, memory_bytes, value):
    image = VALUES[0].astype(np.float32)
    image[3, 4] = value
    Image.fromarray(image).save(root / 'train' / 'a' / '7.tif')
    config = _config(root, memory_bytes=memory_bytes)
    refused(lambda: splits.load(config), root / 'train' / 'a' / '7.tif', '3.4e+38' if value < 0 else 'NaN')
    config.data.broken = 'leave_out'
    loaded = splits.load(config)
    assert [name for name, _ in loaded.labelled.broken] == ['train/a/7.tif']
    np.testing.assert_array_equal(loaded.train.image[:4], _scaled(VALUES))
    assert len(loaded.notes) == 3


def test_predict_scales_as_training_did(root, tmp_path):
    file = str(root / 'test' / 'b' / '1.png')
    classifier = dataclasses.replace(random_classifier((16, 16, 1), encoder='cnn_small'), levels=Levels(LOW, HIGH))
    classifier.save(tmp_path / 'model')
    levels = TrainedClassifier.load(tmp_path / 'model').levels
    assert levels == (LOW, HIGH)
    np.testing.assert_array_equal(predict._read(file, (16, 16, 1), levels), _scaled(VALUES[3] + 999))
    errors._warn_once.cache_clear()
    Image.fromarray(VALUES[3].astype(np.uint8)).save(tmp_path / 'shallow.png')
    with pytest.warns(UserWarning, match=f'images of 8 bits, where some of training had more, from {LOW} to {HIGH};'):
        predict._read(str(tmp_path / 'shallow.png'), (16, 16, 1), levels)
    assert 'more than 8 bits' in str(predict._read(file, (16, 16, 1)))


def test_a_packed_set_knows_the_levels(root, tmp_path, capsys):
    config = _config(root)
    settings = {name: config.data[name] for name in ('name', 'path', 'list', 'test_list')}
    pack.pack(tmp_path / 'packed', **settings)
    assert 'from 3 to 4095' in capsys.readouterr().err
    packed = data.load('arrays', split='train', path=str(tmp_path / 'packed'))
    assert packed.levels == (LOW, HIGH)
    np.testing.assert_array_equal(packed.image[:4], _scaled(VALUES))


def test_images_that_are_embedded_have_the_range_of_all(root):
    Image.fromarray(VALUES[3]).save(root / 'train' / 'b' / '3.png')
    images, levels = data.load_unread(str(root)).image.with_levels()
    assert levels == (LOW, HIGH)
    np.testing.assert_array_equal(lazy.original(images, 0, np.asarray), _scaled(VALUES[0]))


@pytest.mark.parametrize(('kind', 'channels'), [(2, 3), (4, 2), (6, 4)])  # RGB, grey and alpha, RGBA
def test_colours_of_16_bits_are_said_to_lose_depth(tmp_path, kind, channels):
    file = deep_colours(tmp_path / 'a.png', kind, np.full((4, 5, channels), 0xABCD, '>u2'))
    errors._warn_once.cache_clear()
    with pytest.warns(UserWarning, match='8 bits per colour channel') as said:
        assert decode(file).shape == decode(file).shape == (4, 5, 3)
    assert len(said) == 1


@pytest.mark.parametrize('mode', ['L', 'I;16', 'RGBA', 'P', 'CMYK'])
def test_a_scan_that_lies_on_its_side(tmp_path, mode):
    """Pillow maps an uncompressed TIFF that it opens by its name, with the size of the image when it is upright."""
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8))
    image = Image.fromarray(VALUES[0, :, :10].copy()) if mode == 'I;16' else colour.convert(mode)
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 6  # Orientation: a quarter turn clockwise makes it upright
    image.save(tmp_path / 'turned.tif', tiffinfo=tags)
    image.save(tmp_path / 'whole.tif')
    levels = Levels(LOW, HIGH)
    found, upright = decode(tmp_path / 'turned.tif', levels=levels), decode(tmp_path / 'whole.tif', levels=levels)
    np.testing.assert_array_equal(found, np.rot90(upright, -1))


def test_planes_of_16_bits_are_refused(tmp_path):
    """Pillow takes each byte for a pixel."""
    file = deep_colours(tmp_path / 'a.png', 2, np.full((4, 5, 3), 0xABCD, '>u2'))
    with Image.open(file) as image:
        image.tag_v2 = {258: (16, 16, 16), 284: 2}
        with pytest.raises(ValueError, match='planes of their own'):
            depth.note(image)


def test_fits_of_16_bits_are_refused(tmp_path):
    """Their numbers have a sign, and often a zero point: Pillow takes -1 for 65535."""
    cards = ('SIMPLE  = T', 'BITPIX  = 16', 'NAXIS   = 2', 'NAXIS1  = 2', 'NAXIS2  = 1', 'BZERO   = 32768', 'END')
    head = ''.join(card.ljust(80) for card in cards).ljust(2880)
    (tmp_path / 'a.fits').write_bytes(head.encode() + np.array([-1, 1], '>i2').tobytes().ljust(2880, b'\0'))
    with Image.open(tmp_path / 'a.fits') as image, pytest.raises(ValueError, match='FITS of 16 bits'):
        depth.note(image)


@pytest.mark.parametrize('most', [4095, 65535, 255])
def test_colours_of_a_ppm_of_more_than_8_bits_are_cut_with_a_warning(tmp_path, most):
    errors._warn_once.cache_clear()
    size = np.uint8 if most == 255 else '>u2'
    (tmp_path / 'a.ppm').write_bytes(f'P6\n2 1\n{most}\n'.encode() + np.full(6, most, size).tobytes())
    with warnings.catch_warnings(record=True) as warned, Image.open(tmp_path / 'a.ppm') as image:
        warnings.simplefilter('always')
        depth.note(image)
        assert np.asarray(image).min() == 255
    assert ['more than 8 bits per colour channel' in str(each.message) for each in warned] == [True] * (most > 255)


def test_bytes_with_a_sign_are_refused(tmp_path):
    """As GDAL writes Int8; Pillow takes -1 for 255."""
    Image.new('L', (4, 5)).save(tmp_path / 'a.tif', tiffinfo={339: 2})
    with Image.open(tmp_path / 'a.tif') as image, pytest.raises(ValueError, match='bytes with a sign'):
        depth.note(image)


@pytest.mark.parametrize('mode', ['LA', 'RGBA'])
def test_alpha_that_the_colours_are_multiplied_with(tmp_path, mode):
    image = Image.fromarray(np.full((4, 5, len(mode)), 100, np.uint8), mode)
    buffer = io.BytesIO()
    image.save(buffer, 'TIFF')
    single, premultiplied = (struct.pack('<HHIHH', 338, 3, 1, kind, 0) for kind in (2, 1))  # ExtraSamples
    assert single in buffer.getvalue()
    (tmp_path / 'a.tif').write_bytes(buffer.getvalue().replace(single, premultiplied))
    found = decode(tmp_path / 'a.tif')
    assert found.shape == (4, 5, 3)
    np.testing.assert_allclose(found, 255, atol=2)  # 100 of 255 of white, and the rest of the white behind it


def test_a_drawing_with_a_long_text(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text('workflow', 'x' * 2**21, zip=True)
    Image.new('L', (4, 4), 7).save(tmp_path / 'a.png', pnginfo=text)
    assert decode(tmp_path / 'a.png').max() == 7


@pytest.mark.parametrize('brightest', [610, 65535])
def test_one_hot_pixel_that_takes_the_levels_of_all_is_warned_of(tmp_path, brightest):
    errors._warn_once.cache_clear()
    images = np.random.default_rng(0).integers(100, 600, (4, 64, 64), np.uint16)
    images[2, 3, 4] = brightest
    for row, image in enumerate(images):
        (tmp_path / 'ab'[row % 2]).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / 'ab'[row % 2] / f'{row}.png')
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        data.load('folder', split='train', path=str(tmp_path))
    assert len(caught) == (brightest > 610)
    for each in caught:
        assert 'images of more than 8 bits: numbers from 100 to 65535 become 256 grey levels' in str(each.message)
        assert (
            f'100% of the images have about 3; is there a hot pixel or a number for no data, as in {tmp_path}/a/2.png,'
            in str(each.message)
        )


def test_deep_images_of_one_value_are_black(tmp_path):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / name / '0.png')
    assert not data.load('folder', split='train', path=str(tmp_path)).image[:].any()


def _big_endian(values, kind, predictor=1):
    """A compressed TIFF, byte by byte; `kind` is its tag SampleFormat."""
    pixels = zlib.compress(values.tobytes())
    bits = values.itemsize * 8
    sizes = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 8, 262: 1, 273: 8, 277: 1}
    tags = {**sizes, 278: values.shape[0], 279: len(pixels), 317: predictor, 339: kind}
    entries = b''.join(struct.pack('>HHII', tag, 4, 1, value) for tag, value in tags.items())
    place = 8 + len(pixels)
    return b'MM\0*' + struct.pack('>I', place) + pixels + struct.pack('>H', len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(('dtype', 'kind'), [('>u2', 1), ('>i2', 2), ('>i4', 2), ('>f4', 3)])
def test_bytes_that_pillow_would_swap_twice_are_refused(dtype, kind):
    values = np.arange(-20, 44).reshape(8, 8).astype(dtype) if kind > 1 else np.arange(64).reshape(8, 8).astype(dtype)
    file = io.BytesIO(_big_endian(values, kind))
    if kind == 1:
        assert levels_of(file) == (0, 63)
    else:
        refused(lambda: levels_of(file), 'big-endian', 'without compression')


def test_images_of_a_camera_of_another_range_are_warned_of(tmp_path):
    errors._warn_once.cache_clear()
    images = np.random.default_rng(0).integers(0, 4081, (4, 64, 64), np.uint16)
    for row, image in enumerate(images):
        (tmp_path / 'ab'[row % 2]).mkdir(exist_ok=True)
        Image.fromarray(image * np.uint16(1 if row < 2 else 16)).save(tmp_path / 'ab'[row % 2] / f'{row}.png')
    with pytest.warns(
        UserWarning, match='50% of the images have about 1[67]; .* or a camera or channel of another range'
    ):
        data.load('folder', split='train', path=str(tmp_path))
