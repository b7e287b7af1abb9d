"""Clean probabilities: the original's numbers, degenerate losses, many samples, quality by hand."""

import tracemalloc
import warnings

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from noisy_jax.labels import selection

EPOCHS = pytest.mark.parametrize('epoch', [0, 1, 6])


@pytest.fixture(scope='module')
def two_groups():
    """Losses [5, 200], the first 120 small; shuffled, with what is small."""
    rng = np.random.default_rng(0)
    losses = np.concatenate([rng.normal(0.2, 0.05, (5, 120)), rng.normal(2.0, 0.3, (5, 80))], axis=1)
    order = rng.permutation(200)
    return losses[:, order], order < 120


def _quiet(losses, **settings):
    """Any warning, of scikit-learn too, is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        return selection.clean_probability(losses, **settings)


def _warned(losses, *messages):
    """The result, where exactly these warnings came, a line each, and none of scikit-learn."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        result = selection.clean_probability(losses)
    assert [w.category for w in caught] == [RuntimeWarning] * len(messages)
    for warning, message in zip(caught, messages, strict=True):
        assert message in str(warning.message)
        assert '\n' not in str(warning.message)
        assert warning.filename == __file__  # the caller's line, not one of ours
    assert result.dtype == np.float64
    assert ((result >= 0) & (result <= 1)).all()
    return result


@EPOCHS
def test_golden_input_is_the_mean_of_the_last_five_scaled_epochs(golden, epoch):
    arrays = golden('gmm.npz')
    scaled = selection.scaled_mean(arrays['losses'][: epoch + 1])
    np.testing.assert_allclose(scaled[:16], arrays[f'e{epoch}_input_first16'], rtol=1e-12)
    np.testing.assert_allclose(scaled.mean(), arrays[f'e{epoch}_input_mean'], rtol=1e-12)
    np.testing.assert_allclose(scaled.std(), arrays[f'e{epoch}_input_std'], rtol=1e-12)
    # Epoch 6 tells 5 from every other number of epochs.
    if epoch == 6:
        others = [selection.scaled_mean(arrays['losses'], history).mean() for history in (1, 2, 3, 4, 6, 7)]
        assert np.abs(np.array(others) - arrays['e6_input_mean']).min() > 1e-4


@EPOCHS
def test_golden_probability_and_selected_set(golden, epoch):
    arrays = golden('gmm.npz')
    clean = _quiet(arrays['losses'][: epoch + 1])
    # Between scikit-learn's versions the EM may round otherwise; another start moves it by 2e-4.
    np.testing.assert_allclose(clean, arrays[f'e{epoch}_prob'], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(clean > 0.5), arrays[f'e{epoch}_selected_idx'])


def test_scaled_mean_by_hand():
    losses = [[9, 0, 0], [0, 1, 4], [2, 4, 3]]
    np.testing.assert_allclose(selection.scaled_mean(losses, history=2), [0, 0.625, 0.75])
    np.testing.assert_allclose(selection.scaled_mean(losses, history=1), [0, 1, 0.5])
    np.testing.assert_allclose(selection.scaled_mean([3, 4, 5]), [0, 0.5, 1])
    np.testing.assert_allclose(selection.scaled_mean([[7, 7, 7], [0, 1, 2]]), [0, 0.25, 0.5])


def test_two_groups_are_told_apart(two_groups):
    losses, small = two_groups
    np.testing.assert_array_equal(_quiet(losses) > 0.5, small)
    np.testing.assert_array_equal(_quiet(losses[0].astype(np.float32)) > 0.5, small)


def test_permuted_samples_permute_the_result(two_groups):
    losses, _ = two_groups
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_allclose(_quiet(losses[:, order]), _quiet(losses)[order], atol=1e-6)


def test_seed_decides_the_result(two_groups):
    losses, _ = two_groups
    np.testing.assert_array_equal(_quiet(losses, seed=3), _quiet(losses, seed=3))


def test_epochs_before_the_history_do_not_count(two_groups):
    losses, _ = two_groups
    before = np.full((2, 200), np.nan)
    np.testing.assert_array_equal(_quiet(np.concatenate([before, losses])), _quiet(losses))


@pytest.mark.parametrize(
    'losses',
    [
        np.full(50, 0.3),
        np.full((5, 50), 2.0),
        [0.7],
        [[0.7], [0.1]],
        # Rounding is no difference: min-max scaling would blow it up to two groups.
        1 + 1e-7 * np.random.default_rng(0).normal(size=50),
    ],
    ids=['equal', 'equal in every epoch', 'one sample', 'one sample, two epochs', 'equal but for rounding'],
)
def test_equal_losses_trust_every_label(losses):
    clean = _warned(losses, 'all equal, or there is one sample only')
    np.testing.assert_array_equal(clean, np.ones(np.shape(losses)[-1]))


@pytest.mark.parametrize('seed', range(3))
def test_one_group_trusts_every_label(seed):
    losses = np.random.default_rng(seed).normal(1.0, 0.1, 500)
    np.testing.assert_array_equal(_warned(losses, 'one group only'), np.ones(500))


def test_epochs_that_cancel_trust_every_label():
    """Their mean is the same for all samples, of which scikit-learn would complain."""
    epoch = np.random.default_rng(0).uniform(size=50)
    clean = _warned([epoch, 1 - epoch], 'did not converge', 'one group only')
    np.testing.assert_array_equal(clean, np.ones(50))


def test_an_equal_epoch_counts_as_zero(two_groups):
    losses, small = two_groups
    losses = losses.copy()
    losses[2] = 0.7
    np.testing.assert_array_equal(_warned(losses, '1 of 5 epochs') > 0.5, small)


def test_samples_without_a_finite_loss_are_not_trusted(two_groups):
    losses, small = two_groups
    bad = [3, 50, 199]
    broken = losses.copy()
    broken[[0, 2, 4], bad] = np.nan, np.inf, -np.inf
    clean = _warned(broken, '3 of 200 samples have a loss that is not finite')
    np.testing.assert_array_equal(clean[bad], np.zeros(3))
    # The others are judged as if these were not there.
    np.testing.assert_array_equal(np.delete(clean, bad), _quiet(np.delete(losses, bad, axis=1)))
    np.testing.assert_array_equal(np.delete(clean > 0.5, bad), np.delete(small, bad))


def test_all_nan_trusts_none():
    clean = _warned(np.full((5, 20), np.nan), '20 of 20 samples have a loss that is not finite')
    np.testing.assert_array_equal(clean, np.zeros(20))


def test_a_single_finite_loss():
    clean = _warned([np.nan, 0.4, np.inf], '2 of 3 samples', 'one sample only')
    np.testing.assert_array_equal(clean, [0, 1, 0])


# More samples than scikit-learn is given.
MANY = 150_000


def _many(kind, samples=MANY, epochs=1):
    """Losses float32 [epochs, samples] and which are those of wrong labels."""
    rng = np.random.default_rng(0)
    rate, right, wrong = {
        'apart': (0.4, lambda: rng.normal(0.2, 0.05, samples), lambda: rng.normal(2.0, 0.3, samples)),
        'overlapping': (0.5, lambda: rng.normal(0.5, 0.3, samples), lambda: rng.normal(0.9, 0.4, samples)),
        'long tail': (0.2, lambda: rng.exponential(0.1, samples), lambda: rng.gamma(4.0, 0.7, samples)),
        'most wrong': (0.8, lambda: rng.exponential(0.5, samples), lambda: rng.gamma(4.0, 0.7, samples)),
        'cross-entropy': (
            0.6,
            lambda: np.logaddexp(0, rng.normal(-1.8, 1.5, samples)),
            lambda: np.logaddexp(0, rng.normal(2.2, 1.5, samples)),
        ),
    }[kind]
    is_wrong = rng.random(samples) < rate
    return np.stack([np.where(is_wrong, wrong(), right()) for _ in range(epochs)]).astype(np.float32), is_wrong


@pytest.mark.parametrize(
    ('kind', 'samples', 'epochs', 'seed'),
    [
        ('apart', MANY, 1, 0),
        ('apart', 2**16 + 1, 5, 0),
        ('overlapping', MANY, 1, 0),
        ('overlapping', MANY, 1, 6),  # scikit-learn ends elsewhere: 0.8 % of the samples change sides
        ('long tail', MANY, 1, 0),
        ('most wrong', MANY, 1, 0),
        ('cross-entropy', MANY, 5, 0),
    ],
)
def test_many_samples_split_as_by_scikit_learn(kind, samples, epochs, seed):
    losses, _ = _many(kind, samples, epochs)
    scaled = selection.scaled_mean(losses)[:, None]
    mixture = GaussianMixture(n_components=2, max_iter=100, reg_covar=5e-4, random_state=seed).fit(scaled)
    expected = mixture.predict_proba(scaled)[:, mixture.means_[:, 0].argmin()]
    clean = _quiet(losses, seed=seed)
    assert np.mean((clean > 0.5) == (expected > 0.5)) >= 0.9999
    np.testing.assert_allclose(clean, expected, atol=2e-3)


def test_many_samples_are_told_apart():
    losses, is_wrong = _many('apart')
    np.testing.assert_array_equal(_quiet(losses) > 0.5, ~is_wrong)


def test_permuted_many_samples_permute_the_result():
    losses, _ = _many('apart')
    order = np.random.default_rng(1).permutation(MANY)
    np.testing.assert_allclose(_quiet(losses[:, order]), _quiet(losses)[order], atol=1e-6)


def test_one_group_of_many_trusts_every_label():
    losses = np.random.default_rng(0).normal(1.0, 0.1, MANY)
    np.testing.assert_array_equal(_warned(losses, 'one group only'), np.ones(MANY))


def test_equal_losses_of_many_trust_every_label():
    clean = _warned(np.full((5, MANY), 2.0, np.float32), 'all equal, or there is one sample only')
    np.testing.assert_array_equal(clean, np.ones(MANY))


def test_epochs_of_many_that_cancel_trust_every_label():
    epoch = np.random.default_rng(0).uniform(size=MANY)
    clean = _warned([epoch, 1 - epoch], 'did not converge', 'one group only')
    np.testing.assert_array_equal(clean, np.ones(MANY))


def test_two_losses_of_many():
    """The mixture's points are two as well; the rarer is a handful of samples."""
    losses = np.zeros(MANY, np.float32)
    losses[:20] = 3
    np.testing.assert_array_equal(_quiet(losses) > 0.5, losses == 0)


def test_many_samples_some_without_a_finite_loss():
    losses, is_wrong = _many('apart', epochs=5)
    bad = [3, 5000, MANY - 1]
    losses[[0, 2, 4], bad] = np.nan, np.inf, -np.inf
    clean = _warned(losses, f'3 of {MANY} samples have a loss that is not finite')
    np.testing.assert_array_equal(clean[bad], np.zeros(3))
    np.testing.assert_array_equal(np.delete(clean, bad), _quiet(np.delete(losses, bad, axis=1)))
    np.testing.assert_array_equal(np.delete(clean > 0.5, bad), ~np.delete(is_wrong, bad))


def test_memory_of_many_samples_is_a_few_numbers_each():
    losses, _ = _many('apart', samples=2 * MANY, epochs=5)
    tracemalloc.start()
    try:
        selection.clean_probability(losses)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * 8 * 2 * MANY


def test_pseudo_labels():
    labels = selection.pseudo_labels(np.array([[0.1, 0.9], [0.6, 0.4], [0.5, 0.5]]))
    np.testing.assert_array_equal(labels, [1, 0, 0])
    assert labels.dtype == np.int32


def test_quality_by_hand():
    score = np.array([0.9, 0.8, 0.6, 0.4, 0.2, 0.5])
    positive = np.array([True, False, True, True, False, False])
    # 0.9, 0.8 and 0.6 are selected; of 9 (positive, negative) pairs 6 stand in the right order.
    expected = {'selected': 3, 'precision': 2 / 3, 'recall': 2 / 3, 'auroc': 6 / 9}
    assert selection.quality(score, positive) == pytest.approx(expected)
    expected = {'selected': 1, 'precision': 1.0, 'recall': 1 / 3, 'auroc': 6 / 9}
    assert selection.quality(score, positive, score > 0.85) == pytest.approx(expected)


@pytest.mark.parametrize(
    ('score', 'positive', 'expected'),
    [
        ([0.1, 0.2], [True, False], {'selected': 0, 'precision': None, 'recall': 0.0, 'auroc': 0.0}),
        ([0.9, 0.2], [False, False], {'selected': 1, 'precision': 0.0, 'recall': None, 'auroc': None}),
        ([0.9, 0.2], [True, True], {'selected': 1, 'precision': 1.0, 'recall': 0.5, 'auroc': None}),
    ],
    ids=['nothing selected', 'nothing positive', 'all positive'],
)
def test_quality_where_undefined(score, positive, expected):
    assert selection.quality(np.array(score), np.array(positive)) == expected


def test_beta_mixture_tells_two_beta_distributions_apart():
    rng = np.random.default_rng(0)
    right = np.arange(4000) < 2400
    for low, high in (((2, 12), (8, 3)), ((1, 10), (6, 2))):
        values = np.where(right, rng.beta(*low, 4000), rng.beta(*high, 4000))
        clean = selection.clean_probability(values, mixture='beta')
        assert np.mean((clean > 0.5) == right) > 0.97
        assert clean[right].mean() == pytest.approx(1, abs=0.05)
        # Never less trust for a smaller loss.
        assert (np.diff(clean[np.argsort(values)]) <= 1e-12).all()


def test_beta_mixture_of_few_values():
    clean = selection.clean_probability(np.array([0.0, 0.0, 0.1, 5.0, 5.0]), mixture='beta')
    assert (clean > 0.5).tolist() == [True, True, True, False, False]


def test_a_class_that_vanished_keeps_its_most_trusted_tenth():
    labels = np.repeat([0, 1, 2], 20)
    clean = np.where(labels == 1, 0.01 * np.arange(60) / 60, 0.9)
    with pytest.warns(RuntimeWarning, match='no sample of class 1 is trusted'):
        kept = selection.keep_every_class(clean, labels, 4)  # class 3 has no samples at all
    assert np.flatnonzero(kept != clean).tolist() == [38, 39]
    assert (kept[38:40] == 1).all()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        np.testing.assert_array_equal(selection.keep_every_class(kept, labels, 4), kept)
