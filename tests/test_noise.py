"""Label noise: counts, rates and confusion structure of the original, determinism, errors."""

import numpy as np
import pytest

from noisy_jax.data import noise
from noisy_jax.errors import InputError


def _rng(seed=0):
    return np.random.default_rng(seed)


def _counts(true, given, num_classes):
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (true, given), 1)
    return counts


def _changed(counts):
    return counts.sum(1) - counts.diagonal()


def _spread_evenly(flips, changed):
    """Chi-square of off-diagonal counts against equal shares of each row, within 6 standard deviations of its mean."""
    others = len(flips) - 1
    expected = changed[:, None] / others
    chi = (((flips - expected) ** 2 / expected)[~np.eye(len(flips), dtype=bool)]).sum()
    freedom = len(flips) * (others - 1)
    return chi < freedom + 6 * np.sqrt(2 * freedom)


@pytest.mark.parametrize('row', range(4))
@pytest.mark.parametrize('num_classes', [10, 100])
def test_symmetric_changes_as_many_of_every_class_as_the_original(golden, row, num_classes):
    stored = golden('noise.npz')
    labels, rate = stored[f'labels{num_classes}'], float(stored['sym10_rates'][row])
    given = noise.symmetric(labels, rate, num_classes, _rng())
    counts, expected = _counts(labels, given, num_classes), stored[f'sym{num_classes}_confusion'][row].astype(int)
    assert given.dtype == np.int32
    np.testing.assert_array_equal(counts.diagonal(), expected.diagonal())
    np.testing.assert_array_equal(_changed(counts), _changed(expected))
    assert noise.realised_rate(labels, given) == pytest.approx(float(stored[f'sym{num_classes}_realised'][row]))
    assert _spread_evenly(expected, _changed(expected))
    assert _spread_evenly(counts, _changed(counts))


def test_symmetric_rounds_down_in_every_class(golden):
    labels = np.arange(330) % 10
    given = noise.symmetric(labels, 0.25, 10, _rng())
    assert (given != labels).sum() == golden('noise.npz')['sym10_n330_rate025_changed']
    np.testing.assert_array_equal(_changed(_counts(labels, given, 10)), 8)  # 8.25 of 33


@pytest.mark.parametrize('rate', [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
def test_a_whole_number_is_not_rounded_down_to_the_one_below(rate):
    # 0.7 * 10 stays under 7 in floating point for some rates and counts.
    for count in (10, 30, 70, 90, 1000):
        labels = np.repeat([0, 1], count)
        given = noise.symmetric(labels, rate, 2, _rng())
        np.testing.assert_array_equal(_changed(_counts(labels, given, 2)), round(rate * count))


@pytest.mark.parametrize('num_classes', [2, 3, 10])
def test_symmetric_at_rate_one_keeps_no_label_and_uses_every_other(num_classes):
    labels = np.arange(600) % num_classes
    given = noise.symmetric(labels, 1.0, num_classes, _rng())
    counts = _counts(labels, given, num_classes)
    np.testing.assert_array_equal(counts.diagonal(), 0)
    assert (counts[~np.eye(num_classes, dtype=bool)] > 0).all()


def test_symmetric_leaves_absent_classes_alone():
    given = noise.symmetric(np.array([0, 0, 2, 2]), 0.5, 4, _rng())
    np.testing.assert_array_equal(_changed(_counts(np.array([0, 0, 2, 2]), given, 4)), [1, 0, 1, 0])


def test_asymmetric_of_ten_classes_is_the_originals(golden):
    stored = golden('noise.npz')
    labels = stored['labels10']
    given = noise.asymmetric(labels, float(stored['asym10_rate']), 10, _rng())
    np.testing.assert_array_equal(_counts(labels, given, 10), stored['asym10_confusion'])
    assert noise.realised_rate(labels, given) == pytest.approx(float(stored['asym10_realised']))
    changed = given != labels
    pairs = set(zip(labels[changed].tolist(), given[changed].tolist(), strict=True))
    assert pairs == set(zip(stored['asym10_source'].tolist(), stored['asym10_target'].tolist(), strict=True))


def test_asymmetric_of_a_hundred_classes_goes_round_in_blocks_of_five(golden):
    stored = golden('noise.npz')
    labels = stored['labels100']
    given = noise.asymmetric(labels, 0.4, 100, _rng())
    # The original draws each label by itself (0.4066 comes out); here the share of every class is exact.
    np.testing.assert_allclose(noise.transition_matrix(labels, given, 100), stored['asym100_P_04'], atol=1e-12)
    np.testing.assert_array_equal(_counts(labels, given, 100) > 0, stored['asym100_confusion'] > 0)
    assert noise.realised_rate(labels, given) == pytest.approx(float(stored['asym100_realised']), abs=0.01)
    assert set(np.unique(given // 5 - labels // 5)) == {0}


def test_asymmetric_of_other_sizes_takes_the_next_class_or_the_given_mapping():
    labels = np.repeat([0, 1, 2], 10)
    np.testing.assert_array_equal(
        _counts(labels, noise.asymmetric(labels, 0.5, 3, _rng()), 3), [[5, 5, 0], [0, 5, 5], [5, 0, 5]]
    )
    given = noise.asymmetric(labels, 0.5, 3, _rng(), mapping={0: 2, 2: 0})
    np.testing.assert_array_equal(_counts(labels, given, 3), [[5, 0, 5], [0, 10, 0], [5, 0, 5]])


@pytest.mark.parametrize('kind', ['symmetric', 'asymmetric'])
def test_corrupt_is_a_function_of_the_seed_and_leaves_its_input_alone(kind):
    labels = np.arange(500, dtype=np.int32) % 10
    first, again, other = (noise.corrupt(labels, kind, 0.4, 10, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(labels, np.arange(500) % 10)
    rate = {'symmetric': 0.4, 'asymmetric': 0.2}[kind]
    assert noise.realised_rate(labels, first) == pytest.approx(rate)


@pytest.mark.parametrize('kind', noise.KINDS)
def test_rate_zero_changes_nothing(kind):
    labels = np.arange(50) % 10
    given = noise.corrupt(labels, kind, 0.0, 10, 0)
    np.testing.assert_array_equal(given, labels)
    assert given.dtype == np.int32


def test_rate_one_changes_all_that_the_kind_changes():
    labels = np.arange(50) % 10
    assert noise.realised_rate(labels, noise.corrupt(labels, 'none', 1.0, 10, 0)) == 0.0
    assert noise.realised_rate(labels, noise.corrupt(labels, 'symmetric', 1.0, 10, 0)) == 1.0
    assert noise.realised_rate(labels, noise.corrupt(labels, 'asymmetric', 1.0, 10, 0)) == 0.5


def test_none_gives_a_copy():
    labels = np.zeros(3, np.int32)
    noise.corrupt(labels, 'none', 0.4, 1, 0)[0] = 9
    assert labels[0] == 0


def test_transition_matrix():
    matrix = noise.transition_matrix(np.array([0, 0, 0, 0, 1]), np.array([0, 1, 1, 1, 1]), 3)
    np.testing.assert_allclose(matrix, [[0.25, 0.75, 0], [0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize(
    ('kind', 'rate', 'num_classes', 'words'),
    [
        ('symetric', 0.4, 10, ('noise.kind', "'symetric'", 'symmetric, asymmetric')),
        ('symmetric', 1.1, 10, ('noise.rate', '1.1', '0 to 1')),
        ('symmetric', -0.1, 10, ('noise.rate', '-0.1')),
        ('none', float('nan'), 10, ('noise.rate', 'nan')),
        ('symmetric', 0.4, 1, ('noise.kind', 'two classes', '1')),
        ('asymmetric', 0.4, 1, ('noise.kind', 'two classes', '1')),
    ],
)
def test_errors_are_one_line(kind, rate, num_classes, words):
    with pytest.raises(InputError) as caught:
        noise.corrupt(np.zeros(10, int), kind, rate, num_classes, 0)
    message = str(caught.value)
    assert '\n' not in message
    for word in words:
        assert word in message
