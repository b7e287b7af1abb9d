"""Heads on embeddings: classifiers [B, D] -> logits [B, C], and the projection head [B, D] -> [B, P].

Their last layer computes in float32 whatever the encoder does: in bfloat16 up to 0.8 % of the predictions change.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.models.norm import BatchNorm

# Default of PyTorch for linear and convolution weights: uniform within 1 / sqrt(fan in).
torch_kernel = nn.initializers.variance_scaling(1 / 3, 'fan_in', 'uniform')


def _uniform(fan_in: int) -> nn.initializers.Initializer:
    bound = fan_in**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)


def dense(features: int, fan_in: int, dtype: jnp.dtype, name: str | None = None) -> nn.Dense:
    """A linear layer with PyTorch's default weights and biases."""
    return nn.Dense(features, dtype=dtype, kernel_init=torch_kernel, bias_init=_uniform(fan_in), name=name)


def conv(features: int, fan_in: int, dtype: jnp.dtype, name: str | None = None) -> nn.Conv:
    """A 3x3 convolution with padding 1 and PyTorch's default weights and biases; `fan_in` is the input channels."""
    options = {'dtype': dtype, 'kernel_init': torch_kernel, 'bias_init': _uniform(9 * fan_in), 'name': name}
    return nn.Conv(features, (3, 3), padding=1, **options)


class Classifier(nn.Module):
    """One linear layer; before it BatchNorm and ReLU (`normalise`), before these another linear layer (`hidden`)."""

    num_classes: int
    hidden: int = 0
    normalise: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, embeddings: jax.Array, *, train: bool) -> jax.Array:
        x = embeddings
        if self.hidden:
            x = dense(self.hidden, x.shape[-1], self.dtype, 'hidden')(x)
        if self.normalise:
            x = nn.relu(BatchNorm(self.dtype, name='norm')(x, train=train))
        return dense(self.num_classes, x.shape[-1], jnp.float32, 'linear')(x)


class ProjectionHead(nn.Module):
    """Projection that the contrastive losses see.

    Two layers: linear, ReLU, linear (SimCLR's, without BatchNorm), D -> D -> P. One: D -> P. None: the embeddings
    themselves, P = D, and no parameters.
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


class Consistency(nn.Module):
    """Projector and predictor of feature consistency, each linear, BatchNorm, ReLU, linear (SimSiam; SSR's sizes)."""

    hidden: int = 256
    features: int = 128

    @nn.compact
    def __call__(self, embeddings: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Embeddings [B, D] -> projections z and predictions h(z), float32 [B, P] each."""

        def layers(x: jax.Array, name: str) -> jax.Array:
            x = dense(self.hidden, x.shape[-1], jnp.float32, f'{name}_hidden')(x)
            x = nn.relu(BatchNorm(name=f'{name}_norm')(x, train=train))
            return dense(self.features, self.hidden, jnp.float32, f'{name}_out')(x)

        projected = layers(embeddings, 'projector')
        return projected, layers(projected, 'predictor')


# bn_linear belongs to the original's small CNN, multilayer to its option of that name.
CLASSIFIERS = {
    'linear': Classifier,
    'bn_linear': functools.partial(Classifier, normalise=True),
    'multilayer': functools.partial(Classifier, hidden=128, normalise=True),
    'multilayer2048': functools.partial(Classifier, hidden=2048, normalise=True),
}

PROJECTIONS = {
    'mlp': ProjectionHead,
    'linear': functools.partial(ProjectionHead, layers=1),
    'none': functools.partial(ProjectionHead, layers=0),
}
