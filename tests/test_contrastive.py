"""Contrastive losses against the original's numbers, a double loop in NumPy, optax, and degenerate input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from noisy_jax import losses

nt_xent = jax.jit(losses.nt_xent, static_argnames='block_size')
sup_con = jax.jit(losses.sup_con, static_argnames=('own_view_weight', 'block_size'))

PRECISIONS = pytest.mark.parametrize(('x64', 'tolerance'), [(True, 1e-12), (False, 1e-5)], ids=['x64', 'float32'])
OWN_VIEW_WEIGHTS = ('one', 'sample')
# All similarities at once, blocks that do not divide the batch.
BLOCKS = pytest.mark.parametrize('block_size', [0, 5])

# Golden name: (labels used, weights, temperature, factor). The original multiplies by temperature / base temperature,
# and its base temperature stays 0.07 in the *_base007 ones; ours has no such factor.
GOLDEN = {
    'ntxent_t05': (False, None, 0.5, 1.0),
    'ntxent_t007': (False, None, 0.07, 1.0),
    'simclr_t05_base05': (False, None, 0.5, 1.0),
    'simclr_t05_base007': (False, None, 0.5, 0.5 / 0.07),
    'supcon_t007': (True, None, 0.07, 1.0),
    'supcon_t05_base007': (True, None, 0.5, 0.5 / 0.07),
    'weighted_t007': (True, 'stored', 0.07, 1.0),
    'weighted_t05_base007': (True, 'stored', 0.5, 0.5 / 0.07),
    'weighted_ones_t007': (True, 'ones', 0.07, 1.0),
}


def _assert_close(actual, expected, tolerance):
    """Off by at most `tolerance` times the largest expected value."""
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, rtol=0, atol=atol)


def _double_loop(z1, z2, labels, weights, temperature, own_view_weight):
    """SupCon anchor by anchor, positive by positive, as its equation reads."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    batch = len(labels)
    result = []
    for i in range(2 * batch):
        others = [j for j in range(2 * batch) if j != i]
        denominator = sum(np.exp(z[i] @ z[j] / temperature) for j in others)
        total, weight_sum = 0.0, 0.0
        for j in others:
            if labels[j % batch] == labels[i % batch]:
                own = j % batch == i % batch and own_view_weight == 'one'
                weight = 1.0 if own else weights[j % batch]
                total -= weight * (z[i] @ z[j] / temperature - np.log(denominator))
                weight_sum += weight
        result.append(total / weight_sum)
    return np.array(result)


@pytest.fixture(scope='module')
def views():
    """Two views [7, 5] that are not normalised, labels of 3 classes (one occurs once), weights with a 0."""
    rng = np.random.default_rng(0)
    z1 = rng.normal(size=(7, 5)) * rng.uniform(0.1, 10, (7, 1))
    z2 = 0.5 * z1 + rng.normal(size=(7, 5))
    return z1, z2, np.array([0, 1, 1, 2, 0, 1, 0]), np.array([0.9, 0.1, 0.0, 0.5, 1.0, 0.3, 0.7])


@PRECISIONS
@BLOCKS
@pytest.mark.parametrize('name', GOLDEN)
def test_golden_loss_and_gradient(golden, name, block_size, x64, tolerance):
    arrays = golden('contrastive.npz')
    supervised, weighting, temperature, factor = GOLDEN[name]
    weights = {None: None, 'ones': np.ones(16), 'stored': arrays['weights']}[weighting]

    @jax.value_and_grad
    def loss(z):
        if not supervised:
            return factor * nt_xent(z[:, 0], z[:, 1], temperature=temperature, block_size=block_size).mean()
        settings = {'temperature': temperature, 'own_view_weight': 'sample', 'block_size': block_size}
        return factor * sup_con(z[:, 0], z[:, 1], arrays['labels'], weights, **settings).mean()

    with jax.enable_x64(x64):
        # 'rawnorm' was differentiated through the normalisation, which is inside our loss.
        value, grad = loss(jnp.asarray(arrays['raw'], jnp.float64 if x64 else jnp.float32))
    _assert_close(value, arrays[f'{name}_rawnorm_loss'], tolerance)
    _assert_close(grad, arrays[f'{name}_rawnorm_grad'], tolerance)


def test_golden_gradient_of_normalised_features(golden):
    """The original does not normalise inside: its gradient without the part along the feature is ours."""
    arrays = golden('contrastive.npz')
    features, radial = arrays['features'].astype(np.float64), arrays['ntxent_t007_grad']
    tangential = radial - features * (radial * features).sum(-1, keepdims=True)
    grad = jax.grad(lambda z: nt_xent(z[:, 0], z[:, 1], temperature=0.07).mean())(arrays['features'])
    _assert_close(grad, tangential, 1e-5)


def test_golden_own_view_of_weight_one(golden):
    """The paper's variant."""
    arrays = golden('contrastive.npz')
    raw = arrays['raw']
    loss = sup_con(raw[:, 0], raw[:, 1], arrays['labels'], arrays['weights'], own_view_weight='one').mean()
    np.testing.assert_allclose(loss, arrays['weighted_t007_poster_ownview1_loss_numpy'], rtol=1e-5)


@pytest.mark.parametrize('own_view_weight', OWN_VIEW_WEIGHTS)
@pytest.mark.parametrize('temperature', [0.07, 0.5])
def test_sup_con_equals_the_double_loop(views, temperature, own_view_weight):
    settings = {'temperature': temperature, 'own_view_weight': own_view_weight}
    z1, z2, labels, weights = views
    if own_view_weight == 'sample':
        weights = np.maximum(weights, 0.01)  # all weights 0 is 0 / 0 in the loop
    with jax.enable_x64(True):
        values = sup_con(z1, z2, labels, weights, **settings)
    assert values.shape == (14,)
    np.testing.assert_allclose(values, _double_loop(*views[:3], weights, **settings), rtol=1e-12)


def test_nt_xent_equals_the_double_loop_with_a_class_per_sample(views):
    z1, z2, _, _ = views
    with jax.enable_x64(True):
        values = nt_xent(z1, z2, temperature=0.2)
    np.testing.assert_allclose(values, _double_loop(z1, z2, range(7), np.ones(7), 0.2, 'one'), rtol=1e-12)


def test_nt_xent_equals_optax(views):
    def ours(z):
        return nt_xent(z[:7], z[7:], temperature=0.3).mean()

    def theirs(z):
        return optax.losses.ntxent(z, jnp.tile(jnp.arange(7), 2), temperature=0.3)

    z = jnp.asarray(np.concatenate(views[:2]), jnp.float32)
    value, grad = jax.jit(jax.value_and_grad(ours))(z)
    expected, expected_grad = jax.jit(jax.value_and_grad(theirs))(z)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    _assert_close(grad, np.asarray(expected_grad), 1e-5)


def test_order_is_first_views_then_second_views():
    # Similarities are 0 or 1. Each anchor's other view against its three others:
    z1, z2 = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([[2.0, 0.0], [3.0, 0.0]])
    expected = [
        np.log(2 * np.e + 1) - 1,  # z1[0]: z2[0] is like it, z2[1] too
        np.log(3),  # z1[1]: none is like it
        np.log(2 * np.e + 1) - 1,  # z2[0]: z1[0] and z2[1]
        np.log(2 * np.e + 1),  # z2[1]: z1[1] is not like it, z1[0] and z2[0] are
    ]
    np.testing.assert_allclose(nt_xent(z1, z2, temperature=1.0), expected, rtol=1e-6)
    alone = sup_con(z1, z2, jnp.array([0, 1]), jnp.array([0.5, 0.0]), temperature=1.0)
    np.testing.assert_allclose(alone, expected, rtol=1e-6)


def test_weight_zero_leaves_the_own_view_alone(views):
    """With no trust in any label, the paper's variant is NT-Xent; the original code's has nothing left."""
    z1, z2, labels, _ = views
    paper = sup_con(z1, z2, labels, np.zeros(7), temperature=0.5, own_view_weight='one')
    np.testing.assert_allclose(paper, nt_xent(z1, z2, temperature=0.5), rtol=1e-6)
    code = sup_con(z1, z2, labels, np.zeros(7), temperature=0.5, own_view_weight='sample')
    np.testing.assert_array_equal(code, np.zeros(14))


def test_weights_of_none_are_ones(views):
    z1, z2, labels, _ = views
    np.testing.assert_allclose(sup_con(z1, z2, labels), sup_con(z1, z2, labels, np.ones(7)), rtol=1e-6)


@BLOCKS
@pytest.mark.parametrize('own_view_weight', OWN_VIEW_WEIGHTS)
def test_finite_on_zero_vectors_and_zero_weights(views, own_view_weight, block_size):
    z1, z2, labels, _ = (jnp.asarray(array, jnp.float32) for array in views)

    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def loss(z1, z2, weights):
        supervised = sup_con(z1, z2, labels, weights, own_view_weight=own_view_weight, block_size=block_size)
        return supervised.sum() + nt_xent(z1, z2, block_size=block_size).sum()

    for scale in (0.0, 1e-20, 1e15):
        for weight in (0.0, 1.0):
            # Some rows of one view, all rows of the other.
            value, grads = loss(z1.at[:3].multiply(scale), z2 * scale, jnp.full(7, weight))
            assert np.isfinite(value), (scale, weight)
            assert np.isfinite(grads).all(), (scale, weight)


@pytest.mark.parametrize('own_view_weight', OWN_VIEW_WEIGHTS)
def test_a_weight_of_nan_is_seen(views, own_view_weight):
    """In the loss of all images with that label, and nowhere else."""
    z1, z2, _, _ = views
    labels, weights = np.array([0, 1, 0, 2, 1, 1, 0]), np.array([1, 1, np.nan, 0.5, 1, 0, 1])
    values = sup_con(z1, z2, labels, weights, own_view_weight=own_view_weight)
    np.testing.assert_array_equal(np.isnan(values).reshape(2, 7), np.tile(labels == 0, (2, 1)))


def test_gradient_of_the_weights_is_finite(views):
    """Without jit: XLA would turn the diagonal's 0 * inf into 0."""
    z1, z2, labels, weights = (jnp.asarray(array, jnp.float32) for array in views)
    grad = jax.grad(lambda w: losses.sup_con(z1, z2, labels, w).sum())(weights)
    assert np.isfinite(grad).all()
    assert np.abs(grad).max() > 0


def test_length_does_not_matter(views):
    z1, z2, _, _ = views
    np.testing.assert_allclose(nt_xent(100 * z1, z2 / 100), nt_xent(z1, z2), rtol=1e-5)


def test_bfloat16_embeddings_give_float32_losses(views):
    z1, z2, labels, weights = (jnp.asarray(array, jnp.bfloat16) for array in views)
    assert nt_xent(z1, z2).dtype == jnp.float32
    values = sup_con(z1, z2, labels, weights)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, sup_con(*(x.astype(jnp.float32) for x in (z1, z2)), labels, weights), rtol=1e-6)


def _value_and_gradients(loss, *arrays, **settings):
    def total(*arrays):
        values = loss(*arrays[:2], *settings.pop('labels', ()), *arrays[2:], **settings)
        return jnp.sum(values * jnp.cos(jnp.arange(len(values)))), values  # each row counts differently

    argnums = tuple(range(len(arrays)))
    (_, values), gradients = jax.jit(jax.value_and_grad(total, argnums, has_aux=True))(*arrays)
    return values, gradients


@pytest.mark.parametrize('temperature', [0.01, 0.07, 0.5])
@pytest.mark.parametrize('count', [1, 96, 300])
def test_blocks_equal_dense_in_value_and_gradient(count, temperature):
    rng = np.random.default_rng(count)
    z1, z2 = (jnp.asarray(rng.normal(size=(count, 16)), jnp.float32) for _ in range(2))
    labels, weights = rng.integers(0, 4, count), jnp.asarray(rng.uniform(size=count), jnp.float32)
    cases = [(losses.nt_xent, (z1, z2), {}), (losses.sup_con, (z1, z2, weights), {'labels': (labels,)})]
    for loss, arrays, more in cases:
        dense = _value_and_gradients(loss, *arrays, temperature=temperature, block_size=0, **more)
        blocks = _value_and_gradients(loss, *arrays, temperature=temperature, block_size=64, **more)
        for ours, expected in zip(jax.tree.leaves(blocks), jax.tree.leaves(dense), strict=True):
            # A loss is the difference of numbers up to 1 / temperature; one pair alone has none, and no gradient.
            scale = max(float(np.abs(expected).max()), 1 / temperature)
            np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 * scale)


def test_large_batches_take_memory_linear_in_their_size():
    def temporaries(count, **settings):
        z = jax.ShapeDtypeStruct((count, 128), jnp.float32)
        gradient = jax.grad(lambda z1, z2: losses.nt_xent(z1, z2, **settings).sum())
        return jax.jit(gradient).lower(z, z).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(4096) < temporaries(4096, block_size=0) / 13
    assert temporaries(32768) < 8.5 * temporaries(4096)


def test_small_batches_are_dense():
    z = jax.ShapeDtypeStruct((1024, 8), jnp.float32)
    assert 'scan' not in str(jax.make_jaxpr(losses.nt_xent)(z, z))
    z = jax.ShapeDtypeStruct((1025, 8), jnp.float32)
    assert 'scan' in str(jax.make_jaxpr(losses.nt_xent)(z, z))


def test_unknown_own_view_weight(views):
    with pytest.raises(ValueError, match="'half' is unknown; choose 'one' or 'sample'"):
        sup_con(*views, own_view_weight='half')
