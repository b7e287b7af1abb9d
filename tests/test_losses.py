"""Classification losses and ELR: the original's numbers, values by hand, hard inputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from noisy_jax import losses, settings
from noisy_jax.errors import InputError

LOG_ZERO = 9.21034049987793  # -log of the floor of RCE
ALPHA_BETA = {'c10': (1, 1), 'c50': (50, 0.1), 'c100': (10, 0.1), 'ext': (1, 1)}
PRECISIONS = pytest.mark.parametrize(('x64', 'tolerance'), [(True, 1e-12), (False, 1e-5)], ids=['x64', 'float32'])

# Every loss (logits, labels) -> [B].
LOSSES = {
    'ce': losses.cross_entropy,
    'rce': losses.reverse_cross_entropy,
    'nce': losses.normalized_cross_entropy,
    'nfl': losses.normalized_focal,
    'nfl_rce': functools.partial(losses.nfl_rce, alpha=2.0, beta=0.5),
    'focal2': functools.partial(losses.focal, gamma=2.0),
    'focal_half': functools.partial(losses.focal, gamma=0.5),
    'mae': losses.mean_absolute_error,
    'gce': losses.generalized_cross_entropy,
    'label_smoothing': losses.label_smoothing,
    'sce': functools.partial(losses.symmetric_cross_entropy, alpha=0.1, beta=1.0),
    'nce_rce': functools.partial(losses.nce_rce, alpha=2.0, beta=0.5),
    'nce_mae': functools.partial(losses.nce_mae, alpha=2.0, beta=0.5),
}
LOSSES_OF_LOGITS = {**LOSSES, 'negative_entropy': lambda logits, labels: losses.negative_entropy(logits)}


def _assert_close(actual, expected, tolerance, unit=0.0, message=''):
    """Off by at most `tolerance` times the largest expected value (or times `unit` where that is more)."""
    largest = max(np.abs(expected).max(), unit)
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), expected, rtol=0, atol=tolerance * largest, err_msg=message
    )


def _mean_and_grad(loss, logits, *args):
    return jax.value_and_grad(lambda z: loss(z, *args).mean())(logits)


@functools.partial(jax.jit, static_argnums=0)
def _means_and_grads(named, logits, labels):
    """Of all losses in ((name, loss), ...): compiled together, which is quicker."""
    return {name: _mean_and_grad(loss, logits, labels) for name, loss in named}


@PRECISIONS
@pytest.mark.parametrize('prefix', ALPHA_BETA)
def test_golden_losses_and_gradients(golden, prefix, x64, tolerance):
    arrays = golden('losses_c100.npz' if prefix == 'c100' else 'losses.npz')
    alpha, beta = ALPHA_BETA[prefix]
    named = {name: LOSSES[name] for name in ('ce', 'rce', 'nce', 'nfl', 'focal2')}
    named['nfl_rce'] = functools.partial(losses.nfl_rce, alpha=alpha, beta=beta)
    labels = arrays[f'{prefix}_labels']
    with jax.enable_x64(x64):
        logits = jnp.asarray(arrays[f'{prefix}_logits'], jnp.float64 if x64 else jnp.float32)
        results = _means_and_grads(tuple(named.items()), logits, jnp.asarray(labels))
    for name, (value, grad) in results.items():
        assert value.dtype == logits.dtype
        _assert_close(value, arrays[f'{prefix}_{name}_loss'], tolerance, message=name)
        # In 'ext' every p is within 2e-7 of 0 or 1. RCE's gradient, 9.2 p (1 - p) / B, is then a difference of terms
        # 1e7 times larger, and only their rounding can be asked for.
        unit = LOG_ZERO / len(labels) if prefix == 'ext' and name.endswith('rce') else 0.0
        _assert_close(grad, arrays[f'{prefix}_{name}_grad'], tolerance, unit, message=name)


def test_golden_negative_entropy(golden):
    arrays = golden('losses.npz')
    with jax.enable_x64(True):
        values = losses.negative_entropy(jnp.asarray(arrays['c10_logits'], jnp.float64))
    _assert_close(values, arrays['c10_negentropy_correct'], 1e-12)


def test_golden_focal_factor_has_no_gradient(golden):
    arrays = golden('losses.npz')
    _, grad = _mean_and_grad(losses.normalized_focal, arrays['c10_logits'], arrays['c10_labels'])
    other = arrays['c10_nfl_grad_if_not_stopped']
    assert np.abs(grad - other).max() > 0.05 * np.abs(other).max()


def test_focal_gradient_is_the_factor_times_that_of_cross_entropy():
    logits, labels = jnp.array([[0.5, -1.0, 2.0], [0.0, 0.0, 3.0]]), jnp.array([2, 0])
    factor = (1 - jax.nn.softmax(logits)[jnp.arange(2), labels]) ** 2
    grad = jax.grad(lambda z: losses.focal(z, labels, gamma=2.0).sum())(logits)
    of_cross_entropy = jax.grad(lambda z: losses.cross_entropy(z, labels).sum())(logits)
    np.testing.assert_allclose(grad, factor[:, None] * of_cross_entropy, rtol=1e-5, atol=1e-7)


# In units of log 2, the log p of p = (1/2, 1/4, 1/4) are -1, -2, -2.
@pytest.mark.parametrize(
    ('loss', 'expected'),
    [
        (losses.cross_entropy, [np.log(2), 2 * np.log(2)]),
        (functools.partial(losses.focal, gamma=2.0), [np.log(2) / 4, 9 / 16 * 2 * np.log(2)]),
        (losses.normalized_cross_entropy, [1 / 5, 2 / 5]),
        # Focal terms at gamma 1: 1/2, 3/2, 3/2.
        (functools.partial(losses.normalized_focal, gamma=1.0), [1 / 7, 3 / 7]),
        (losses.reverse_cross_entropy, [LOG_ZERO / 2, LOG_ZERO * 3 / 4]),
        (
            functools.partial(losses.nfl_rce, alpha=7.0, beta=4.0, gamma=1.0),
            [1 + 2 * LOG_ZERO, 3 + 3 * LOG_ZERO],
        ),
        (lambda logits, labels: losses.negative_entropy(logits), [-1.5 * np.log(2)] * 2),
        (losses.mean_absolute_error, [1 / 2, 3 / 4]),
        (functools.partial(losses.generalized_cross_entropy, q=0.5), [2 - 2 * 0.5**0.5, 1]),
        # -sum (q' log p), q' = (1 - s) q + s / 3: -log p are 1, 2, 2.
        (
            functools.partial(losses.label_smoothing, smoothing=0.3),
            [(0.7 + 0.3 * 5 / 3) * np.log(2), (1.4 + 0.3 * 5 / 3) * np.log(2)],
        ),
        (
            functools.partial(losses.symmetric_cross_entropy, alpha=3.0, beta=2.0),
            [3 * np.log(2) + LOG_ZERO, 6 * np.log(2) + 1.5 * LOG_ZERO],
        ),
        (functools.partial(losses.nce_rce, alpha=5.0, beta=4.0), [1 + 2 * LOG_ZERO, 2 + 3 * LOG_ZERO]),
        (functools.partial(losses.nce_mae, alpha=5.0, beta=4.0), [1 + 2, 2 + 3]),
    ],
    ids=[
        *('ce', 'focal', 'nce', 'nfl', 'rce', 'nfl_rce', 'negative_entropy'),
        *('mae', 'gce', 'label_smoothing', 'sce', 'nce_rce', 'nce_mae'),
    ],
)
def test_by_hand(loss, expected):
    # Softmax does not see the constant 5.
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]] * 2)) + 5.0
    np.testing.assert_allclose(loss(logits, jnp.array([0, 1])), expected, rtol=1e-6)


def test_gradients_of_the_new_losses_by_hand():
    """With dp_y/dz = p_y (onehot - p): MAE has minus that, GCE p^(q-1) of it, label smoothing p - q'."""
    logits, labels = jnp.array([[0.3, -1.0, 2.0], [0.0, 0.5, -3.0]]), jnp.array([2, 0])
    p, one_hot = jax.nn.softmax(logits), jax.nn.one_hot(labels, 3)
    p_y = p[jnp.arange(2), labels][:, None]
    slope = p_y * (one_hot - p)

    def grad(loss, **settings):
        return jax.grad(lambda z: loss(z, labels, **settings).sum())(logits)

    np.testing.assert_allclose(grad(losses.mean_absolute_error), -slope, rtol=1e-5, atol=1e-7)
    q = grad(losses.generalized_cross_entropy, q=0.7)
    np.testing.assert_allclose(q, -(p_y**-0.3) * slope, rtol=1e-5, atol=1e-7)
    smooth = grad(losses.label_smoothing, smoothing=0.3)
    np.testing.assert_allclose(smooth, p - (0.7 * one_hot + 0.1), rtol=1e-5, atol=1e-7)
    sums = [
        (losses.symmetric_cross_entropy, 'cross_entropy', 'reverse_cross_entropy'),
        (losses.nce_rce, 'normalized_cross_entropy', 'reverse_cross_entropy'),
        (losses.nce_mae, 'normalized_cross_entropy', 'mean_absolute_error'),
    ]
    for loss, first, second in sums:
        expected = 2.0 * grad(getattr(losses, first)) + 0.5 * grad(getattr(losses, second))
        np.testing.assert_allclose(grad(loss, alpha=2.0, beta=0.5), expected, rtol=1e-5, atol=1e-7)


def test_generalized_cross_entropy_lies_between_cross_entropy_and_mean_absolute_error():
    logits, labels = 3 * jax.random.normal(jax.random.key(5), (8, 5)), jnp.arange(8) % 5
    for q, limit in ((1e-4, losses.cross_entropy), (1.0, losses.mean_absolute_error)):
        value = losses.generalized_cross_entropy(logits, labels, q=q)
        np.testing.assert_allclose(value, limit(logits, labels), rtol=1e-3)


def test_soft_labels_by_hand():
    logits, labels = jnp.log(jnp.array([[0.5, 0.25, 0.25]])), jnp.array([[0.5, 0.5, 0.0]])
    np.testing.assert_allclose(losses.cross_entropy(logits, labels), [1.5 * np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(losses.normalized_cross_entropy(logits, labels), [1.5 / 5], rtol=1e-6)
    # -sum p log q: 1/2 log 2 + 1/4 log 2 + 1/4 of the floor.
    expected = 0.75 * np.log(2) + LOG_ZERO / 4
    np.testing.assert_allclose(losses.reverse_cross_entropy(logits, labels), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ('loss', 'total'),
    [
        (losses.normalized_cross_entropy, 1.0),
        (losses.normalized_focal, 1.0),
        (losses.reverse_cross_entropy, 4 * LOG_ZERO),
    ],
    ids=['nce', 'nfl', 'rce'],
)
def test_robust_losses_sum_to_a_constant_over_all_labels(loss, total):
    """The symmetry that makes them robust (Ma 2020, theorem 1)."""
    logits = jnp.repeat(3 * jax.random.normal(jax.random.key(0), (1, 5)), 5, axis=0)
    np.testing.assert_allclose(loss(logits, jnp.arange(5)).sum(), total, rtol=1e-5)


@pytest.mark.parametrize('loss', LOSSES.values(), ids=LOSSES)
def test_one_hot_labels_equal_class_numbers(loss):
    logits, labels = 3 * jax.random.normal(jax.random.key(1), (8, 5)), jnp.arange(8) % 5
    loss = jax.jit(loss)
    numbers, one_hot = loss(logits, labels), loss(logits, jax.nn.one_hot(labels, 5))
    assert numbers.shape == (8,)
    np.testing.assert_allclose(numbers, one_hot, rtol=1e-6)


@pytest.mark.parametrize('loss', LOSSES_OF_LOGITS.values(), ids=LOSSES_OF_LOGITS)
def test_bfloat16_logits_give_float32_losses(loss):
    logits = jax.random.normal(jax.random.key(2), (6, 4), jnp.bfloat16)
    loss, labels = jax.jit(loss), jnp.arange(6) % 4
    values = loss(logits, labels)
    assert values.dtype == jnp.float32
    np.testing.assert_array_equal(values, loss(logits.astype(jnp.float32), labels))


def _elr_at_its_edge(logits, labels):
    """The target is the prediction, so that log(1 - agreement) is at its lowest."""
    return losses.elr(logits, labels, jax.nn.softmax(logits.astype(jnp.float32)), lam=3.0)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_finite_at_extreme_logits(dtype):
    big = 1e4
    logits = jnp.array([[big, -big, 0], [-big, big, 0], [big, big, big], [-big, -big, -big], [0, 0, 0]], dtype)
    named = (*LOSSES_OF_LOGITS.items(), ('elr', _elr_at_its_edge))
    for name, (value, grad) in _means_and_grads(named, logits, jnp.zeros(5, int)).items():
        assert np.isfinite(value), name
        assert np.isfinite(np.asarray(grad, np.float32)).all(), name


def _elr_call(golden, prefix, call):
    """The original's call number `call`: arguments and what came of them."""
    arrays = golden('elr.npz')
    return {key: arrays[f'{prefix}_{key}'][call] for key in ('logits', 'index', 'labels', 'loss', 'grad')}


@PRECISIONS
@pytest.mark.parametrize('prefix', ['c10', 'c100'])
def test_golden_elr_sequence(golden, prefix, x64, tolerance):
    arrays = golden('elr.npz')
    beta, lam = float(arrays[f'{prefix}_beta']), float(arrays[f'{prefix}_lambda'])
    memories, loss = arrays[f'{prefix}_target_after'], functools.partial(losses.elr, lam=lam)

    @jax.jit
    def step(memory, index, logits, labels):
        memory = losses.elr_targets(memory, index, logits, beta=beta)
        return memory, _mean_and_grad(loss, logits, labels, memory[index])

    with jax.enable_x64(x64):
        dtype = jnp.float64 if x64 else jnp.float32
        memory = jnp.zeros(memories[0].shape, dtype)
        for number, expected in enumerate(memories):
            call = _elr_call(golden, prefix, number)
            logits = jnp.asarray(call['logits'], dtype)
            memory, (value, grad) = step(memory, call['index'], logits, call['labels'])
            _assert_close(memory, expected, tolerance)
            _assert_close(value, call['loss'], tolerance)
            _assert_close(grad, call['grad'], tolerance)


@pytest.mark.parametrize('prefix', ['c10', 'c100'])
def test_golden_elr_sequence_through_the_criterion(golden, prefix):
    arrays = golden('elr.npz')
    memories = arrays[f'{prefix}_target_after']
    elr = losses.criterion('elr', beta=float(arrays[f'{prefix}_beta']), lam=float(arrays[f'{prefix}_lambda']))
    extra = {'queue': jnp.arange(3), **elr.init(*memories[0].shape)}
    assert extra['elr_targets'].dtype == jnp.float32

    @jax.jit
    def step(logits, batch, extra):
        def mean(z):
            new = elr.remember(extra, batch['index'], z)
            return elr.loss(z, batch['label'], elr.rows(new, batch['index'])).mean(), new

        return jax.value_and_grad(mean, has_aux=True)(logits)

    for number, expected in enumerate(memories):
        call = _elr_call(golden, prefix, number)
        batch = {'label': call['labels'], 'index': call['index'], 'weight': np.ones(len(call['labels']))}
        (value, extra), grad = step(call['logits'], batch, extra)
        _assert_close(extra['elr_targets'], expected, 1e-5)
        _assert_close(value, call['loss'], 1e-5)
        # The memory holds this prediction, and still takes no gradient.
        _assert_close(grad, call['grad'], 1e-5)
    assert set(extra) == {'queue', 'elr_targets'}
    np.testing.assert_array_equal(extra['queue'], [0, 1, 2])


def test_elr_by_hand():
    memory = jnp.full((3, 2), 0.5)
    logits = jnp.log(jnp.array([[0.8, 0.2]]))
    after = losses.elr_targets(memory, jnp.array([1]), logits, beta=0.75)
    np.testing.assert_allclose(after, [[0.5, 0.5], [0.575, 0.425], [0.5, 0.5]], rtol=1e-6)
    value = losses.elr(logits, jnp.array([1]), after[jnp.array([1])], lam=2.0)
    agreement = 0.8 * 0.575 + 0.2 * 0.425
    np.testing.assert_allclose(value, [-np.log(0.2) + 2 * np.log(1 - agreement)], rtol=1e-6)


def test_elr_memory_takes_no_gradient():
    memory, index, logits = jnp.full((2, 2), 0.5), jnp.array([1]), jnp.array([[1.0, 0.0]])
    through_update = jax.grad(lambda z: losses.elr_targets(memory, index, z, beta=0.5)[1, 0])(logits)
    through_loss = jax.grad(lambda t: losses.elr(logits, index, t, lam=3.0)[0])(memory[index])
    assert not through_update.any()
    assert not through_loss.any()


def test_elr_memory_is_clipped_and_renormalised():
    memory = jnp.zeros((1, 3), jnp.float32)
    after = losses.elr_targets(memory, jnp.array([0]), jnp.array([[50.0, 0.0, 0.0]]), beta=0.0)
    low, high = 1e-4, 1 - 1e-4
    np.testing.assert_allclose(after, np.array([[high, low, low]]) / (high + 2 * low), rtol=1e-5)
    assert losses.elr_targets(after, jnp.array([0]), jnp.zeros((1, 3), jnp.bfloat16), beta=0.5).dtype == jnp.float32


@pytest.mark.parametrize(
    ('name', 'settings', 'loss'),
    [
        ('ce', {}, losses.cross_entropy),
        ('nfl_rce', {'alpha': 2.0, 'beta': 0.5}, LOSSES['nfl_rce']),
        (
            'nfl_rce',
            {'alpha': 1.0, 'beta': 3.0, 'gamma': 2.0},
            functools.partial(losses.nfl_rce, alpha=1.0, beta=3.0, gamma=2.0),
        ),
    ],
)
def test_criteria_without_memory(name, settings, loss):
    chosen = losses.criterion(name, **settings)
    assert chosen.init(10, 3) == {}
    logits, labels = jax.random.normal(jax.random.key(4), (4, 3)), jnp.array([0, 1, 2, 0])
    index, memory = jnp.arange(4), {'queue': 1}
    assert chosen.remember(memory, index, logits) == {'queue': 1}
    assert chosen.rows(memory, index) == {}
    np.testing.assert_array_equal(chosen.loss(logits, labels, {}), loss(logits, labels))


def test_unknown_criterion_names_the_allowed():
    with pytest.raises(
        InputError, match=r"'mse' is unknown; allowed: ce, label_smoothing, focal, .*, nfl_rce, nce_rce, nce_mae, elr"
    ):
        losses.criterion('mse')


def test_every_loss_of_a_config_is_made_with_its_settings():
    logits, labels = jax.random.normal(jax.random.key(6), (4, 100)), jnp.arange(4)
    for name in losses.CRITERIA:
        for classes in (10, 50, 100):
            chosen = losses.criterion(name, **settings.default(classes).loss_settings[name])
            memory = chosen.remember(chosen.init(4, 100), labels, logits)
            values = chosen.loss(logits, labels, chosen.rows(memory, labels))
            assert values.shape == (4,)
            assert np.isfinite(values).all()


def test_a_wrong_setting_names_those_of_the_loss():
    with pytest.raises(InputError, match=r'loss gce: .*alpha.*; its settings: q'):
        losses.criterion('gce', alpha=1.0)
    with pytest.raises(InputError, match=r'loss elr: .*lam.*; its settings: beta, lam'):
        losses.criterion('elr', beta=1.0)
