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
from conftest import GOLDEN, refused
from flax.traverse_util import flatten_dict

from noisy_jax import models
from noisy_jax.errors import InputError
from noisy_jax.models.resnet import Bottleneck, PreActBlock, ResNet

# The networks of the original, by their names in its numbers: how we make them.
ORIGINALS = {
    'r18_bn1': {'encoder': 'resnet18'},
    'r18_bn8': {'encoder': 'resnet18', 'batch_norm_splits': 8},
    'r50_bn8': {'encoder': 'resnet50', 'batch_norm_splits': 8},
    'pre18': {'encoder': 'preact_resnet18'},
    'simple': {'encoder': 'cnn6', 'classifier': 'bn_linear'},
}
STAGES = {'r18_bn1': (2, 2, 2, 2), 'r50_bn8': (3, 4, 6, 3)}  # of those with numbers of their layers
# Blocks in a network of two stages, small enough to train.
BLOCKS = {'bottleneck': Bottleneck, 'preact': PreActBlock}
SMALL = ['cnn_small', 'resnet_tiny', 'cnn6', *BLOCKS]
# Reached in float64: 8e-7 at embeddings of up to 25 (they leave the encoder as float32), 7e-8 at gradients of 0.6.
CLOSE = {'rtol': 1e-6, 'atol': 1e-6}


def create(encoder, classifier='linear', image_size=32, num_classes=10, **kw):
    if encoder not in BLOCKS:
        settings = {'encoder': encoder, 'classifier': classifier, **kw}
        return models.create(settings, num_classes=num_classes, image_size=image_size)
    heads = models.PROJECTIONS['mlp'](128, **kw), models.CLASSIFIERS[classifier](10, **kw)
    return models.Network(ResNet((1, 1), block=BLOCKS[encoder], width=8, **kw), *heads)


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


# The blocks of r18_bn1, which take long to compile; splits are compared in test_norm.py too.
_SLOW = {'r18_bn8': pytest.mark.slow}


@pytest.fixture(scope='module', params=[pytest.param(name, marks=_SLOW.get(name, ())) for name in ORIGINALS])
def original(request, golden, layouts):
    """Weights, a batch and the outputs of the original; the names of both networks' outputs are brought together."""
    name = request.param
    if name == 'simple':
        state = {k.removeprefix('sd/'): v for k, v in golden('simplemodel_state.npz').items()}
        batch = golden('simplemodel_eval.npz')
        outputs = batch | golden('simplemodel_train.npz')
        outputs = {k.replace('grad/', 'grad_').replace('after_train/', 'train_'): v for k, v in outputs.items()}
    else:
        fill = runpy.run_path(str(GOLDEN / 'fill_params.py'))['fill']
        layout = layouts[name]
        names = {**layout['params'], **layout['buffers']}
        state = {name: fill(name, shape) for name, shape in names.items() if 'num_batches' not in name}
        batch = golden('resnet_input.npz')
        both = golden('resnet_params.npz') | golden('resnet50_pre18.npz')
        outputs = {k.removeprefix(f'{name}_'): v for k, v in both.items() if k.startswith(name)}
    return types.SimpleNamespace(
        name=name,
        settings=ORIGINALS[name],
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
        model = create(**original.settings, dtype=jnp.float64)
        variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), original.variables)
        x = jnp.asarray(original.images, jnp.float64)
        few = x[: len(original.outputs['eval_logits'])]
        inspect = {'capture_intermediates': True, 'mutable': ['intermediates']}
        (logits, projections), seen = jax.jit(lambda v: model.apply(v, few, train=False, **inspect))(variables)
        calls = flatten_dict(seen['intermediates']['encoder'], sep='/')
        result = types.SimpleNamespace(
            eval={'logits': logits, 'proj': projections},
            layers={name.removesuffix('__call__').strip('/'): value[0] for name, value in calls.items()},
        )
        if 'train_logits' in original.outputs:
            step = jax.jit(jax.value_and_grad(loss, has_aux=True))
            (ce, aux), grads = step(variables['params'], variables['batch_stats'])
            result.train = {'logits': aux[0], 'proj': aux[1], 'ce': ce}
            result.grads, result.stats = {'params': grads}, {'batch_stats': aux[2]}
        return types.SimpleNamespace(**jax.tree.map(np.asarray, result.__dict__))


def trained(wide):
    """Skips where there are no numbers of the original in training mode."""
    if not hasattr(wide, 'train'):
        pytest.skip('the original has no numbers of this network in training')


def test_the_weights_of_the_original_fit_one_to_one(original):
    ours = shapes(create(**original.settings))
    assert jax.tree.map(np.shape, original.variables) == jax.tree.map(np.shape, dict(ours))


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_logits_and_projections_match_the_original(original, wide, mode):
    if mode == 'train':
        trained(wide)
    for name, ours in getattr(wide, mode).items():
        expected = original.outputs[f'{mode}_{name}']
        # The last layer of a head computes in float32, whose rounding is relative to the largest terms of its sums.
        close = CLOSE | {'atol': 1e-6 * max(np.abs(expected).max(), 1)}
        np.testing.assert_allclose(ours, expected, **close, err_msg=name)


def test_layers_match_the_original(original, wide):
    """Where the outputs differ, this says from which layer on."""
    layers, outputs = wide.layers, original.outputs
    if 'eval_features' in outputs:
        np.testing.assert_allclose(layers[''], outputs['eval_features'], **CLOSE)
    if original.name in STAGES:
        blocks = [f'stage{n}_block{last}' for n, last in enumerate(STAGES[original.name], 1)]
        for number, name in enumerate(['stem_conv', 'stem_norm', None, *blocks]):
            if name is not None:
                first = np.moveaxis(layers[name], -1, 1)[0].reshape(-1)[:32]
                expected = outputs[f'eval_net{number}_s0_first32']
                np.testing.assert_allclose(first, expected, **CLOSE, err_msg=name)
    elif original.name == 'simple':
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
    trained(wide)
    compared = compare_trees(wide.grads, original.outputs, 'train_grad_', ('.weight', '.bias'))
    assert compared == (6 if original.name == 'simple' else 2)
    if original.name != 'simple':
        norm = optax.tree.norm(wide.grads)
        np.testing.assert_allclose(norm, original.outputs['train_gradnorm_total'], rtol=1e-6)
    # Cross-entropy does not see the projection head.
    assert not any(leaf.any() for leaf in jax.tree.leaves(wide.grads['params']['projection']))


def test_running_statistics_match_the_original_after_one_step(original, wide):
    trained(wide)
    compared = compare_trees(wide.stats, original.outputs, 'train_', ('.running_mean', '.running_var'))
    assert compared == (16 if original.name == 'simple' else 4)


def test_float32_stays_near_the_original(original):
    if original.name in ('r18_bn8', 'r50_bn8'):
        pytest.skip('the same blocks as r18_bn1, which take long to compile')
    model = create(**original.settings)
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), original.variables)
    x = jnp.asarray(original.images[: len(original.outputs['eval_logits'])], jnp.float32)
    logits, projections = jax.jit(model.apply)(variables, x)
    # Reached: 8e-6; PyTorch's own float32 differs from its float64 by 5e-6.
    np.testing.assert_allclose(logits, original.outputs['eval_logits'], rtol=0, atol=3e-5)
    np.testing.assert_allclose(projections, original.outputs['eval_proj'], rtol=0, atol=3e-5)


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        *ORIGINALS.items(),
        ('r18_bn8_multilayer', {'encoder': 'resnet18', 'classifier': 'multilayer'}),
        ('r50_bn8_224_50cls', {'encoder': 'resnet50', 'image_size': 224, 'num_classes': 50}),
    ],
    ids=str,
)
def test_parameter_counts(layouts, theirs, ours):
    params = shapes(create(**ours))['params']
    layout = layouts[theirs]
    phases = {phase: counts['n_trainable'] for phase, counts in layout['phases'].items()}
    encoder, projection, classifier = (size(params[part]) for part in ('encoder', 'projection', 'classifier'))
    counts = {'1': encoder + projection, '2': encoder + classifier, '3': classifier, '4': size(params)}
    assert counts == phases
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
def test_the_parameters_have_exactly_three_parts(encoder):
    assert set(shapes(create(encoder))['params']) == {'encoder', 'projection', 'classifier'}


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

    for stem, image_size, pixels in (('large', 32, 7), ('small', 96, 3)):
        kernel = shapes(create('resnet_tiny', stem=stem, image_size=image_size))['params']['encoder']['stem_conv']
        assert kernel['kernel'].shape[:2] == (pixels, pixels), 'the stem can be chosen'

    # He's weights, as in the original for large images.
    (kernel,) = initial_leaves(model, (96, 96, 3), [('params', 'encoder', 'stem_conv', 'kernel')])
    np.testing.assert_allclose(kernel.std(), math.sqrt(2 / (49 * 64)), rtol=5 / math.sqrt(2 * kernel.size))


def test_width_and_projection_dim_set_the_shapes():
    params = shapes(create('resnet_tiny', width=8, projection_dim=32))['params']
    assert params['encoder']['stem_conv']['kernel'].shape[-1] == 8
    assert params['classifier']['linear']['kernel'].shape == (64, 10)
    assert params['projection']['out']['kernel'].shape == (64, 32)


def test_heads_have_the_layers_of_their_names():
    def kernels(**settings):
        part = next(iter(settings))
        tree = flatten_dict(shapes(create('cnn_small', **settings))['params'].get(part, {}), sep='/')
        return {path.removesuffix('/kernel'): leaf.shape for path, leaf in tree.items() if path.endswith('kernel')}

    assert kernels(classifier='multilayer') == {'hidden': (128, 128), 'linear': (128, 10)}
    assert kernels(classifier='multilayer2048') == {'hidden': (128, 2048), 'linear': (2048, 10)}
    assert kernels(projection='mlp', projection_dim=32) == {'hidden': (128, 128), 'out': (128, 32)}
    assert kernels(projection='linear', projection_dim=32) == {'out': (128, 32)}
    assert kernels(projection='none', projection_dim=32) == {}


def test_without_a_projection_head_the_embeddings_are_contrasted():
    model, x = create('cnn_small', 'bn_linear', projection='none'), images()
    variables = {**initialised('cnn_small')}
    variables['params'] = {part: variables['params'][part] for part in ('encoder', 'classifier')}
    embeddings = model.apply(variables, x, train=False, method='embed')
    np.testing.assert_array_equal(model.apply(variables, embeddings, method='project'), embeddings)


@pytest.mark.parametrize('encoder', SMALL)
def test_a_training_step_reaches_all_parts_and_evaluation_changes_nothing(encoder):
    model, x, variables = create(encoder, 'bn_linear'), images(), initialised(encoder)

    def loss(params, train):
        outputs, new = model.apply({**variables, 'params': params}, x, train=train, mutable=['batch_stats'])
        return sum((out**2).mean() for out in outputs), new['batch_stats']

    grads, stats = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)(variables['params'], True)
    for path, leaf in flatten_dict(grads, sep='/').items():
        assert jnp.isfinite(leaf).all(), path
        # A bias in front of BatchNorm has no gradient, nor has a scale with nothing but a ReLU between.
        idle = path.endswith('bias') or (encoder == 'preact' and path == 'encoder/stem_norm/scale')
        assert idle or jnp.abs(leaf).max() > 1e-6, path
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


@pytest.mark.parametrize('encoder', ['cnn_small', 'resnet_tiny', *BLOCKS])
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


@pytest.mark.parametrize(
    ('field', 'allowed'),
    [
        ('encoder', models.ENCODERS),
        ('classifier', models.CLASSIFIERS),
        ('projection', models.PROJECTIONS),
        ('stem', models.STEMS),
    ],
    ids=['encoder', 'classifier', 'projection', 'stem'],
)
def test_unknown_names_say_what_is_allowed(field, allowed):
    with pytest.raises(InputError) as error:
        create(**{'encoder': 'cnn_small', field: 'vgg16'})
    message = str(error.value)
    assert f"model.{field}: 'vgg16'" in message
    assert all(name in message for name in allowed)


@pytest.mark.parametrize(('encoder', 'pixels'), [('cnn6', 8), ('cnn_small', 2)])
def test_too_small_images_say_what_is_needed(encoder, pixels):
    shapes(create(encoder), (pixels, pixels, 1))
    with pytest.raises(InputError, match=f'{encoder} needs {pixels} pixels'):
        shapes(create(encoder), (pixels - 1, pixels, 1))


def test_a_network_without_stem_says_so():
    refused(lambda: create('cnn6', stem='large'), 'model.stem', "'large'", 'cnn6', "'auto'")


@pytest.mark.parametrize(('encoder', 'least'), [('cnn6', 8), ('cnn_small', 2)])
def test_images_that_are_too_small_are_refused_before_training(encoder, least):
    models.create({'encoder': encoder}, num_classes=2, image_size=least)
    refused(
        lambda: models.create({'encoder': encoder}, num_classes=2, image_size=least - 1), encoder, f'{least} pixels'
    )
