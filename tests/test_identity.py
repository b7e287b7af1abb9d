"""A run goes on with the images that it began with, or says which is another one."""

import json
import os
import types

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from noisy_jax import data
from noisy_jax.data import identity, marks
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


def test_a_flipped_bit_is_not_taken_for_changed_data(begun):
    path = begun.path / 'labels/images.json'
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'cat/1.png', b'cat/9.png', 1))
    refused(lambda: identity.check(begun, _splits()), 'labels/images.json: it is not what the run wrote', 'remove it')
    path.write_bytes(whole)
    given = begun.load_array('labels/given')
    given[1] += 2**16
    begun.save_array('labels/given', given)
    refused(lambda: identity.check(begun, _splits()), 'labels/given.npy is damaged; remove it')
    (begun.path / 'labels/given.npy').unlink()
    others = _splits(label=[1, 0, 0, 1, 1, NO_LABEL])
    refused(lambda: identity.check(begun, others), 'the data has changed', 'given labels are others')
    identity.check(begun, _splits())
    assert begun.has_array('labels/given')


def test_marks_of_an_earlier_version_are_not_compared(begun):
    path = begun.path / 'labels/images.json'
    noted = json.loads(path.read_text())
    del noted['version'], noted['sha256']  # as when marks were sizes
    noted['train']['mark'] = [99] * 5
    path.write_text(json.dumps(noted))
    identity.check(begun, _splits())
    refused(lambda: identity.check(begun, _splits(id=SWAPPED)), 'image 1 was cat/1.png')


@pytest.mark.parametrize('memory_bytes', [0, 2**30])
def test_other_pixels_in_a_file_of_the_same_size(tmp_path, memory_bytes):
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / name / f'{number}.bmp')

    def mark():
        return data.load('folder', split='train', path=str(tmp_path), memory_bytes=memory_bytes).mark

    before, changed = mark(), tmp_path / 'b/0.bmp'
    os.utime(changed, (0, 0))
    np.testing.assert_array_equal(mark(), before)
    size = changed.stat().st_size
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(changed)
    assert changed.stat().st_size == size
    assert np.flatnonzero(mark() != before).tolist() == [2]
    assert data.load_unread(str(tmp_path)).mark is None


@pytest.mark.parametrize('size', [0, 1, 12288, 12289, 100_000])
def test_a_mark_is_of_the_size_and_three_places(tmp_path, size):
    file, content = tmp_path / 'a', bytearray(size)
    file.write_bytes(content)
    found = {marks.of_file(str(file))}
    for place in {0, size // 2, size - 1} if size else ():
        file.write_bytes(content[:place] + b'x' + content[place + 1 :])
        found.add(marks.of_file(str(file)))
    file.write_bytes(content + b'\0')
    found.add(marks.of_file(str(file)))
    assert len(found) == 2 + len({0, size // 2, size - 1} if size else ())
    assert marks.of_file(str(tmp_path / 'none')) == 0


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
