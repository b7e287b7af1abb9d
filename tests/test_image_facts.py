"""Which images are copies of which: equal, nearly equal, or far nearer to each other than to others."""

import numpy as np
import pytest
from conftest import refused
from test_data_issues import pictures

from noisy_jax.labels import duplicates, image_facts
from noisy_jax.labels.features import Features
from noisy_jax.labels.image_facts import ImageFacts
from noisy_jax.workdir import WorkDir


class _Unread:
    """Images that must not be read again."""

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def __getitem__(self, _):
        pytest.fail('read')


def test_each_row_has_the_first_of_its_group():
    pairs = np.array([[1, 3], [6, 3], [2, 5]])  # 5 and 6 are test images
    np.testing.assert_array_equal(duplicates.first_of(pairs, 5), [0, 1, 2, 1, 4])
    np.testing.assert_array_equal(duplicates.first_of(pairs, 7), [0, 1, 2, 1, 4, 2, 1])
    np.testing.assert_array_equal(duplicates.first_of(pairs[:0], 3), range(3))


def test_images_much_nearer_than_others_are_copies():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 60))
    assert not len(image_facts.near(Features(rows, 0)))
    copies = np.concatenate([rows, rows[:30] + 0.2 * rng.normal(size=(30, 60))])
    pairs = image_facts.near(Features(copies, 0))
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(row, 100 + row) for row in range(30)}
    assert not len(image_facts.near(Features(rows[:3], 0)))


def test_copies_are_kept_for_a_run_that_goes_on(tmp_path):
    images, folder = pictures(40, side=32), WorkDir(tmp_path)
    turned = images[20:30, :, ::-1]
    found = ImageFacts(folder, np.concatenate([images, images[:10], turned]), images[:2]).copies
    equal, alike = [*range(40), *range(10), *range(50, 60)], [*range(40), *range(10), *range(20, 30)]
    np.testing.assert_array_equal(found, [equal, alike])
    np.testing.assert_array_equal(ImageFacts(folder, _Unread(60), _Unread(2)).copies, found)
    refused(lambda: ImageFacts(folder, _Unread(59)).copies, 'copies.npy', '(2, 60)', 'remove it')
    for row in (-1, 5):
        folder.save_array('labels/copies', np.full((2, 5), row))
        refused(lambda: ImageFacts(folder, _Unread(5)).copies, 'copies.npy', 'remove it')
