"""Heads on embeddings: classifiers [B, D] -> logits [B, C], and the projection head [B, D] -> [B, P].

Their last layer computes in float32 whatever the encoder does: in bfloat16 up to 0.8 % of the predictions change.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.models.norm import BatchNorm


def _uniform(bound: float) -> nn.initializers.Initializer:
    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


# Default of PyTorch for linear and convolution weights: uniform within 1 / sqrt(fan in).
torch_kernel = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def dense(features: int, fan_in: int, dtype: jnp.dtype, name: str | None = None) -> nn.Dense:
    """A linear layer with PyTorch's default weights and biases."""
    bias = _uniform(fan_in**-0.5)
    return nn.Dense(features, dtype=dtype, kernel_init=torch_kernel, bias_init=bias, name=name)


def conv(features: int, fan_in: int, dtype: jnp.dtype, name: str | None = None) -> nn.Conv:
    """A 3x3 convolution with padding 1 and PyTorch's default weights and biases; `fan_in` is the input channels."""
    bias = _uniform((9 * fan_in) ** -0.5)
    return nn.Conv(features, (3, 3), padding=1, dtype=dtype, kernel_init=torch_kernel, bias_init=bias, name=name)


class LinearClassifier(nn.Module):
    """One linear layer; with `normalise`, BatchNorm and ReLU before it (the original's small CNN)."""

    num_classes: int
    normalise: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, embeddings: jax.Array, *, train: bool) -> jax.Array:
        x = embeddings
        if self.normalise:
            x = nn.relu(BatchNorm(self.dtype, name='norm')(x, train=train))
        return dense(self.num_classes, x.shape[-1], jnp.float32, 'linear')(x)


class MultilayerClassifier(nn.Module):
    """Linear, BatchNorm, ReLU, linear: D -> `hidden` -> C (the original's `multilayer`)."""

    num_classes: int
    hidden: int = 128
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, embeddings: jax.Array, *, train: bool) -> jax.Array:
        x = dense(self.hidden, embeddings.shape[-1], self.dtype, 'hidden')(embeddings)
        x = nn.relu(BatchNorm(self.dtype, name='norm')(x, train=train))
        return dense(self.num_classes, self.hidden, jnp.float32, 'linear')(x)


class ProjectionHead(nn.Module):
    """Projection that the contrastive losses see.

    Two layers: linear, ReLU, linear (SimCLR's, without BatchNorm), D -> D -> P. One: a linear map, D -> P. None: the
    embeddings themselves, P = D, and no parameters.
    """

    features: int = 128
    layers: int = 2
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, embeddings: jax.Array) -> jax.Array:
        x, width = embeddings, embeddings.shape[-1]
        if self.layers == 2:
            x = nn.relu(dense(width, width, self.dtype, 'hidden')(x))
        return dense(self.features, width, jnp.float32, 'out')(x) if self.layers else x


CLASSIFIERS = {
    'linear': LinearClassifier,
    'bn_linear': functools.partial(LinearClassifier, normalise=True),
    'multilayer': MultilayerClassifier,
    'multilayer2048': functools.partial(MultilayerClassifier, hidden=2048),
}

PROJECTIONS = {
    'mlp': ProjectionHead,
    'linear': functools.partial(ProjectionHead, layers=1),
    'none': functools.partial(ProjectionHead, layers=0),
}
