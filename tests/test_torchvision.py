"""ResNets and augmentations against torchvision, where it is installed: `pip install torch torchvision`."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_names
from flax.traverse_util import flatten_dict

from noisy_jax import models
from noisy_jax.data.augment import colour, geometry
from noisy_jax.losses import cross_entropy

torch = pytest.importorskip('torch', reason='torchvision is not installed')
torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed')
functional = torchvision.transforms.functional

CLOSE = {'rtol': 1e-5, 'atol': 1e-5}  # gradients of up to 60; embeddings pass through float32


def renamed(arrays):
    """torchvision's names as the original's, without counters."""
    names = {name: f'net.{name}' for name in arrays if not name.startswith('fc')}
    names |= {name: name.replace('fc', 'classifier') for name in arrays if name.startswith('fc')}
    return {names[name]: array.numpy() for name, array in arrays.items() if 'num_batches' not in name}


@pytest.fixture(
    scope='module', params=[('resnet50', 'small'), ('resnet50', 'large'), ('resnet18', 'large')], ids='-'.join
)
def both(request):
    """One training step's forward and backward pass in float64, by both."""
    name, stem = request.param
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(num_classes=10).double()
    if stem == 'small':
        theirs.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False).double()
        theirs.maxpool = torch.nn.Identity()
    before = torch_names.variables(renamed({k: v.clone() for k, v in theirs.state_dict().items()}))
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(8, 32, 32, 3)), np.arange(8)
    logits = theirs(torch.tensor(images.transpose(0, 3, 1, 2)))
    torch.nn.functional.cross_entropy(logits, torch.tensor(labels)).backward()
    gradients = renamed({k: v.grad for k, v in theirs.named_parameters()})

    with jax.enable_x64(True):
        model = models.create({'encoder': name, 'stem': stem, 'dtype': 'float64'}, num_classes=10)

        def forward(net, x):
            return net.classify(net.embed(x, train=True), train=True)

        def loss(params):
            variables = {**before, 'params': params}
            logits, new = model.apply(variables, jnp.asarray(images), method=forward, mutable=['batch_stats'])
            return cross_entropy(logits.astype(jnp.float64), labels).mean(), (logits, new)

        grads, (ours, new) = jax.jit(jax.grad(loss, has_aux=True))(before['params'])
    after = torch_names.variables(renamed(theirs.state_dict()))
    return types.SimpleNamespace(
        logits=(np.asarray(ours), logits.detach().numpy()),
        gradients=(grads, torch_names.variables(gradients)['params']),
        statistics=(new['batch_stats'], after['batch_stats']),
    )


@pytest.mark.parametrize('what', ['logits', 'gradients', 'statistics'])
def test_a_training_step_is_torchvisions(both, what):
    ours, theirs = getattr(both, what)
    if what == 'logits':
        np.testing.assert_allclose(ours, theirs, **CLOSE)
        return
    ours, theirs = flatten_dict(ours, sep='/'), flatten_dict(theirs, sep='/')
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_allclose(ours[name], expected, **CLOSE, err_msg=name)


IMAGE = np.random.default_rng(1).uniform(size=(20, 24, 3)).astype(np.float32)
BOX = (3, 5, 12, 16)  # top, left, height, width in pixels


@pytest.mark.parametrize(
    ('ours', 'theirs', 'amounts'),
    [
        (colour.brightness, functional.adjust_brightness, (0.6, 1.4)),
        (colour.contrast, functional.adjust_contrast, (0.6, 1.4)),
        (colour.saturation, functional.adjust_saturation, (0.6, 1.4)),
        (colour.shift_hue, functional.adjust_hue, (-0.4, -0.1, 0.1)),
        (colour.blur, lambda image, sigma: functional.gaussian_blur(image, 3, sigma), (0.3, 2.0)),
    ],
    ids=['brightness', 'contrast', 'saturation', 'hue', 'blur'],
)
def test_colours_change_as_by_torchvision(ours, theirs, amounts):
    tensor = torch.tensor(IMAGE.transpose(2, 0, 1))  # torchvision's weight of red is 0.2989, Pillow's and ours 0.299
    for amount in amounts:
        expected = theirs(tensor, amount).numpy().transpose(1, 2, 0)
        np.testing.assert_allclose(jax.jit(ours)(IMAGE, amount), expected, atol=1e-4, err_msg=str(amount))


def test_a_crop_is_resized_as_by_torchvision():
    """A box that is enlarged; ours may lie between pixels, this one does not."""
    top, left, height, width = BOX
    tensor = torch.tensor(IMAGE.transpose(2, 0, 1))[:, top : top + height, left : left + width]
    expected = functional.resize(tensor, [20, 24], antialias=False).numpy().transpose(1, 2, 0)
    box = np.array([top / 20, left / 24, height / 20, width / 24], np.float32)
    # Within half a pixel of the box's border ours reads on, as Pillow's `box` does.
    inner = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(geometry.resized_crop(IMAGE, box)[inner], expected[inner], atol=2e-5)
