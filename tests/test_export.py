"""What is exported runs without noisy_jax, and says the same: in JAX alone, by torchvision's names, in PyTorch."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy
from random_weights import random_classifier
from torchvision_forward import forward

from noisy_jax.inference import export as command
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.models import torchvision


def export(classifier, out):
    command.export(classifier, str(out))
    return json.loads((out / 'export.json').read_text())


IN_JAX_ALONE = """
import sys
sys.modules['noisy_jax'] = None  # cannot be imported
import numpy as np
from jax import export
for name in ('classifier', 'encoder'):
    with open(f'{name}.stablehlo', 'rb') as file:
        program = export.deserialize(bytearray(file.read()))
    assert program.platforms == ('cpu', 'cuda', 'tpu')
    for count in (1, 5):
        np.save(f'../{name}_{count}.npy', program.call(np.load('../images.npy')[:count]))
"""


def run_alone(folder, images):
    """{'classifier_5': ..., ...} of a process in the exported folder."""
    np.save(folder.parent / 'images.npy', images)
    result = subprocess.run([sys.executable, '-c', IN_JAX_ALONE], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return {file.stem: np.load(file) for file in folder.parent.glob('*_?.npy')}


def images_for(shape, count=5):
    return np.random.default_rng(2).integers(0, 255, (count, *shape), np.uint8)


def test_a_run_in_jax_alone(photos, tmp_path, capsys):
    assert command.main([f'--workdir={photos.work}', f'--out={tmp_path / "out"}']) == 0
    assert 'README.txt' in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / 'out').iterdir()) == [
        'README.txt',
        'classifier.stablehlo',
        'encoder.safetensors',
        'encoder.stablehlo',
        'export.json',
    ]
    classifier, images = TrainedClassifier.of_run(photos.work), images_for((8, 8, 1))
    found = run_alone(tmp_path / 'out', images)
    for count in (1, 5):
        expected = classifier.predict_proba(images[:count])
        np.testing.assert_allclose(found[f'classifier_{count}'], expected, atol=1e-5)
        np.testing.assert_allclose(found[f'encoder_{count}'], classifier.embed(images[:count]), rtol=1e-4, atol=1e-4)
    facts = json.loads((tmp_path / 'out/export.json').read_text())
    assert facts['classes'] == list(classifier.class_names)
    assert facts['image_shape'] == [8, 8, 1]
    assert facts['weights'] == 'own'
    weights = safetensors.numpy.load_file(tmp_path / 'out/encoder.safetensors')
    assert weights['encoder/conv1/kernel'].shape == (3, 3, 1, 16)
    assert not any('projection' in name for name in weights)


@pytest.mark.parametrize(
    ('encoder', 'pair'), [('resnet_tiny', True), ('preact_resnet18', False), ('cnn6', False)], ids=str
)
def test_other_encoders_and_pairs_of_networks(tmp_path, encoder, pair):
    classifier = random_classifier((16, 16, 3), encoder=encoder, width=8, classifier='multilayer', pair=pair)
    assert export(classifier, tmp_path / 'out')['networks'] == 1 + pair
    images = images_for((16, 16, 3))
    with open(tmp_path / 'out/classifier.stablehlo', 'rb') as file:
        program = jax.export.deserialize(bytearray(file.read()))
    np.testing.assert_allclose(program.call(images), classifier.predict_proba(images), atol=1e-5)
    assert ('two networks' in (tmp_path / 'out/README.txt').read_text()) == pair


def keys_of_torchvision_resnet18(classes, stem=7, channels=3):
    """{name: shape} of torchvision.models.resnet18(num_classes=classes).state_dict()."""
    shapes = {'conv1.weight': (64, channels, stem, stem), **batch_norm('bn1', 64)}
    for layer, width in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name, before = f'layer{layer}.{block}', width if block or layer == 1 else width // 2
            shapes |= {f'{name}.conv1.weight': (width, before, 3, 3), **batch_norm(f'{name}.bn1', width)}
            shapes |= {f'{name}.conv2.weight': (width, width, 3, 3), **batch_norm(f'{name}.bn2', width)}
            if before != width:
                shapes |= {f'{name}.downsample.0.weight': (width, before, 1, 1)}
                shapes |= batch_norm(f'{name}.downsample.1', width)
    return {**shapes, 'fc.weight': (classes, 512), 'fc.bias': (classes,)}


def batch_norm(name, width):
    leaves = ('weight', 'bias', 'running_mean', 'running_var')
    return {**{f'{name}.{leaf}': (width,) for leaf in leaves}, f'{name}.num_batches_tracked': ()}


def test_a_resnet18_by_the_names_of_torchvision(tmp_path):
    classifier = random_classifier((16, 16, 3), encoder='resnet18')
    facts = export(classifier, tmp_path / 'out')
    assert (facts['weights'], facts['stem']) == ('torchvision', 'small')
    weights = safetensors.numpy.load_file(tmp_path / 'out/encoder.safetensors')
    assert {name: array.shape for name, array in weights.items()} == keys_of_torchvision_resnet18(5, stem=3)
    assert {array.dtype.name for name, array in weights.items() if 'num_batches' not in name} == {'float32'}
    with safetensors.safe_open(tmp_path / 'out/encoder.safetensors', 'numpy') as file:
        assert json.loads(file.metadata()['classes']) == list(classifier.class_names)
        assert json.loads(file.metadata()['mean']) == [0.4, 0.5, 0.6]
    images = images_for((16, 16, 3))
    x = ((images / 255 - np.array(facts['mean'])) / np.array(facts['std'])).transpose(0, 3, 1, 2).astype(np.float32)
    logits = forward(weights, x, 'small') @ weights['fc.weight'].T + weights['fc.bias']
    np.testing.assert_allclose(jax.nn.softmax(logits), classifier.predict_proba(images), atol=1e-5)


def test_the_names_with_a_large_stem_and_grey_images():
    variables = random_classifier((96, 96, 1), encoder='resnet18', classes=3).variables
    found = torchvision.state_dict(command.own_names(variables))
    assert {name: array.shape for name, array in found.items()} == keys_of_torchvision_resnet18(3, channels=1)


def test_a_narrow_resnet_keeps_our_names(tmp_path):
    """torchvision's network has no such width."""
    facts = export(random_classifier((16, 16, 3), encoder='resnet18', width=8), tmp_path / 'out')
    assert facts['weights'] == 'own'
    assert 'encoder/stem_conv/kernel' in safetensors.numpy.load_file(tmp_path / 'out/encoder.safetensors')


@pytest.mark.parametrize(
    ('shape', 'model'),
    [
        ((32, 32, 3), {'encoder': 'resnet18'}),
        ((65, 65, 1), {'encoder': 'resnet18', 'classifier': 'bn_linear'}),
        ((32, 32, 3), {'encoder': 'resnet50', 'stem': 'large'}),
    ],
    ids=['small', 'grey-bn_linear', 'resnet50-large'],
)
def test_the_code_of_the_readme_in_pytorch(tmp_path, monkeypatch, shape, model):
    torch = pytest.importorskip('torch', reason='PyTorch is not installed')
    pytest.importorskip('torchvision', reason='torchvision is not installed')
    classifier = random_classifier(shape, **model)
    export(classifier, tmp_path / 'out')
    monkeypatch.chdir(tmp_path / 'out')
    text = (tmp_path / 'out/README.txt').read_text()
    code = '\n'.join(line[4:] for line in text[text.index("torchvision's") :].splitlines() if line[:4] == '    ')
    images = images_for(shape)
    made = next(line for line in code.splitlines() if line.startswith('images = '))
    names = {'given': torch.tensor(images)}
    exec(code.replace(made, 'images = given'), names)
    if classifier.config.model.classifier == 'linear':
        found, expected = torch.softmax(names['logits'], -1), classifier.predict_proba(images)
    else:
        found, expected = names['embeddings'], classifier.embed(images)
    np.testing.assert_allclose(found.detach().numpy(), expected, atol=1e-4)
    exec(code, {})


def test_mistakes(photos, tmp_path):
    (tmp_path / 'there').mkdir()
    for arguments, word in (
        ([f'--workdir={tmp_path}', f'--out={tmp_path / "new"}'], 'config.json'),
        ([f'--workdir={photos.work}', f'--out={tmp_path / "there"}'], 'there already'),
    ):
        result = subprocess.run(
            [sys.executable, '-m', 'noisy_jax.export', *arguments], capture_output=True, text=True, env=os.environ
        )
        assert result.returncode == 2
        assert result.stderr.startswith('error: ')
        assert result.stderr.count('\n') == 1, result.stderr
        assert word in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ['there']
