"""Label noise: counts, rates and confusion structure of the original, determinism, errors."""

import zipfile

import numpy as np
import pytest
from conftest import DATA, refused

from noisy_jax.data import noise, noise_files, superclasses
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError

IMAGES = np.random.default_rng(5).integers(0, 256, (500, 4, 4, 3), dtype=np.uint8)
MATRIX = np.full((10, 10), 0.04) + 0.6 * np.eye(10)
NEEDED = {'instance': {'images': IMAGES}, 'matrix': {'matrix': MATRIX}}


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


def test_blocks_of_five_are_the_originals(golden):
    stored = golden('noise.npz')
    labels = stored['labels100']
    given = noise.corrupt(labels, 'asymmetric_blocks', 0.4, 100, 0)
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


def test_superclasses_are_twenty_of_five_classes():
    groups = superclasses.SUPERCLASSES
    assert [len(set(names)) for names in groups.values()] == [5] * 20
    assert len(set(superclasses.CLASSES)) == 100
    # The numbers of a few classes in the data set itself.
    numbers = {'apple': 0, 'aquarium_fish': 1, 'baby': 2, 'cattle': 19, 'maple_tree': 47, 'whale': 95, 'worm': 99}
    assert {name: superclasses.CLASSES.index(name) for name in numbers} == numbers
    assert 'whale' in groups['aquatic mammals']
    assert 'whale' not in groups['fish']
    assert {'tank', 'rocket'} < set(groups['vehicles 2'])
    assert 'mushroom' in groups['fruit and vegetables']


def test_asymmetric_of_a_hundred_classes_goes_round_in_the_superclasses():
    labels = np.repeat(np.arange(100), 10)
    given = noise.asymmetric(labels, 0.4, 100, _rng())
    np.testing.assert_array_equal(_changed(_counts(labels, given, 100)), 4)
    group = {name: number for number, names in enumerate(superclasses.SUPERCLASSES.values()) for name in names}
    groups = np.array([group[name] for name in superclasses.CLASSES])
    np.testing.assert_array_equal(groups[labels], groups[given])
    number = superclasses.CLASSES.index
    assert set(given[labels == number('whale')]) == {number('whale'), number('beaver')}
    assert set(given[labels == number('beaver')]) == {number('beaver'), number('dolphin')}
    assert sorted(superclasses.next_in_superclass().values()) == list(range(100))


def test_blocks_of_any_number_of_classes():
    assert noise.blocks(7, 5) == {0: 1, 1: 2, 2: 3, 3: 4, 4: 0, 5: 6, 6: 5}


@pytest.mark.parametrize('num_classes', [2, 3, 10, 17])
def test_pair_flips_each_class_to_the_next(num_classes):
    labels = np.arange(20 * num_classes) % num_classes
    expected = 11 * np.eye(num_classes) + 9 * np.roll(np.eye(num_classes), 1, axis=1)
    np.testing.assert_array_equal(_counts(labels, noise.pair(labels, 0.45, num_classes, _rng()), num_classes), expected)


def test_symmetric_that_may_keep_draws_from_all_classes():
    labels = np.arange(20_000) % 10
    given = noise.corrupt(labels, 'symmetric_may_keep', 0.5, 10, 0)
    counts = _counts(labels, given, 10)
    assert noise.realised_rate(labels, given) == pytest.approx(0.45, abs=0.01)  # 0.5 * 9 / 10
    # A class keeps the half and a tenth of the other half; 5 standard deviations.
    np.testing.assert_allclose(counts.diagonal(), 1100, atol=50)
    assert _spread_evenly(counts, _changed(counts))


def test_a_matrix_is_realised():
    matrix = np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 0]])
    labels = np.arange(20_000) % 4
    given = noise.corrupt(labels, 'matrix', 0.4, 4, 0, matrix=matrix)
    found = noise.transition_matrix(labels, given, 4)
    np.testing.assert_array_equal(found > 0, matrix > 0)
    np.testing.assert_allclose(found, matrix, atol=0.04)  # 5 standard deviations


@pytest.mark.parametrize('rate', [0.1, 0.4])
def test_instance_noise_depends_on_the_image(rate):
    count = 3000
    labels = np.arange(count, dtype=np.int32) % 5
    base = np.zeros((2, 6, 6, 3), int)
    base[0, :3] = base[1, 3:] = 200  # bright above, bright below
    kind = np.arange(count) // 5 % 2
    images = np.clip(base[kind] + np.random.default_rng(2).integers(-5, 6, (count, 6, 6, 3)), 0, 255).astype(np.uint8)
    given = noise.instance(labels, rate, 5, _rng(), images)
    assert given.dtype == np.int32
    # The mean of a normal (rate, 0.1) between 0 and 1: 0.129 for 0.1.
    assert noise.realised_rate(labels, given) == pytest.approx({0.1: 0.129, 0.4: 0.4}[rate], abs=0.03)
    tables = [_counts(labels[kind == k], given[kind == k], 5) for k in (0, 1)]
    targets = [(table * (1 - np.eye(5, dtype=int))).argmax(1) for table in tables]
    assert (targets[0] != targets[1]).any()  # the same class goes elsewhere in other images
    # Images that look alike go to few classes.
    assert np.mean([np.max(t * (1 - np.eye(5)), 1) / _changed(t) for t in tables]) > 0.6


def test_instance_noise_in_chunks_is_that_of_the_whole(monkeypatch):
    labels = np.arange(500) % 3
    whole = noise.instance(labels, 0.4, 3, _rng(), IMAGES)
    monkeypatch.setattr(noise, '_CHUNK', 7)
    np.testing.assert_array_equal(noise.instance(labels, 0.4, 3, _rng(), IMAGES), whole)


@pytest.mark.parametrize('kind', [kind for kind in noise.KINDS if kind not in ('none', 'human')])
def test_corrupt_is_a_function_of_the_seed_and_leaves_its_input_alone(kind):
    labels = np.arange(500, dtype=np.int32) % 10
    first, again, other = (noise.corrupt(labels, kind, 0.4, 10, seed, **NEEDED.get(kind, {})) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(labels, np.arange(500) % 10)
    exact = {'symmetric': 0.4, 'asymmetric': 0.2, 'asymmetric_blocks': 0.4, 'pair': 0.4}
    rate = pytest.approx(exact.get(kind, 0.38), abs=0 if kind in exact else 0.08)
    assert noise.realised_rate(labels, first) == rate


@pytest.mark.parametrize('kind', [kind for kind in noise.KINDS if kind not in noise.WITHOUT_RATE])
def test_rate_zero_changes_nothing(kind):
    labels = np.arange(50) % 10
    given = noise.corrupt(labels, kind, 0.0, 10, 0, images=IMAGES[:50])
    np.testing.assert_array_equal(given, labels)
    assert given.dtype == np.int32


def test_rate_one_changes_all_that_the_kind_changes():
    labels = np.arange(50) % 10
    assert noise.realised_rate(labels, noise.corrupt(labels, 'none', 1.0, 10, 0)) == 0.0
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
        ('symmetric', 0.9, 10, ('noise.rate', '0.9', 'less than 0.9', 'symmetric_may_keep')),
        ('symmetric', 0.5, 2, ('noise.rate', '0.5', 'less than 0.5', 'symmetric_may_keep')),
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


def _dataset(labels, true=None):
    return Dataset(IMAGES[: len(labels)], labels, tuple('0123456789'), true_label=true)


def _settings(kind, **more):
    return {'kind': kind, 'rate': 0.4, 'matrix': '', 'labels': '', 'key': '', **more}


def test_a_data_set_keeps_what_was_true():
    labels = np.arange(200) % 10
    noisy = noise.with_noise(_dataset(labels), _settings('symmetric'), 0)
    np.testing.assert_array_equal(noisy.true_label, labels)
    np.testing.assert_array_equal(noisy.label, noise.corrupt(labels, 'symmetric', 0.4, 10, 0))
    again = noise.with_noise(noisy, _settings('pair'), 0)  # noise on noisy labels: the truth stays
    np.testing.assert_array_equal(again.true_label, labels)
    found = noise.describe(noisy, _settings('symmetric'))
    assert (found['kind'], found['rate'], found['realised_rate']) == ('symmetric', 0.4, pytest.approx(0.4))
    matrix = np.array(found['transition_matrix'])
    np.testing.assert_allclose(matrix, noise.transition_matrix(labels, noisy.label, 10), atol=5e-5)
    np.testing.assert_array_equal(matrix, np.round(matrix, 4))


def test_what_is_not_known_is_not_said():
    plain = _dataset(np.arange(20) % 10)
    assert noise.describe(noise.with_noise(plain, _settings('none'), 0), _settings('none')) == {
        'kind': 'none',
        'rate': 0.0,
    }
    many = Dataset(IMAGES[:202], np.arange(202) % 101, tuple(map(str, range(101))))
    assert 'transition_matrix' not in noise.describe(noise.with_noise(many, _settings('pair'), 0), _settings('pair'))


@pytest.mark.parametrize('suffix', ['npy', 'csv', 'CSV', 'txt'])
def test_a_matrix_is_read_from_a_file(tmp_path, suffix):
    path = tmp_path / f'matrix.{suffix}'
    np.save(path, MATRIX) if suffix == 'npy' else np.savetxt(path, MATRIX, delimiter=',', fmt='%.4f')
    np.testing.assert_allclose(noise_files.read_matrix(str(path), 10), MATRIX, atol=1e-4)
    labels = np.arange(500) % 10
    noisy = noise.with_noise(_dataset(labels), _settings('matrix', matrix=str(path)), 3)
    np.testing.assert_array_equal(noisy.label, noise.corrupt(labels, 'matrix', 0.4, 10, 3, matrix=MATRIX))
    assert noise.describe(noisy, _settings('matrix'))['rate'] is None


def test_matrices_that_cannot_be_used(tmp_path):
    path = tmp_path / 'matrix.npy'

    def read():
        return noise_files.read_matrix(str(path), 3)

    refused(lambda: noise_files.read_matrix('', 3), 'noise.matrix', "''", '.csv')
    refused(read, 'noise.matrix', path, 'not a file')
    path.write_text('1, 2')
    refused(read, 'noise.matrix', 'cannot be read')
    path.write_text('1,0\n0,1\n')
    refused(read, 'noise.matrix', 'cannot be read', 'text, objects, or several arrays')
    path = tmp_path / 'matrix.npz'
    np.savez(path, np.eye(3))
    refused(read, 'noise.matrix', 'cannot be read', 'text, objects, or several arrays')
    path = tmp_path / 'matrix.npy'
    for matrix, words in (
        (np.eye(4), ('(4, 4)', '(3, 3)')),
        (np.ones(3), ('(3,)', '(3, 3)')),
        (np.diag([1, 1, 0.9]), ('row 2', '0.9', 'sum to 1')),
        (np.array([[1, 0, 0], [0, 1, 0], [-0.5, 0.5, 1]]), ('row 2', '-0.5')),
        (np.array([[1, 0, 0], [0, np.nan, 1], [0, 0, 1]]), ('row 1', 'nan')),
    ):
        np.save(path, matrix)
        refused(read, 'noise.matrix', *words)


def test_human_labels_are_taken_in_the_order_of_the_images(tmp_path):
    true = np.random.default_rng(0).integers(0, 10, 300)
    human = np.where(np.arange(300) % 3, true, (true + 1) % 10).astype(np.uint8)
    path = tmp_path / 'human.npz'
    np.savez(path, clean_label=true, worse_label=human)
    settings = _settings('human', labels=str(path), key='worse_label')
    noisy = noise.with_noise(_dataset(true), settings, 0)
    np.testing.assert_array_equal(noisy.label, human)
    np.testing.assert_array_equal(noisy.true_label, true)
    found = noise.describe(noisy, settings)
    assert (found['rate'], found['realised_rate']) == (None, pytest.approx(1 / 3))
    np.save(tmp_path / 'human.npy', human)
    noisy = noise.with_noise(_dataset(true), _settings('human', labels=str(tmp_path / 'human.npy')), 0)
    np.testing.assert_array_equal(noisy.label, human)


def test_human_labels_of_other_images_are_refused(tmp_path):
    true = np.random.default_rng(0).integers(0, 10, 300)
    path = tmp_path / 'human.npz'

    def read(key='worse_label', clean=true, human=true):
        np.savez(path, clean_label=clean, worse_label=human)
        return lambda: noise_files.read_labels(str(path), key, true, 10)

    refused(lambda: noise_files.read_labels('', '', true, 10), 'noise.labels', "''", '.npz')
    refused(read(key='worst'), 'noise.key', "'worst'", 'clean_label, worse_label')
    refused(read(clean=np.sort(true)), 'noise.labels', 'clean_label', 'first at image', 'order')
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('notes.txt', 'no array')
    refused(lambda: noise_files.read_labels(str(path), 'notes.txt', true, 10), 'noise.key', 'clean_label, worse_label')
    refused(read(clean=true[:9]), 'noise.labels', 'clean_label', 'differs')
    refused(read(human=true[:9]), 'noise.labels', '(9,)', '(300,)')
    refused(read(human=true / 10), 'noise.labels', 'float64')
    refused(read(human=true + 5), 'noise.labels', 'allowed: 0 to 9')
    path.write_bytes(b'PK broken')
    refused(lambda: noise_files.read_labels(str(path), 'a', true, 10), 'noise.labels', 'cannot be read', 'text, or ')


def test_cifar10n_has_the_published_rate():
    path = DATA / 'cifar10n_labels.npz'
    if not path.is_file():
        pytest.skip(f'no labels of CIFAR-10N at {path}; set NOISY_JAX_DATA to their folder')
    with np.load(path) as archive:
        clean = archive['clean_label']
    worst = noise_files.read_labels(str(path), 'worse_label', clean, 10)
    assert noise.realised_rate(clean, worst) == pytest.approx(0.402, abs=5e-4)
    refused(lambda: noise_files.read_labels(str(path), 'worse_label', np.sort(clean), 10), 'clean_label', 'order')
