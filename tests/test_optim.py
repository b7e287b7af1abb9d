"""Optimisers against hand-written PyTorch-style loops, schedules against the original's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN

from noisy_jax.errors import InputError
from noisy_jax.settings import default
from noisy_jax.training import optim

STEPS = 7  # per epoch
PLAIN = {'learning_rate': 0.1, 'weight_decay': 0.0, 'schedule': 'constant'}


def _schedule(kind, peak, *, epochs, steps_per_epoch=STEPS, end=1e-6, **settings):
    own = {'schedule': kind, **settings}
    return optim.learning_rate_schedule(own, peak, epochs=epochs, steps_per_epoch=steps_per_epoch, end=end)


@pytest.mark.parametrize(
    ('name', 'kind', 'peak', 'settings'),
    [
        ('adjust_learning_rate_cosine_lr0.03_epochs20', 'cosine', 0.03, {'end': 0.0}),
        ('adjust_learning_rate_step_lr0.03_epochs20_milestones[8,15]', 'step', 0.03, {'milestones': (8, 15)}),
        ('supervised_CosineAnnealingLR_lr0.01_epochs20', 'cosine', 0.01, {}),
        ('supervised_CosineAnnealingLR_lr0.01_epochs5_Tmax10', 'cosine', 0.01, {}),  # falls over 10 epochs, ends at 5
    ],
)
def test_golden_schedules(golden, name, kind, peak, settings):
    del golden  # skips where there are none
    expected = json.loads((GOLDEN / 'schedule.json').read_text())[name]
    rate = _schedule(kind, peak, epochs=len(expected), **settings)
    first_steps = STEPS * np.arange(len(expected))
    np.testing.assert_allclose(jax.vmap(rate)(first_steps), expected, rtol=1e-5)


def _rates(kind, peak=0.5, *, epochs=20, **settings):
    rate = _schedule(kind, peak, epochs=epochs, **settings)
    return np.array(jax.vmap(rate)(jnp.arange(epochs * STEPS)))


def test_constant():
    np.testing.assert_allclose(_rates('constant'), np.full(20 * STEPS, 0.5))


def test_cosine_falls_within_an_epoch_and_down_to_the_end():
    rates = _rates('cosine', end=0.01)
    assert (np.diff(rates) < 0).all()
    np.testing.assert_allclose(rates[10 * STEPS], (0.5 + 0.01) / 2, rtol=1e-5)
    rate = _schedule('cosine', 0.5, epochs=20, end=0.01)
    np.testing.assert_allclose([rate(20 * STEPS), rate(50 * STEPS)], 0.01, rtol=1e-5)


def test_step_falls_at_the_first_step_of_a_milestone():
    rates = _rates('step', milestones=(2,))
    np.testing.assert_allclose(rates[: 2 * STEPS], 0.5)
    np.testing.assert_allclose(rates[2 * STEPS :], 0.05, rtol=1e-6)


@pytest.mark.parametrize('kind', ['cosine', 'step', 'constant'])
@pytest.mark.parametrize('warmup_epochs', [1, 3])
def test_warmup_rises_to_the_peak(kind, warmup_epochs):
    rates = _rates(kind, warmup_epochs=warmup_epochs, milestones=(8, 15))
    warmup = warmup_epochs * STEPS
    assert rates[0] > 0
    assert (np.diff(rates[:warmup]) > 0).all()
    # The last step of the warm-up has the peak, and the schedule proper starts from it.
    np.testing.assert_allclose(rates[warmup - 1 : warmup + 1], 0.5, rtol=1e-6)
    np.testing.assert_allclose(np.diff(rates[:warmup]), 0.5 / warmup, rtol=1e-4)
    assert rates.max() <= 0.5 * (1 + 1e-6)
    if kind == 'step':  # milestones count from the very start
        np.testing.assert_allclose(rates[[8 * STEPS - 1, 8 * STEPS, 15 * STEPS]], [0.5, 0.05, 0.005], rtol=1e-5)
    if kind == 'cosine':  # its end, too
        rate = _schedule(kind, 0.5, epochs=20, warmup_epochs=warmup_epochs, end=0.01)
        np.testing.assert_allclose([rate(20 * STEPS), rate(20 * STEPS - 1) > 0.01], [0.01, 1], rtol=1e-5)


def test_warmup_of_a_single_step_is_at_the_peak():
    rate = _schedule('constant', 0.5, epochs=3, steps_per_epoch=1, warmup_epochs=1)
    np.testing.assert_allclose([rate(0), rate(1)], 0.5)


def _step(name, *, batch_size=256, networks=1, params=None, grads=None, **settings):
    """The first update."""
    params = {'w': jnp.array([2.0, -3.0])} if params is None else params
    grads = {'w': jnp.array([0.5, 4.0])} if grads is None else grads
    own = PLAIN | settings | {'name': name}
    transform = optim.optimizer(own, epochs=3, steps_per_epoch=STEPS, batch_size=batch_size, networks=networks)
    return transform.update(grads, transform.init(params), params)[0]


def test_sgd_scales_with_the_batch():
    np.testing.assert_allclose(_step('sgd')['w'], [-0.05, -0.4], rtol=1e-6)
    np.testing.assert_allclose(_step('sgd', batch_size=64)['w'], [-0.0125, -0.1], rtol=1e-6)
    np.testing.assert_allclose(_step('sgd', batch_size=512)['w'], [-0.1, -0.8], rtol=1e-6)


@pytest.mark.parametrize('name', ['adam', 'adamw'])
def test_adam_does_not_scale_with_the_batch(name):
    # Adam's first step is the learning rate against the sign of the gradient.
    for batch_size in (64, 256, 512):
        np.testing.assert_allclose(_step(name, batch_size=batch_size)['w'], [-0.1, -0.1], rtol=1e-5)


def test_weight_decay_without_a_gradient():
    """SGD and Adam see it as a gradient, which Adam then takes the sign of; AdamW shrinks by rate times decay."""
    settings = {'grads': {'w': jnp.zeros(2)}, 'weight_decay': 0.01}
    np.testing.assert_allclose(_step('sgd', **settings)['w'], [-0.002, 0.003], rtol=1e-5)
    np.testing.assert_allclose(_step('adam', **settings)['w'], [-0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(_step('adamw', **settings)['w'], [-0.002, 0.003], rtol=1e-5)


@pytest.mark.parametrize(('momentum', 'nesterov'), [(0.9, False), (0.9, True), (0.0, False)])
def test_sgd_equals_pytorch(momentum, nesterov):
    """The loop of torch.optim.SGD over 5 steps of a falling learning rate."""
    weight_decay, peak, length = 0.05, 0.2, 10 * STEPS
    rng = np.random.default_rng(0)
    grads = rng.normal(size=(5, 4))
    w = rng.normal(size=4)

    own = {'learning_rate': 0.1, 'weight_decay': weight_decay, 'momentum': momentum, 'nesterov': nesterov}
    transform = optim.optimizer(own, epochs=10, steps_per_epoch=STEPS, batch_size=512)
    params = {'w': jnp.asarray(w, jnp.float32)}
    opt_state = transform.init(params)
    buffer = np.zeros(4)
    for step, grad in enumerate(grads):
        updates, opt_state = transform.update({'w': jnp.asarray(grad, jnp.float32)}, opt_state, params)
        params = jax.tree.map(jnp.add, params, updates)

        decayed = grad + weight_decay * w
        buffer = momentum * buffer + decayed
        direction = decayed + momentum * buffer if nesterov else buffer
        w = w - (1e-6 + (peak - 1e-6) * (1 + np.cos(np.pi * step / length)) / 2) * direction
        np.testing.assert_allclose(params['w'], w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', optim.OPTIMIZERS)
def test_encoder_scale_scales_the_encoder_alone(name):
    params = {part: {'w': jnp.array([1.0, -2.0])} for part in ('encoder', 'classifier')}
    grads = {part: {'w': jnp.array([0.3, 0.7])} for part in ('encoder', 'classifier')}
    settings = {'params': params, 'grads': grads, 'weight_decay': 0.01}
    plain, scaled = _step(name, **settings), _step(name, **settings, encoder_scale=0.1)
    np.testing.assert_allclose(scaled['encoder']['w'], 0.1 * plain['encoder']['w'], rtol=1e-6)
    np.testing.assert_array_equal(scaled['classifier']['w'], plain['classifier']['w'])


def test_clip_norm_cuts_the_gradient_of_all_parts_before_weight_decay():
    params = {'encoder': {'w': jnp.array([1.0, -2.0])}, 'classifier': {'b': jnp.array([4.0])}}
    grads = {'encoder': {'w': jnp.array([2.0, 3.0])}, 'classifier': {'b': jnp.array([6.0])}}  # of length 7
    own = {'params': params, 'grads': grads, 'weight_decay': 0.01}
    cut = _step('sgd', **own, clip_norm=3.5)  # -0.1 (g / 2 + 0.01 p)
    np.testing.assert_allclose(cut['encoder']['w'], [-0.101, -0.148], rtol=1e-5)
    np.testing.assert_allclose(cut['classifier']['b'], [-0.304], rtol=1e-5)
    for shorter in (7.5, 0.0):
        jax.tree.map(np.testing.assert_array_equal, _step('sgd', **own, clip_norm=shorter), _step('sgd', **own))


def test_clip_norm_knows_two_networks_apart():
    grads = {'w': jnp.array([[3.0, 4.0], [0.3, 0.4]])}  # stacked; of lengths 5 and 0.5
    updates = _step('sgd', params=grads, grads=grads, networks=2, clip_norm=1.0)['w']
    np.testing.assert_allclose(updates, [[-0.06, -0.08], [-0.03, -0.04]], rtol=1e-5)


def test_base_has_an_encoder_scale_of_its_own():
    config = default()
    config.classify.optimizer.encoder_scale, config.base.encoder_scale = 0.1, 0.5
    scales = [optim.settings_of(config, phase, head=False).encoder_scale for phase in ('base', 'classify')]
    assert scales == [0.5, 0.1]


def test_encoder_scale_without_an_encoder():
    np.testing.assert_array_equal(_step('sgd', encoder_scale=0.1)['w'], _step('sgd')['w'])


@pytest.mark.parametrize(
    ('name', 'schedule', 'message'),
    [
        ('lars', 'cosine', "optimizer: 'lars' is unknown; allowed: sgd, adam, adamw"),
        ('sgd', 'linear', "schedule: 'linear' is unknown; allowed: cosine, step, constant"),
    ],
)
def test_unknown_names(name, schedule, message):
    with pytest.raises(InputError, match=message):
        _step(name, schedule=schedule)
