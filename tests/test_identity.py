"""A run goes on with the images that it began with, or says which is another one."""

import json
import os
import types

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from noisy_jax import data
from noisy_jax.data import identity
from noisy_jax.data.dataset import NO_LABEL, Dataset, checksums
from noisy_jax.workdir import WorkDir

PIXELS = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4, 1)
NAMES = np.array([f'{name}/{number}.png' for name in ('cat', 'dog') for number in range(3)])


def _splits(id=NAMES, mark=range(6), label=(0, 0, 0, 1, 1, NO_LABEL), test=(0, 1), classes=('cat', 'dog')):
    everything = Dataset(PIXELS, np.array(label), classes, id=np.array(id), mark=mark and np.array(mark))
    labelled = everything.take(np.flatnonzero(everything.label != NO_LABEL))
    test = test and Dataset(PIXELS[: len(test)], np.array(test), classes, id=NAMES[: len(test)])
    return types.SimpleNamespace(labelled=labelled, pool=everything, test=test)


@pytest.fixture
def begun(tmp_path):
    identity.check(WorkDir(tmp_path), _splits())
    return WorkDir(tmp_path)


def test_the_same_images_go_on(begun):
    identity.check(begun, _splits())
    identity.check(begun, _splits(mark=None))  # nothing tells


SWAPPED = ['cat/0.png', 'cat/2.png', 'cat/1.png', *NAMES[3:]]


@pytest.mark.parametrize(
    ('changes', 'how'),
    [
        ({'id': SWAPPED}, 'image 1 was cat/1.png, is cat/2.png'),
        ({'mark': [0, 1, 2, 3, 9, 5]}, 'image 4, dog/1.png, is another one'),
        ({'mark': [0, 1, 2, 3, 4, 9]}, 'unlabelled image 0, dog/2.png, is another one'),
        ({'label': [0, 0, 0, 1, 1, 1]}, 'image 5, dog/2.png, is new'),
        ({'label': [0, 0, 0, 1, NO_LABEL, NO_LABEL]}, 'image 4, dog/1.png, is not there'),
        ({'classes': ('cat', 'hound')}, 'class 1 was dog, is hound'),
        ({'classes': ('cat', 'dog', 'eel')}, 'class 2, eel, is new'),
        ({'test': (0, 1, 1)}, 'test image 2, cat/2.png, is new'),
        ({'test': None}, 'test image 0, cat/0.png, is not there'),
        ({'test': (1, 1)}, 'the label of test image 0, cat/0.png, was 0, is 1'),
    ],
)
def test_the_first_difference_is_named(begun, changes, how):
    words = begun.path, 'the data has changed since this run began', how, '--workdir'
    refused(lambda: identity.check(begun, _splits(**changes)), *words)


@pytest.mark.parametrize('text', ['', '{}', 'null', '{"classes": 3}'])
def test_a_damaged_note_is_named(begun, text):
    (begun.path / 'labels/images.json').write_text(text)
    refused(lambda: identity.check(begun, _splits()), 'labels/images.json', 'remove it')


def test_files_are_told_by_their_sizes(tmp_path):
    rng = np.random.default_rng(0)
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / name / f'{number}.png')
    (tmp_path / 'a/1.png').write_bytes((tmp_path / 'a/1.png').read_bytes() + b'more')
    sizes = [os.path.getsize(tmp_path / name / f'{number}.png') for name in ('a', 'b') for number in range(2)]
    for memory_bytes in (0, 2**30):
        found = data.load('folder', split='train', path=str(tmp_path), memory_bytes=memory_bytes)
        assert found.mark.tolist() == sizes
        assert found.take(np.array([3, 1])).mark.tolist() == [sizes[3], sizes[1]]
    assert data.load_unread(str(tmp_path)).mark is None


def test_arrays_are_told_by_some_of_their_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1000, 2, 2, 3), np.uint8)
    found = checksums(images)
    assert np.count_nonzero(found) == 256
    assert np.count_nonzero(found != checksums(images[::-1])) > 250
    for name, array in {'images': images, 'labels': np.arange(1000) % 2}.items():
        np.save(tmp_path / f'{name}.npy', array)
    for size in (0, 4):  # other versions of Pillow may scale otherwise
        np.testing.assert_array_equal(
            data.load('arrays', split='train', path=str(tmp_path), image_size=size).mark, found
        )


def test_names_that_are_no_text_are_noted(tmp_path):
    names = ['cat/\udcff.png', 'a\nb,"c".png', *NAMES[2:]]
    identity.check(WorkDir(tmp_path), _splits(id=names))
    identity.check(WorkDir(tmp_path), _splits(id=names))
    assert json.loads((tmp_path / 'labels/images.json').read_text())['train']['id'] == names[:5]
