"""Judges of labels: classical features, neighbours, cross-fitted heads, balance and suspicion, by hand and by value."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

from noisy_jax import errors
from noisy_jax.labels import class_sizes, classical, contest, cross_fit, judges
from noisy_jax.labels.features import Features, reduce


def _groups(classes, each, dimensions=None, spread=0.1, seed=0):
    """Features [N, D] in a group per class, far apart, and the classes [N]."""
    rng, labels = np.random.default_rng(seed), np.arange(classes * each) % classes
    centres = 5 * np.eye(classes, dimensions or classes)
    return centres[labels] + spread * rng.normal(size=(len(labels), centres.shape[1])), labels


def _judge(features, num_classes, by, folds=5):
    return judges.all_judges({'made': Features(features, 0)}, num_classes, folds=folds)[f'made, {by}']


def test_suspicion_by_hand():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.2, 0.5, 0.3], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], np.float32)
    found = judges.suspicion(probabilities, np.array([0, 1, 1, 2]))
    assert found.dtype == np.float64
    floor = np.log(1e9)  # none is 0, whatever a head says
    # float32 logarithms of up to 21, two of them
    np.testing.assert_allclose(found, [np.log(2.5), np.log(0.3 / 0.5), -floor, floor], rtol=1e-6)


def test_suspicion_leaves_its_probabilities_as_they_are():
    probabilities = np.full((2, 2), 0.5)
    assert judges.suspicion(probabilities, np.array([0, 1])).tolist() == [0, 0]
    assert (probabilities == 0.5).all()


def test_a_small_class_is_not_suspect_for_being_small():
    """Three of four labels are of class 0: where only that speaks for it, both are as likely."""
    labels = np.array([0, 0, 0, 1])
    found = judges.balanced(np.array([[0.75, 0.25], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]], np.float32), labels)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.5, 0.5], [0.75, 0.25], [0.25, 0.75], [0, 1]], atol=1e-7)


def test_a_power_of_the_share_says_how_much_the_size_of_a_class_counts():
    labels, raw = np.array([0, 0, 0, 1]), np.array([[0.75, 0.25], [0.9, 0.1], [0.5, 0.5], [0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(judges.balanced(raw, labels, 0.0), raw)
    root = np.sqrt(3)
    np.testing.assert_allclose(judges.balanced(raw, labels, 0.5)[0], [root / (1 + root), 1 / (1 + root)], rtol=1e-6)
    rest = judges.balanced(judges.balanced(raw, labels, 0.3), labels, 0.7)
    np.testing.assert_allclose(rest, judges.balanced(raw, labels), rtol=1e-5)  # three roundings of float32


def _folders(stray, seed):
    """800 and 80 images; of the larger, and of each in proportion, so many `stray` in the other; a clear judge."""
    rng = np.random.default_rng(seed)
    true = np.repeat([0, 1], [800, 80])
    labels = true.copy()
    for label, share in enumerate(stray):
        rows = rng.choice(np.flatnonzero(true == label), int(share * np.sum(true == label)), replace=False)
        labels[rows] = 1 - label
    distance = rng.normal(np.where(true == 0, -2, 2), 1.5)  # log-odds, balanced
    second = 1 / (1 + np.exp(-2 * distance))
    return np.stack([1 - second, second], 1).astype(np.float32), labels, true != labels


def test_strays_of_the_large_class_and_folders_alike_are_told_apart():
    """5 % of each class, 40 images of the large one in the small; then 5 % of each folder."""
    sorted_by_people, searched_by_name = (
        np.mean([class_sizes.exponent(*_folders(stray, seed)[:2]) for seed in range(10)])
        for stray in ((0.05, 0.05), (0.005, 0.5))
    )
    assert 0.5 < sorted_by_people <= 1
    assert 0 <= searched_by_name < sorted_by_people - 0.2


def test_the_list_of_a_small_folder_full_of_strays_is_the_better_for_it():
    probabilities, labels, wrong = _folders((0.05, 0.05), 0)
    size = class_sizes.exponent(probabilities, labels)
    found = [
        average_precision_score(wrong, judges.suspicion(judges.balanced(probabilities, labels, -power), labels))
        for power in (0, size)
    ]
    assert found[1] > found[0] + 0.1


def test_classes_of_one_size_tell_nothing_of_it():
    labels = np.repeat([0, 1, 2], 20)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 60).astype(np.float32)
    assert class_sizes.exponent(probabilities, labels) == pytest.approx(0.5)
    with_a_gap = np.column_stack([probabilities, np.zeros(60, np.float32)])  # a class that nobody gave
    assert 0 <= class_sizes.exponent(with_a_gap, labels) <= 1


def test_a_class_that_nobody_gave_does_not_win():
    """It counts as having one label: more would be a division by 0."""
    found = judges.balanced(np.array([[0.5, 0.5, 0.0], [0.4, 0.4, 0.2]], np.float32), np.array([0, 1]))
    np.testing.assert_allclose(found, [[0.5, 0.5, 0], [0.4, 0.4, 0.2]], atol=1e-7)


def test_errors_that_a_judge_makes_itself_do_not_make_it_trusted():
    """Of ten clean classes of ten images it finds half wrong; were they, it would find planted errors well."""
    labels = np.arange(100) % 10
    weak = np.eye(10)[labels] + np.random.default_rng(3).normal(size=(100, 10))
    compared = judges.all_judges({'weak': Features(weak.astype(np.float32), 0)}, 10, folds=5)
    verdict = contest.compete(compared, labels, 10)
    assert (verdict.wrong[1] > 0.5).mean() > 0.3
    assert 'hardly tells errors' in verdict.fault


def test_components_have_a_mean_square_of_one_and_keep_what_differs():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 200)) @ rng.normal(size=(200, 200)) + 7
    found = reduce(features, seed=0)
    assert found.shape == (300, 128)
    assert found.dtype == np.float32
    assert np.mean(found.astype(np.float64) ** 2) == pytest.approx(1, abs=1e-5)
    few = reduce(features[:, :5], seed=0)  # nothing is left out: distances are the same but for their scale
    ratio = np.linalg.norm(few[1:] - few[0], axis=1) / np.linalg.norm(features[1:, :5] - features[0, :5], axis=1)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    np.testing.assert_array_equal(reduce(features, seed=0), found)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('scale', [1e-25, 1e25])
def test_components_of_any_scale_are_the_same(scale):
    """Squares of such numbers are no float32."""
    features, _ = _groups(3, 20)
    np.testing.assert_allclose(np.abs(reduce(scale * features, 0)), np.abs(reduce(features, 0)), atol=1e-4)


@pytest.mark.filterwarnings('error')
def test_constant_features_become_zeros():
    assert reduce(np.ones((9, 4)), seed=0).tolist() == np.zeros((9, 4)).tolist()
    assert reduce(np.zeros((9, 4)), seed=0).tolist() == np.zeros((9, 4)).tolist()


def test_neighbours_vote_and_leave_the_image_itself_out():
    """Groups of four: three neighbours each, whose labels are known."""
    features, truth = _groups(5, 4)
    labels = truth.copy()
    labels[0] = 3  # of group 0
    found = _judge(features, 5, 'neighbours')(labels, 0)
    assert found.dtype == np.float32
    expected = 3 * np.eye(5)[truth]
    expected[5], expected[10], expected[15] = ([2, 0, 0, 1, 0],) * 3  # the three that have it as a neighbour
    # image 0 itself has three votes for its group, none for its own label
    np.testing.assert_allclose(found, (expected + 0.2) / 4, atol=1e-6)


def test_copies_of_an_image_vote_for_each_other_and_none_for_itself():
    features, labels = np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0), np.repeat([0, 1], 20)
    labels[3] = 1
    found = _judge(features, 2, 'neighbours')(labels, 0)
    assert found[3].tolist() == pytest.approx([19.5 / 20, 0.5 / 20])  # 19 of its 19 copies


@pytest.mark.parametrize('by', ['logistic regression', 'neighbours'])
def test_a_label_has_no_say_in_its_own_probabilities(by):
    """Whatever label an image of a group has, the judge names the group's."""
    features, truth = _groups(3, 20)
    labels = truth.copy()
    labels[:3] = [1, 2, 0]
    found = _judge(features, 3, by)(labels, 0)
    assert (found.argmax(1) == truth).all()
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_the_strength_is_chosen_once(monkeypatch):
    """The first labels choose it; with others, the head is fitted with that one alone."""
    from noisy_jax.labels import cross_fit

    tried, fit = [], cross_fit.out_of_fold
    monkeypatch.setattr(cross_fit, 'out_of_fold', lambda *given, **more: tried.append(given[4]) or fit(*given, **more))
    features, labels = _groups(3, 20, spread=3)
    judge = _judge(features, 3, 'logistic regression')
    judge(labels, 0)
    assert tried == list(cross_fit.STRENGTHS[: len(tried)])
    assert len(tried) > 1
    before = len(tried)
    judge(np.roll(labels, 1), 1)
    assert len(tried) == before + 1


def test_every_kind_of_features_has_two_judges_and_both_together():
    features, labels = _groups(2, 6)
    found = judges.all_judges({'a': Features(features, 0), 'b': Features(features[:, :1], 0)}, 2, folds=3)
    kinds = [f'{kind}, {by}' for kind in 'ab' for by in ('logistic regression', 'neighbours', 'both')]
    assert list(found) == [*kinds, 'all judges together']
    assert list(judges.all_judges({'a': Features(features, 0)}, 2, folds=3)) == kinds[:3]
    for judge in found.values():
        np.testing.assert_array_equal(judge(labels, 4), judge(labels, 4))


def _flat(*colour, side=16):
    return np.full((side, side, len(colour)), colour, np.uint8)


def test_classical_features_see_colours_and_shapes():
    stripes = np.tile(np.repeat(np.array([[0], [255]], np.uint8), 4, axis=0), (4, 32))[..., None].repeat(3, -1)
    images = np.stack([_flat(250, 0, 0, side=32), _flat(0, 250, 0, side=32), stripes, stripes.transpose(1, 0, 2)])
    found = classical.describe(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-6)  # of 4 float32 numbers about 1
    deviation = found.std(0)
    assert np.all((deviation < 1e-6) | (np.abs(deviation - 1) < 1e-5)), 'standardised, unless constant'
    distances = np.linalg.norm(found[:, None] - found, axis=-1)[~np.eye(4, dtype=bool)]
    assert distances.min() > 0.3 * distances.max()


def test_classical_features_do_not_depend_on_the_size():
    """The same picture, twice as large, is the same but for how it is scaled down."""
    small = np.kron(np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8), np.ones((1, 4, 4, 1), np.uint8))
    large = np.kron(small, np.ones((1, 2, 2, 1), np.uint8))
    np.testing.assert_allclose(classical.describe(small), classical.describe(large), atol=1e-5)


def test_classical_features_of_files_are_those_of_their_pixels(tmp_path, monkeypatch):
    """Images that are decoded as they are read, some at a time."""
    monkeypatch.setattr(classical, '_AT_ONCE', 3)
    images = load_digits().images[:8].astype(np.uint8)[..., None] * 15
    asked = []

    class Read:
        def __len__(self):
            return len(images)

        def __getitem__(self, rows):
            asked.append(len(images[rows]))
            return images[rows]

    np.testing.assert_array_equal(classical.describe(Read()), classical.describe(images))
    assert asked == [3, 3, 2]


def test_classical_features_know_digits():
    """Heads that have not seen a label name nine of ten."""
    digits = load_digits()
    images, labels = (15 * digits.images[:400]).astype(np.uint8)[..., None], digits.target[:400]
    features = classical.describe(images)
    assert np.isfinite(features).all()
    found = _judge(features, 10, 'logistic regression')(labels, 0)
    assert np.mean(found.argmax(1) == labels) > 0.9


def test_judges_together_say_the_geometric_mean():
    one, other = np.array([[0.8, 0.2]], np.float32), np.array([[0.2, 0.8], [1.0, 0.0]], np.float32)
    found = judges.together([lambda *_: np.repeat(one, 2, axis=0), lambda *_: other])(np.array([0, 1]), 0)
    sure = np.sqrt([0.8 * 1, 0.2 * 1e-6])  # no judge alone makes a class impossible
    np.testing.assert_allclose(found, [[0.5, 0.5], sure / sure.sum()], rtol=1e-5)


def test_a_network_competes_alone_beside_features_and_with_all():
    features, labels = _groups(2, 20)
    kinds = {'a': Features(features, 0), 'b': Features(features[:, :1], 0)}
    sure = np.eye(2, dtype=np.float32)[labels]
    network = judges.of_networks(labels, np.stack([sure, 1 - sure]))
    found = judges.all_judges(kinds, 2, folds=3, network=network)
    assert {judges.kind_of(name, kinds) for name in found if name.startswith('a')} == {'a', 'b'}  # 'all' has the last
    for name in ('own network', 'a and own network', 'b and own network', 'all judges together'):
        assert judges.kind_of(name, kinds) == ('a' if name.startswith('a and') else 'b')
    np.testing.assert_array_equal(found['own network'](labels, 0), sure)
    parts = [found[name](labels, 0) for name in ('a, logistic regression', 'a, neighbours', 'own network')]
    means = np.exp(np.mean(np.log(np.maximum(parts, 1e-6)), axis=0))
    np.testing.assert_allclose(found['a and own network'](labels, 0), means / means.sum(1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize('by', ['logistic regression', 'neighbours', 'both'])
def test_none_judges_by_copies_of_an_image(by):
    """Each image three times, with one label: where a tenth is wrong, only the others can tell."""
    features, true = _groups(3, 20)
    given = np.where(np.arange(60) % 10, true, (true + 1) % 3)
    copied, labels = np.tile(features, (3, 1)), np.tile(given, 3)
    original = cross_fit.originals(np.tile(np.arange(60), 3), labels, 5)
    np.testing.assert_array_equal(original, np.tile(np.arange(60), 3))
    found = judges.all_judges({'a': Features(copied, 0)}, 3, folds=5, original=original)[f'a, {by}'](labels, 0)
    np.testing.assert_array_equal(found.argmax(1), np.tile(true, 3))


def test_copies_of_one_label_are_one_and_of_another_are_more():
    original, labels = np.array([0, 1, 0, 0, 4, 1, 4]), np.array([1, 0, 1, 0, 2, 0, 1])
    kept, place = cross_fit.once(labels, original)
    np.testing.assert_array_equal(kept, [0, 1, 3, 4, 6])
    np.testing.assert_array_equal(kept[place], [0, 1, 0, 3, 4, 1, 6])
    for rows in cross_fit.once(labels, np.arange(7)):
        np.testing.assert_array_equal(rows, np.arange(7))


def test_copies_share_a_fold_where_enough_is_left_to_fit_to():
    labels, original = np.tile(np.arange(30) % 3, 2), np.tile(np.arange(30), 2)
    for fitted, left_out in cross_fit.split(labels, 5, 0, original):
        assert not set(original[fitted]) & set(original[left_out])
        assert len(fitted) + len(left_out) == 60
        assert len(left_out) == 12
    without = cross_fit.split(labels, 5, 0)
    for other in (cross_fit.split(labels, 5, 0, original, least=49), cross_fit.split(labels, 5, 0, 0 * original)):
        for parts, others in zip(without, other, strict=True):
            for rows, same in zip(parts, others, strict=True):
                np.testing.assert_array_equal(rows, same)


def _first(values):
    _, rows, same = np.unique(values, return_index=True, return_inverse=True)
    return rows[same]


def test_many_equal_images_and_a_class_of_few_images_are_no_copies():
    images = np.arange(60) // 2
    images[:6] = 0  # more than there are folds
    labels = np.repeat([0, 1], [40, 20])
    expected = np.where(np.arange(60) < 6, np.arange(60), np.arange(60) // 2 * 2)
    np.testing.assert_array_equal(cross_fit.originals(_first(images), labels, 5), expected)
    images[40:42] = 99  # as 58 and 59: ten are different no more
    images[58:] = 99
    expected[40:] = np.arange(40, 60)
    np.testing.assert_array_equal(cross_fit.originals(_first(images), labels, 5), expected)
    many = np.repeat([*range(360), 0, 1], [*[1] * 360, 9, 31])  # 20 of 400 are a quarter of a fold
    expected = np.where(many == 0, 0, np.arange(400))
    np.testing.assert_array_equal(cross_fit.originals(_first(many), 0 * many, 5), expected)


def test_few_pictures_many_times_over_are_told_of():
    errors._warn_once.cache_clear()
    first = np.repeat(np.arange(0, 100, 10), 10)
    with pytest.warns(UserWarning, match='^90 of 100 images are copies of 9 pictures, too few of a class'):
        contest._warn_of_scenes(first, np.where(first == 0, 0, np.arange(100)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        contest._warn_of_scenes(first, first)
        contest._warn_of_scenes(np.arange(100), np.arange(100))
