"""The loaders: digits, arrays, class folders (made here, and real CIFAR-10 files), TensorFlow Datasets."""

import functools
import io
import json
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from conftest import CIFAR_COUNTS, DATA, refused
from PIL import Image
from sklearn.datasets import load_digits
from tiny import CONFIGS

from noisy_jax import config as config_lib
from noisy_jax import data, errors, settings
from noisy_jax.data import arrays, image_files, lazy

CIFAR_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')


def _image(seed, height=6, width=8, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_an_unknown_loader_is_refused():
    refused(lambda: data.load('digit', split='train'), 'data.name', "'digit'", 'digits, arrays, folder, filelist, tfds')


# Digits.


@pytest.mark.parametrize('name', sorted({*data.LOADERS} - {'filelist'}))
@pytest.mark.parametrize(('field', 'value'), [('test_list', 'test.csv'), ('class_names', 'n.txt'), ('max_classes', 5)])
def test_settings_of_lists_are_refused_elsewhere(name, field, value):
    config = settings.default()
    config.data.update({field: value})
    config.data.name = name
    refused(lambda: settings.validate(config), f'config.data.{field}', repr(value), 'only lists')
    config.data.name = 'filelist'
    settings.validate(config)


def test_a_path_is_refused_for_the_digits():
    config = settings.default()
    config.data.update({'name': 'digits', 'path': 'photos'})
    refused(lambda: settings.validate(config), 'config.data.path', "'photos'", 'scikit-learn', 'own_images.py')


@pytest.mark.parametrize('name', ['webvision', 'clothing1m', 'tiny_imagenet'])
def test_a_config_of_lists_sets_none_for_arrays(name):
    settings.validate(config_lib.load(f'{CONFIGS}/{name}.py:data=arrays'))


def test_own_images_are_recognised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez('a', images=np.zeros(1))
    (tmp_path / 'a.npz').rename('A.NPZ')
    (tmp_path / 'list.csv').touch()
    assert [data.kind_of(path) for path in ('A.NPZ', 'list.csv', '.')] == ['arrays', 'filelist', 'folder']
    assert data.kind_of('.', 'list.csv') == 'filelist'


def test_digits():
    train, test = (data.load('digits', split=split) for split in ('train', 'test'))
    assert train.image.shape == (1437, 8, 8, 1)
    assert test.image.shape == (360, 8, 8, 1)
    assert train.class_names == tuple('0123456789')
    bunch = load_digits()
    for part in (train, test):
        rows = part.id.astype(int)
        np.testing.assert_array_equal(part.label, bunch.target[rows])
        np.testing.assert_array_equal(part.true_label, part.label)
        np.testing.assert_allclose(part.image[..., 0] * (16 / 255), bunch.images[rows], atol=0.04)
    np.testing.assert_array_equal(np.sort(np.concatenate([train.id, test.id]).astype(int)), np.arange(1797))
    # Every class has the same share of the test set, up to one image.
    assert np.abs(np.bincount(test.label) - np.bincount(bunch.target) * (360 / 1797)).max() < 1
    assert {int(train.image.min()), int(train.image.max())} == {0, 255}


def test_digits_have_a_fixed_split_and_a_balanced_limit():
    np.testing.assert_array_equal(data.load('digits', split='test').id, data.load('digits', split='test').id)
    few = data.load('digits', split='train', limit=30)
    np.testing.assert_array_equal(np.bincount(few.label), 3)
    assert set(few.id) < set(data.load('digits', split='train').id)


# Arrays.


def _arrays(**changes):
    arrays = {'images': _image(0, 12, 5 * 4).reshape(12, 5, 4, 3), 'labels': np.arange(12) % 3, **changes}
    return {name: value for name, value in arrays.items() if value is not None}


def _save(path, arrays):
    if path.suffix == '.npz':
        np.savez(path, **arrays)
    else:
        path.mkdir()
        for name, value in arrays.items():
            np.save(path / f'{name}.npy', value)
    return str(path)


def _load_arrays(tmp_path, split='train', limit=0, **changes):
    return data.load('arrays', split=split, path=_save(tmp_path / 'data.npz', _arrays(**changes)), limit=limit)


@pytest.mark.parametrize('name', ['data.npz', 'folder'])
def test_arrays_of_a_file_or_a_folder(tmp_path, name):
    arrays = _arrays(
        labels=np.array([0, 1, 2, 0] * 3),
        true_labels=np.arange(12) % 3,
        class_names=np.array(['cat', 'dog', 'eel']),
        test_images=_image(1, 2, 20).reshape(2, 5, 4, 3),
        test_labels=np.array([2, 1]),
    )
    path = _save(tmp_path / name, arrays)
    train, test = (data.load('arrays', split=split, path=path) for split in ('train', 'test'))
    np.testing.assert_array_equal(train.image, arrays['images'])
    np.testing.assert_array_equal(train.label, arrays['labels'])
    np.testing.assert_array_equal(train.true_label, arrays['true_labels'])
    np.testing.assert_array_equal(test.image, arrays['test_images'])
    np.testing.assert_array_equal(test.label, [2, 1])
    assert test.true_label is None
    assert train.class_names == test.class_names == ('cat', 'dog', 'eel')


def test_arrays_without_the_optional_ones(tmp_path):
    train = _load_arrays(tmp_path)
    assert train.class_names == tuple('012')
    assert train.true_label is None  # given labels may be wrong: nothing says that they are true
    np.testing.assert_array_equal(train.id, np.arange(12).astype(str))
    assert data.load('arrays', split='test', path=str(tmp_path / 'data.npz')) is None


@pytest.mark.parametrize(
    ('labels', 'names'),
    [
        ([0.0, 1.0, 4.0], ('0', '1', '4')),
        ([7, 5, 90210], ('5', '7', '90210')),
        (np.array([2**40, 0, 10], np.uint64), ('0', '10', str(2**40))),
        (['cat', 'dog', 'eel'], ('cat', 'dog', 'eel')),
        (['10', '9', '09'], ('09', '9', '10')),
    ],
)
def test_labels_of_arrays_are_names(tmp_path, labels, names):
    labels = np.array(labels)
    train = _load_arrays(tmp_path, labels=np.tile(labels, 4), true_labels=np.repeat(labels, 4))
    assert train.class_names == names
    text = [str(int(label)) if labels.dtype.kind != 'U' else str(label) for label in labels]
    assert [names[label] for label in train.label] == text * 4
    assert [names[label] for label in train.true_label] == np.repeat(text, 4).tolist()


def test_text_labels_of_arrays_with_class_names(tmp_path):
    labels, names = np.array(['dog', 'cat'] * 6), np.array(['eel', 'dog', 'cat'])
    assert _load_arrays(tmp_path, labels=labels, class_names=names).label.tolist() == [1, 2] * 6
    # Numbers are rows of the names, also of names that are numbers.
    assert _load_arrays(tmp_path, labels=_LABELS, class_names=np.array([2, 1, 0])).label.tolist() == [0, 1, 2] * 4
    alike = ('a', 'a ', 'A')  # a class for each, as in class folders
    found = _load_arrays(tmp_path, labels=np.array(alike * 4), class_names=np.array(alike))
    assert (found.class_names, found.label.tolist()) == (alike, [0, 1, 2] * 4)


@pytest.mark.parametrize('names', [None, np.array(['cat', 'dog'])])
def test_arrays_with_images_without_a_label(tmp_path, names):
    labels = np.array([0, -1, 1] * 4)
    found = _load_arrays(tmp_path, labels=labels, class_names=names)
    assert found.class_names == (('0', '1') if names is None else ('cat', 'dog'))
    np.testing.assert_array_equal(found.label, labels)


def test_class_names_of_arrays_without_images_are_told(tmp_path):
    with pytest.warns(UserWarning, match=r'data\.npz: class_names: no training image is of 1 of the 4 classes \(fox\)'):
        _load_arrays(tmp_path, class_names=np.array(['cat', 'dog', 'eel', 'fox']))


@pytest.mark.parametrize('name', ['data.npz', 'folder'])
def test_arrays_with_ids(tmp_path, name):
    arrays = _arrays(ids=np.array([f'photo {i}.jpg' for i in range(12)]))
    arrays |= {'test_images': arrays['images'][:2], 'test_labels': np.array([0, 1]), 'test_ids': np.array([31, 7])}
    path = _save(tmp_path / name, arrays)
    assert data.load('arrays', split='train', path=path, limit=3).id.tolist() == [f'photo {i}.jpg' for i in range(3)]
    assert data.load('arrays', split='test', path=path).id.tolist() == ['31', '7']


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_floats_become_uint8_without_loss(tmp_path, dtype):
    expected = np.arange(12 * 5 * 4).reshape(12, 5, 4) % 256
    train = _load_arrays(tmp_path, images=(expected / 255).astype(dtype))
    assert train.image.shape == (12, 5, 4, 1)
    assert train.image.dtype == np.uint8
    np.testing.assert_array_equal(train.image[..., 0], expected)


def test_floats_are_rounded_to_the_nearest(tmp_path):
    images = np.array([0.0, 0.4, 0.6, 254.4, 254.6, 255.0] * 40).reshape(12, 5, 4, 1) / 255
    expected = np.array([0, 0, 1, 254, 255, 255] * 40).reshape(12, 5, 4, 1)
    np.testing.assert_array_equal(_load_arrays(tmp_path, images=images).image, expected)


@pytest.mark.parametrize('beyond', [lambda x: x - 2e-16, lambda x: x * (1 + 1e-7)])
def test_floats_may_leave_their_range_by_a_rounding(tmp_path, beyond):
    expected = np.arange(12 * 5 * 4).reshape(12, 5, 4, 1) % 256
    expected[0, 0, 1, 0] = 255
    images = beyond(expected / 255)
    assert images.min() < 0 or images.max() > 1
    np.testing.assert_array_equal(_load_arrays(tmp_path, images=images).image, expected)


def test_channels_that_files_have_not_are_warned_of(tmp_path):
    errors._warn_once.cache_clear()
    np.savez(tmp_path / 'data.npz', **_arrays(images=np.full((12, 6, 6, 4), 200, np.uint8)))
    with pytest.warns(UserWarning, match=r'images of 4 channels; predict reads files.*images\[..., :3\]'):
        data.load('arrays', split='train', path=str(tmp_path / 'data.npz'))


@pytest.mark.parametrize(('scale', 'words'), [(np.uint8(1), '1, of 255'), (1 / 255, '0.003922, of 1')])
def test_arrays_that_are_all_but_black_are_warned_of(tmp_path, scale, words):
    errors._warn_once.cache_clear()
    np.savez(tmp_path / 'data.npz', **_arrays(images=scale * (np.indices((12, 6, 6, 3))[0] % 2).astype(type(scale))))
    with pytest.warns(UserWarning, match=f'the brightest pixel is {words} for white'):
        data.load('arrays', split='train', path=str(tmp_path / 'data.npz'))


def test_files_that_are_all_but_black_are_warned_of(tmp_path):
    errors._warn_once.cache_clear()
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / name / '0.png')
    with pytest.warns(UserWarning, match=r'cat/0.png and all others: the brightest pixel is 1, of 255 for white'):
        data.load('folder', split='train', path=str(tmp_path))


@pytest.mark.parametrize('dtype', [int, str])
def test_class_names_in_the_order_of_the_labels_are_refused(tmp_path, dtype):
    errors._warn_once.cache_clear()
    values = np.array([2, 0, 3, 1] * 3)

    def load(labels, names):
        path = _save(tmp_path / 'data.npz', _arrays(labels=labels, class_names=names.astype(dtype)))
        return data.load('arrays', split='train', path=path)

    refused(lambda: load(values, values[:4]), 'class_names', 'order of their appearance', 'leave class_names out')
    codes = np.arange(12) % 4
    assert load(codes, values[:4]).class_names == ('2', '0', '3', '1')  # as `factorize` has both
    assert load(codes, np.array([7, 5, 9, 8])).class_names == ('7', '5', '9', '8')
    gaps = np.where(np.arange(12) < 8, values, -1)
    refused(lambda: load(gaps.astype(float), values[:4]), 'order of their appearance')
    refused(lambda: load(gaps, np.unique(gaps)), 'class_names holds -1', 'leave it out')
    with pytest.warns(UserWarning, match='rows of class_names, from 0, not their values: label 1 is 2'):
        assert load(codes % 3 + 1, np.arange(1, 6)).label.tolist() == (codes % 3 + 1).tolist()


@pytest.mark.parametrize('is_folder', [False, True])
def test_arrays_that_are_not_read_are_warned_of(tmp_path, is_folder):
    """Also where the name is nearly that of one that is."""
    errors._warn_once.cache_clear()
    more = {'val_images': np.zeros(3), 'val_labels': np.zeros(3), 'test_labels': np.zeros(3)}
    arrays, path = _arrays(true_label=np.zeros(12, int), **more), tmp_path / 'data'
    if is_folder:
        path.mkdir()
        for name, array in arrays.items():
            np.save(path / f'{name}.npy', array)
    else:
        np.savez(path := tmp_path / 'data.npz', **arrays)
    with pytest.warns(UserWarning, match='the array true_label is not read; true_labels would be') as caught:
        data.load('arrays', split='train', path=str(path))
    assert len(caught) == 2
    said = 'not read: val_images, val_labels, test_labels; a test set is test_images and test_labels'
    assert str(caught[1].message) == f'{path}: {said}'


def test_ids_of_arrays_may_be_bytes(tmp_path):
    names = [f'caf\u00e9_{row}.png' for row in range(12)]
    arrays = _arrays(ids=np.array([name.encode() for name in names]))
    assert data.load('arrays', split='train', path=_save(tmp_path / 'data.npz', arrays)).id.tolist() == names


@pytest.mark.parametrize('folder', ['{}/', ''])
def test_a_list_beside_class_folders_is_told(tmp_path, folder):
    errors._warn_once.cache_clear()
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save(tmp_path / name / f'{name}.png')
    rows = [f'{folder.format(name)}{name}.png,{other}\n' for name, other in (('cat', 'dog'), ('dog', 'cat'))]
    (tmp_path / 'labels.csv').write_text('path,label\n' + ''.join(rows))
    (tmp_path / 'ages.csv').write_text('name,age\nAnn,3\n')
    how = f'data.path={tmp_path}' + ('/labels.csv' if folder else f'/cat and data.list={tmp_path}/labels.csv')
    with pytest.warns(UserWarning, match=f'labels.csv names images.*; {how} would read a list') as caught:
        assert data.load('folder', split='train', path=str(tmp_path)).label.tolist() == [0, 1]
    assert not any('ages.csv names' in str(each.message) for each in caught)


def test_the_greatest_byte_among_labels_is_warned_of(tmp_path):
    errors._warn_once.cache_clear()
    with pytest.warns(UserWarning, match='labels: 255 is what -1 becomes as uint8'):
        assert _load_arrays(tmp_path, labels=_with(_LABELS, 5, -1).astype(np.uint8)).class_names[-1] == '255'


def test_arrays_beside_class_folders_are_told(tmp_path):
    errors._warn_once.cache_clear()
    _save(tmp_path / 'photos', _arrays())
    _write(tmp_path / 'photos' / 'cat' / '0.png', _image(0))
    with pytest.warns(UserWarning, match=r'images.npy is read, not the folders of images beside it \(cat\)'):
        assert data.kind_of(str(tmp_path / 'photos')) == 'arrays'
    (tmp_path / 'photos' / 'labels.npy').write_text('version https://git-lfs.github.com/spec/v1')
    load = functools.partial(data.load, 'arrays', split='train', path=str(tmp_path / 'photos'))
    refused(load, 'labels.npy', 'no .npy file')


def test_white_on_transparency_is_warned_of(tmp_path):
    errors._warn_once.cache_clear()
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        glyph = np.full((8, 8, 4), 255, np.uint8)
        glyph[..., 3] = 255 * np.eye(8)
        Image.fromarray(glyph).save(tmp_path / name / '0.png')
    with pytest.warns(UserWarning, match=r'cat/0.png and all others: all pixels are 255, of 255 for white'):
        data.load('folder', split='train', path=str(tmp_path))


def test_floats_in_a_small_part_of_the_range_are_warned_of(tmp_path):
    errors._warn_once.cache_clear()
    images = np.random.default_rng(0).uniform(0.5, 0.51, (12, 32, 32, 1))
    path = _save(tmp_path / 'data.npz', _arrays(images=images))
    with pytest.warns(
        UserWarning,
        match=r'data.npz: images: numbers from 0 to 1 become 256 grey levels, .* about 3; .*, as in image \d+,',
    ):
        data.load('arrays', split='train', path=path)


def test_arrays_with_a_limit_keep_images_labels_and_ids_together(tmp_path):
    arrays = _arrays(labels=np.array([0] * 6 + [1] * 6), true_labels=np.arange(12) % 2)
    few = data.load('arrays', split='train', path=_save(tmp_path / 'data.npz', arrays), limit=4)
    np.testing.assert_array_equal(few.id, ['0', '1', '6', '7'])
    np.testing.assert_array_equal(few.image, arrays['images'][[0, 1, 6, 7]])
    np.testing.assert_array_equal(few.label, [0, 0, 1, 1])
    np.testing.assert_array_equal(few.true_label, [0, 1, 0, 1])


def _with(array, row, value):
    array = array.astype(np.float64)
    array[row] = value
    return array


_FLOATS = np.full((12, 5, 4, 3), 0.5)
_LABELS = np.arange(12) % 3


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'images': None, 'x_train': _FLOATS}, ("no array 'images'; found", 'x_train')),
        ({'labels': None}, ("'labels'", 'images')),
        ({'images': _with(_FLOATS, (7, 2, 1, 0), np.nan)}, ('images[7]', 'NaN')),
        ({'images': _with(_FLOATS, (7, 2, 1, 0), 255)}, ('images[7]', '0.5 to 255', '[0, 1]')),
        ({'images': _with(_FLOATS, (3, 0, 0, 0), -0.5)}, ('images[3]', '-0.5 to 0.5')),
        ({'images': _with(_FLOATS, (3, 0, 0, 0), np.inf)}, ('images[3]', 'inf')),
        ({'images': np.zeros((12, 5, 4, 3), np.int64)}, ('images', 'int64', 'uint8')),
        ({'images': np.zeros((12, 60), np.uint8)}, ('images', '(12, 60)', '[N, H, W, C]')),
        ({'images': np.zeros((0, 5, 4, 3), np.uint8), 'labels': np.zeros(0, int)}, ('images', '(0, 5, 4, 3)')),
        ({'labels': _with(_LABELS, 5, -2)}, ('labels[5]', '-2', '-1: no label')),
        ({'labels': np.full(12, -1)}, ('labels are all -1',)),
        ({'true_labels': _with(_LABELS, 4, -1)}, ('true_labels[4]', '-1')),
        ({'labels': _with(_LABELS, 5, 1.5)}, ('labels[5]', '1.5', 'whole numbers')),
        ({'labels': _with(_LABELS, 5, np.nan)}, ('labels[5]', 'nan')),
        ({'labels': _with(_LABELS, 5, 2.0**70)}, ('labels[5]', 'whole numbers')),
        ({'labels': np.array(['cat', ' '] * 6)}, ('labels[1]', 'text')),
        ({'labels': _LABELS == 1}, ('labels', 'bool', 'whole numbers')),
        ({'true_labels': _LABELS + 1}, ('true_labels[2]', "'3'", '3 classes: 0, 1, 2')),
        ({'labels': np.array(['cat', 'dog'] * 6), 'class_names': np.array(['cat'])}, ('labels[1]', "'dog'", 'cat')),
        ({'class_names': np.array(['cat', 'dog', 'cat'])}, ('class_names[2]', "'cat'", 'class_names[0]')),
        ({'ids': np.array(['\ud800'] * 12)}, ('ids', 'no text')),
        ({'ids': np.array([b'\xff'] * 12)}, ('ids', 'no text')),
        ({'class_names': np.array(['cat', '', 'eel'])}, ('class_names[1]', 'no name')),
        ({'class_names': np.array([['cat', 'dog', 'eel']])}, ('class_names', '(1, 3)')),
        ({'labels': np.arange(11) % 3}, ('labels', '(11,)', '12')),
        ({'labels': np.eye(3, dtype=int)[_LABELS]}, ('labels', '(12, 3)', '12')),
        ({'labels': np.array([None] * 12)}, ('labels holds objects', 'array of numbers')),
        ({'true_labels': np.arange(11) % 3}, ('true_labels', '(11,)', '12')),
        ({'ids': np.arange(11)}, ('id', '(11,)', '12')),
        ({'noisy_jax_levels': np.array([np.nan, 1])}, ('noisy_jax_levels is [nan, 1.0]', 'two finite numbers')),
        ({'noisy_jax_levels': np.array([9, 1])}, ('noisy_jax_levels is [9, 1]', 'lower one first')),
        ({'ids': np.zeros(12, [('a', int), ('b', 'U3')])}, ("ids is [('a'", 'text or numbers')),
        ({'ids': np.arange(12) // 2 * 2}, ('ids', "found twice: '0', '10', '2' and 3 more")),
        ({'true_labels': _with(_LABELS, 4, -2)}, ('true_labels[4]', '-2')),
        ({'class_names': np.array(['cat', 'dog'])}, ('labels[2]', "'2'", '0 to 1')),
    ],
)
def test_arrays_that_cannot_be_used(tmp_path, changes, words):
    refused(lambda: _load_arrays(tmp_path, **changes), tmp_path / 'data.npz', *words)


def test_a_pipe_in_place_of_arrays(tmp_path):
    os.mkfifo(tmp_path / 'a.npz')
    refused(lambda: data.load('arrays', split='train', path=str(tmp_path / 'a.npz')), 'data.path', 'a.npz')


def test_a_pipe_under_the_name_of_an_array(tmp_path):
    path = _save(tmp_path / 'folder', _arrays())
    (tmp_path / 'folder/labels.npy').unlink()
    os.mkfifo(tmp_path / 'folder/labels.npy')
    refused(lambda: data.load('arrays', split='train', path=path), "no array 'labels'")


def test_floats_on_the_disk_are_read_a_few_at_a_time(tmp_path, monkeypatch):
    floats = np.random.default_rng(0).random((4000, 8, 8, 3))
    np.save(tmp_path / 'images.npy', floats)
    np.save(tmp_path / 'labels.npy', np.arange(4000) % 2)
    wanted, size = np.round(floats * 255).astype(np.uint8), floats.nbytes
    del floats
    monkeypatch.setattr(arrays, '_BLOCK', 2**14)
    tracemalloc.start()
    try:
        found = data.load('arrays', split='train', path=str(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < size / 2
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(found.image, wanted)


def test_an_archive_under_the_name_of_an_array(tmp_path):
    path = _save(tmp_path / 'folder', _arrays())
    with (tmp_path / 'folder/labels.npy').open('wb') as file:
        np.savez(file, _LABELS)
    refused(lambda: data.load('arrays', split='train', path=path), 'folder/labels.npy', 'an archive (.npz)')


@pytest.mark.parametrize(
    ('labels', 'words'),
    [
        (None, ("'test_labels'",)),
        ([0, 1, 2], ('test_labels', '(3,)', '2')),
        ([0, -1], ('test_labels[1]', '-1')),
        ([0, 3], ('test_labels[1]', "'3'", '0, 1, 2')),
    ],
)
def test_test_arrays_that_cannot_be_used(tmp_path, labels, words):
    images = np.zeros((2, 5, 4, 3), np.uint8)
    changes = {'test_images': images, 'test_labels': labels and np.array(labels)}
    refused(lambda: _load_arrays(tmp_path, 'test', **changes), tmp_path / 'data.npz', *words)


def _damaged(tmp_path, what):
    file = tmp_path / 'data.npz'
    if what == 'text':
        file.write_text('index,label\n0,1\n')
    elif what == 'empty':
        file.write_bytes(b'')
    elif what == 'npy':
        with file.open('wb') as opened:
            np.save(opened, np.zeros(3))
    else:
        np.savez_compressed(file, **_arrays())
        whole = file.read_bytes()
        # Early bytes: they cannot be unpacked, which is another error than a wrong checksum.
        changed = {'truncated': whole[: len(whole) // 2], 'altered': whole[:100] + b'\xff' * 10 + whole[110:]}
        file.write_bytes(changed[what])
    return file


@pytest.mark.parametrize('what', ['text', 'empty', 'npy', 'truncated', 'altered'])
def test_a_damaged_file_is_named(tmp_path, what):
    file = _damaged(tmp_path, what)
    words = 'cannot be read' if what == 'altered' else 'not a complete .npz file'
    refused(lambda: data.load('arrays', split='train', path=str(file)), file, words)


def test_a_damaged_file_of_a_folder_is_named(tmp_path):
    path = _save(tmp_path / 'folder', _arrays())
    file = tmp_path / 'folder' / 'images.npy'
    file.write_bytes(file.read_bytes()[:-10])
    refused(lambda: data.load('arrays', split='train', path=path), file, 'cannot be read')


@pytest.mark.parametrize('name', ['arrays', 'folder'])
def test_a_path_that_is_not_there_is_named(tmp_path, name):
    refused(lambda: data.load(name, split='train', path=''), 'data.path')
    refused(lambda: data.load(name, split='train', path=str(tmp_path / 'none')), 'data.path', tmp_path / 'none')


# Class folders.


def _write(file, image, **settings):
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(file, **settings)
    return file


def _tree(root, **classes):
    """PNG files root/CLASS/i.png; images of a class are given by their number, pixels are a function of (class, i)."""
    for name, count in classes.items():
        for i in range(count):
            _write(root / name / f'{i}.png', _image((len(name), i)))


def _decode(tmp_path, image, suffix='.png', size=0, **settings):
    """The image as the loader gives it."""
    _write(tmp_path / 'only' / f'a{suffix}', image, **settings)
    return data.load('folder', split='train', path=str(tmp_path), image_size=size).image[0]


def test_a_folder_with_train_and_test(tmp_path):
    _tree(tmp_path / 'train', cat=3, bird=2)
    _tree(tmp_path / 'test', bird=1)
    train, test = (data.load('folder', split=split, path=str(tmp_path)) for split in ('train', 'test'))
    assert train.class_names == test.class_names == ('bird', 'cat')
    assert train.id.tolist() == [f'train/{name}.png' for name in ('bird/0', 'bird/1', 'cat/0', 'cat/1', 'cat/2')]
    np.testing.assert_array_equal(train.label, [0, 0, 1, 1, 1])
    assert train.true_label is None
    np.testing.assert_array_equal(train.image, [_image(key) for key in ((4, 0), (4, 1), (3, 0), (3, 1), (3, 2))])
    assert test.id.tolist() == ['test/bird/0.png']
    np.testing.assert_array_equal(test.label, [0])


def test_a_folder_without_a_train_level_has_no_test_set(tmp_path):
    _tree(tmp_path, cat=1, bird=1)
    assert data.load('folder', split='train', path=str(tmp_path)).id.tolist() == ['bird/0.png', 'cat/0.png']
    assert data.load('folder', split='test', path=str(tmp_path)) is None


@pytest.mark.parametrize('name', ['val', 'validation'])
def test_a_validation_folder_stands_in_for_the_test_set(tmp_path, name):
    _tree(tmp_path / 'train', cat=1)
    assert data.load('folder', split='test', path=str(tmp_path)) is None
    _tree(tmp_path / name, cat=2)
    assert len(data.load('folder', split='test', path=str(tmp_path))) == 2


@pytest.mark.parametrize(
    ('files', 'classes', 'test', 'says'),
    [
        ('Train/cat/0 Train/dog/0 TEST/cat/0', 'cat dog', 'TEST/cat/0', ''),
        ('train/cat/0 train/dog/0 test/0 val/cat/0', 'cat dog', 'val/cat/0', '1 folder beside the training set (test)'),
        (
            'train/cat/0 train/dog/0 more/0 more/1 rest/a/0',
            'cat dog',
            '',
            '2 folders beside the training set (more, rest)',
        ),
        (
            'train/cat/0 train/dog/0 train/0 Unlabelled/0',
            'cat dog',
            '',
            '1 image beside the class folders (train/0.png)',
        ),
        ('train/0 bus/0 car/0', 'bus car train', '', 'train holds images and is taken for a class'),
        ('train/0 train/a/0 bus/0', 'bus train', '', 'train holds images and is taken for a class'),
        ('train/0 test/0', 'test train', '', 'test holds images and is taken for a class; train holds'),
        ('10/0 9/0 011/0', '9 10 011', '', ''),
        ('b/0 a/x/y/0', 'a b', '', ''),
        (
            'training/1/0 training/2/0 testing/1/0 testing/2/0 unlabelled/0',
            'testing training',
            '',
            'testing, training look like sets, but are taken for classes; sets are named train and test',
        ),
        (
            'learn/learn/1/0 learn/learn/2/0 check/check/1/0 check/check/2/0 guess/guess/0',
            'check guess learn',
            '',
            'check, guess, learn look like sets, but are taken for classes',
        ),
        (
            'fold_1/a/0 fold_1/b/0 fold_2/a/0 fold_2/b/0 fold_3/a/0 fold_3/b/0',
            'fold_1 fold_2 fold_3',
            '',
            'fold_1, fold_2, fold_3 look like sets, but are taken for classes',
        ),
        (
            'cat/0 dog/0 output/train/cat/0 output/train/dog/0',
            'cat dog output',
            '',
            'output holds folders with names of classes (cat, dog), and is taken for a class',
        ),
        ('train_images/0 TestImages/1 test-images/1', 'TestImages test-images train_images', '', ''),
        ('training_set/0 test-images/1', 'test-images training_set', '', 'look like sets, but are taken for classes'),
        ('latest/0 contest/1', 'contest latest', '', ''),
        ('a/2020/0 a/2021/0 b/2020/0 b/2021/0 c/0', 'a b c', '', ''),
        ('a/2021/0 b/2021/0', 'a b', '', ''),
        ('cat/ann/0 cat/bob/0 dog/ann/0 dog/bob/0 elk/ann/0 elk/bob/0', 'cat dog elk', '', ''),
        ('a/0 a/@eaDir/0 b/0 @eaDir/0 __MACOSX/a/0', 'a b', '', '3 hidden files or folders (@eaDir, __MACOSX and 1'),
        ('a/0 b/0 @Recycle/a/0 #snapshot/0', 'a b', '', '2 hidden files or folders'),
    ],
)
def test_which_folders_are_sets_and_which_are_classes(tmp_path, recwarn, files, classes, test, says):
    for file in files.split():
        _write(tmp_path / f'{file}.png', _image(0))
    train, held_out = (data.load('folder', split=split, path=str(tmp_path)) for split in ('train', 'test'))
    assert train.class_names == tuple(classes.split())
    assert (held_out.id.tolist() if held_out else []) == [f'{file}.png' for file in test.split()]
    said = [str(warning.message) for warning in recwarn]
    assert [says in text for text in said] == [True] * bool(says)


@pytest.mark.parametrize(
    ('files', 'words'),
    [
        ('cat/0 dog/0 test/cat/0', ('test', 'no class folders in', 'train')),
        ('train/cat/0 Train/cat/0', ('Train and train', 'rename')),
    ],
)
def test_folders_that_may_be_sets_or_classes_are_refused(tmp_path, files, words):
    for file in files.split():
        _write(tmp_path / f'{file}.png', _image(0))
    refused(lambda: data.load('folder', split='train', path=str(tmp_path)), tmp_path, *words)


def test_links_that_lead_nowhere_are_images_that_cannot_be_read(tmp_path):
    """As where a disk is not mounted, or files kept elsewhere were not fetched: half of the images would be missing."""
    _tree(tmp_path / 'in', cat=2, dog=1)
    (tmp_path / 'in/dog/9.png').symlink_to(tmp_path / 'not mounted/9.png')
    refused(lambda: data.load('folder', split='train', path=str(tmp_path / 'in')), 'dog/9.png', 'No such file')


@pytest.mark.parametrize('name', ['photos.zip', 'photos.tar.gz', 'list.csv.xz'])
def test_an_archive_is_named(tmp_path, name):
    (tmp_path / name).touch()
    refused(lambda: data.kind_of(str(tmp_path / name)), 'data.path', name, 'is an archive; unpack it')


@pytest.mark.parametrize('name', ['images.npy', 'digits.MAT', 'data.pkl'])
def test_a_file_of_arrays_of_another_kind_is_named(tmp_path, name):
    (tmp_path / name).touch()
    refused(lambda: data.kind_of(str(tmp_path / name)), 'data.path', name, 'an .npz file or a folder of .npy files')


def test_what_is_left_out_is_counted(tmp_path, recwarn):
    _tree(tmp_path / 'in', cat=2, dog=1)
    _write(tmp_path / 'in' / 'cat' / '2021' / 'a.TIF', _image(0))
    _write(tmp_path / 'in' / '0.png', _image(0))
    for name in ('cat/notes.txt', 'cat/2021/.hidden.png', 'cat/._0.png', '.DS_Store', 'dog/Thumbs.db', 'list.csv'):
        (tmp_path / 'in' / name).write_text('no image')
    (tmp_path / 'in' / 'cat' / '00.png').symlink_to('1.png')  # as are the others there
    (tmp_path / 'in' / 'cat' / 'circle').symlink_to('.')
    (tmp_path / 'in' / 'cat' / 'up').symlink_to('..')  # dogs are no cats
    (tmp_path / 'in' / 'dog' / 'other class.png').symlink_to('../cat/1.png')
    _write(tmp_path / 'out' / 'b.gif', _image(1))
    (tmp_path / 'in' / 'dog' / 'out').symlink_to('../../out')
    for _ in range(3):
        train = data.load('folder', split='train', path=str(tmp_path / 'in'))
    cats = ['cat/0.png', 'cat/1.png', 'cat/2021/a.TIF']
    assert train.id.tolist() == [*cats, 'dog/0.png', 'dog/other class.png', 'dog/out/b.gif']
    assert train.label.tolist() == [0, 0, 0, 1, 1, 1]
    (said,) = recwarn  # once
    assert str(said.message) == (
        f'{tmp_path}/in: left out: 1 image beside the class folders (0.png), 2 files of other kinds (list.csv, '
        'cat/notes.txt), 1 hidden file or folder (cat/2021/.hidden.png), 3 links to what is there already (cat/circle, '
        'cat/up and 1 more)'
    )


def test_all_that_pillow_reads_is_read():
    for name in ('a.JPG', 'a.jfif', 'a.apng', 'a.gif', 'a.webp', 'a.tif', 'a.ppm', 'a.jp2', 'a.tga', 'a.ico', 'a.mpo'):
        assert image_files.is_image(name)
    for name in ('a.pdf', 'a.eps', 'a.mpg', 'a.h5', 'a.wmf', 'a.txt', 'a.npy', 'png', 'a'):
        assert not image_files.is_image(name)


def test_a_limit_is_balanced_and_decodes_nothing_else(tmp_path):
    _tree(tmp_path, cat=4, bird=3, eel=1)
    for broken in ('cat/2.png', 'cat/3.png', 'bird/2.png'):
        (tmp_path / broken).write_bytes(b'broken')
    few = data.load('folder', split='train', path=str(tmp_path), limit=6)
    assert few.id.tolist() == ['bird/0.png', 'bird/1.png', 'cat/0.png', 'cat/1.png', 'eel/0.png']
    refused(lambda: data.load('folder', split='train', path=str(tmp_path)), 'bird/2.png')


def test_a_jpeg_is_decoded_as_by_pillow(tmp_path):
    smooth = np.asarray(Image.fromarray(_image(0, 3, 4)).resize((24, 16), Image.Resampling.BICUBIC))
    found = _decode(tmp_path, smooth, '.jpg', quality=95)
    assert found.shape == (16, 24, 3)
    np.testing.assert_array_equal(found, np.asarray(Image.open(tmp_path / 'only' / 'a.jpg')))
    assert np.abs(found.astype(int) - smooth).mean() < 6


@pytest.mark.parametrize('suffix', ['.png', '.PNG', '.bmp'])
def test_gray_images_have_one_channel(tmp_path, suffix):
    gray = _image(0)[..., 0]
    np.testing.assert_array_equal(_decode(tmp_path, gray, suffix), gray[..., None])


def test_gray_among_colour_becomes_colour(tmp_path):
    gray, colour = _image(0)[..., 0], _image(1)
    _write(tmp_path / 'only' / 'a.png', gray)
    _write(tmp_path / 'only' / 'b.png', colour)
    found = data.load('folder', split='train', path=str(tmp_path)).image
    np.testing.assert_array_equal(found, [np.repeat(gray[..., None], 3, -1), colour])


def test_palette(tmp_path):
    picture = Image.fromarray(_image(0)[..., 0] % 4, mode=None).convert('P')
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    table = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]])
    np.testing.assert_array_equal(_decode(tmp_path, picture), table[_image(0)[..., 0] % 4])


def test_transparency_goes_over_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]  # 51 is a fifth
    np.testing.assert_allclose(_decode(tmp_path, rgba)[0], [[200, 100, 0], [255, 255, 255], [244, 224, 204]], atol=1)


def test_a_transparent_palette_colour_is_white(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert('P')
    picture.putpalette([10, 20, 30, 40, 50, 60])
    found = _decode(tmp_path, picture, transparency=0)
    np.testing.assert_array_equal(found[0], [[255, 255, 255], [40, 50, 60]])


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    deep = np.array([[0, 257, 128 * 257], [65535, 200 * 257 + 100, 129]], np.uint16)
    np.testing.assert_array_equal(_decode(tmp_path, deep)[..., 0], [[0, 1, 128], [255, 200, 1]])


def test_one_bit_is_black_and_white(tmp_path):
    found = _decode(tmp_path, Image.fromarray(np.array([[True, False, True]])))
    np.testing.assert_array_equal(found[..., 0], [[255, 0, 255]])


def test_a_turned_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned by 90 degrees to the left
    image = _image(0)
    np.testing.assert_array_equal(_decode(tmp_path, image, exif=exif), np.rot90(image, -1))


@pytest.mark.parametrize('channels', [1, 3])
def test_image_size_scales_the_shorter_side_and_crops_the_middle(tmp_path, channels):
    wide = np.zeros((10, 30, channels), np.uint8)
    wide[:, 10:20] = np.arange(0, 250, 25)[:, None, None]  # the middle third, brighter downwards
    wide = wide if channels == 3 else wide[..., 0]
    found = _decode(tmp_path, wide, size=5)
    assert found.shape == (5, 5, channels)
    # Two rows become one; the outermost columns take in some black from outside the crop.
    np.testing.assert_allclose(found[1:-1, 1:-1], np.full((3, 3, channels), [[[62]], [[112]], [[162]]]), atol=2)
    assert (found[2, [0, -1]] > 80).all()
    assert _decode(tmp_path, wide, size=20).shape == (20, 20, channels)


def test_images_of_different_sizes_need_image_size(tmp_path):
    _write(tmp_path / 'cat' / 'a.png', _image(0, 6, 8))
    _write(tmp_path / 'cat' / 'b.png', _image(0, 5, 9))
    load = lambda **settings: data.load('folder', split='train', path=str(tmp_path), **settings)  # noqa: E731
    refused(load, tmp_path / 'cat' / 'b.png', '9x5', '8x6', tmp_path / 'cat' / 'a.png', 'config.data.image_size')
    assert load(image_size=4).image.shape == (2, 4, 4, 3)


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp'])
def test_a_truncated_image_is_named(tmp_path, suffix):
    file = _write(tmp_path / 'cat' / f'a{suffix}', _image(0, 64, 64))
    file.write_bytes(file.read_bytes()[:600])
    refused(lambda: data.load('folder', split='train', path=str(tmp_path)), file, 'repair or remove')


@pytest.mark.parametrize('content', [b'', b'not an image'])
def test_a_file_that_is_no_image_is_named(tmp_path, content):
    _tree(tmp_path, cat=1)
    (tmp_path / 'cat' / 'b.jpg').write_bytes(content)
    refused(lambda: data.load('folder', split='train', path=str(tmp_path)), tmp_path / 'cat' / 'b.jpg')


def test_names_of_another_encoding_are_refused_where_python_reads_one(tmp_path, monkeypatch):
    for name in ('a', 'b'):
        _write(tmp_path / f'{name}/0.png', _image(0))
    monkeypatch.setattr(image_files.sys, 'getfilesystemencoding', lambda: 'iso8859-1')
    assert len(data.load('folder', split='train', path=str(tmp_path))) == 2
    _write(tmp_path / 'b/é.png', _image(0))
    refused(lambda: data.load('folder', split='train', path=str(tmp_path)), 'é.png', 'iso8859-1', 'PYTHONUTF8=1')


def test_a_work_directory_is_no_class(tmp_path):
    for name in ('a/0', 'b/0', 'b/run/plots/0'):
        _write(tmp_path / f'{name}.png', _image(0))
    (tmp_path / 'b/run/labels').mkdir()
    for name in ('config.json', 'data.json'):
        (tmp_path / 'b/run' / name).touch()
    errors._warn_once.cache_clear()
    with pytest.warns(UserWarning, match=r'1 work directory of a run \(b/run\)'):
        assert data.load('folder', split='train', path=str(tmp_path)).id.tolist() == ['a/0.png', 'b/0.png']
    (tmp_path / 'b/run').rename(tmp_path / 'run')
    for path in (tmp_path, tmp_path / 'run'):
        refused(
            lambda: data.load('folder', split='train', path=str(path)),  # noqa: B023
            tmp_path / 'run',
            'work directory of a run',
        )


def test_folders_that_cannot_be_used(tmp_path):
    refused(lambda: data.load('folder', split='train', path=str(tmp_path)), tmp_path, 'class folders')
    _tree(tmp_path / 'train', cat=1)
    _tree(tmp_path / 'test', cat=1, dog=1)
    refused(lambda: data.load('folder', split='test', path=str(tmp_path)), tmp_path / 'test' / 'dog', 'classes: cat')
    (tmp_path / 'train' / 'bird').mkdir()
    refused(lambda: data.load('folder', split='train', path=str(tmp_path)), tmp_path / 'train' / 'bird', 'no images')


# Real images.


def test_real_images_come_in_the_original_order(cifar):
    for split in ('train', 'test'):
        dataset = data.load('folder', split=split, path=str(cifar))
        counts = [CIFAR_COUNTS[f'{split}/{name}'] for name in CIFAR_CLASSES[:2]]
        assert dataset.class_names == CIFAR_CLASSES[:2]
        assert dataset.image.shape == (sum(counts), 32, 32, 3)
        np.testing.assert_array_equal(dataset.label, np.repeat([0, 1], counts))
        # The k-th image of a class is CLASS/k.jpg.
        names = [f'{split}/{CIFAR_CLASSES[c]}/{k:04d}.jpg' for c in range(2) for k in range(counts[c])]
        assert dataset.id.tolist() == names
        for row in (0, counts[0] - 1, counts[0], len(dataset) - 1):
            np.testing.assert_array_equal(dataset.image[row], np.asarray(Image.open(cifar / names[row])))


def test_human_labels_meet_their_images(cifar):
    """The published rule that joins CIFAR-10N with the files: image i is the counter-th of its class."""
    file = DATA / 'cifar10n_labels.npz'
    if not file.is_file():
        pytest.skip(f'no CIFAR-10N labels at {file}; set NOISY_JAX_DATA to their folder')
    with np.load(file) as archive:
        clean = archive['clean_label']
    dataset = data.load('folder', split='train', path=str(cifar))
    position = {name: row for row, name in enumerate(dataset.id)}
    counters, found = [0] * 10, []
    for label in clean:
        row = position.get(f'train/{CIFAR_CLASSES[label]}/{counters[label]:04d}.jpg')
        counters[label] += 1
        if row is not None:
            assert dataset.label[row] == label
            found.append(row)
    assert sorted(found) == list(range(len(dataset)))


# TensorFlow Datasets.


def _png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'PNG')
    return buffer.getvalue()


def _features(channels=3, **changes):
    import tensorflow_datasets as tfds

    features = {
        'image': tfds.features.Image(shape=(None, None, channels)),
        'label': tfds.features.ClassLabel(names=['cat', 'dog', 'eel']),
        **changes,
    }
    return {name: feature for name, feature in features.items() if feature is not None}


def _examples(count, **changes):
    return [{'image': _png(_image(i)), 'label': i % 3, **changes} for i in range(count)]


def _prepare(root, splits, features=None, name='toy', file_format='array_record'):
    """Writes a data set as TFDS does, in two shards a split, without TensorFlow."""
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module

    version = '1.0.0' if name == 'toy' else str(tfds.builder(name, data_dir=root).version)
    folder = root / name / version
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(features or _features())
    features.save_config(folder)
    serializer = tfds.core.ExampleSerializer(features.get_serialized_info())
    entries = []
    for split, examples in splits.items():
        shards = (examples[: len(examples) // 2], examples[len(examples) // 2 :])
        for number, shard in enumerate(shards):
            file = folder / f'{name}-{split}.{file_format}-{number:05d}-of-00002'
            writer = array_record_module.ArrayRecordWriter(str(file), 'group_size:1')
            for example in shard:
                encoded = {key: features[key].encode_example(value) for key, value in example.items()}
                writer.write(serializer.serialize_example(encoded))
            writer.close()
        lengths = [str(len(shard)) for shard in shards]
        template = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
        entries.append({'name': split, 'shardLengths': lengths, 'numBytes': '1', 'filepathTemplate': template})
    info = {'name': name, 'version': version, 'fileFormat': file_format, 'splits': entries}
    (folder / 'dataset_info.json').write_text(json.dumps(info))
    return folder


def _load_tfds(root, split='train', **settings):
    return data.load('tfds', split=split, **{'dataset': 'toy', 'path': str(root), **settings})


def test_a_data_set_without_a_name_is_refused():
    refused(lambda: _load_tfds('.', dataset=''), 'data.dataset', "''", 'cifar10')


@pytest.mark.parametrize('name', ['toy', 'cifar10'])  # TFDS has no code for the first, and its own for the second
def test_tfds_reads_a_prepared_data_set(tmp_path, name):
    _prepare(tmp_path, {'train': _examples(7), 'test': _examples(4)}, name=name)
    train, test = (_load_tfds(tmp_path, split, dataset=name) for split in ('train', 'test'))
    np.testing.assert_array_equal(train.image, [_image(i) for i in range(7)])
    np.testing.assert_array_equal(train.label, np.arange(7) % 3)
    assert train.true_label is None
    assert train.class_names == test.class_names == ('cat', 'dog', 'eel')
    np.testing.assert_array_equal(test.image, train.image[:4])


def test_tfds_works_without_tensorflow(tmp_path):
    _prepare(tmp_path, {'train': _examples(3)})
    code = (
        'import sys; from noisy_jax import data\n'
        f"dataset = data.load('tfds', split='train', dataset='toy', path={str(tmp_path)!r})\n"
        "print(len(dataset), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['3', 'False']


def test_tfds_of_gray_images(tmp_path):
    gray = [_image(i)[..., 0] for i in range(4)]
    examples = [{'image': _png(image), 'label': 0} for image in gray]
    _prepare(tmp_path, {'train': examples}, _features(channels=1))
    np.testing.assert_array_equal(_load_tfds(tmp_path).image[..., 0], gray)


def test_tfds_takes_validation_for_test_and_gives_none_without_both(tmp_path):
    _prepare(tmp_path, {'train': _examples(4), 'validation': _examples(2)})
    assert len(_load_tfds(tmp_path, 'test')) == 2
    _prepare(tmp_path / 'other', {'train': _examples(4)})
    assert _load_tfds(tmp_path / 'other', 'test') is None


def test_tfds_decodes_no_more_than_the_limit_asks_for(tmp_path):
    examples = [{'image': _png(_image(i)), 'label': i // 3} for i in range(9)]
    for broken in examples[2::3]:
        broken['image'] = b'broken'
    _prepare(tmp_path, {'train': examples})
    few, rows = _load_tfds(tmp_path, limit=6), [0, 1, 3, 4, 6, 7]
    np.testing.assert_array_equal(few.image, [_image(row) for row in rows])
    np.testing.assert_array_equal(few.label, [0, 0, 1, 1, 2, 2])
    assert few.id.tolist() == [str(row) for row in rows]
    assert few.row.tolist() == rows
    assert few.available == 9
    refused(lambda: _load_tfds(tmp_path), "'toy'", 'image 2')


def test_tfds_images_of_different_sizes_need_image_size(tmp_path):
    examples = [{'image': _png(_image(0, *size)), 'label': 0} for size in ((6, 8), (9, 5))]
    _prepare(tmp_path, {'train': examples})
    refused(lambda: _load_tfds(tmp_path), "'toy'", 'image 1', '5x9', '8x6', 'config.data.image_size')
    assert _load_tfds(tmp_path, image_size=4).image.shape == (2, 4, 4, 3)


@pytest.mark.parametrize('workers', [0, 1])
def test_tfds_records_are_decoded_on_demand(tmp_path, workers):
    _prepare(tmp_path, {'train': _examples(7)})
    lazily = _load_tfds(tmp_path, memory_bytes=0, workers=workers)
    assert isinstance(lazily.image, lazy.Files)
    order = np.array([5, 0, 6, 0])
    np.testing.assert_array_equal(lazily.take(order).image[:], [_image(i) for i in order])


def test_tfds_records_that_break_are_named_also_by_workers(tmp_path):
    examples = _examples(3)
    examples[1]['image'] = examples[1]['image'][:60]  # the head alone
    _prepare(tmp_path, {'train': examples})
    for workers in (0, 1):
        images = _load_tfds(tmp_path, memory_bytes=0, workers=workers, image_size=4).image
        assert images[[0, 2]].shape == (2, 4, 4, 3)
        refused(lambda images=images: images[:], "'toy'", 'train', 'image 1')


def _human_features():
    import tensorflow_datasets as tfds

    return _features(worse_label=tfds.features.ClassLabel(num_classes=3))


def test_tfds_trains_on_the_labels_that_people_gave(tmp_path):
    """As in cifar10_n, whose test images have -1 there."""
    train = [{**example, 'worse_label': 2 - example['label']} for example in _examples(6)]
    test = [{**example, 'worse_label': -1} for example in _examples(4)]
    _prepare(tmp_path, {'train': train, 'test': test}, _human_features())
    human, held_out = (_load_tfds(tmp_path, split, label_key='worse_label') for split in ('train', 'test'))
    np.testing.assert_array_equal(human.label, 2 - np.arange(6) % 3)
    np.testing.assert_array_equal(human.true_label, np.arange(6) % 3)
    np.testing.assert_array_equal(held_out.label, np.arange(4) % 3)
    assert _load_tfds(tmp_path).true_label is None
    # A limit goes by the labels that are trained on.
    np.testing.assert_array_equal(np.sort(_load_tfds(tmp_path, label_key='worse_label', limit=3).label), [0, 1, 2])
    refused(lambda: _load_tfds(tmp_path, label_key='worst'), "'toy'", "'worst'", 'worse_label (ClassLabel)')


def test_tfds_of_coarser_labels_is_refused(tmp_path):
    """As cifar100_n has them beside the labels."""
    import tensorflow_datasets as tfds

    train = [{**example, 'coarse_label': 0} for example in _examples(6)]
    _prepare(tmp_path, {'train': train}, _features(coarse_label=tfds.features.ClassLabel(num_classes=2)))
    refused(lambda: _load_tfds(tmp_path, label_key='coarse_label'), 'data.label_key', '2 classes', 'label 3')


def _label(feature):
    import tensorflow_datasets as tfds

    return {'none': None, 'number': tfds.features.Scalar(np.int64), 'text': tfds.features.Text()}[feature]


@pytest.mark.parametrize('feature', ['none', 'number', 'text'])
def test_tfds_without_class_labels_is_refused(tmp_path, feature):
    changes = {'label': {'number': 1, 'text': 'cat'}.get(feature)}
    examples = [{name: value for name, value in e.items() if value is not None} for e in _examples(2, **changes)]
    _prepare(tmp_path, {'train': examples}, _features(label=_label(feature)))
    refused(lambda: _load_tfds(tmp_path), "'toy'", "'label'", 'image')


def test_tfds_without_images_is_refused(tmp_path):
    _prepare(tmp_path, {'train': [{'label': 0}]}, _features(image=None))
    refused(lambda: _load_tfds(tmp_path), "'toy'", "'image'", 'label')


def test_tfds_that_is_not_there_is_refused_with_the_mend(tmp_path):
    # No such name at all; one that TFDS could make (and must not, unasked).
    refused(lambda: _load_tfds(tmp_path, dataset='toy'), "'toy'", tmp_path, 'download_and_prepare')
    mend = f"tfds.builder('mnist', data_dir={str(tmp_path)!r}, file_format='array_record').download_and_prepare()"
    refused(lambda: _load_tfds(tmp_path, dataset='mnist'), "'mnist'", 'not prepared', tmp_path, mend)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('name', ['toy', 'mnist'])
def test_tfds_in_another_format_is_refused_with_the_mend(tmp_path, name):
    _prepare(tmp_path, {'train': _examples(2)}, name=name, file_format='tfrecord')
    refused(lambda: _load_tfds(tmp_path, dataset=name), f"'{name}'", tmp_path, 'array_record', 'download_and_prepare')


@pytest.mark.parametrize('what', ['missing', 'truncated'])
def test_tfds_with_a_damaged_shard_is_refused(tmp_path, what):
    folder = _prepare(tmp_path, {'train': _examples(4)})
    shard = folder / 'toy-train.array_record-00001-of-00002'
    if what == 'missing':
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:50])
    refused(lambda: _load_tfds(tmp_path), "'toy'", tmp_path, 'download_and_prepare')


def test_tfds_images_without_a_label_are_refused(tmp_path):
    _prepare(tmp_path, {'train': _examples(2), 'test': _examples(2, label=-1)})  # how TFDS marks a hidden label
    refused(lambda: _load_tfds(tmp_path, 'test'), "'toy'", 'test', 'image 0', '-1')


def test_tfds_without_a_training_split_is_refused(tmp_path):
    _prepare(tmp_path, {'test': _examples(2)})
    refused(lambda: _load_tfds(tmp_path), "'toy'", "'train'", 'test')
