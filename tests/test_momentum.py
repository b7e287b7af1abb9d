"""Momentum encoder, queue and prototypes: values by hand, and real steps on real digits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_rounded
from test_steps import NETWORK, OPTIMIZER, VIEWS, _batch, _learner, _same, _variables
from tiny import config

from noisy_jax import losses, pipeline
from noisy_jax.errors import InputError
from noisy_jax.methods import METHODS, mopro, queue
from noisy_jax.settings import default
from noisy_jax.training import optim, state


def _unit(key, *shape):
    return losses.normalise(jax.random.normal(jax.random.key(key), shape))


def test_info_nce_by_hand():
    queries, keys = jnp.array([[2.0, 0.0], [0.0, 3.0]]), jnp.array([[1.0, 0.0], [5.0, 0.0]])
    queue = jnp.array([[0.0, 1.0], [-1.0, 0.0]])
    values = losses.info_nce(queries, keys, queue, temperature=0.5)
    # Similarities over 0.5: own 2 and 0; the queue 0, -2 and 2, 0.
    expected = [np.log(np.exp(2) + 1 + np.exp(-2)) - 2, np.log(1 + np.exp(2) + 1)]
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_queue_sup_con_is_the_weighted_mean_over_positives():
    q, k, queue = _unit(0, 5, 8), _unit(1, 5, 8), _unit(2, 12, 8)
    labels, queue_labels = jnp.arange(5) % 3, jnp.array([-1, -1, *range(3), *range(3), 0, 0, 7, 7])
    weights = jax.random.uniform(jax.random.key(3), (12,))
    values = losses.queue_sup_con(q, k, labels, queue, queue_labels, weights, temperature=0.3)
    for i in range(5):
        similarity = np.array([q[i] @ k[i], *(queue @ q[i])]) / 0.3
        w = np.array([1.0, *np.where(queue_labels == labels[i], weights, 0)])
        log_share = similarity - np.log(np.exp(similarity).sum())
        assert values[i] == pytest.approx(-(w * log_share).sum() / w.sum(), rel=1e-5)
    alone = losses.queue_sup_con(q, k, labels, queue, jnp.full(12, -1), weights, temperature=0.3)
    np.testing.assert_allclose(alone, losses.info_nce(q, k, queue, temperature=0.3), rtol=1e-6)


def test_gradients_reach_the_query_alone():
    q, k, queue = _unit(0, 3, 4), _unit(1, 3, 4), _unit(2, 6, 4)
    of_q, of_k = jax.grad(lambda *a: losses.info_nce(*a, temperature=0.5).sum(), (0, 1))(q, k, queue)
    assert not of_k.any()
    share = jax.nn.softmax(jnp.concatenate([(q * k).sum(1, keepdims=True), q @ queue.T], axis=1) / 0.5)
    raw = (share[:, :1] * k + share[:, 1:] @ queue - k) / 0.5  # then without what points along q
    np.testing.assert_allclose(of_q, raw - (raw * q).sum(1, keepdims=True) * q, rtol=1e-4, atol=1e-6)


def test_the_newest_keys_replace_the_oldest():
    keys = jnp.zeros(5, int)
    for step in range(4):
        keys = queue.enqueue(keys, jnp.array([10, 11]) + 10 * step, jnp.int32(step))
    assert keys.tolist() == [31, 40, 41, 21, 30]


def test_corrected_labels_by_hand():
    labels = jnp.array([0, 0, 0, 1])
    predicted = jnp.array([[0.0, 1.0, 0.0], [0.5, 0.3, 0.2], [0.1, 0.5, 0.4], [0.0, 0.0, 1.0]])
    similar = jnp.array([[0.0, 0.9, 0.1], [0.4, 0.3, 0.3], [0.1, 0.4, 0.5], [0.6, 0.0, 0.4]])
    corrected, belongs = mopro.correct(labels, predicted, similar, alpha=0.5, threshold=0.8)
    # Sure of 1; unsure, and the given 0 is likely; unsure, and 0 is not; 0.7 is not sure, and 1 is not likely.
    assert corrected.tolist() == [1, 0, 0, 1]
    assert belongs.tolist() == [True, True, False, False]


def test_prototypes_by_hand():
    prototypes = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    z, labels = jnp.array([[0.0, 1.0], [0.6, 0.8], [0.8, 0.6], [1.0, 0.0]]), jnp.array([0, 1, 1, 2])
    moved = mopro.move_prototypes(prototypes, z, labels, jnp.array([True, True, True, False]), 0.75)
    np.testing.assert_allclose(moved[0], np.array([0.75, 0.25]) / np.hypot(0.75, 0.25), rtol=1e-6)
    np.testing.assert_allclose(moved[1], np.array([1, 1]) / np.sqrt(2), rtol=1e-6)  # unseen so far: its mean at once
    np.testing.assert_array_equal(moved[2], prototypes[2])  # its sample belongs to no class


@functools.cache
def _step(kind):
    method, common = METHODS[kind], {'temperature': 0.2, 'momentum': 0.9}
    learner = _learner(method.trained)
    if kind != 'mopro':
        return jax.jit(method.step_of(learner, **common))
    numbers = mopro.MoProNumbers(
        prototype_momentum=0.9, alpha=0.5, threshold=0.8, prototype_step=1, start_step=3, **common
    )
    return jax.jit(mopro.mopro_step(learner, VIEWS, numbers))


def _start(kind):
    extra = queue.start(NETWORK, _variables(), (8, 8, 1), jax.random.key(0), size=128)
    if kind == 'mopro':
        extra[mopro.PROTOTYPES] = jnp.zeros((10, extra[queue.QUEUE].shape[1]))
    return state.create(_variables(), OPTIMIZER, METHODS[kind].trained, extra)


@pytest.mark.parametrize('kind', ['moco', 'sup_moco', 'mopro'])
def test_a_step_moves_encoder_average_and_queue(kind):
    start = _start(kind)
    new, metrics = _step(kind)(start, _batch(), jax.random.key(1))
    assert np.isfinite(float(metrics['loss']))
    assert _same(new.params['classifier'], start.params['classifier']) == (kind != 'mopro')
    old, average, newest = (
        jax.tree.leaves(tree)
        for tree in (
            start.extra[queue.MOMENTUM]['params'],
            new.extra[queue.MOMENTUM]['params'],
            {name: new.params[name] for name in optim.REPRESENTATION},
        )
    )
    for before, ours, after in zip(old, average, newest, strict=True):
        np.testing.assert_allclose(ours, 0.9 * before + 0.1 * after, rtol=1e-5, atol=1e-7)
    keys = np.asarray(new.extra[queue.QUEUE])
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, rtol=1e-5)
    assert not np.isclose(keys[:64], start.extra[queue.QUEUE][:64]).all(1).any()
    np.testing.assert_array_equal(keys[64:], start.extra[queue.QUEUE][64:])
    assert new.extra[queue.QUEUE_LABELS].tolist() == _batch()['label'].tolist() + [-1] * 64


@pytest.mark.parametrize('kind', ['moco', 'sup_moco', 'mopro'])
def test_steps_learn(kind):
    now, values = _start(kind), []
    for _ in range(40):
        now, metrics = _step(kind)(now, _batch(), jax.random.key(1))
        values.append(float(metrics['loss']))
    assert np.isfinite(values).all()
    # The first two batches meet a queue of random directions, and MoPro begins to correct at its third.
    assert np.mean(values[-5:]) < np.mean(values[5:10])


def test_samples_are_drawn_to_prototypes_from_the_second_epoch_on():
    """MoPro, here from step 1: the loss gains a cross-entropy over ten prototypes, long before labels are corrected."""
    now, values = _start('mopro'), []
    for _ in range(2):
        now, metrics = _step('mopro')(now, _batch(), jax.random.key(1))
        values.append(float(metrics['loss']))
    assert 1 < values[1] - values[0] < 2 * np.log(10)


@pytest.mark.parametrize('kind', ['moco', 'mopro'])
def test_a_key_knows_nothing_of_its_batch(kind):
    """The shortcut that shuffled BatchNorm prevents in MoCo: the other images of the batch told by the statistics."""
    images = np.array(_batch()['image'])
    others = images.copy()
    others[1:] = 255 - others[1:]
    first, second = (
        _step(kind)(_start(kind), {**_batch(), 'image': given}, jax.random.key(1))[0].extra[queue.QUEUE]
        for given in (images, others)
    )
    assert_rounded(first[0], second[0], 100)
    assert np.abs(first[1:64] - second[1:64]).max(1).min() > 1e-3


@pytest.mark.parametrize(
    ('pretrain', 'contrast'), [('moco', 'mopro'), pytest.param('sup_moco', 'simclr', marks=pytest.mark.slow)]
)
def test_methods_serve_both_contrastive_phases(tmp_path, pretrain, contrast):
    """All through the same fit, up to the label issues; each phase's labels and weights are where it looks for them."""
    settings = config(
        'rate=0.4,phases=finetuned',
        pretrain__method=pretrain,
        contrast__method=contrast,
        moco__queue=128,
        sup_moco__queue=128,
        mopro__queue=128,
        mopro__start_epoch=1,
        mopro__strong_augment='handwriting',
    )
    summary = pipeline.run(settings, tmp_path)
    knn = [phase['knn_accuracy'] for phase in summary['phases'] if phase['name'] in ('pretrain', 'contrast')]
    assert min(knn) > 0.2


def test_a_queue_smaller_than_a_batch_is_refused(tmp_path):
    with pytest.raises(InputError, match=r'config\.sup_moco\.queue: 32 is smaller than a batch; at least 64'):
        pipeline.run(config('phases=finetuned', contrast__method='sup_moco', sup_moco__queue=32), tmp_path / 'work')
    assert not (tmp_path / 'work').exists(), 'said before anything is trained'


def test_each_method_has_its_authors_numbers():
    """MoCo's demo for CIFAR-10, MoPro's train.py."""
    settings = default()
    names = 'queue', 'momentum', 'temperature'
    found = {kind: tuple(settings[kind][name] for name in names) for kind in ('moco', 'sup_moco', 'mopro')}
    assert found == {'moco': (4096, 0.99, 0.1), 'sup_moco': (8192, 0.999, 0.07), 'mopro': (8192, 0.999, 0.1)}
