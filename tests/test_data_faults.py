"""Inputs that once crashed, ate the memory or were taken silently: each is refused in one line, or read rightly."""

import concurrent.futures
import errno
import os
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import numpy as np
import pytest
from conftest import environment, refused
from PIL import Image, ImageOps, features

from noisy_jax import data
from noisy_jax.clean import copies
from noisy_jax.data import conversion, decoding, pack, pixels
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.rows import split
from noisy_jax.errors import InputError
from noisy_jax.outputs import new_folder
from noisy_jax.report import thumbnails

IMAGES = np.zeros((10, 4, 4, 3), np.uint8)
LABELS = np.arange(10) % 2


@pytest.mark.parametrize('batch_size', [0, -3])
def test_a_batch_below_one(batch_size):
    refused(lambda: Dataset(IMAGES, LABELS, ('a', 'b')).order(0, 0, batch_size=batch_size), 'batch_size', '10')


@pytest.mark.parametrize('fraction', [-0.2, 1.5, float('nan')])
def test_a_fraction_outside_0_to_1(fraction):
    refused(lambda: split(LABELS, 2, fraction, 0), 'data.valid_fraction', str(fraction))


@pytest.mark.parametrize('label', [LABELS + 0.5, LABELS * np.nan, LABELS + 2**32, np.array(list('ab' * 5))])
def test_labels_that_a_cast_would_change(label):
    refused(lambda: Dataset(IMAGES, label, ('a', 'b')), 'label', 'whole numbers')


def test_whole_labels_of_other_types_are_taken():
    for label in (LABELS.astype(np.float32), LABELS.astype(np.uint64), LABELS.tolist()):
        taken = Dataset(IMAGES, label, ('a', 'b')).label
        assert taken.dtype == np.int32
        np.testing.assert_array_equal(taken, LABELS)


def _arrays(tmp_path, split='train', **arrays):
    np.savez(tmp_path / 'a.npz', **arrays)
    return data.load('arrays', split=split, path=str(tmp_path / 'a.npz'))


def test_no_path_does_not_read_the_current_folder(tmp_path, monkeypatch):
    np.save(tmp_path / 'images.npy', IMAGES)
    np.save(tmp_path / 'labels.npy', LABELS)
    monkeypatch.chdir(tmp_path)
    refused(lambda: data.load('arrays', split='train', path=''), 'data.path')


@pytest.mark.parametrize('content', [b'', b'hello'])
def test_no_npz_does_not_advise_to_unpickle(tmp_path, content):
    path = tmp_path / 'a.npz'
    path.write_bytes(content)
    with pytest.raises(InputError, match='npz') as caught:
        data.load('arrays', split='train', path=str(path))
    assert 'pickle' not in str(caught.value)


def test_an_npy_file_as_path(tmp_path):
    np.save(tmp_path / 'a.npy', IMAGES)
    refused(lambda: data.load('arrays', split='train', path=str(tmp_path / 'a.npy')), 'a.npy', '.npz')


def test_a_member_of_an_npz_that_is_no_array(tmp_path):
    np.savez(tmp_path / 'a.npz', images=IMAGES)
    with zipfile.ZipFile(tmp_path / 'a.npz', 'a') as archive:
        archive.writestr('labels.npy', b'0, 1, 0, 1')
    refused(lambda: data.load('arrays', split='train', path=str(tmp_path / 'a.npz')), 'a.npz', "no array 'labels'")


def test_empty_arrays(tmp_path):
    refused(lambda: _arrays(tmp_path, images=IMAGES[:, :0] / 1.0, labels=LABELS), 'images', '(10, 0, 4, 3)')
    test = {'test_images': IMAGES, 'test_labels': LABELS}
    refused(lambda: _arrays(tmp_path, 'test', images=IMAGES[:0], labels=LABELS[:0], **test), 'labels', '(0,)')


def test_one_class_name(tmp_path):
    one = _arrays(tmp_path, images=IMAGES, labels=LABELS * 0, class_names=np.array('only'))
    assert one.class_names == ('only',)


@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_a_transparent_colour_becomes_white(tmp_path, mode):
    image = Image.new(mode, (4, 4), 0)
    image.putpixel((1, 0), 100 if mode == 'L' else (100, 100, 100))
    image.save(tmp_path / 'a.png', transparency=0 if mode == 'L' else (0, 0, 0))
    decoded = decoding.decode(tmp_path / 'a.png')
    assert (decoded[0, 0] == 255).all()
    assert (decoded[0, 1] == 100).all()


def test_hidden_files_and_folders_named_as_images_are_left_out(tmp_path):
    (tmp_path / 'cat' / 'folder.png').mkdir(parents=True)
    (tmp_path / 'cat' / '._1.png').write_bytes(b'not an image')
    Image.new('RGB', (4, 4)).save(tmp_path / 'cat' / '1.png')
    assert data.load('folder', split='train', path=str(tmp_path)).id.tolist() == ['cat/1.png']


@pytest.mark.parametrize('orientation', [None, *range(1, 9), 77])
@pytest.mark.parametrize('is_odd', [False, True], ids=['good', 'odd'])
def test_images_are_made_upright_also_where_another_tag_is_odd(tmp_path, orientation, is_odd):
    """Pillow's own way writes the tags anew, which fails for a maker's name that is said to be a number."""
    pixels, exif, file = np.arange(24, dtype=np.uint8).reshape(2, 4, 3), Image.Exif(), tmp_path / 'a.png'
    exif[0x010F] = 'x'
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(file, exif=exif)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    if is_odd:
        text = exif.tobytes()
        exif_of_number = text.replace(b'\x01\x0f\x00\x02', b'\x01\x00\x00\x02')
        assert exif_of_number != text
        Image.fromarray(pixels).save(file, exif=exif_of_number)
    np.testing.assert_array_equal(decoding.decode(file), expected)
    assert decoding.decoded_shape(file) == expected.shape


KINDS = {'L': {}, 'RGB': {}, 'P': {'transparency': 3}, 'RGBA': {}, 'CMYK': {}, '1': {}}


@pytest.mark.parametrize('mode', KINDS)
def test_a_large_image_is_converted_in_strips_to_the_same_bits(tmp_path, monkeypatch, mode):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (31, 53, 3), np.uint8))
    image = image.quantize(17) if mode == 'P' else image.convert(mode)
    cases = [(tmp_path / f'{turn}.{"jpg" if mode == "CMYK" else "png"}', turn) for turn in range(1, 9)]
    for file, turn in cases:
        exif = Image.Exif()
        exif[0x0112] = turn
        image.save(file, exif=exif, **KINDS[mode])

    def decoded():
        return [decoding.decode(file, size) for file, _ in cases for size in (0, 16, 40)]

    expected = decoded()
    monkeypatch.setattr(conversion, '_STRIP', 200)
    for large in (conversion.LARGE, 200):  # above which channels are fitted one at a time
        monkeypatch.setattr(conversion, 'LARGE', large)
        for strips, whole in zip(decoded(), expected, strict=True):
            np.testing.assert_array_equal(strips, whole)


def test_large_images_are_decoded_by_few_threads(tmp_path, monkeypatch):
    """On however many cores: each keeps the memory of its images."""
    for side in (3, 4, 5):
        Image.new('RGB', (side, side)).save(tmp_path / f'{side}.png')
    monkeypatch.setattr(conversion, 'LARGE', 20)

    def thread_of(side):
        return decoding.decode(tmp_path / f'{side}.png', then=lambda _: threading.current_thread())

    assert thread_of(3) is threading.current_thread()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for side, most in ((4, 4), (5, 1)):
            threads = set(pool.map(thread_of, [side] * 40))
            assert len(threads) <= most
            assert all(thread.name.startswith('large image') for thread in threads)


def test_more_pixels_than_pillows_limit(tmp_path):
    """Half of that is a warning of Pillow's without the file's name."""
    Image.fromarray(IMAGES[0]).save(tmp_path / 'a.png')
    code = (
        'import sys; from PIL import Image; from noisy_jax.data.decoding import decode\n'
        'Image.MAX_IMAGE_PIXELS = int(sys.argv[1]); print(decode(sys.argv[2]).shape)'
    )
    done = [
        subprocess.run(
            [sys.executable, '-W', 'error', '-c', code, limit, str(tmp_path / 'a.png')],
            capture_output=True,
            text=True,
            env=environment(),
        )
        for limit in ('10', '7')
    ]
    assert done[0].stdout == '(4, 4, 3)\n', done[0].stderr
    assert 'a.png: not a whole image (more than 14 pixels' in done[1].stderr


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')
def test_formats_that_take_more_memory_have_half_of_the_limit(tmp_path, monkeypatch):
    Image.fromarray(IMAGES[0]).save(tmp_path / 'a.webp')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 16)
    assert decoding.decode(tmp_path / 'a.webp').shape == (4, 4, 3)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 15)
    refused(lambda: decoding.decode(tmp_path / 'a.webp'), tmp_path / 'a.webp', 'more than 15 pixels')


@pytest.mark.parametrize(
    ('name', 'old', 'new'),
    [('a.avif', b'av1C', b'av1X'), ('a.tif', b'\x11\x01\x04\x00', b'\x11\x01\x0b\x00')],  # offsets that are floats
)
def test_other_exceptions_of_decoders(tmp_path, name, old, new):
    """AVIF's raises RuntimeError, that of TIFF TypeError."""
    if name == 'a.avif' and not features.check('avif'):
        pytest.skip('this Pillow reads no AVIF')
    file = tmp_path / name
    Image.fromarray(IMAGES[0]).save(file)
    content = file.read_bytes()
    assert old in content
    file.write_bytes(content.replace(old, new))
    refused(lambda: decoding.decode(file), file, 'not a whole image')


def test_no_file_starts_another_program(tmp_path, monkeypatch):
    """Pillow hands PostScript to Ghostscript, whatever the name of the file."""
    (tmp_path / 'gs').write_text(f'#!/bin/sh\ntouch {tmp_path}/started\n')
    (tmp_path / 'gs').chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path), prepend=os.pathsep)
    file = tmp_path / 'a.jpg'
    Image.fromarray(IMAGES[0]).save(file, format='EPS')
    for read in (decoding.decode, decoding.decoded_shape, decoding.levels_of):
        refused(lambda read=read: read(file), file, 'of no kind that is known')
    assert not (tmp_path / 'started').exists()


def test_a_tiff_tells_its_upright_shape(tmp_path):
    """Pillow turns the size of TIFF on its own."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((2, 5, 3), np.uint8)).save(tmp_path / 'a.tif', exif=exif)
    assert decoding.decoded_shape(tmp_path / 'a.tif') == decoding.decode(tmp_path / 'a.tif').shape == (5, 2, 3)


@pytest.mark.parametrize('shape', [(10, 3, 16, 16), (10, 1, 28, 28), (10, 4, 5, 5)])
def test_channels_first(tmp_path, shape):
    images = np.zeros(shape, np.uint8)
    words = str(shape), 'images.transpose(0, 2, 3, 1)'
    refused(lambda: _arrays(tmp_path, images=images, labels=LABELS), 'a.npz', *words)
    refused(lambda: Dataset(images, LABELS, ('a', 'b')), *words)


def test_channels_that_are_no_colours():
    """Each is scaled by itself: Pillow takes the last of four for transparency, and no five."""
    image = np.random.default_rng(0).integers(0, 256, (12, 8, 5), np.uint8)
    found = conversion.fit_array(image, 4)
    for channel in range(5):
        np.testing.assert_array_equal(
            found[..., channel], conversion.fit_array(image[..., channel : channel + 1], 4)[..., 0]
        )
    np.testing.assert_array_equal(conversion.fit_array(image[..., :4], 4), found[..., :4])
    assert thumbnails.data_uri(image, 8) == thumbnails.data_uri(image[..., :3], 8)
    assert thumbnails.data_uri(image[..., :2], 8) == thumbnails.data_uri(image[..., :1], 8)


def test_a_channel_of_one_value_is_only_centred():
    """Opaque alpha: of a tiny standard deviation, what an augmentation fills in would drown the colours."""
    images = np.full((3, 4, 4, 2), 255, np.uint8)
    images[0, ..., 0] = 0
    mean, std = pixels.statistics(images, np.arange(3), 4)
    assert mean == (0.6667, 1.0)
    assert std == (0.4714, 1.0)


@pytest.mark.parametrize(('values', 'expected'), [((255, 252), 0.02), ((0, 1), 0.002), ((7, 7), 1.0)])
def test_a_channel_that_hardly_varies_is_not_blown_up_where_it_is_far_from_black(values, expected):
    images = np.repeat(np.array(values, np.uint8)[:, None, None, None], 16, 1)
    assert pixels.statistics(images, np.arange(2), 0)[1][0] == pytest.approx(expected, rel=0.03)


def test_statistics_are_counted_without_floats_of_all_pixels():
    images = np.random.default_rng(0).integers(0, 200, (300, 32, 32, 3), np.uint8)
    images[..., 1] //= 3
    rows = np.arange(0, 300, 2)
    floats = images[rows] / 255
    tracemalloc.start()
    mean, std = pixels.statistics(images, rows, 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(mean, floats.mean((0, 1, 2)).round(4))
    np.testing.assert_array_equal(std, floats.std((0, 1, 2)).round(4))
    assert peak < images.nbytes < floats.nbytes


def test_a_full_disk_is_told_before_arrays_are_written(tmp_path, monkeypatch):
    """Writing through memory would end the process by a signal."""
    np.savez(tmp_path / 'a.npz', images=IMAGES, labels=LABELS)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, 'posix_fallocate', full, raising=False)
    settings = {'name': 'arrays', 'path': str(tmp_path / 'a.npz')}
    refused(lambda: pack.pack(tmp_path / 'out', **settings), '--out', tmp_path / 'out', 'No space left', 'rerun')

    def copied():
        with new_folder(tmp_path / 'copy') as folder:
            copies._write_images(folder / 'images.npy', IMAGES, 4)

    refused(copied, '--out', tmp_path / 'copy', 'No space left')
    monkeypatch.undo()
    pack.pack(tmp_path / 'out', **settings)
    np.testing.assert_array_equal(np.load(tmp_path / 'out' / 'images.npy'), IMAGES)


def test_a_disk_that_cannot_take_space_ahead_is_written_to(tmp_path, monkeypatch):
    def unable(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    np.savez(tmp_path / 'a.npz', images=IMAGES, labels=LABELS)
    monkeypatch.setattr(os, 'posix_fallocate', unable, raising=False)
    pack.pack(tmp_path / 'out', name='arrays', path=str(tmp_path / 'a.npz'))
    np.testing.assert_array_equal(np.load(tmp_path / 'out' / 'images.npy'), IMAGES)
