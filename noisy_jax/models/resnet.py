"""ResNet in NHWC, with a stem for small images and one for large ones.

Source: He et al. 2016, https://arxiv.org/abs/1512.03385
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.models.heads import torch_kernel
from noisy_jax.models.norm import BatchNorm

# Kaiming initialisation as in torchvision: normal, variance 2 / fan out. The original's 3x3 stem has PyTorch's default.
he_kernel = nn.initializers.variance_scaling(2, 'fan_out', 'normal')


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, H, W, C] -> [B, H / strides, W / strides, features]."""

    features: int
    strides: int
    dtype: jnp.dtype
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=he_kernel)
        norm = functools.partial(self.norm, self.dtype)
        # Padding as in PyTorch: 'SAME' would shift the window where the stride is 2.
        y = conv(self.features, (3, 3), self.strides, padding=1, name='conv1')(x)
        y = nn.relu(norm(name='norm1')(y, train=train))
        y = conv(self.features, (3, 3), padding=1, name='conv2')(y)
        y = norm(name='norm2')(y, train=train)
        if x.shape != y.shape:
            x = conv(self.features, (1, 1), self.strides, padding=0, name='shortcut_conv')(x)
            x = norm(name='shortcut_norm')(x, train=train)
        return nn.relu(x + y)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: [B, H, W, C] -> [B, H / strides, W / strides, 4 features].

    The 3x3 convolution has the stride, as in torchvision; in the paper the first 1x1 has it.
    """

    features: int
    strides: int
    dtype: jnp.dtype
    norm: Callable[..., nn.Module] = BatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=he_kernel)
        norm = functools.partial(self.norm, self.dtype)
        y = conv(self.features, (1, 1), padding=0, name='conv1')(x)
        y = nn.relu(norm(name='norm1')(y, train=train))
        y = conv(self.features, (3, 3), self.strides, padding=1, name='conv2')(y)
        y = nn.relu(norm(name='norm2')(y, train=train))
        y = conv(4 * self.features, (1, 1), padding=0, name='conv3')(y)
        y = norm(name='norm3')(y, train=train)
        if x.shape != y.shape:
            x = conv(4 * self.features, (1, 1), self.strides, padding=0, name='shortcut_conv')(x)
            x = norm(name='shortcut_norm')(x, train=train)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """Images [B, H, W, C] -> embeddings [B, 8 width], with Bottleneck [B, 32 width].

    Attributes:
      stage_sizes: blocks of each stage; each stage after the first doubles the width and halves the image.
      block: BasicBlock, Bottleneck, or another class with their arguments.
      width: channels of the first stage.
      small_images: a 3x3 stem with stride 1 instead of 7x7 with stride 2 and pooling.
      norm: BatchNorm or a variant of it.
      dtype: type of the computation; parameters and statistics are float32.
    """

    stage_sizes: tuple[int, ...]
    block: type[nn.Module] = BasicBlock
    width: int = 64
    small_images: bool = True
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        init = torch_kernel if self.small_images else he_kernel
        conv = functools.partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=init, name='stem_conv')
        x = x.astype(self.dtype)
        x = conv(self.width, (3, 3), padding=1)(x) if self.small_images else conv(self.width, (7, 7), 2, padding=3)(x)
        x = nn.relu(self.norm(self.dtype, name='stem_norm')(x, train=train))
        if not self.small_images:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, blocks in enumerate(self.stage_sizes):
            for number in range(blocks):
                strides = 2 if stage > 0 and number == 0 else 1
                name = f'stage{stage + 1}_block{number + 1}'
                x = self.block(self.width * 2**stage, strides, self.dtype, self.norm, name=name)(x, train=train)
        return x.astype(jnp.float32).mean((1, 2))


ResNet18 = functools.partial(ResNet, (2, 2, 2, 2))
ResNet50 = functools.partial(ResNet, (3, 4, 6, 3), block=Bottleneck)
ResNetTiny = functools.partial(ResNet, (1, 1, 1, 1), width=16)
