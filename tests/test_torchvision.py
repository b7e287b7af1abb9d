"""ResNets and colours against torchvision, where it is installed: `pip install torch torchvision`."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch_names
from flax.traverse_util import flatten_dict

from noisy_jax import models
from noisy_jax.losses import cross_entropy

torch = pytest.importorskip('torch', reason='torchvision is not installed')
torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed')

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
        model = models.create(name, num_classes=10, stem=stem, dtype=jnp.float64)

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
