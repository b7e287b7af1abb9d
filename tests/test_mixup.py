"""Mixtures of a batch, refined and sharpened labels: values by hand; the mixup step on real digits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_rounded
from test_steps import NETWORK, NORMALISE, OPTIMIZER, _batch, _learner, _same, _variables

from noisy_jax import losses
from noisy_jax.data import augment
from noisy_jax.methods.classification import mixed_step
from noisy_jax.methods.mixing import Mixing, balance, draw_mixing, refine, sharpen
from noisy_jax.training import optim, state
from noisy_jax.training.steps import ASIDE


def test_mixing_by_hand():
    mixing = Mixing(jnp.array([2, 0, 1]), jnp.float32(0.75))
    np.testing.assert_allclose(mixing(jnp.array([[4.0], [8.0], [12.0]])), [[6.0], [7.0], [11.0]])


def test_shares_are_of_the_beta_distribution():
    keys = jax.random.split(jax.random.key(0), 2000)
    partners, shares = jax.vmap(lambda key: draw_mixing(key, 4, 4.0))(keys)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
    assert np.var(shares) == pytest.approx(1 / (4 * 9), rel=0.1)  # of Beta(4, 4)
    assert (np.sort(partners, axis=1) == np.arange(4)).all()
    larger = jax.vmap(lambda key: draw_mixing(key, 4, 4.0, own_larger=True).share)(keys)
    np.testing.assert_allclose(larger, np.maximum(shares, 1 - shares), rtol=1e-6)


def test_refined_and_sharpened_labels_by_hand():
    refined = refine(jnp.array([0, 1]), jnp.array([[0.2, 0.8], [0.5, 0.5]]), jnp.array([0.25, 1.0]))
    np.testing.assert_allclose(refined, [[0.4, 0.6], [0.0, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(sharpen(jnp.array([0.2, 0.8]), 0.5), np.array([0.04, 0.64]) / 0.68, rtol=1e-5)
    np.testing.assert_allclose(sharpen(jnp.array([0.0, 1.0]), 0.5), [0, 1], atol=1e-6)


def test_balance_is_the_divergence_from_uniform():
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
    assert float(balance(logits)) == pytest.approx(0, abs=1e-6)
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.7, 0.3]]))  # on average (0.8, 0.2)
    assert float(balance(logits)) == pytest.approx(0.5 * np.log(0.5 / 0.8) + 0.5 * np.log(0.5 / 0.2), rel=1e-5)


def _mixed(loss, extra, batch, mixup=0.4, **variant):
    criterion = losses.criterion(loss, **({'beta': 0.7, 'lam': 3.0} if loss == 'elr' else {}))
    learner = _learner(optim.CLASSIFIER, augment.policy('none'))
    step = mixed_step(learner, criterion, mixup, refined=state.CLEAN in extra, **variant)
    start = state.create(_variables(), OPTIMIZER, optim.CLASSIFIER, criterion.init(1437, 10) | extra)
    return jax.jit(step)(start, batch, jax.random.key(1))


def test_elr_with_mixup_remembers_predictions_of_whole_images():
    new, _ = _mixed('elr', {}, _batch())
    images = NORMALISE(_batch()['image'] / np.float32(255))
    logits, _ = NETWORK.apply(_variables(), images, train=False)
    memory = np.asarray(new.extra['elr_targets'])[_batch()['index']]
    np.testing.assert_allclose(memory, 0.3 * jax.nn.softmax(logits), rtol=1e-3, atol=1e-5)


def test_labels_without_trust_play_no_part_with_bootstrapping():
    other = {**_batch(), 'label': (_batch()['label'] + 1) % 10}
    for trust, same in ((0.0, True), (1.0, False)):
        extra = {state.CLEAN: np.full(1437, trust, np.float32)}
        first, second = (_mixed('ce', extra, batch)[0] for batch in (_batch(), other))
        assert _same(first.params, second.params) == same


@pytest.mark.parametrize('hard', [False, True])
def test_a_step_of_bootstrapping_by_the_published_code(hard):
    """train_mixUp_SoftBootBeta and -HardBootBeta: plain images pass in training mode, then mixed ones."""
    trust, mixup, key = np.linspace(0.1, 0.9, 1437, dtype=np.float32), 0.4, jax.random.fold_in(jax.random.key(1), 0)
    new, metrics = _mixed('ce', {state.CLEAN: trust}, _batch(), mixup, hard=hard)
    learner, images = _learner(optim.CLASSIFIER), NORMALISE(_batch()['image'] / np.float32(255))
    logits, plain = learner.logits_in_training(_variables(), images)
    predicted = np.asarray(jax.nn.softmax(logits))
    if hard:
        predicted = np.eye(10)[predicted.argmax(1)]
    weight = trust[_batch()['index']][:, None]
    labels = weight * np.eye(10)[_batch()['label']] + (1 - weight) * predicted
    mixing = draw_mixing(jax.random.fold_in(key, ASIDE), 64, mixup)
    logits, stats = learner.logits_in_training({**_variables(), 'batch_stats': plain}, mixing(images))
    assert_rounded(new.batch_stats, stats, 100, 'two programs for one step')
    log_p = np.asarray(jax.nn.log_softmax(logits), float)
    refined = -(np.asarray(mixing(labels)) * log_p).sum(1).mean()
    balanced = np.mean(np.log(0.1 / np.exp(log_p).mean(0)))
    np.testing.assert_allclose(metrics['loss'], refined + balanced, rtol=1e-5)


def test_mixup_learns():
    criterion = losses.criterion('ce')
    step = jax.jit(mixed_step(_learner(optim.CLASSIFIER, augment.policy('none')), criterion, 1.0))
    now = state.create(_variables(), OPTIMIZER, optim.CLASSIFIER)
    for _ in range(40):
        now, _ = step(now, _batch(), jax.random.key(1))
    logits, _ = NETWORK.apply(now.variables, NORMALISE(_batch()['image'] / np.float32(255)), train=False)
    assert np.mean(logits.argmax(-1) == _batch()['label']) > 0.9
