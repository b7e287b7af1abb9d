"""Planted errors: what is planted, what is estimated from it, which judge wins, and when none is to be trusted.

Bounds on counts of random draws are five standard deviations, wider than chance, narrower than any fault.
"""

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from noisy_jax.labels import classical, contest, judges, planted
from noisy_jax.labels.features import Features
from noisy_jax.labels.issues import LabelIssues, of_verdict
from noisy_jax.labels.planted import Trial
from noisy_jax.labels.verdict import Verdict
from noisy_jax.workdir import WorkDir


def _plant(labels, num_classes, confusion=None, seed=0):
    return planted.plant(labels, num_classes, confusion, np.random.default_rng(seed))


def _close_to(share, count):
    """A share of `count` draws, within five standard deviations."""
    return pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / count))


def _groups(classes, images, *, noise=0.1, apart=4.0, dimensions=None, seed=0):
    """Features [N, D], given labels with uniform noise, and true ones [N]; of a normal group for each class."""
    rng = np.random.default_rng(seed)
    true = rng.permutation(np.arange(images) % classes)
    features = rng.normal(size=(images, dimensions or classes)) + apart * np.eye(classes, dimensions or classes)[true]
    wrong = rng.random(images) < noise
    return features, np.where(wrong, (true + rng.integers(1, classes, images)) % classes, true), true


def _compete(kinds, labels, num_classes, seed=0):
    features = {kind: Features(rows, seed) for kind, rows in kinds.items()}
    found = judges.all_judges(features, num_classes, folds=5)
    return contest.compete(found, labels, num_classes, seed=seed)


def _check(verdict, labels, num_classes):
    """What holds for every verdict."""
    assert verdict.probabilities.shape == (len(labels), num_classes)
    assert verdict.probabilities.dtype == np.float32
    np.testing.assert_allclose(verdict.probabilities.sum(1), 1, atol=1e-5)
    assert verdict.wrong.shape == (3, len(labels))
    assert verdict.wrong.dtype == np.float64
    low, wrong, high = verdict.wrong
    assert np.all((low >= 0) & (low <= wrong) & (wrong <= high) & (high <= 1))
    least, most = verdict.noise_rate
    assert 0 <= least <= wrong.mean() <= most <= 1
    found = judges.suspicion(verdict.probabilities, labels)
    order = found.argsort(kind='stable')
    assert np.all(np.diff(wrong[order]) >= 0), 'the more suspicious, the likelier wrong'
    assert np.all((np.diff(wrong[order]) == 0) | (np.diff(found[order]) > 0)), 'as suspicious, as likely wrong'
    assert np.all(np.diff(low[order]) >= 0), 'and at least, too'
    assert all(0 <= value <= 1 for value in verdict.aurocs.values())
    assert verdict.aurocs[verdict.judge] == max(verdict.aurocs.values())


@pytest.mark.parametrize('num_classes', [2, 10])
def test_a_tenth_becomes_other_classes_uniformly(num_classes):
    labels = np.random.default_rng(1).integers(0, num_classes, 40_000)
    rows, changed = _plant(labels, num_classes)
    assert len(rows) == len(set(rows)) == 4000
    np.testing.assert_array_equal(np.flatnonzero(changed != labels), np.sort(rows))
    assert changed.min() == 0
    assert changed.max() == num_classes - 1
    shifts = np.bincount((changed - labels)[rows] % num_classes, minlength=num_classes)
    assert shifts[0] == 0
    for count in shifts[1:]:
        assert count / 4000 == _close_to(1 / (num_classes - 1), 4000)


def test_a_tenth_becomes_other_classes_where_the_judge_agrees_as_labels_err():
    """Of those predicted 0 a third is called 1; of those predicted 1, a sixth 0 and a sixth 2; all of class 2 are."""
    predicted = np.arange(36_000) % 3
    labels, sixth = predicted.copy(), np.arange(36_000) // 3 % 6
    labels[(predicted == 0) & (sixth < 2)] = 1
    labels[(predicted == 1) & (sixth == 0)] = 0
    labels[(predicted == 1) & (sixth == 1)] = 2
    rows, changed = _plant(labels, 3, np.eye(3, dtype=np.float32)[predicted])
    assert len(rows) == np.sum(changed != labels) == 3600
    assert (labels == predicted)[rows].all()
    for given, expected in enumerate([[0, 1, 0], [0.5, 0, 0.5], [0.5, 0.5, 0]]):
        of_class = rows[labels[rows] == given]
        shares = np.bincount(changed[of_class], minlength=3) / len(of_class)
        for share, wanted in zip(shares, expected, strict=True):
            assert share == pytest.approx(wanted, abs=5 * np.sqrt(0.25 / len(of_class)) + 0.001)  # half an image


def test_half_of_the_labels_that_a_judge_agrees_with_keep_theirs():
    predicted = np.repeat([0, 1], [10, 90])
    rows, _ = _plant(np.zeros(100, int), 2, np.eye(2, dtype=np.float32)[predicted])
    assert len(rows) == 5
    assert rows.max() < 10


def test_labels_are_not_changed_in_place_and_few_get_one_error():
    labels = np.array([0, 1, 1])
    rows, changed = _plant(labels, 2)
    assert labels.tolist() == [0, 1, 1]
    assert len(rows) == 1
    assert changed[rows[0]] != labels[rows[0]]
    assert not np.array_equal(_plant(np.zeros(100, int), 3)[0], _plant(np.zeros(100, int), 3, seed=1)[0])


def test_confusion_by_hand():
    """Half an image in all for what never happens; one that is half sure counts half: .6 - .1 of class 0, called 2."""
    probabilities = np.array([[1, 0, 0], [1, 0, 0], [0.6, 0.3, 0.1], [0, 1, 0], [0, 1, 0]], np.float32)
    found = planted._confusion(probabilities, np.array([0, 1, 2, 0, 0]))
    sixth = 1 / 6
    expected = [[0, (1 + sixth), (0.5 + sixth)], [2 + sixth, 0, sixth], [1, 1, 0]]
    np.testing.assert_allclose(found, expected / np.sum(expected, axis=1, keepdims=True), rtol=1e-6)


def _normal(rate, apart=4.0, count=20_000, seed=0):
    """Planted errors and the rest, of which `rate` are wrong and as suspicious as they are."""
    rng, wrong = np.random.default_rng(seed), int(rate * count)
    right = rng.normal(-apart / 2, 1, count - wrong)
    return Trial(rng.normal(apart / 2, 1, count // 5), np.append(right, rng.normal(apart / 2, 1, wrong)))


@pytest.mark.parametrize('rate', [0.02, 0.1, 0.4])
def test_noise_rates_where_errors_are_as_the_planted_ones(rate):
    """Two normal distributions so far apart that the far tail has wrong labels alone."""
    trial = _normal(rate)
    assert trial.rate_of_mixture() == pytest.approx(rate, rel=0.1)
    # The least of 12 ratios, of tails with 600 planted errors at least: below the truth by their deviation at most.
    assert rate * (1 - 5 / np.sqrt(600)) < trial.rate_of_tails() < 1.1 * rate


def test_noise_rates_without_errors():
    trial = _normal(0.0, apart=6.0)
    assert trial.rate_of_tails() < 0.002
    assert trial.rate_of_mixture() < 0.002


def test_noise_rates_where_nothing_tells_errors_apart():
    """Tails of equal distributions: all labels may be wrong, and no more than all."""
    assert 0.7 < _normal(0.3, apart=0.0).rate_of_tails() <= 1
    assert Trial(np.zeros(10), np.ones(90)).rate_of_tails() == 1


def test_the_ratio_of_tails_by_hand():
    """Above 1.5 there are two thirds of the planted ones, 9 of the rest; of two repetitions, 4.5 in one."""
    trial = Trial(np.array([1.0, 2.0, 3.0]), np.repeat([0.0, 1.5, 3.0], [82, 9, 9]))
    assert trial.rate_of_tails() == pytest.approx((0.09 + 0.03 + 0.01) / (2 / 3))
    twice = dataclasses.replace(trial, repetitions=2)
    assert twice.rate_of_tails() == pytest.approx((4.5 + np.sqrt(4.5) + 1) / 50 / (2 / 3))


def test_a_tail_without_labels_is_no_proof_that_none_is_wrong():
    trial = Trial(np.full(100, 5.0), np.zeros(1000))
    assert trial.rate_of_tails() == pytest.approx(1 / 1000)


@pytest.mark.parametrize('values', [[0.0], [-1.0, 1.0], [1.0] * 50])
def test_rates_of_few_or_equal_suspicions_are_numbers(values):
    for rest in (values, [0.0] * 20, [30.0, -30.0]):
        trial = Trial(np.array(values), np.array(rest))
        for rate in (trial.rate_of_tails(), trial.rate_of_mixture()):
            assert 0 <= rate <= 1
        assert np.isfinite(trial.odds(np.array([-100.0, 0.0, 1.0, 100.0]))).all()


def test_odds_rise_with_suspicion_and_are_those_of_the_densities():
    """Of two normal distributions a distance of 2 apart they are exp(2 x)."""
    rng, at = np.random.default_rng(0), np.linspace(-1, 1, 9)
    odds = Trial(rng.normal(1, 1, 20_000), rng.normal(-1, 1, 80_000)).odds(np.append(at, [-50, 50]))
    assert np.all(np.diff(odds[:9]) >= 0)
    assert odds[9] <= odds[:9].min()
    assert odds[10] >= odds[:9].max()
    # A step of the fit has some hundred planted errors at x = -1, where there are fewest.
    np.testing.assert_allclose(odds[:9], norm.pdf(at, 1) / norm.pdf(at, -1), rtol=0.35)


def test_auroc_counts_pairs():
    assert Trial(np.array([1.0, 3.0]), np.array([0.0, 2.0, 1.0])).auroc == pytest.approx((1 + 0.5 + 3) / 6)


@pytest.mark.parametrize('rate', [0.0, 0.1, 0.4])
def test_auroc_against_right_labels_takes_the_wrong_ones_out(rate):
    trial = _normal(rate, apart=1.5)
    right = _normal(0.0, apart=1.5).rest
    truth = roc_auc_score(np.repeat([1, 0], [len(trial.planted), len(right)]), np.append(trial.planted, right))
    assert trial.auroc_against_right(rate) == pytest.approx(truth, abs=0.01)
    assert (trial.auroc < truth - 0.02) == (rate > 0)


def test_auroc_against_right_labels_by_formula():
    trial = Trial(np.array([2.0]), np.array([0.0, 1.0, 2.0, 2.0]))  # half of the rest are wrong, as suspicious as it is
    assert trial.auroc == 0.75
    assert trial.auroc_against_right(0.5) == 1
    assert trial.auroc_against_right(0) == 0.75
    assert trial.auroc_against_right(1.0) == 1, 'bounded where nothing is right'


def test_the_judge_whose_features_know_the_classes_wins():
    features, labels, true = _groups(5, 400)
    nothing = np.random.default_rng(1).normal(size=(400, 8))
    verdict = _compete({'nothing': nothing, 'classes': features, 'half': features[:, :2]}, labels, 5)
    _check(verdict, labels, 5)
    assert verdict.judge.startswith('classes, ')
    for by in ('logistic regression', 'neighbours'):
        aurocs = [verdict.aurocs[f'{kind}, {by}'] for kind in ('classes', 'half', 'nothing')]
        assert aurocs == sorted(aurocs, reverse=True)
        # 1,200 planted errors of three trials, 9 times as many others; chance's deviation is about .01
        assert aurocs[2] == pytest.approx(0.5, abs=0.06)
        assert aurocs[0] > 0.85
    assert verdict.fault == ''
    assert np.mean(verdict.probabilities.argmax(1) == true) > 0.95
    assert roc_auc_score(labels != true, verdict.wrong[1]) > 0.95


def test_what_is_as_frequent_as_its_class_is_not_suspect():
    """A judge that knows the classes' shares alone tells of no image, and nothing of how errors spread over classes."""
    labels = np.repeat([0, 1, 2], [140, 50, 10])
    shares = {'shares': lambda given, _: np.tile(np.bincount(given, minlength=3) / 200, (200, 1)).astype(np.float32)}
    verdict = contest.compete(shares, labels, 3)
    assert verdict.size == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(judges.balanced(verdict.probabilities, labels, verdict.size), 1 / 3, atol=1e-6)
    assert verdict.aurocs['shares'] == pytest.approx(0.5, abs=1e-6)
    assert 'not clearly more than the 70 %' in verdict.fault


@pytest.mark.parametrize('rate', [0.05, 0.2, 0.4])
def test_the_list_is_worth_what_is_said_of_it(rate):
    """Uniform errors in features that know the classes: precision and noise rate are within their intervals."""
    features, labels, true = _groups(4, 600, noise=rate)
    verdict = _compete({'classes': features}, labels, 4)
    wrong = labels != true
    assert verdict.noise_rate[0] < wrong.mean() < verdict.noise_rate[1]
    assert verdict.wrong[1].mean() == pytest.approx(wrong.mean(), rel=0.5)
    issues = of_verdict(verdict, labels, true)
    numbers = issues.numbers
    low, high = numbers['precision_interval']
    assert low <= numbers['precision'] <= high
    assert low <= numbers['expected_precision'] <= high
    assert numbers['recall'] > 0.7
    assert numbers['trusted']
    assert 'why' not in numbers


def test_errors_that_go_one_way_are_found():
    """A tenth of real digits are called the next one."""
    digits, rng = load_digits(), np.random.default_rng(1)
    rows = rng.permutation(len(digits.target))[:1000]
    true = digits.target[rows]
    wrong = rng.random(1000) < 0.1
    labels, images = np.where(wrong, (true + 1) % 10, true), (digits.images[rows, ..., None] * 15).astype(np.uint8)
    verdict = _compete({'classical': classical.describe(images)}, labels, 10)
    assert verdict.noise_rate[0] <= wrong.mean() <= verdict.noise_rate[1]
    listed = verdict.wrong[1] > 0.5
    assert listed[wrong].mean() > 0.7
    assert wrong[listed].mean() > 0.7


def test_right_labels_give_a_short_list():
    features, labels, _ = _groups(3, 400, noise=0.0, apart=6.0)
    verdict = _compete({'classes': features}, labels, 3)
    assert verdict.wrong[1].mean() < 0.01
    assert np.sum(verdict.wrong[1] > 0.5) == 0
    assert verdict.fault == ''


def test_right_labels_of_images_that_are_hard_may_all_be_right():
    """A judge that is right on two of three images has mistakes that look like wrong labels."""
    features, labels, _ = _groups(5, 600, noise=0.0, apart=2.2)
    verdict = _compete({'classes': features}, labels, 5)
    assert verdict.fault == ''
    assert verdict.wrong[1].mean() > 0.01
    assert verdict.noise_rate[0] == 0
    assert np.all(verdict.wrong[0] == 0)


def test_features_that_know_nothing_are_not_to_be_trusted():
    _, labels, _ = _groups(3, 300)
    verdict = _compete({'nothing': np.random.default_rng(1).normal(size=(300, 8))}, labels, 3)
    _check(verdict, labels, 3)
    assert 'always saying the largest class' in verdict.fault
    numbers = of_verdict(verdict, labels).numbers
    assert numbers['trusted'] is False
    assert numbers['why'] == verdict.fault


def test_a_judge_that_finds_no_errors_is_not_to_be_trusted():
    """It names two of four classes in each case: better than the largest class, too vague for errors."""
    labels = np.arange(400) % 4
    assert contest._fault(0.74, 0.5, labels).startswith('it hardly tells errors')
    assert 'AUROC 0.740; at least 0.750 is needed of 400 labels' in contest._fault(0.74, 0.5, labels)
    assert contest._fault(0.76, 0.5, labels) == ''
    assert contest._fault(0.74, 0.5, np.repeat(labels, 4)) == ''
    # 25 % by chance, whose deviation is 2.17 points
    assert contest._fault(0.9, 0.29, labels).startswith('it predicts 29 % of 400 labels')
    assert contest._fault(0.9, 0.30, labels) == ''
    assert contest._fault(0.9, 0.30, labels, copies=4).startswith('it predicts 30 %')
    assert 'than the 90 %' in contest._fault(0.9, 0.91, np.repeat([0, 1], [360, 40]))


def test_equal_suspicion_is_equally_wrong_in_any_order():
    """Of neighbours' votes many are equal; which row comes first must not matter."""
    rng = np.random.default_rng(0)
    trial = Trial(rng.binomial(8, 0.6, 300), rng.binomial(8, 0.3, 2700))
    found = rng.integers(0, 9, 500).astype(float)
    wrong = contest._claims(trial, found, 1.0)
    for value in range(9):
        assert len(set(wrong[1, found == value])) == 1
    assert len(set(wrong[1])) > 4
    again = contest._claims(trial, found[::-1], 1.0)
    np.testing.assert_array_equal(again, wrong[:, ::-1])


def test_a_judge_whose_mistakes_look_like_errors_claims_nothing_at_least():
    """The same share of wrong labels, farther from the right ones or among them; and too few labels to know of any."""
    for apart, least in ((4.0, 0.7), (1.2, 0.0)):
        trial = _normal(0.1, apart=apart)
        low, estimate, _ = contest._claims(trial, trial.rest, 1.0)
        assert low.max() == pytest.approx(least, abs=0.11)
        assert estimate.max() > 0.7
    assert contest._claims(_normal(0.1), trial.rest[:50], 1.0)[0].max() == 0


def _few(count):
    features, labels, _ = _groups(2, count)
    return features, labels, 2


def _hundred_classes():
    labels = np.repeat(np.arange(100), 2)
    return np.random.default_rng(0).normal(size=(200, 20)) + 5 * np.eye(100)[labels][:, :20], labels, 100


def _lone():
    """A class with a single image."""
    features, labels, _ = _groups(2, 200)
    labels[7] = 2
    return features, labels, 3


def _constant():
    return np.full((60, 5), 0.1), np.arange(60) % 3, 3


def _line():
    features, labels, true = _groups(3, 200)
    return 5.0 * true[:, None] + features[:, :1], labels, 3


def _never_given():
    features, labels, _ = _groups(3, 150)
    return features, labels, 5


def _copies():
    features, labels, _ = _groups(3, 150)
    return np.repeat(features[:3], 50, axis=0), labels, 3


EDGES = {
    'two_classes': lambda: _few(120),
    'twelve_images': lambda: _few(12),
    'two_images': lambda: _few(2),
    'two_images_a_class': _hundred_classes,
    'a_class_of_one': _lone,
    'constant_features': _constant,
    'one_feature': _line,
    'classes_never_given': _never_given,
    'copies': _copies,
}


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', EDGES)
def test_edges(name):
    features, labels, num_classes = EDGES[name]()
    verdict = _compete({'made': features}, labels, num_classes)
    _check(verdict, labels, num_classes)
    trusted = name in ('two_classes', 'a_class_of_one', 'one_feature', 'classes_never_given')
    if name != 'twelve_images':  # too few to ask for either
        assert (verdict.fault == '') == trusted, verdict.fault


def test_the_same_seed_gives_the_same_verdict():
    features, labels, _ = _groups(3, 150)
    first, again, other = (_compete({'made': features}, labels, 3, seed) for seed in (0, 0, 1))
    for field in dataclasses.fields(Verdict):
        np.testing.assert_equal(getattr(first, field.name), getattr(again, field.name))
    assert first.aurocs != other.aurocs


def test_many_labels_need_fewer_trials(monkeypatch):
    """A thousand planted errors are enough; small sets are asked eight times at most."""
    calls = []

    def judge(labels, seed):
        calls.append(seed)
        return np.full((len(labels), 2), 0.5, np.float32)

    for count, repetitions in ((10, 8), (5000, 2), (20_000, 1)):
        calls.clear()
        trial = planted.trials({'made': judge}, np.arange(count) % 2, 2, None, 3)['made']
        assert calls == list(range(3, 3 + repetitions))
        assert trial.repetitions == repetitions
        assert len(trial.planted) == repetitions * count // 10
        assert len(trial.rest) == repetitions * (count - count // 10)


def test_numbers_by_hand():
    wrong = np.array([[0.5, 0.1, 0.3], [0.9, 0.2, 0.6], [1.0, 0.4, 0.8]])
    verdict = Verdict(np.eye(3, dtype=np.float32), wrong, (0.1, 0.7), 'b', {'a': 0.6, 'b': 0.8}, '')
    numbers = of_verdict(verdict, np.array([1, 1, 0])).numbers
    assert numbers['suspects'] == 2
    assert numbers['estimated_noise_rate'] == pytest.approx(1.7 / 3)
    assert numbers['expected_precision'] == pytest.approx(0.75)
    assert numbers['expected_recall'] == pytest.approx(1.5 / 1.7)
    # Two standard errors of a share of two labels further off: 0.4 - 0.69, 0.9 + 0.42.
    assert numbers['precision_interval'] == [0.0, 1.0]
    many = dataclasses.replace(verdict, wrong=np.repeat(wrong, 200, axis=1), probabilities=np.eye(3)[[0] * 600])
    found = many.numbers(np.repeat([True, False, True], 200))['precision_interval']
    assert found == pytest.approx([0.4 - 2 * np.sqrt(0.24 / 400), 0.9 + 2 * np.sqrt(0.09 / 400)])
    once = dataclasses.replace(verdict, wrong=np.repeat(wrong, 50, axis=1), probabilities=np.eye(3)[[0] * 150])
    again = once.of_copies(np.repeat(np.arange(150), 4))
    suspect = np.repeat([True, False, True], 200)
    found = [each.numbers(rows)['precision_interval'] for each, rows in ((again, suspect), (once, suspect[::4]))]
    assert found[0] == pytest.approx(found[1])
    rate, margin = 1.7 / 3, 1 / np.sqrt(150)
    assert again.noise_rate == pytest.approx((rate / 2 - margin, min(3 * rate + margin, 1)))
    assert numbers['noise_rate_interval'] == [0.1, 0.7]
    assert (numbers['judge'], numbers['judges'], numbers['trusted']) == ('b', {'a': 0.6, 'b': 0.8}, True)
    assert of_verdict(verdict, np.array([1, 1, 0]), threshold=0.0).numbers['precision_interval'] is None


@pytest.mark.parametrize('fault', ['', 'it knows nothing'])
def test_a_work_directory_gives_the_verdict_back(tmp_path, fault):
    features, labels, true = _groups(3, 60)
    verdict = dataclasses.replace(_compete({'made': features}, labels, 3), fault=fault)
    folder, issues = WorkDir(tmp_path), of_verdict(verdict, labels, true)
    verdict.save(folder)
    folder.save_array('labels/given', labels)
    folder.save_array('labels/true', true)
    folder.save_json('summary', {'label_issues': issues.numbers})
    issues.save(folder, np.arange(60).astype(str), ('x', 'y', 'z'))
    back = LabelIssues.load(folder)
    for field in dataclasses.fields(Verdict):
        np.testing.assert_equal(getattr(back.verdict, field.name), getattr(verdict, field.name))
    assert back.numbers == issues.numbers
    np.testing.assert_array_equal(back.is_suspect, issues.is_suspect)


def test_how_often_a_suggestion_is_right_is_learned_from_planted_errors():
    """The judge gives the right class .6 of what is left beside .2 and .2, and is right in nine of ten."""
    rng = np.random.default_rng(0)
    right, number = rng.integers(0, 4, 4000), np.arange(4000)
    given = (right + rng.integers(1, 4, 4000)) % 4
    said = np.where(rng.random(4000) < 0.9, right, (given + rng.integers(1, 4, 4000)) % 4)
    probabilities = np.full((4000, 4), 0.1, np.float32)
    probabilities[number, said] = 0.3
    probabilities[number, given] = 0.5
    shares = planted._right(probabilities, given, right)
    of_one = shares[np.argmax(said == right), planted.SHARPNESS == 1]
    np.testing.assert_allclose(of_one, 0.3 / 0.5, rtol=1e-5)
    power = contest._sharpness(shares, 0.0, 4)
    said_right = 3**power / (3**power + 2)
    assert said_right == pytest.approx(np.mean(said == right), abs=0.03)  # powers are a quarter apart
    # Labels that are wrong themselves make a judge that is as good look worse.
    mixed = np.where(rng.random(4000) < 0.3, (given + rng.integers(1, 4, 4000)) % 4, right)
    worse = planted._right(probabilities, given, mixed)
    assert contest._sharpness(worse, 0.0, 4) < power
    two = planted._right(np.full((5, 2), 0.5, np.float32), np.zeros(5, int), np.ones(5, int))
    np.testing.assert_array_equal(two, 1)
