"""Image files that cannot be read: refused all at once before training, or left out and said so."""

import errno
import os
import shutil
import sys

import digit_files
import numpy as np
import pytest
from conftest import refused
from PIL import Image
from test_automatic import own_images

from noisy_jax import data, errors
from noisy_jax.data import decoding, lazy, pack
from noisy_jax.data.decoding import decode
from noisy_jax.errors import InputError
from noisy_jax.files import open_bytes
from noisy_jax.settings import automatic, default

SIDE = 24
WHOLE = ['cat/1.png', 'cat/3.png', 'dog/0.png', 'dog/1.png', 'dog/2.png']


def _pixels(seed):
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def root(tmp_path):
    """Eight images of two classes, of which the first, one in the middle and the last cannot be read."""
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.fromarray(_pixels(number + 4 * (name == 'dog'))).save(tmp_path / name / f'{number}.png')
    (tmp_path / 'cat' / '0.png').write_bytes(b'no image')
    for torn in ('cat/2.png', 'dog/3.png'):
        file = tmp_path / torn
        file.write_bytes(file.read_bytes()[:700])  # its head is whole
    return tmp_path


def _load(path, memory_bytes=2**30, broken='leave_out', **settings):
    return data.load('folder', split='train', path=str(path), memory_bytes=memory_bytes, broken=broken, **settings)


@pytest.mark.parametrize('memory_bytes', [0, 2**30], ids=['files', 'memory'])
def test_all_are_named_at_once(root, memory_bytes):
    named = ('3 of 8 images', 'cat/0.png', 'cat/2.png', 'dog/3.png', 'repair or remove', 'data.broken=leave_out')
    refused(lambda: _load(root, memory_bytes, 'refuse'), *named)


def test_those_of_the_test_set_are_named_too(tmp_path):
    for part in ('train', 'test'):
        for name in ('cat', 'dog'):
            for _ in range(2):
                digit_files.save(tmp_path / part / name, np.zeros((5, 5, 3), np.uint8))
    for place in ('train/cat/001.png', 'test/cat/000.png', 'test/dog/001.png'):
        (tmp_path / place).write_bytes(b'no image')
    settings = default().data.to_dict() | {'name': 'folder', 'path': str(tmp_path)}
    named = ('train/cat/001.png', '2 of 4 images', 'test/cat/000.png', 'test/dog/001.png', 'data.broken=leave_out')
    refused(lambda: data.load_splits(settings), *named)
    (tmp_path / 'test/cat/000.png').unlink()
    (tmp_path / 'test/dog/001.png').unlink()
    refused(lambda: data.load_splits(settings), 'train/cat/001.png')


def test_a_file_that_may_not_be_read_is_not_called_broken(root, monkeypatch):
    def forbidden(file, *arguments):
        if str(file).endswith('1.png'):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), file)
        return open_bytes(file, *arguments)

    monkeypatch.setattr(decoding, 'open_bytes', forbidden)  # root may read all
    for name in ('cat/0.png', 'cat/2.png', 'dog/3.png', 'dog/1.png'):
        (root / name).unlink()
    reason = 'cannot be read: Permission denied'
    with pytest.raises(InputError) as caught:
        _load(root, broken='refuse')
    assert str(caught.value) == (
        f'{root}/cat/1.png: {reason}; repair or remove what is broken, or set config.data.broken=leave_out'
    )
    assert _load(root).broken == (('cat/1.png', reason),)


def test_many_are_counted(root):
    for number in range(20, 45):
        (root / 'dog' / f'{number}.png').write_bytes(b'no image')
    refused(lambda: _load(root, broken='refuse'), '28 of 33 images', ' and 18 more')


def test_files_that_break_later_are_all_named_by_the_first_read(root):
    (root / 'cat' / '0.png').unlink()
    images = _load(root, 0, 'refuse', image_size=16).image  # both heads are whole
    refused(lambda: images[-2:], '2 of 7 images', 'cat/2.png', 'dog/3.png')


def test_a_class_of_broken_files_alone_is_told(root):
    errors._warn_once.cache_clear()
    for file in (root / 'cat').iterdir():
        file.write_bytes(b'no image')
    with pytest.warns(UserWarning, match='all files of cat are broken, and left out'):
        found = _load(root)
    assert found.class_names == ('cat', 'dog')
    assert 'data.limit' not in automatic.choose(own_images(data__path=str(root), data__broken='leave_out'))[1]


def test_settings_from_the_data_name_those_that_they_did_not_look_at(root, monkeypatch):
    (root / 'cat' / '0.png').unlink()
    monkeypatch.setattr(automatic, '_LOOKED_AT', 2)  # the first and the last, which is torn
    refused(lambda: automatic.choose(own_images(data__path=str(root))), '2 of 7 images', 'cat/2.png', 'dog/3.png')


@pytest.mark.parametrize('settings', [{}, {'image_size': 16}, {'workers': 1}], ids=['as they are', 'scaled', 'workers'])
def test_the_others_keep_their_pixels_labels_and_rows(root, settings):
    memory, files = _load(root, **settings), _load(root, 0, **settings)
    assert isinstance(files.image, lazy.Files)
    np.testing.assert_array_equal(files.image[:], memory.image)
    for found in (memory, files):
        assert found.id.tolist() == WHOLE
        assert found.label.tolist() == [0, 0, 1, 1, 1]
        assert found.row.tolist() == [1, 3, 4, 5, 6]
        assert found.available == 8
        assert [name for name, _ in found.broken] == ['cat/0.png', 'cat/2.png', 'dog/3.png']
        assert all(reason for _, reason in found.broken)
        assert found.take(np.array([0])).broken == found.broken
    if not settings:
        np.testing.assert_array_equal(memory.image, [_pixels(number) for number in (1, 3, 4, 5, 6)])


def test_a_first_image_in_colour_after_grey_and_broken_ones(root):
    for number in (1, 3):
        Image.fromarray(_pixels(number)[..., 0]).save(root / 'cat' / f'{number}.png')
    memory = _load(root).image
    assert memory.shape == (5, SIDE, SIDE, 3)
    np.testing.assert_array_equal(memory[0], np.repeat(_pixels(1)[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(memory[2], _pixels(4))
    np.testing.assert_array_equal(_load(root, 0).image[:], memory)


def test_a_list_keeps_its_order(root):
    (root / 'list.csv').write_text('dog/3.png,a\ndog/2.png,b\ncat/2.png,a\ncat/1.png,a\n')
    found = data.load('filelist', split='train', path=str(root / 'list.csv'), broken='leave_out')
    assert found.id.tolist() == ['dog/2.png', 'cat/1.png']
    assert found.label.tolist() == [1, 0]
    assert found.row.tolist() == [1, 3]


def test_nothing_is_left(root):
    for name in WHOLE:
        (root / name).write_bytes(b'')
    refused(lambda: _load(root), '8 of 8 images')


def test_a_pack_says_what_it_leaves_out(root, tmp_path_factory, capsys):
    out = tmp_path_factory.mktemp('pack') / 'out'
    pack.pack(out, name='folder', path=str(root), broken='leave_out')
    assert np.load(out / 'ids.npy').tolist() == WHOLE
    assert np.load(out / 'images.npy').shape == (5, SIDE, SIDE, 3)
    assert [line.split(' (')[0] for line in capsys.readouterr().out.splitlines()[1:]] == [
        f'left out: {name}' for name in ('cat/0.png', 'cat/2.png', 'dog/3.png')
    ]


@pytest.mark.parametrize('name', ['a\nb.png', 'a\x1b[31m.png'])
def test_names_that_break_lines_do_not_break_the_error(root, name):
    (root / 'cat' / name).write_bytes(b'no image')
    escaped = name.encode('unicode_escape').decode()
    refused(lambda: _load(root, broken='refuse'), f'cat/{escaped}', '4 of 9 images')
    for torn in ('cat/0.png', 'cat/2.png', 'dog/3.png'):
        (root / torn).unlink()
    refused(lambda: _load(root, broken='refuse'), f'cat/{escaped}')  # the only one has an error of its own


@pytest.mark.skipif(sys.platform != 'linux', reason='other file systems have no such names')
@pytest.mark.parametrize('place', [b'cat/\xff.png', b'd\xff/1.png'])
def test_a_name_that_is_no_text_is_a_name(root, place):
    file = os.path.join(os.fsencode(root), place)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    shutil.copy(root / 'dog' / '0.png', file)
    found = _load(root)
    (row,) = np.flatnonzero(found.id == os.fsdecode(place))
    assert found.class_names[found.label[row]] == os.fsdecode(place.split(b'/')[0])


@pytest.mark.skipif(sys.platform != 'linux', reason='elsewhere libtiff prints for itself')
@pytest.mark.parametrize('compression', ['tiff_lzw', 'group4'])
def test_what_libtiff_finds_is_said_with_the_name_of_the_file(tmp_path, capfd, compression):
    """It ends at some faults, and reads on after others."""
    file = tmp_path / 'a.tif'
    Image.fromarray(_pixels(0)).convert('1' if compression == 'group4' else 'RGB').save(file, compression=compression)
    content = bytearray(file.read_bytes())
    content[60:80] = bytes(byte ^ 0x5A for byte in content[60:80])
    file.write_bytes(content)
    errors._warn_once.cache_clear()
    if compression == 'group4':
        with pytest.warns(
            UserWarning, match=r'a\.tif: damaged, but read as far as it can be \(Bad code word at line\)'
        ):
            decode(file)
    else:
        refused(lambda: decode(file), 'a.tif', 'not a whole image')
    assert capfd.readouterr().err == ''
