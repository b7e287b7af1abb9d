"""Images that are read on demand are those in memory: as arrays, as batches, and in the weights they train."""

import errno
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny
from conftest import refused
from PIL import Image

from noisy_jax import data, pipeline
from noisy_jax.data import lazy, workers
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.encoded import Paths
from noisy_jax.data.rows import split
from noisy_jax.training import feed, mesh
from noisy_jax.training.checkpoints import Checkpoints


def _pixels(number, height=8, width=8):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Two classes of 20 images; one grey, one of another size in each."""
    path = tmp_path_factory.mktemp('images')
    for label, name in enumerate(('cat', 'dog')):
        (path / name).mkdir()
        for i in range(20):
            image = _pixels(100 * label + i, 8, 12 if i == 3 else 8)
            Image.fromarray(image[..., 0] if i == 5 else image).save(path / name / f'{i:02d}.png')
    return path


def _load(root, memory_bytes=0, **settings):
    given = {'split': 'train', 'path': str(root), 'image_size': 8, 'memory_bytes': memory_bytes, **settings}
    return data.load('folder', **given)


def test_files_are_an_array_like_that_in_memory(root):
    eager, files = _load(root, 2**20).image, _load(root).image
    assert isinstance(eager, np.ndarray)
    assert isinstance(files, lazy.Files)
    assert (files.shape, files.dtype, files.ndim, files.nbytes) == (eager.shape, eager.dtype, 4, eager.nbytes)
    assert len(files) == 40
    for index in (7, slice(3, 9), np.array([5, 5, 39, 0]), np.array([[1, 25], [3, 4]]), np.arange(40) % 7 == 0, []):
        np.testing.assert_array_equal(files[index], eager[index])
        assert files[index].dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(files), eager)


def test_memory_decides_by_the_decoded_size(root):
    assert isinstance(_load(root, 40 * 8 * 8 * 3).image, np.ndarray)
    assert isinstance(_load(root, 40 * 8 * 8 * 3 - 1).image, lazy.Files)


def test_all_grey_files_have_one_channel(tmp_path):
    (tmp_path / 'cat').mkdir()
    for i in range(3):
        Image.fromarray(_pixels(i)[..., 0]).save(tmp_path / 'cat' / f'{i}.png')
    assert _load(tmp_path).image.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(_load(tmp_path).image[:], _load(tmp_path, 2**20).image)


MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16', 'CMYK')


@pytest.mark.parametrize('mode', MODES)
def test_the_head_of_a_file_tells_the_shape(tmp_path, mode):
    image = Image.fromarray(_pixels(0, 6, 4))
    image = Image.fromarray(np.arange(24, dtype=np.uint16).reshape(6, 4)) if mode == 'I;16' else image.convert(mode)
    (tmp_path / 'cat').mkdir()
    image.save(tmp_path / 'cat' / ('a.jpg' if mode == 'CMYK' else 'a.png'))
    assert _load(tmp_path, image_size=0).image.shape == _load(tmp_path, 2**20, image_size=0).image.shape


def test_a_turned_photograph_tells_its_upright_shape(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / 'cat').mkdir()
    Image.fromarray(_pixels(0, 6, 4)).save(tmp_path / 'cat' / 'a.jpg', exif=exif)
    assert _load(tmp_path, image_size=0).image.shape == (1, 4, 6, 3)


def test_other_sizes_and_broken_heads_are_found_before_training(root, tmp_path):
    refused(lambda: _load(root, image_size=0), root / 'cat' / '03.png', '12x8', '8x8', 'config.data.image_size')
    (tmp_path / 'cat').mkdir()
    Image.fromarray(_pixels(0)).save(tmp_path / 'cat' / '0.png')
    (tmp_path / 'cat' / '1.png').write_bytes(b'no image')
    refused(lambda: _load(tmp_path), tmp_path / 'cat' / '1.png', 'repair')


def test_a_file_that_breaks_later_is_named(tmp_path):
    (tmp_path / 'cat').mkdir()
    for i in range(2):
        Image.fromarray(_pixels(i, 64, 64)).save(tmp_path / 'cat' / f'{i}.png')
    images = _load(tmp_path, image_size=64).image
    file = tmp_path / 'cat' / '1.png'
    file.write_bytes(file.read_bytes()[:600])
    refused(lambda: images[:], file, 'repair')
    Image.fromarray(_pixels(1, 32, 32)).save(file)
    np.testing.assert_array_equal(images[:1], [_pixels(0, 64, 64)])
    images = _load(tmp_path / '..' / tmp_path.name, image_size=0, limit=1).image
    Image.fromarray(_pixels(1, 32, 32)).save(tmp_path / 'cat' / '0.png')
    refused(lambda: images[0], '0.png', '(32, 32, 3)', '(64, 64, 3)')


def test_take_and_split_read_nothing(root, monkeypatch):
    files, eager = _load(root), _load(root, 2**20)
    halves = split(files.label, files.num_classes, 0.25, 0)
    monkeypatch.setattr(lazy.Files, '_read', lambda *_: pytest.fail('read'))
    parts = [files.take(np.array([30, 2])), *map(files.take, halves)]
    parts.append(files.replace(label=1 - files.label))
    monkeypatch.undo()
    expected = [eager.take(np.array([30, 2])), *map(eager.take, halves), eager]
    for part, whole in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part.image[:], whole.image)
        np.testing.assert_array_equal(part.id, whole.id)


def test_rows_of_a_memory_mapped_array_stay_on_the_disk(tmp_path):
    images = np.stack([_pixels(i) for i in range(10)])
    np.save(tmp_path / 'images.npy', images)
    np.save(tmp_path / 'labels.npy', np.arange(10) % 2)
    loaded = data.load('arrays', split='train', path=str(tmp_path), limit=8)
    taken = loaded.take(np.array([5, 1]))
    assert isinstance(taken.image, lazy.Rows)
    np.testing.assert_array_equal(loaded.image[2:], images[2:8])
    np.testing.assert_array_equal(taken.image[:], images[[5, 1]])
    np.testing.assert_array_equal(taken.take(np.array([1])).image[0], images[1])


@pytest.mark.parametrize('resident_bytes', [0, 2**20])
def test_batches_are_the_same(root, resident_bytes):
    eager = list(_load(root, 2**20).batches(7, 3, batch_size=16, skip=1))
    source = feed.Feed(_load(root), mesh.make_mesh(), 16, resident_bytes)
    for theirs, given in zip(eager, source.of_epoch(7, 3, 1), strict=True):
        ours = mesh.to_host(feed.Feed.assemble(source.resident, given, np.int32(3)))
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_worker_processes_give_the_same_and_name_what_is_broken(root, tmp_path):
    eager, files = _load(root, 2**20), _load(root, workers=1)
    order = np.arange(40)[::-1]
    np.testing.assert_array_equal(files.image[order], eager.image[order])
    (tmp_path / 'cat').mkdir()
    Image.fromarray(_pixels(0, 64, 64)).save(tmp_path / 'cat' / '0.png')
    broken = _load(tmp_path, workers=1)
    file = tmp_path / 'cat' / '0.png'
    file.write_bytes(file.read_bytes()[:600])
    refused(lambda: broken.image[:], file, 'repair')
    # A worker that is ended from outside, and the next read.
    pool = workers.pool_of(1)
    os.kill(next(iter(pool._processes)), signal.SIGKILL)
    refused(lambda: [files.image[:] for _ in range(100)], 'config.data.workers', '1')
    np.testing.assert_array_equal(files.image[:3], eager.image[:3])


def test_workers_that_cannot_be_started(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(workers.concurrent.futures, 'ProcessPoolExecutor', full)
    refused(lambda: workers.pool_of(3), 'config.data.workers: 3', 'No space left', '0 decodes in threads')


def test_ctrl_c_while_workers_start_takes_one_line(root):
    """Sent to parent and workers alike, as a terminal does, before these have begun."""
    code = (
        'import os, signal, sys\nfrom noisy_jax import cli\nfrom noisy_jax.data import workers\n'
        'def work():\n'
        '    pool = workers.pool_of(2)\n'
        '    assert len(pool._processes) == 2\n'
        '    for child in pool._processes:\n'
        '        os.kill(child, signal.SIGINT)\n'
        '    assert pool.submit(os.getpid).result() in pool._processes\n'
        '    os.kill(os.getpid(), signal.SIGINT)\n'
        'if __name__ == "__main__":\n    sys.exit(cli.exit_status(work))\n'
    )
    (root / 'main.py').write_text(code)
    done = subprocess.run([sys.executable, root / 'main.py'], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, 'stopped; nothing was written\n')


def test_workers_end_with_a_parent_that_is_killed(root):
    code = (
        'import os, signal\nfrom noisy_jax import data\nfrom noisy_jax.data import lazy\n'
        f"files = data.load('folder', split='train', path={str(root)!r}, image_size=8, memory_bytes=0, workers=1)\n"
        'files.image[:2]\n'
        'os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    # The worker holds the pipe too: the output ends when it has ended.
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL


def _digits_as_files(folder):
    """300 digits and 100 to test, as PNG class folders."""
    for part, count in (('train', 300), ('test', 100)):
        digits = data.load('digits', split=part, limit=count)
        for row in range(len(digits)):
            place = folder / part / str(digits.label[row])
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(digits.image[row, ..., 0]).save(place / f'{row:04d}.png')


def _run(path, workdir, **changes):
    """The weights and probabilities of a run."""
    settings = {'data__name': 'folder', 'data__path': str(path), 'base__epochs': 2, **changes}
    pipeline.run(tiny.config('phases=base', **settings), workdir)
    checkpoints = Checkpoints(workdir / 'checkpoints' / 'base')
    weights = jax.tree.leaves(checkpoints.restore_outcome())
    checkpoints.close()
    return [*weights, np.load(workdir / 'pred_probs.npy')]


@pytest.mark.filterwarnings('ignore:clean probability')  # two epochs teach little
def test_resident_streamed_and_undecoded_images_train_the_same_weights(tmp_path):
    _digits_as_files(tmp_path / 'digits')
    resident = _run(tmp_path / 'digits', tmp_path / 'a')
    streamed = _run(tmp_path / 'digits', tmp_path / 'b', resident_bytes=0)
    undecoded = _run(tmp_path / 'digits', tmp_path / 'c', resident_bytes=0, data__memory_bytes=0)
    for arrays in (streamed, undecoded):
        for ours, theirs in zip(arrays, resident, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    # Where images are kept may change between a run and its continuation.
    _run(tmp_path / 'digits', tmp_path / 'c')


def test_an_array_in_memory_is_taken_as_before():
    images = np.stack([_pixels(i) for i in range(4)])
    taken = Dataset(images, [0, 1, 0, 1], ('a', 'b')).take(np.array([2, 0])).image
    assert type(taken) is np.ndarray
    np.testing.assert_array_equal(taken, images[[2, 0]])


def test_a_test_set_in_colour_beside_a_grey_one(root):
    """In memory, as files, and on the disk."""
    colour = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    grey = colour[..., :1]
    np.testing.assert_array_equal(lazy.with_channels(grey, 3), np.concatenate([grey] * 3, -1))
    found = lazy.with_channels(colour, 1)
    assert found.shape == (3, 4, 5, 1)
    np.testing.assert_allclose(found[..., 0], colour @ [0.299, 0.587, 0.114], atol=1)  # ITU-R 601-2, whole numbers
    for images, channels in ((grey, 1), (colour, 3), (np.zeros((3, 4, 5, 2), np.uint8), 3)):
        assert lazy.with_channels(images, channels) is images
    for name in ('0.png', '1.png'):
        Image.fromarray(grey[0, ..., 0]).save(root.parent / name)
    files = lazy.Files(Paths(str(root.parent), np.array(['0.png', '1.png'])), (4, 5, 1))
    np.testing.assert_array_equal(lazy.with_channels(files, 3)[1], np.concatenate([grey[0]] * 3, -1))
    np.save(root.parent / 'images.npy', colour)
    rows = lazy.Rows.of(np.load(root.parent / 'images.npy', mmap_mode='r'))
    for images in (rows, lazy.take(rows, np.arange(3)), lazy.scaled(rows, 4)):
        alike = lazy.with_channels(images, 1)
        assert alike.shape == (*images.shape[:3], 1)
        np.testing.assert_array_equal(alike[1:], lazy.with_channels(images[:], 1)[1:])
