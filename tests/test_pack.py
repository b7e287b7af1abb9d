"""python -m noisy_jax.data.pack: what is packed is what the loaders give; stops, refusals."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from noisy_jax import data, locks
from noisy_jax.data import lazy, pack


def _pixels(number, height=8, width=8):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    """12 images of two classes to train and 4 to test, of several sizes."""
    for part, count in (('train', 6), ('test', 2)):
        for label, name in enumerate(('cat', 'dog')):
            folder = tmp_path / 'photos' / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(_pixels(100 * label + i, 8 + i, 12)).save(folder / f'{i}.png')
    return tmp_path / 'photos'


def _same(packed, expected):
    np.testing.assert_array_equal(packed.image, expected.image)
    np.testing.assert_array_equal(packed.label, expected.label)
    np.testing.assert_array_equal(packed.id, expected.id)
    assert packed.class_names == expected.class_names
    if expected.true_label is None:
        assert packed.true_label is None
    else:
        np.testing.assert_array_equal(packed.true_label, expected.true_label)


def _splits(name, **settings):
    return [data.load(name, split=split, **settings) for split in ('train', 'test')]


def test_a_packed_folder_is_the_folder(photos, tmp_path, capsys):
    (photos / 'unlabelled').mkdir()
    Image.fromarray(_pixels(300)).save(photos / 'unlabelled/0.png')
    arguments = ['--name=folder', f'--path={photos}', '--image_size=6', f'--out={tmp_path / "out"}']
    assert pack.main(arguments) == 0
    printed = capsys.readouterr()
    assert '13 training images, 4 test images' in printed.out
    assert not printed.err  # the bar is for a terminal
    packed = _splits('arrays', path=str(tmp_path / 'out'))
    assert isinstance(packed[0].image, lazy.Rows)
    for ours, theirs in zip(packed, _splits('folder', path=str(photos), image_size=6), strict=True):
        _same(ours, theirs)
    # Never written to again.
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / 'out').iterdir()}
    assert not [name for name in before if name.endswith('.part')]
    assert pack.main(arguments) == 2
    assert 'finished pack' in capsys.readouterr().err
    assert before == {file.name: file.stat().st_mtime_ns for file in (tmp_path / 'out').iterdir()}


def test_arrays_are_packed_at_another_size_with_their_true_labels(tmp_path):
    images = np.stack([_pixels(i) for i in range(6)])
    given = {'images': images, 'labels': np.arange(6) % 2, 'true_labels': np.arange(6) % 3, 'ids': list('uvwxyz')}
    np.savez(tmp_path / 'a.npz', **given, class_names=['a', 'b', 'c'])
    pack.pack(tmp_path / 'out', name='arrays', path=str(tmp_path / 'a.npz'), image_size=4)
    packed, test = _splits('arrays', path=str(tmp_path / 'out'))
    source = data.load('arrays', split='train', path=str(tmp_path / 'a.npz'))
    assert test is None
    assert packed.image.shape == (6, 4, 4, 3)
    assert packed.id.tolist() == list('uvwxyz')
    _same(packed.replace(image=source.image), source)


@pytest.mark.parametrize('labels', [[3, 1, 7], ['b', '07', 'a']])
def test_labels_of_arrays_are_packed_as_they_are(tmp_path, labels):
    np.savez(tmp_path / 'a.npz', images=np.stack([_pixels(i) for i in range(3)]), labels=labels)
    pack.pack(tmp_path / 'out', name='arrays', path=str(tmp_path / 'a.npz'))
    assert np.load(tmp_path / 'out/labels.npy').tolist() == labels
    assert not (tmp_path / 'out/class_names.npy').exists()
    _same(*(data.load('arrays', split='train', path=str(tmp_path / name)) for name in ('out', 'a.npz')))


def test_test_images_of_another_size_are_refused_before_they_are_written(tmp_path):
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 0, 1])
    other = {'test_images': images[:2, :6], 'test_labels': labels[:2]}
    np.savez(tmp_path / 'a.npz', images=images, labels=labels, **other)
    refused(lambda: pack.pack(tmp_path / 'out', name='arrays', path=str(tmp_path / 'a.npz')), '8x8 and 8x6 pixels')
    pack.pack(tmp_path / 'out', name='arrays', path=str(tmp_path / 'a.npz'), image_size=6)


def test_digits_are_packed_as_they_are(tmp_path):
    pack.pack(tmp_path / 'out', name='digits', limit=50, test_limit=20)
    _same(
        _splits('arrays', path=str(tmp_path / 'out'))[1],
        data.load('digits', split='test', limit=20).replace(true_label=None),
    )


class _Killed(BaseException):
    pass


@pytest.mark.parametrize('after', [1, 3, 5])
def test_a_stopped_pack_goes_on_where_it_was(photos, tmp_path, monkeypatch, after):
    """Chunks of 4 images: three of training, one of test images, which are read after `after` - 1 of them."""
    monkeypatch.setattr(pack, '_CHUNK_BYTES', 4 * 6 * 6 * 3)
    settings = {'path': str(photos), 'image_size': 6}
    read, reads = lazy.Files._read, []

    def stopping(files, rows):
        if len(reads) == after:
            raise _Killed
        reads.append(rows)
        return read(files, rows)

    monkeypatch.setattr(lazy.Files, '_read', stopping)
    if after < 4:
        with pytest.raises(_Killed):
            pack.pack(tmp_path / 'out', **settings)
        refused(lambda: data.load('arrays', split='train', path=str(tmp_path / 'out')), 'images')  # not before its end
        refused(lambda: pack.pack(tmp_path / 'out', **settings | {'image_size': 5}), 'image_size 6', '5')
        after = 100
    pack.pack(tmp_path / 'out', **settings, workers=0)
    assert [len(rows) for rows in reads] == [4] * 4  # nothing twice
    monkeypatch.undo()
    for ours, theirs in zip(_splits('arrays', path=str(tmp_path / 'out')), _splits('folder', **settings), strict=True):
        _same(ours, theirs)


@pytest.mark.parametrize('fault', ['cut', 'flipped', 'flipped when it was whole', 'other pixels'])
def test_a_stopped_pack_that_has_changed_is_refused(photos, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(pack, '_CHUNK_BYTES', 4 * 6 * 6 * 3)
    fit, fitted = pack.fit_array, []

    def stopping(image, size):
        fitted.append(image)
        if len(fitted) > (13 if 'whole' in fault else 6):  # 12 images are trained on
            raise _Killed
        return fit(image, size)

    monkeypatch.setattr(pack, 'fit_array', stopping)
    with pytest.raises(_Killed):
        pack.pack(tmp_path / 'out', path=str(photos), image_size=6)
    monkeypatch.setattr(pack, 'fit_array', fit)
    part = tmp_path / 'out' / ('images.npy' if 'whole' in fault else 'images.npy.part')
    words = [part.name, 'remove the folder']
    if fault == 'cut':
        os.truncate(part, 300)
    elif 'flipped' in fault:
        with part.open('r+b') as file:
            file.seek(200)
            file.write(b'\x01\x02')
    else:
        image, words = photos / 'train' / 'cat' / '5.png', ['begun with images']
        Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    refused(lambda: pack.pack(tmp_path / 'out', path=str(photos), image_size=6), *words)


def test_a_folder_that_is_moved_while_it_is_written(photos, tmp_path, monkeypatch):
    """Another pack, which has its name now, stays as it is."""
    settings, real = {'path': str(photos), 'image_size': 6}, lazy.Files._read
    pack.pack(tmp_path / 'other', **settings)
    before = (tmp_path / 'other/pack.json').read_bytes()

    def moving(files, rows):
        if (tmp_path / 'other').exists():
            (tmp_path / 'out').rename(tmp_path / 'moved')
            (tmp_path / 'other').rename(tmp_path / 'out')
        return real(files, rows)

    monkeypatch.setattr(lazy.Files, '_read', moving)
    refused(lambda: pack.pack(tmp_path / 'out', **settings), '--out', 'was moved or removed')
    assert (tmp_path / 'out/pack.json').read_bytes() == before


def test_a_stopped_pack_of_other_data_is_refused(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(pack, '_write_images', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    arguments = [f'--path={photos}', '--image_size=6', f'--out={tmp_path / "out"}']
    assert pack.main(arguments) == 130
    monkeypatch.undo()
    (photos / 'train' / 'cat' / '5.png').unlink()
    refused(lambda: pack.pack(tmp_path / 'out', path=str(photos), image_size=6), 'images', '12 images', '11 images')


def test_folders_that_are_not_written_to(photos, tmp_path):
    settings = {'path': str(photos), 'image_size': 6}
    (tmp_path / 'file').write_text('')
    refused(lambda: pack.pack(tmp_path / 'file', **settings), '--out', 'Not a directory')
    refused(lambda: pack.pack(photos, **settings), '--out', photos, 'other files', 'test')
    (tmp_path / 'odd').mkdir()
    (tmp_path / 'odd' / 'pack.json').write_text('{"done": 3}')
    refused(lambda: pack.pack(tmp_path / 'odd', **settings), 'pack.json', 'not the state of a pack: take another')
    refused(lambda: pack.pack(tmp_path / 'new', path=str(photos)), 'image_size')
    refused(lambda: pack.pack(photos / 'packed', **settings), '--out', 'packed', 'inside the data')
    refused(lambda: pack.pack(tmp_path / 'new', **settings | {'workers': -1}), '--workers', '-1', '0 to 256')
    refused(lambda: pack.pack(tmp_path / 'new', path=str(photos), image_size=-1), '--image_size', '-1')
    assert not (tmp_path / 'new').exists()


def test_no_path_is_told_by_its_option(tmp_path):
    refused(lambda: pack.pack(tmp_path / 'pack', path=''), "--path: '' is not allowed")
    assert not (tmp_path / 'pack').exists()


def test_test_images_without_a_label_are_refused(photos, tmp_path):
    """As a run on the pack would refuse them."""
    lists = {'train.csv': [], 'test.csv': []}
    for place, file in enumerate(sorted(path for path in photos.rglob('*.png'))):
        row = f'{file.relative_to(photos)},{file.parent.name if place else ""}'
        lists['test.csv' if place < 2 else 'train.csv'].append(row)
    for name, rows in lists.items():
        (photos / name).write_text('\n'.join(rows))
    settings = {'name': 'filelist', 'path': str(photos), 'list': 'train.csv', 'test_list': 'test.csv'}
    settings['image_size'] = 6
    refused(lambda: pack.pack(tmp_path / 'out', **settings), 'test image', 'has no label')


def test_two_at_once(photos, tmp_path):
    out = tmp_path / 'out'
    with locks.locked(out / 'lock', out, '--out'):
        refused(lambda: pack.pack(out, path=str(photos), image_size=6), '--out', out, 'is in use')
        assert [path.name for path in out.iterdir()] == ['lock']
    pack.pack(out, path=str(photos), image_size=6)
    assert not (out / 'lock').exists()


def test_the_command_in_a_process_of_its_own_with_workers(photos, tmp_path):
    command = [sys.executable, '-m', 'noisy_jax.data.pack', f'--path={photos}', '--image_size=6', '--workers=1']
    done = subprocess.run(
        [*command, f'--out={tmp_path / "out"}'], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / 'out' / 'pack.json').read_text())['complete']
    _same(_splits('arrays', path=str(tmp_path / 'out'))[0], _splits('folder', path=str(photos), image_size=6)[0])
    done = subprocess.run([*command, f'--out={photos}'], capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 2
    assert done.stderr.count('\n') == 1
