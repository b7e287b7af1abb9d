"""Train steps on real digits: what they change, what they leave alone, that they learn."""

import functools

import jax
import numpy as np
import optax
import pytest
from conftest import assert_rounded

from noisy_jax import losses, models
from noisy_jax.data import augment, digits
from noisy_jax.methods.classification import classification_step
from noisy_jax.methods.simclr import contrastive_step
from noisy_jax.training import optim, state
from noisy_jax.training.steps import Learner, normaliser, weighted_mean

NETWORK = models.create({'encoder': 'cnn_small'}, num_classes=10)
NORMALISE = normaliser((0.3,), (0.4,))
OPTIMIZER = optax.sgd(0.1)
VIEWS = augment.policy('handwriting')


@functools.cache
def _variables():
    return jax.jit(NETWORK.init)(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))


@jax.jit
def _predict(variables, images):
    return NETWORK.apply(variables, images, train=False)


@functools.cache
def _batch():
    return next(digits.load('train').batches(0, 0, batch_size=64))


def _learner(trained, augment=VIEWS, **settings):
    return Learner(NETWORK, OPTIMIZER, augment, NORMALISE, trained, **settings)


@functools.cache
def _step(kind):
    """(jitted step, trained parts, what it remembers)"""
    if kind in ('head', 'all', 'elr'):
        trained = optim.HEAD if kind == 'head' else optim.CLASSIFIER
        criterion = losses.criterion('elr', beta=0.7, lam=3.0) if kind == 'elr' else losses.criterion('ce')
        step = classification_step(_learner(trained), criterion)
        return jax.jit(step), trained, criterion.init(1437, 10)
    loss = {
        'nt_xent': lambda z1, z2, batch: losses.nt_xent(z1, z2),
        'sup_con': lambda z1, z2, batch: losses.sup_con(z1, z2, batch['label'], batch['weight']),
    }[kind]
    step = contrastive_step(_learner(optim.REPRESENTATION), loss)
    return jax.jit(step), optim.REPRESENTATION, {}


def _start(kind):
    step, trained, extra = _step(kind)
    return step, state.create(_variables(), OPTIMIZER, trained, extra)


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize('kind', ['head', 'all', 'elr', 'nt_xent', 'sup_con'])
def test_only_the_trained_parts_change(kind):
    step, start = _start(kind)
    new, _ = step(start, _batch(), jax.random.key(1))
    _, trained, _ = _step(kind)
    for name in ('encoder', 'projection', 'classifier'):
        assert _same(new.params[name], start.params[name]) == (name not in trained), name
    # An encoder at rest keeps its BatchNorm statistics too.
    assert _same(new.batch_stats['encoder'], start.batch_stats['encoder']) == ('encoder' not in trained)
    assert int(new.step) == 1


@pytest.mark.parametrize('kind', ['head', 'all', 'elr', 'nt_xent', 'sup_con'])
def test_steps_learn(kind):
    step, now = _start(kind)
    values = []
    for _ in range(25):
        now, metrics = step(now, _batch(), jax.random.key(1))
        values.append(float(metrics['loss']))
    assert np.mean(values[-5:]) < np.mean(values[:5]) - (0.01 if kind == 'head' else 0.1)
    assert np.isfinite(values).all()


def test_randomness_is_a_function_of_key_and_step():
    step, start = _start('nt_xent')
    losses_of = [
        float(step(start.replace(step=np.int32(number)), _batch(), jax.random.key(key))[1]['loss'])
        for number, key in ((0, 1), (0, 1), (1, 1), (0, 2))
    ]
    assert losses_of[0] == losses_of[1]
    assert len(set(losses_of)) == 3


def test_a_sample_of_weight_zero_has_no_say():
    step, start = _start('head')
    weight = np.ones(64, np.float32)
    weight[3] = 0
    batch = {**_batch(), 'weight': weight}
    other = {**batch, 'label': np.where(np.arange(64) == 3, (batch['label'] + 1) % 10, batch['label'])}
    first, _ = step(start, batch, jax.random.key(1))
    second, _ = step(start, other, jax.random.key(1))
    assert _same(first.params, second.params)
    third, _ = step(start, {**other, 'weight': np.ones(64, np.float32)}, jax.random.key(1))
    assert not _same(first.params, third.params)


def test_elr_remembers_the_samples_of_the_batch_only():
    step, start = _start('elr')
    new, _ = step(start, _batch(), jax.random.key(1))
    memory = np.asarray(new.extra['elr_targets'])
    touched = np.flatnonzero(memory.any(1))
    np.testing.assert_array_equal(touched, np.sort(_batch()['index']))
    np.testing.assert_allclose(memory[touched].sum(1), 0.3, rtol=1e-5)  # (1 - beta) of a distribution


def test_the_average_follows_the_variables():
    criterion = losses.criterion('ce')
    step = classification_step(_learner(optim.CLASSIFIER, average=0.15), criterion)
    now = state.create(_variables(), OPTIMIZER, optim.CLASSIFIER, {state.AVERAGE: _variables()})
    expected, step = now.variables, jax.jit(step)
    for decay in (0.1, 0.15, 0.15):  # 1 / 10, then 2 / 11 would be more than asked for
        now, _ = step(now, _batch(), jax.random.key(1))
        expected = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * new, expected, now.variables)
    for ours, by_hand in zip(jax.tree.leaves(now.averaged), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, by_hand, rtol=1e-5, atol=1e-7)
    assert not _same(now.averaged, now.variables)
    # The average is a bystander: the training is the same without it.
    plain = state.create(_variables(), OPTIMIZER, optim.CLASSIFIER)
    for _ in range(3):
        plain, _ = _step('all')[0](plain, _batch(), jax.random.key(1))
    assert _same(plain.averaged, plain.variables)
    assert_rounded(now.params, plain.params, 100, 'two programs for three steps')


def test_weighted_mean():
    assert float(weighted_mean(np.array([1.0, 3.0]), np.array([1.0, 3.0]))) == pytest.approx(2.5)
    assert float(weighted_mean(np.array([1.0, 3.0]), np.zeros(2))) == 0
