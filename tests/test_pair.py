"""Two networks that teach each other, on real digits: what one learns from the other, and what it does not."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_rounded, refused
from test_steps import NETWORK, NORMALISE, OPTIMIZER, _batch, _learner, _predict, _same, _variables
from tiny import config

from noisy_jax import losses, pipeline
from noisy_jax.data import augment
from noisy_jax.labels import selection
from noisy_jax.methods import CLASSIFIERS
from noisy_jax.methods.classification import classification_step
from noisy_jax.methods.dividemix import MixMatch, dividemix_step
from noisy_jax.methods.mixing import draw_mixing
from noisy_jax.methods.pair import pair_step
from noisy_jax.training import optim, state
from noisy_jax.training.steps import ASIDE, rampup

VIEWS = augment.policy('none')
WARMUP = 8  # epochs; runs of the same sizes share compiled programs


@functools.cache
def _both():
    """Two networks of different initial weights."""
    other = jax.jit(NETWORK.init)(jax.random.key(7), np.zeros((1, 8, 8, 1), np.float32))
    return state.stack(_variables(), other)


def _network(variables, number):
    return jax.tree.map(lambda leaf: np.asarray(leaf)[number], variables)


@functools.cache
def _dividemix():
    """Compiled once for all tests."""
    settings = MixMatch(threshold=0.5, temperature=0.5, mixup=4.0, unlabelled_weight=5.0, rampup_steps=10)
    return jax.jit(dividemix_step(_learner(optim.CLASSIFIER, VIEWS), settings))


def _after(step, extra, batch=None):
    start = state.create(_both(), OPTIMIZER, optim.CLASSIFIER, extra)
    return step(start, _batch() if batch is None else batch, jax.random.key(1))


def test_the_pair_comes_apart_as_it_was_put_together():
    first, second = (_network(_both(), number) for number in (0, 1))
    apart = state.unstack(_both())
    assert _same(apart.pop(state.SECOND), second)
    assert _same(apart, first)


def test_each_network_is_trained_as_if_alone():
    """Without mixup, memory and views there is nothing to teach."""
    criterion = losses.criterion('ce')
    step = pair_step(_learner(optim.CLASSIFIER, VIEWS), criterion)
    alone = classification_step(_learner(optim.CLASSIFIER, VIEWS), criterion)
    together, _ = _after(jax.jit(step), {})
    for number in (0, 1):
        start = state.create(_network(_both(), number), OPTIMIZER, optim.CLASSIFIER)
        expected, _ = jax.jit(alone)(start, _batch(), jax.random.key(1))
        assert_rounded(_network(together.variables, number), expected.variables, 100, 'two programs for one step')


def test_a_network_remembers_what_the_average_of_the_other_says():
    """ELR+: the targets of one are predictions of the other's averaged weights."""
    criterion = losses.criterion('elr', beta=0.7, lam=3.0)
    step = pair_step(_learner(optim.CLASSIFIER, VIEWS, average=0.9), criterion, mixup=1.0)
    memory = criterion.init(1437, 10)
    new, _ = _after(jax.jit(step), {**state.stack(memory, memory), state.AVERAGE: _both()})
    images = NORMALISE(_batch()['image'] / np.float32(255))
    for number in (0, 1):
        logits, _ = _predict(_network(_both(), 1 - number), images)
        rows = np.asarray(new.extra['elr_targets'])[number, _batch()['index']]
        np.testing.assert_allclose(rows, 0.3 * jax.nn.softmax(logits), rtol=1e-3, atol=1e-5)
    assert new.extra['elr_targets'].shape == (2, 1437, 10)
    assert not _same(new.averaged, new.variables)


def test_elr_plus_by_the_published_formula():
    """CIFAR-100's: labels y q, renormalised, and lambda times a sigmoid ramp (ELR_plus/model/loss.py)."""
    length, beta, lam, key = 10, 0.9, 7.0, jax.random.key(1)
    criterion = losses.criterion('elr', beta=beta, lam=lam)
    learner = _learner(optim.CLASSIFIER, VIEWS)
    step = pair_step(learner, criterion, mixup=1.0, weigh_labels=True, rampup_steps=length)
    memory = criterion.init(1437, 10)
    _, metrics = _after(jax.jit(step), state.stack(memory, memory))
    images, expected = NORMALISE(_batch()['image'] / np.float32(255)), []
    for number, own_key in enumerate(jax.random.split(jax.random.fold_in(key, 0), 3)[:2]):
        partner, share = draw_mixing(jax.random.fold_in(own_key, ASIDE), 64, 1.0, own_larger=True)
        assert share >= 0.5

        def mixed(values, partner=partner, share=share):
            return share * values + (1 - share) * values[partner]

        p = np.clip(jax.nn.softmax(_predict(_network(_both(), 1 - number), images)[0]), 1e-4, 1 - 1e-4)
        q = np.asarray(mixed((1 - beta) * p / p.sum(1, keepdims=True)), float)
        y = np.asarray(mixed(np.eye(10)[_batch()['label']]), float) * q
        y = y / y.sum(1, keepdims=True)
        logits = np.asarray(learner.logits_in_training(_network(_both(), number), mixed(images))[0], float)
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        regulariser = np.log(1 - (q * np.clip(p, 1e-4, 1 - 1e-4)).sum(1)).mean()
        ramp = np.exp(-5 * (1 - 1 / length) ** 2)
        expected.append(-(y * np.log(p)).sum(1).mean() + ramp * lam * regulariser)
    np.testing.assert_allclose(metrics['loss'], np.mean(expected), rtol=1e-4)


def test_the_average_of_elr_plus_follows_at_first():
    """decay = 0.9 exp(-5 (1 - 2/10)^2) after the first of ten steps (`update_ema_variables` in ELR+'s code)."""
    step = pair_step(_learner(optim.CLASSIFIER, VIEWS, average=0.9, average_rampup=10), losses.criterion('ce'))
    new, _ = _after(jax.jit(step), {state.AVERAGE: _both()})
    decay = 0.9 * np.exp(-5 * 0.8**2)
    expected = jax.tree.map(lambda old, newest: decay * old + (1 - decay) * newest, _both(), new.variables)
    assert_rounded(new.averaged, expected, 10)


def test_a_ramp_by_hand():
    ramp = [float(rampup(jnp.int32(step), 10)) for step in (0, 5, 10, 20)]
    np.testing.assert_allclose(ramp, [np.exp(-5), np.exp(-1.25), 1, 1], rtol=1e-6)
    assert rampup(jnp.int32(0), 0) == 1


def test_labels_are_weighed_by_elr_alone(tmp_path):
    own = {'base__method': 'elr_plus', 'elr_plus__weigh_labels': True}
    refused(
        lambda: pipeline.run(config('phases=base,loss=ce', **own), tmp_path), 'elr_plus.weigh_labels', 'elr', "'ce'"
    )


def test_a_network_learns_by_the_trust_of_the_other():
    trust = np.full((2, 1437), 0.9, np.float32)
    changed = trust.copy()
    changed[0] = 0.1
    first, second = (_after(_dividemix(), {state.CLEAN: clean})[0] for clean in (trust, changed))
    assert _same(_network(first.variables, 0), _network(second.variables, 0))
    assert not _same(_network(first.variables, 1), _network(second.variables, 1))


@pytest.mark.parametrize(('trust', 'same'), [(0.0, True), (1.0, False)])
def test_labels_that_are_not_trusted_play_no_part(trust, same):
    other = {**_batch(), 'label': (_batch()['label'] + 1) % 10}
    clean = {state.CLEAN: np.full((2, 1437), trust, np.float32)}
    first, second = (_after(_dividemix(), clean, batch)[0] for batch in (_batch(), other))
    assert _same(first.params, second.params) == same


def test_untrusted_samples_count_once_the_weight_has_risen():
    """At step 0 of the ramp they have no say: only the balance of classes moves the weights."""
    clean = {state.CLEAN: np.zeros((2, 1437), np.float32)}
    start = state.create(_both(), OPTIMIZER, optim.CLASSIFIER, clean)
    step = _dividemix()
    losses_at = [
        float(step(start.replace(step=np.int32(number)), _batch(), jax.random.key(1))[1]['loss'])
        for number in (0, 5, 10, 20)
    ]
    assert losses_at[0] < losses_at[1] < losses_at[2]
    assert losses_at[3] == pytest.approx(losses_at[2], rel=0.3)  # other draws, the same weight


def test_dividemix_learns_from_labels_half_of_which_are_trusted():
    """Trusted labels are right, all others wrong."""
    batch = _batch()
    trusted = np.arange(1437) % 2 == 0
    label = np.where(trusted[batch['index']], batch['label'], (batch['label'] + 1) % 10)
    clean = {state.CLEAN: np.tile(trusted, (2, 1)).astype(np.float32)}
    now, step = state.create(_both(), OPTIMIZER, optim.CLASSIFIER, clean), _dividemix()
    for _ in range(40):
        now, metrics = step(now, {**batch, 'label': label}, jax.random.key(1))
    assert float(metrics['trusted']) == pytest.approx(trusted[batch['index']].mean())
    images = NORMALISE(batch['image'] / np.float32(255))
    for number in (0, 1):
        logits, _ = _predict(_network(now.variables, number), images)
        wrong = ~trusted[batch['index']]
        assert np.mean(logits.argmax(-1)[wrong] == batch['label'][wrong]) > 0.7
        assert np.mean(logits.argmax(-1)[wrong] == label[wrong]) < 0.2


def test_a_network_is_taught_on_its_own_views():
    """The other one's averaged weights see the very images of the one that learns by them (ELR+'s code)."""
    drawn = augment.policy('handwriting')
    criterion = losses.criterion('elr', beta=0.0, lam=3.0)
    step = pair_step(_learner(optim.CLASSIFIER, drawn), criterion)
    memory = criterion.init(1437, 10)
    new, _ = _after(jax.jit(step), state.stack(memory, memory))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(1), 0), 3)
    for number in (0, 1):
        images = NORMALISE(augment.apply(drawn, keys[number], _batch()['image']))
        logits, _ = _predict(_network(_both(), 1 - number), images)
        rows = np.asarray(new.extra['elr_targets'])[number, _batch()['index']]
        np.testing.assert_allclose(rows, jax.nn.softmax(logits), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('method', ['bootstrap', 'elr_plus', 'dividemix'])
def test_a_run_by_this_method(tmp_path, monkeypatch, method):
    """All stages, with a validation split beside them; a second call reads the outcome of both networks back."""
    recorded, find = [], selection.clean_probability
    monkeypatch.setattr(
        selection, 'clean_probability', lambda *args, **more: recorded.append(args) or find(*args, **more)
    )
    settings = config(
        'rate=0.4,phases=base',
        base__method=method,
        base__epochs=6,
        bootstrap__warmup_epochs=WARMUP,
        dividemix__warmup_epochs=WARMUP,
        dividemix__history=3,  # as at 90 % noise
        data__valid_fraction=0.1,
        data__test_limit=300,
    )
    summary = pipeline.run(settings, tmp_path)
    assert summary['phases'][0]['test_accuracy_last'] > 0.3
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    assert [line['stage'] for line in lines] == ([] if method == 'elr_plus' else ['warmup'] * WARMUP) + ['all'] * 6
    assert all(line['valid_changed'] >= 0 for line in lines)
    assert ('trusted_next' in lines[-1]) == (method != 'elr_plus')
    if method == 'dividemix':
        _check_splits(np.array([losses for losses, *_ in recorded[: 2 * 3]]))
    assert pipeline.run(settings, tmp_path) == summary


def _check_splits(losses):
    """[6, E, N], before the first epoch and after two: each network's split sees its own last E, the newest last."""
    assert losses.shape[:2] == (6, 3)
    for network in (0, 1):
        first, second, third = losses[network::2]
        assert (first == first[0]).all()
        np.testing.assert_array_equal(second[:2], first[1:])
        np.testing.assert_array_equal(third[:2], second[1:])
        assert (third[2] != third[1]).any()
    assert (losses[0] != losses[1]).any()


@pytest.mark.parametrize('method', ['bootstrap', 'elr_plus', 'dividemix'])
def test_a_setting_of_the_phase_that_a_method_replaces_is_refused(method):
    settings = config('phases=base', base__method=method, base__mixup=0.5)
    refused(lambda: CLASSIFIERS[method].check(settings, 'base'), 'config.base.mixup', 0.5, method)


def test_a_penalty_keeps_the_warm_up_from_being_sure(tmp_path):
    """DivideMix with asymmetric noise: the mean largest probability is smaller."""
    sure = {}
    for penalty in (False, True):
        settings = config(
            'rate=0.4,phases=base',
            base__method='dividemix',
            base__epochs=0,
            dividemix__warmup_epochs=WARMUP,
            dividemix__negative_entropy=penalty,
            data__valid_fraction=0.1,
            data__test_limit=300,
        )
        pipeline.run(settings, tmp_path / str(penalty))
        sure[penalty] = np.load(tmp_path / str(penalty) / 'pred_probs.npy').max(1).mean()
    assert sure[True] < sure[False] - 0.01
