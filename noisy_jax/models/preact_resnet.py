"""ResNet with normalisation before the convolutions, as the original has it.

Source: He et al. 2016, https://arxiv.org/abs/1603.05027
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.models.heads import torch_kernel
from noisy_jax.models.norm import BatchNorm
from noisy_jax.models.resnet import ResNet


class PreActBlock(nn.Module):
    """Twice BatchNorm, ReLU, 3x3 convolution; a shortcut: [B, H, W, C] -> [B, H / strides, W / strides, features].

    As in the original, the shortcut starts after the first ReLU in every block; in the paper's figure 4e only where it
    has a convolution.
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


# As in the original, BatchNorm and ReLU follow the stem too, and nothing follows the last block.
PreActResNet18 = functools.partial(ResNet, (2, 2, 2, 2), block=PreActBlock)
