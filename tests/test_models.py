"""The networks against the original's numbers, and what each of them promises."""

import functools
import json
import math
import runpy
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch_names
from conftest import GOLDEN
from flax.traverse_util import flatten_dict

from noisy_jax import models
from noisy_jax.errors import InputError
from noisy_jax.models.norm import BatchNorm

# The encoders of the original, with its classifiers.
ORIGINALS = {'resnet18': 'linear', 'cnn6': 'bn_linear'}
SMALL = ['cnn_small', 'resnet_tiny', 'cnn6']
# Reached in float64: 8e-7 at embeddings of up to 25 (they leave the encoder as float32), 7e-8 at gradients of 0.6.
CLOSE = {'rtol': 1e-6, 'atol': 1e-6}


def create(encoder, classifier='linear', **kw):
    return models.create(encoder, num_classes=10, classifier=classifier, **kw)


def shapes(model, image=(32, 32, 3)):
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, *image)))


def images(count=8, shape=(8, 8, 3), seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, *shape)), jnp.float32)


def seed_key():
    """XLA's own generator compiles three times as fast as the default."""
    return jax.random.key(0, impl='rbg')


@functools.cache
def initialised(encoder, shape=(8, 8, 3)):
    model = create(encoder, 'bn_linear')
    return jax.jit(model.init)(seed_key(), images(shape=shape))


def initial_leaves(model, image, keys):
    """Some leaves of the initial variables, without the time for the others."""
    init = jax.jit(lambda key: [flatten_dict(model.init(key, jnp.zeros((1, *image))))[path] for path in keys])
    return init(seed_key())


def size(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


@pytest.fixture(scope='module')
def layouts(golden):
    return json.loads((GOLDEN / 'resnet_params.json').read_text())


@pytest.fixture(scope='module', params=ORIGINALS)
def original(request, golden, layouts):
    """Weights, a batch and the outputs of the original; the names of both networks' outputs are brought together."""
    if request.param == 'resnet18':
        fill = runpy.run_path(str(GOLDEN / 'fill_params.py'))['fill']
        layout = layouts['r18_bn1']
        names = {**layout['params'], **layout['buffers']}
        state = {name: fill(name, shape) for name, shape in names.items() if 'num_batches' not in name}
        batch = golden('resnet_input.npz')
        outputs = {k[8:]: v for k, v in golden('resnet_params.npz').items() if k.startswith('r18_bn1_')}
    else:
        state = {k.removeprefix('sd/'): v for k, v in golden('simplemodel_state.npz').items()}
        batch = golden('simplemodel_eval.npz')
        outputs = batch | golden('simplemodel_train.npz')
        outputs = {k.replace('grad/', 'grad_').replace('after_train/', 'train_'): v for k, v in outputs.items()}
    return types.SimpleNamespace(
        encoder=request.param,
        classifier=ORIGINALS[request.param],
        variables=torch_names.variables(state),
        images=batch['x'].transpose(0, 2, 3, 1),
        labels=batch['y'],
        outputs=outputs,
    )


@pytest.fixture(scope='module')
def wide(original):
    """What our network makes of the same weights and batch in float64, once for all tests."""

    def loss(params, stats):
        variables = {'params': params, 'batch_stats': stats}
        (logits, projections), new = model.apply(variables, x, train=True, mutable=['batch_stats'])
        ce = optax.losses.softmax_cross_entropy_with_integer_labels(logits, original.labels).mean()
        return ce, (logits, projections, new['batch_stats'])

    with jax.enable_x64(True):
        model = create(original.encoder, original.classifier, dtype=jnp.float64)
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), original.variables)
        x = jnp.asarray(original.images, jnp.float64)
        inspect = {'capture_intermediates': True, 'mutable': ['intermediates']}
        (logits, projections), seen = jax.jit(lambda v: model.apply(v, x, train=False, **inspect))(variables)
        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        (ce, aux), grads = step(variables['params'], variables['batch_stats'])
        calls = flatten_dict(seen['intermediates']['encoder'], sep='/')
        result = types.SimpleNamespace(
            eval={'logits': logits, 'proj': projections},
            layers={name.removesuffix('__call__').strip('/'): value[0] for name, value in calls.items()},
            train={'logits': aux[0], 'proj': aux[1], 'ce': ce},
            grads={'params': grads},
            stats={'batch_stats': aux[2]},
        )
        return jax.tree.map(np.asarray, result.__dict__)


def test_the_weights_of_the_original_fit_one_to_one(original):
    ours = shapes(create(original.encoder, original.classifier))
    assert jax.tree.map(np.shape, original.variables) == jax.tree.map(np.shape, dict(ours))


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_logits_and_projections_match_the_original(original, wide, mode):
    for name, ours in wide[mode].items():
        np.testing.assert_allclose(ours, original.outputs[f'{mode}_{name}'], **CLOSE, err_msg=name)


def test_layers_match_the_original(original, wide):
    """Where the outputs differ, this says from which layer on."""
    layers, outputs = wide['layers'], original.outputs
    if original.encoder == 'resnet18':
        names = ['stem_conv', 'stem_norm', None, *(f'stage{n}_block2' for n in range(1, 5)), None, '']
        for number, name in enumerate(names):
            if name is not None:
                first = np.moveaxis(layers[name], -1, 1)[0].reshape(-1)[:32]
                expected = outputs[f'eval_net{number}_s0_first32']
                np.testing.assert_allclose(first, expected, **CLOSE, err_msg=name)
        np.testing.assert_allclose(layers[''], outputs['eval_features'], **CLOSE)
    else:
        for name, theirs in {'hidden': 'fc1.0', 'hidden_norm': 'fc1.1', 'out': 'fc1', '': 'fc1'}.items():
            np.testing.assert_allclose(layers[name], outputs[f'eval_{theirs}'], **CLOSE, err_msg=name)
        for block in (1, 2, 3):
            y = np.maximum(layers[f'block{block}_norm2'][0], 0)
            pooled = y.reshape(len(y) // 2, 2, len(y) // 2, 2, -1).max((1, 3)).transpose(2, 0, 1)
            np.testing.assert_allclose(pooled, outputs[f'eval_block{block}_s0'], **CLOSE, err_msg=str(block))


def compare_trees(ours, outputs, prefix, endings):
    """The outputs that a prefix and an ending select, with the same entries of our tree; returns their number."""
    chosen = [name for name in outputs if name.startswith(prefix) and name.endswith(endings)]
    for name in chosen:
        keys, expected = torch_names.leaf(name.removeprefix(prefix), outputs[name])
        np.testing.assert_allclose(flatten_dict(ours)[keys], expected, **CLOSE, err_msg=name)
    return len(chosen)


def test_gradients_match_the_original(original, wide):
    compared = compare_trees(wide['grads'], original.outputs, 'train_grad_', ('.weight', '.bias'))
    assert compared == {'resnet18': 2, 'cnn6': 6}[original.encoder]
    if original.encoder == 'resnet18':
        norm = optax.tree.norm(wide['grads'])
        np.testing.assert_allclose(norm, original.outputs['train_gradnorm_total'], rtol=1e-6)
    # Cross-entropy does not see the projection head.
    assert not any(leaf.any() for leaf in jax.tree.leaves(wide['grads']['params']['projection']))


def test_running_statistics_match_the_original_after_one_step(original, wide):
    compared = compare_trees(wide['stats'], original.outputs, 'train_', ('.running_mean', '.running_var'))
    assert compared == {'resnet18': 4, 'cnn6': 16}[original.encoder]


def test_float32_stays_near_the_original(original):
    model = create(original.encoder, original.classifier)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), original.variables)
    logits, projections = jax.jit(model.apply)(variables, jnp.asarray(original.images, jnp.float32))
    # Reached: 8e-6; PyTorch's own float32 differs from its float64 by 5e-6.
    np.testing.assert_allclose(logits, original.outputs['eval_logits'], rtol=0, atol=3e-5)
    np.testing.assert_allclose(projections, original.outputs['eval_proj'], rtol=0, atol=3e-5)


@pytest.mark.parametrize(('encoder', 'theirs'), [('resnet18', 'r18_bn1'), ('cnn6', 'simple')])
def test_parameter_counts(layouts, encoder, theirs):
    params = shapes(create(encoder, ORIGINALS[encoder]))['params']
    layout = layouts[theirs]
    phases = {phase: counts['n_trainable'] for phase, counts in layout['phases'].items()}
    encoder, projection, classifier = (size(params[part]) for part in ('encoder', 'projection', 'classifier'))
    ours = {'1': encoder + projection, '2': encoder + classifier, '3': classifier, '4': size(params)}
    assert ours == phases
    assert size(params) == layout['n_params']


def test_initial_weights_are_spread_as_the_original(layouts):
    expected = layouts['init_std']
    keys = [torch_names.leaf(name, np.empty(shape))[0] for name, (_, _, shape) in expected.items()]
    leaves = initial_leaves(create('resnet18'), (32, 32, 3), keys)
    for ours, (name, (std, largest, _)) in zip(leaves, expected.items(), strict=True):
        # Five standard errors of the difference of two sample deviations of normal values.
        np.testing.assert_allclose(ours.std(), std, rtol=5 / math.sqrt(ours.size), err_msg=name)
        # The largest value tells normal (4 deviations) from uniform (1.7).
        np.testing.assert_allclose(ours.max(), largest, rtol=0.25, err_msg=name)


@pytest.mark.parametrize('encoder', models.ENCODERS)
@pytest.mark.parametrize('classifier', models.CLASSIFIERS)
def test_the_parameters_have_exactly_three_parts(encoder, classifier):
    model = create(encoder, classifier)
    assert set(shapes(model)['params']) == {'encoder', 'projection', 'classifier'}


@pytest.mark.parametrize('shape', [(8, 8, 1), (32, 32, 3)])
def test_cnn_small_takes_other_images(shape):
    logits, projections = jax.jit(create('cnn_small', 'bn_linear').apply)(
        initialised('cnn_small', shape), images(shape=shape)
    )
    assert (logits.shape, projections.shape) == ((8, 10), (8, 128))
    assert jnp.isfinite(projections).all()
    assert (jnp.ptp(logits, 0) > 0).all(), 'the logits depend on the image'


def test_large_images_get_the_7x7_stem():
    x = jnp.zeros((2, 96, 96, 3))
    model = create('resnet_tiny', image_size=96, width=64)
    (_, variables) = jax.eval_shape(
        lambda key: model.init_with_output(key, x, capture_intermediates=True, mutable=True), jax.random.key(0)
    )
    assert variables['params']['encoder']['stem_conv']['kernel'].shape == (7, 7, 3, 64)
    first = variables['intermediates']['encoder']['stage1_block1']['__call__'][0]
    assert first.shape == (2, 24, 24, 64), 'stride 2, then pooling'
    small = shapes(create('resnet_tiny', image_size=64, width=64))
    assert small['params']['encoder']['stem_conv']['kernel'].shape == (3, 3, 3, 64)

    # He's weights, as in the original for large images.
    (kernel,) = initial_leaves(model, (96, 96, 3), [('params', 'encoder', 'stem_conv', 'kernel')])
    np.testing.assert_allclose(kernel.std(), math.sqrt(2 / (49 * 64)), rtol=5 / math.sqrt(2 * kernel.size))


def test_width_and_projection_dim_set_the_shapes():
    params = shapes(create('resnet_tiny', width=8, projection_dim=32))['params']
    assert params['encoder']['stem_conv']['kernel'].shape[-1] == 8
    assert params['classifier']['linear']['kernel'].shape == (64, 10)
    assert params['projection']['out']['kernel'].shape == (64, 32)


@pytest.mark.parametrize('encoder', SMALL)
def test_a_training_step_reaches_all_parts_and_evaluation_changes_nothing(encoder):
    model, x, variables = create(encoder, 'bn_linear'), images(), initialised(encoder)

    def loss(params, train):
        outputs, new = model.apply({**variables, 'params': params}, x, train=train, mutable=['batch_stats'])
        return sum((out**2).mean() for out in outputs), new['batch_stats']

    grads, stats = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)(variables['params'], True)
    for path, leaf in flatten_dict(grads, sep='/').items():
        assert jnp.isfinite(leaf).all(), path
        # A bias in front of BatchNorm has no gradient.
        assert path.endswith('bias') or jnp.abs(leaf).max() > 1e-6, path
    old = flatten_dict(variables['batch_stats'], sep='/')
    for path, leaf in flatten_dict(stats, sep='/').items():
        assert (leaf != old[path]).any(), path

    _, stats = jax.jit(loss, static_argnums=1)(variables['params'], False)
    jax.tree.map(np.testing.assert_array_equal, stats, variables['batch_stats'])


def test_the_whole_is_its_parts():
    model, x, variables = create('cnn_small', 'bn_linear'), images(), initialised('cnn_small')
    logits, projections = model.apply(variables, x)
    embeddings = model.apply(variables, x, train=False, method='embed')
    np.testing.assert_array_equal(model.apply(variables, embeddings, train=False, method='classify'), logits)
    np.testing.assert_array_equal(model.apply(variables, embeddings, method='project'), projections)


@pytest.mark.parametrize('method', ['classify', 'project'])
def test_each_head_alone_trains_the_encoder(method):
    model, kw = create('cnn_small', 'bn_linear'), {'train': False} if method == 'classify' else {}

    def loss(embeddings):
        return (model.apply(initialised('cnn_small'), embeddings, method=method, **kw) ** 2).sum()

    grads = jax.grad(loss)(jnp.ones((4, 128)))
    assert (grads != 0).all()


def test_small_networks_start_as_pytorch_layers():
    params = flatten_dict(initialised('cnn_small')['params'], sep='/')
    kernels = {path: leaf for path, leaf in params.items() if path.endswith('kernel')}
    assert len(kernels) == 6
    for path, kernel in kernels.items():
        bound = np.prod(kernel.shape[:-1]) ** -0.5
        for leaf in (kernel, params[path.replace('kernel', 'bias')]):
            # Uniform within the bound: with 10 or more values the largest lies in its upper half.
            assert bound / 2 < jnp.abs(leaf).max() <= bound, path


@pytest.mark.parametrize('encoder', ['cnn_small', 'resnet_tiny'])
def test_bfloat16_computes_but_keeps_nothing(encoder):
    def run(dtype):
        model = create(encoder, 'bn_linear', dtype=dtype)
        keep = {'mutable': ['batch_stats', 'intermediates'], 'capture_intermediates': True}
        outputs, new = jax.jit(lambda v: model.apply(v, images(), train=True, **keep))(initialised(encoder))
        return outputs, new['batch_stats'], new['intermediates']['encoder']

    def dtypes(tree):
        return {leaf.dtype for leaf in jax.tree.leaves(tree)}

    outputs, stats, inner = run(jnp.bfloat16)
    embeddings = inner.pop('__call__')
    params = shapes(create(encoder, dtype=jnp.bfloat16))['params']
    assert dtypes((outputs, embeddings, stats, params)) == {jnp.dtype('float32')}
    assert dtypes(inner) == {jnp.dtype('bfloat16')}
    for ours, theirs in zip(outputs, run(jnp.float32)[0], strict=True):
        assert 1e-5 < jnp.abs(ours - theirs).max() < 0.1


@pytest.mark.parametrize('shape', [(16, 5), (6, 4, 3, 5)])
def test_batch_norm_follows_pytorch(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, shape).astype(np.float32)
    scale, bias, mean = rng.normal(size=(3, 5)).astype(np.float32)
    var = rng.uniform(0.5, 2, 5).astype(np.float32)
    variables = {'params': {'scale': scale, 'bias': bias}, 'batch_stats': {'mean': mean, 'var': var}}
    norm = BatchNorm()

    def expected(mean, var):
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    rows = x.reshape(-1, 5).astype(np.float64)
    y, new = norm.apply(variables, x, train=True, mutable=['batch_stats'])
    np.testing.assert_allclose(y, expected(rows.mean(0), rows.var(0)), rtol=1e-5, atol=1e-5)
    stats = new['batch_stats']
    np.testing.assert_allclose(stats['mean'], 0.9 * mean + 0.1 * rows.mean(0), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(stats['var'], 0.9 * var + 0.1 * rows.var(0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(norm.apply(variables, x, train=False), expected(mean, var), rtol=1e-5, atol=1e-5)


def test_batch_norm_sums_in_float32_under_bfloat16():
    x = jnp.asarray(np.random.default_rng(0).normal(1, 2, (512, 3)), jnp.bfloat16)
    norm = BatchNorm(jnp.bfloat16)
    variables = norm.init(jax.random.key(0), x, train=False)
    y, new = norm.apply(variables, x, train=True, mutable=['batch_stats'])
    rows = np.asarray(x, np.float64)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(new['batch_stats']['mean'], 0.1 * rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(new['batch_stats']['var'], 0.9 + 0.1 * rows.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_is_finite_on_a_constant_and_on_one_image():
    for x in (jnp.full((4, 3), 1000.0), jnp.ones((1, 3))):
        variables = BatchNorm().init(jax.random.key(0), x, train=False)
        y, new = BatchNorm().apply(variables, x, train=True, mutable=['batch_stats'])
        np.testing.assert_allclose(y, 0, atol=1e-3)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(new))


@pytest.mark.parametrize(
    ('field', 'allowed'),
    [('encoder', models.ENCODERS), ('classifier', models.CLASSIFIERS)],
    ids=['encoder', 'classifier'],
)
def test_unknown_names_say_what_is_allowed(field, allowed):
    with pytest.raises(InputError) as error:
        models.create(**{'encoder': 'cnn_small', 'num_classes': 10, field: 'vgg16'})
    message = str(error.value)
    assert f"model.{field}: 'vgg16'" in message
    assert all(name in message for name in allowed)


@pytest.mark.parametrize(('encoder', 'pixels'), [('cnn6', 8), ('cnn_small', 2)])
def test_too_small_images_say_what_is_needed(encoder, pixels):
    shapes(create(encoder), (pixels, pixels, 1))
    with pytest.raises(InputError, match=f'{encoder} needs {pixels} pixels'):
        shapes(create(encoder), (pixels - 1, pixels, 1))
