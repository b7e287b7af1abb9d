"""Weights from outside (model.weights): the right numbers in the right places, and what a run makes of them.

Files are made by hand by torchvision's names; the reference reads these with NumPy alone.
"""

import errno
import functools
import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
import tiny
from conftest import assert_rounded, refused
from flax.traverse_util import flatten_dict
from random_weights import random_classifier
from test_automatic import own_images
from torchvision_forward import forward

from noisy_jax import pipeline, settings
from noisy_jax.data import digits
from noisy_jax.data.dataset import Dataset
from noisy_jax.inference import export
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.models import pretrained
from noisy_jax.models.pretrained import Pretrained
from noisy_jax.models.resnet import RESNETS, BasicBlock, Bottleneck, ResNet
from noisy_jax.settings import automatic
from noisy_jax.settings.choices import Facts, choices
from noisy_jax.workdir import WorkDir


def state(blocks=(1, 1, 1, 1), width=4, side=7, channels=3, bottleneck=False, seed=0):
    """A state_dict as torchvision's ResNets have it, with random weights and statistics."""
    rng, found = np.random.default_rng(seed), {}

    def conv(name, inputs, outputs, side):
        found[f'{name}.weight'] = rng.normal(0, (inputs * side * side) ** -0.5, (outputs, inputs, side, side))

    def norm(name, size):
        found.update({f'{name}.{leaf}': rng.uniform(0.5, 1.5, size) for leaf in ('weight', 'running_var')})
        found.update({f'{name}.{leaf}': rng.normal(0, 0.2, size) for leaf in ('bias', 'running_mean')})
        found[f'{name}.num_batches_tracked'] = np.array(7)

    conv('conv1', channels, width, side)
    norm('bn1', width)
    inputs = width
    for layer, count in enumerate(blocks):
        inner = width * 2**layer
        outputs = inner * (4 if bottleneck else 1)
        shapes = [(1, inner), (3, inner), (1, outputs)] if bottleneck else [(3, inner), (3, outputs)]
        for block in range(count):
            name, before = f'layer{layer + 1}.{block}', inputs
            for number, (size, features) in enumerate(shapes, 1):
                conv(f'{name}.conv{number}', before, features, size)
                norm(f'{name}.bn{number}', features)
                before = features
            if inputs != outputs or (layer and not block):
                conv(f'{name}.downsample.0', inputs, outputs, 1)
                norm(f'{name}.downsample.1', outputs)
            inputs = outputs
    found |= {'fc.weight': rng.normal(size=(1000, inputs)), 'fc.bias': np.zeros(1000)}
    return {name: array.astype(np.float32) if array.ndim else array for name, array in found.items()}


def save(path, arrays):
    if path.suffix == '.npz':
        np.savez(path, **arrays)
    else:
        path.write_bytes(safetensors.numpy.save(arrays))
    return str(path)


NETWORKS = {
    'resnet18': {'blocks': (2, 2, 2, 2)},
    'resnet34': {'blocks': (3, 4, 6, 3)},
    'resnet50': {'blocks': (3, 4, 6, 3), 'bottleneck': True},
    'resnet_tiny': {},
}


@pytest.mark.parametrize(
    ('name', 'side', 'stem'),
    [('resnet18', 3, 'small'), ('resnet34', 7, 'large'), ('resnet50', 7, 'large'), ('resnet_tiny', 3, 'small')],
)
def test_the_network_is_known_by_names_and_shapes(tmp_path, name, side, stem):
    weights = Pretrained.load(save(tmp_path / 'w.npz', state(**NETWORKS[name], side=side)))
    assert (weights.encoder, weights.width, weights.stem, weights.channels) == (name, 4, stem, 3)
    assert (weights.mean, weights.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize('bottleneck', [False, True])
def test_embeddings_are_those_of_torchvisions_network(tmp_path, monkeypatch, bottleneck):
    """Odd and even numbers of pixels: padding shows at the borders. Few blocks: they are all alike."""
    make = functools.partial(ResNet, (1, 1, 1, 1), block=Bottleneck if bottleneck else BasicBlock)
    monkeypatch.setitem(RESNETS, 'resnet_tiny', make)
    arrays = state(bottleneck=bottleneck)
    images = np.random.default_rng(1).normal(size=(2, 36, 37, 3)).astype(np.float32)
    weights = Pretrained.load(save(tmp_path / 'w.npz', arrays))
    encoder = make(width=weights.width, small_images=False)
    found = jax.jit(functools.partial(encoder.apply, train=False))(weights.variables, images)
    expected = forward(arrays, images.transpose(0, 3, 1, 2), 'large')
    assert np.std(expected) > 0.1
    assert_rounded(found, expected, 100)  # sums of up to 300 products in some ten layers


def test_what_was_exported_is_the_same_encoder_to_the_bit(tmp_path, monkeypatch):
    monkeypatch.setattr(export, '_programs', lambda classifier: {})  # compiled programs, of which none is read here
    monkeypatch.setattr(export, '_TORCHVISION_WIDTH', 4)
    classifier = random_classifier((16, 16, 3), encoder='resnet18', width=4)
    export.export(classifier, str(tmp_path / 'out'))
    weights = Pretrained.load(str(tmp_path / 'out/encoder.safetensors'))
    assert (weights.encoder, weights.stem, weights.image_size) == ('resnet18', 'small', 16)
    assert (weights.mean, weights.std) == ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
    found = flatten_dict(weights.variables, sep='/')
    expected = flatten_dict({kind: tree['encoder'] for kind, tree in classifier.variables.items()}, sep='/')
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_half_precision_and_both_formats(tmp_path):
    halves = {name: array.astype(np.float16) if array.ndim else array for name, array in state().items()}
    first, second = (Pretrained.load(save(tmp_path / f'w.{kind}', halves)) for kind in ('npz', 'safetensors'))
    for ours, theirs in zip(*map(jax.tree.leaves, (first.variables, second.variables)), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_array_equal(ours, theirs)


def _without(arrays, *names):
    return {name: array for name, array in arrays.items() if name not in names}


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda a: _without(a, 'layer2.0.conv1.weight', 'bn1.bias'), ['without bn1.bias, layer2.0.conv1.weight']),
        (lambda a: _without(a, *a, 'x') | {'x': np.ones(3)}, ['holds x']),
        (lambda a: {}, ['holds nothing']),
        (lambda a: a | {'bn1.bias': np.ones(5, np.float32)}, ['bn1.bias', '(5,)', '(4,)']),
        (lambda a: a | {'bn1.bias': np.ones(4, np.int32)}, ['bn1.bias', 'int32']),
        (lambda a: a | {'bn1.bias': np.full(4, np.nan, np.float32)}, ['bn1.bias', 'NaN']),
        (lambda a: a | {'bn1.bias': np.full(4, 1e300)}, ['bn1.bias', 'infinite']),
        (lambda a: a | {'bn1.running_var': np.full(4, -1.0)}, ['bn1.running_var', 'below 0']),
        (lambda a: a | {'layer1.0.se.weight': np.ones(4)}, ['layer1.0.se.weight besides']),
        (lambda a: a | {'conv1.weight': np.ones((4, 3, 5, 5), np.float32)}, ['conv1.weight (4, 3, 5, 5)']),
        (lambda a: a | {'conv1.weight': np.ones((0, 3, 3, 3), np.float32)}, ['conv1.weight (0, 3, 3, 3)']),
        (lambda a: state((3, 4, 23, 3), 1, bottleneck=True), ['3 + 4 + 23 + 3 blocks of 3', 'resnet18, resnet34']),
    ],
)
def test_files_of_other_networks(tmp_path, change, words):
    path = save(tmp_path / 'w.npz', change(state()))
    refused(lambda: Pretrained.load(path), 'model.weights', path, *words)


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('mean', '[0.5]', '3 numbers'),
        ('mean', '["a", 0, 0]', '3 numbers'),
        ('mean', '[NaN, 0, 0]', '3 numbers'),
        ('std', '[0.2, 0.0, 0.2]', 'from 1e-06 to 1000'),
        ('mean', '[123.7, 116.3, 103.5]', 'from 0 to 1'),
        ('image_shape', '[16]', '(H, W, 3)'),
        ('image_shape', '[-1, -1, 3]', '(H, W, 3)'),
        ('image_shape', '[8.5, 8.5, 3]', '(H, W, 3)'),
        ('image_shape', '[16, 16, 1]', '(H, W, 3)'),
    ],
)
def test_what_a_file_says_of_its_images_is_checked(tmp_path, name, value, words):
    path = str(tmp_path / 'w.safetensors')
    safetensors.numpy.save_file(state(), path, {name: value})
    refused(lambda: Pretrained.load(path), 'model.weights', path, name, words)


@pytest.mark.parametrize('name', ['w.npz', 'w.safetensors', 'w.pth', 'none.npz'])
def test_files_that_hold_no_arrays(tmp_path, name):
    for file in ('w.npz', 'w.safetensors', 'w.pth'):
        (tmp_path / file).write_bytes(b'PK\x03\x04 nothing of that kind')
    words = {'w.pth': 'safetensors.torch.save_file', 'none.npz': 'is not a file'}.get(name, 'cannot be read')
    refused(lambda: Pretrained.load(str(tmp_path / name)), 'model.weights', name, words)


def test_settings_follow_the_weights(tmp_path):
    weights = Pretrained.load(save(tmp_path / 'w.npz', state(**NETWORKS['resnet50'])))
    of = {}
    for key, images in (('quick', 1500), ('normal', 1500), ('many', 10**5)):
        effort = 'normal' if key == 'normal' else 'quick'
        facts = Facts(images, 0, 10, 32, True, 3, effort=effort, weights=weights)
        of[key] = {name: value for name, (value, _) in choices(facts).items()}
    assert [of[key]['data.image_size'] for key in ('quick', 'normal', 'many')] == [224, 128, 128]
    assert (of['normal']['model.encoder'], of['normal']['model.width']) == ('resnet50', 4)
    assert [of['normal'][f'{phase}.epochs'] for phase in ('pretrain', 'classify', 'contrast', 'finetune')] == [0] * 4
    assert of['normal']['classify.head_epochs'] == of['normal']['finetune.head_epochs'] > 0
    config = settings.default()
    config.update_from_flattened_dict(of['normal'])
    settings.validate(config)


@pytest.mark.parametrize('kind', ['npz', 'safetensors'])
def test_what_is_left_open_is_the_files(tmp_path, kind):
    """Mean and size of the images are in a file by `export`; else they are those of ImageNet, and of the data."""
    images = digits.load('train', limit=50)
    colour = Dataset(np.repeat(images.image, 3, axis=-1), images.label, images.class_names)
    path, arrays = tmp_path / f'w.{kind}', state(side=3)
    said = {'mean': '[0.1, 0.2, 0.3]', 'std': '[0.4, 0.5, 0.6]', 'image_shape': '[12, 12, 3]'}
    if kind == 'npz':
        save(path, arrays)
    else:
        path.write_bytes(safetensors.numpy.save(arrays, said))
    config, table = automatic.choose(own_images(effort='quick', model__weights=str(path)), None, (colour, None))
    expected = (0.485, 0.456, 0.406) if kind == 'npz' else (0.1, 0.2, 0.3)
    assert config.data.mean == expected
    assert config.data.image_size == (0 if kind == 'npz' else 12)
    assert (config.model.encoder, config.model.width, config.model.stem) == ('resnet_tiny', 4, 'small')
    assert 'model.weights' in table
    assert not automatic.open_settings(config)


def test_settings_of_another_network_are_refused(tmp_path):
    path = save(tmp_path / 'w.npz', state(side=3))
    for change, words in (
        ({'encoder': 'resnet50', 'width': 4}, ['model.encoder', "'resnet50'", "'resnet_tiny'"]),
        ({'stem': 'large', 'width': 4, 'encoder': 'resnet_tiny'}, ['model.stem', "'large'", "'small'"]),
        ({'width': 0, 'encoder': 'resnet_tiny'}, ['model.width', '16', '4']),
    ):
        config = settings.default()
        config.model.update(weights=path, **change)
        refused(lambda config=config: automatic.choose(config), path, *words)
    grey = digits.load('train', limit=50)
    refused(lambda: automatic.choose(own_images(model__weights=path), None, (grey, None)), path, '3 channels', 'have 1')


def test_weights_are_looked_at_before_the_data_is_read(tmp_path):
    config = own_images(data__path='nowhere', model__weights=str(tmp_path / 'none.npz'))
    refused(lambda: pipeline.run(config, tmp_path / 'work'), 'model.weights', 'none.npz')
    assert not (tmp_path / 'work').exists()


GREY = {'side': 3, 'channels': 1}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Weights, the work directory of a run from them that keeps the encoder, and its summary."""
    root = tmp_path_factory.mktemp('pretrained')
    path = save(root / 'w.npz', state(**GREY))
    return path, root / 'work', pipeline.run(_config(path), root / 'work', _digits(), quiet=True)


def _digits():
    """Noughts and ones: with few classes the judges are fast."""
    images = digits.load('train')
    rows = np.flatnonzero(images.label < 2)[:100]
    return Dataset(images.image[rows], images.label[rows], ('nought', 'one')), None


def _config(path, **changes):
    frozen = {f'{phase}__epochs': 0 for phase in ('pretrain', 'classify', 'contrast', 'finetune')}
    changes = {
        'classify__head_epochs': 1,
        'model__encoder': 'resnet_tiny',
        'model__width': 4,
        'report__cross_fit': 2,
        **frozen,
        **changes,
    }
    return tiny.config('phases=pretrained', noise__rate=0.2, model__weights=path, report__tensorboard=False, **changes)


def _encoder(work):
    return {kind: tree['encoder'] for kind, tree in TrainedClassifier.of_run(work).variables.items()}


def _same(ours, theirs):
    ours, theirs = flatten_dict(ours, sep='/'), flatten_dict(theirs, sep='/')
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_a_run_without_epochs_keeps_the_encoder_and_predicts_without_the_file(run, tmp_path):
    path, work, summary = run
    assert _same(_encoder(work), Pretrained.load(path).variables)
    kinds = {name.split(',')[0] for name in summary['label_issues']['judges']}
    assert kinds == {'classical features', 'given encoder', 'all judges together'}, 'the own encoder is the given one'
    saved = WorkDir.of_run(work).load_json('config')['model']
    assert (saved['encoder'], saved['stem'], saved['weights']) == ('resnet_tiny', 'small', path)
    moved = shutil.copytree(work, tmp_path / 'moved')
    config = json.loads((moved / 'config.json').read_text())
    config['model']['weights'] = str(tmp_path / 'gone.npz')
    (moved / 'config.json').write_text(json.dumps(config))
    images = digits.load('test', limit=20).image
    classifier = TrainedClassifier.of_run(moved)
    assert np.array_equal(classifier.predict_proba(images), TrainedClassifier.of_run(work).predict_proba(images))
    export.export(classifier, str(tmp_path / 'out'))
    assert (tmp_path / 'out/classifier.stablehlo').exists()


def test_a_changed_file_is_noticed_when_the_run_is_resumed(run, tmp_path):
    path, work, summary = run
    work = shutil.copytree(work, tmp_path / 'work')
    config = _config(path, report__cross_fit=0)  # another list, nothing is trained
    assert pipeline.run(config, work, _digits(), quiet=True)['phases'] == summary['phases']
    kept = shutil.move(path, tmp_path / 'kept.npz')
    try:
        save(run[1].parent / 'w.npz', state(**GREY, seed=1))
        refused(lambda: pipeline.run(config, work, _digits(), quiet=True), 'model.weights', path, 'has changed')
    finally:
        shutil.move(kept, path)


def test_weights_whose_features_overflow_are_refused_before_training(tmp_path):
    path = save(tmp_path / 'w.npz', state(**GREY) | {'conv1.weight': np.full((4, 1, 3, 3), 3e38)})
    config = _config(path, report__page=True)
    refused(lambda: pipeline.run(config, tmp_path / 'work', _digits(), quiet=True), 'model.weights', path, 'not finite')


def test_images_of_other_channels_are_refused(run, tmp_path):
    path = save(tmp_path / 'w.npz', state(side=3))
    refused(
        lambda: pipeline.run(_config(path), tmp_path / 'work', _digits(), quiet=True),
        'model.weights',
        path,
        'channels than 3',
    )
    assert not (tmp_path / 'work').exists()


@pytest.mark.parametrize('name', ['w.npz', 'w.safetensors'])
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch, name):
    def forbidden(path):
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    (tmp_path / name).touch()
    monkeypatch.setattr(pretrained, 'open_bytes', forbidden)  # root may read all
    refused(lambda: Pretrained.load(str(tmp_path / name)), 'model.weights', name, 'Permission denied')
