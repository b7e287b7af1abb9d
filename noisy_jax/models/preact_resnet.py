"""ResNet with normalisation in front of the convolutions (He 2016b, arXiv:1603.05027), as the original has it."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.models.heads import torch_kernel
from noisy_jax.models.norm import BatchNorm
from noisy_jax.models.resnet import ResNet


class PreActBlock(nn.Module):
    """BatchNorm, ReLU, 3x3 convolution, twice, and a shortcut: [B, H, W, C] -> [B, H / strides, W / strides, features].

    The shortcut of the original starts behind the first ReLU in every block; in He 2016b, figure 4e, only where it has
    a convolution.
    """

    features: int
    strides: int
    dtype: jnp.dtype
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=torch_kernel)
        x = nn.relu(self.norm(self.dtype, name='norm1')(x, train=train))
        y = conv(self.features, (3, 3), self.strides, padding=1, name='conv1')(x)
        y = nn.relu(self.norm(self.dtype, name='norm2')(y, train=train))
        y = conv(self.features, (3, 3), padding=1, name='conv2')(y)
        if x.shape != y.shape:
            x = conv(self.features, (1, 1), self.strides, padding=0, name='shortcut_conv')(x)
        return x + y


# As the original, with BatchNorm and ReLU behind the stem too, and nothing behind the last block.
PreActResNet18 = functools.partial(ResNet, (2, 2, 2, 2), block=PreActBlock)
