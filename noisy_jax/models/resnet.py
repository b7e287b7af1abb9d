"""ResNet in NHWC, with a stem for small images and one for large ones.

Source: He et al. 2016, https://arxiv.org/abs/1512.03385
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.models.heads import torch_kernel
from noisy_jax.models.norm import BatchNorm

# Kaiming initialisation as in torchvision: normal, variance 2 / fan out. The original's 3x3 stem has PyTorch's default.
he_kernel = nn.initializers.variance_scaling(2, 'fan_out', 'normal')


def _conv(size: int, strides: int, features: int, **options: Any) -> nn.Conv:
    """A convolution without bias, padded as in PyTorch: 'SAME' would shift the window where the stride is 2."""
    return nn.Conv(features, (size, size), strides, padding=size // 2, use_bias=False, **options)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: [B, H, W, C] -> [B, H / strides, W / strides, features]."""

    features: int
    strides: int
    dtype: jnp.dtype
    norm: Callable[..., nn.Module] = BatchNorm

    def layers(self) -> tuple[tuple[int, int, int], ...]:
        """Kernel size, stride and outputs of each convolution."""
        return (3, self.strides, self.features), (3, 1, self.features)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(_conv, dtype=self.dtype, kernel_init=he_kernel)
        y, layers = x, self.layers()
        for number, layer in enumerate(layers, 1):
            y = conv(*layer, name=f'conv{number}')(y)
            y = self.norm(self.dtype, name=f'norm{number}')(y, train=train)
            y = nn.relu(y) if number < len(layers) else y
        if x.shape != y.shape:
            x = conv(1, self.strides, y.shape[-1], name='shortcut_conv')(x)
            x = self.norm(self.dtype, name='shortcut_norm')(x, train=train)
        return nn.relu(x + y)


class Bottleneck(BasicBlock):
    """1x1, 3x3 and 1x1 convolutions and a shortcut: [B, H, W, C] -> [B, H / strides, W / strides, 4 features].

    The 3x3 convolution has the stride, as in torchvision; in the paper the first 1x1 has it.
    """

    def layers(self) -> tuple[tuple[int, int, int], ...]:
        return (1, 1, self.features), (3, self.strides, self.features), (1, 1, 4 * self.features)


class PreActBlock(BasicBlock):
    """Twice BatchNorm, ReLU, 3x3 convolution; a shortcut: [B, H, W, C] -> [B, H / strides, W / strides, features].

    As in the original, the shortcut starts after the first ReLU in every block; in the paper's figure 4e only where it
    has a convolution.

    Source: He et al. 2016, https://arxiv.org/abs/1603.05027
    """

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        conv = functools.partial(_conv, dtype=self.dtype, kernel_init=torch_kernel)
        x = nn.relu(self.norm(self.dtype, name='norm1')(x, train=train))
        y = conv(3, self.strides, self.features, name='conv1')(x)
        y = nn.relu(self.norm(self.dtype, name='norm2')(y, train=train))
        y = conv(3, 1, self.features, name='conv2')(y)
        if x.shape != y.shape:
            x = conv(1, self.strides, self.features, name='shortcut_conv')(x)
        return x + y


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
        stem, init = ((3, 1), torch_kernel) if self.small_images else ((7, 2), he_kernel)
        x = _conv(*stem, self.width, dtype=self.dtype, kernel_init=init, name='stem_conv')(x.astype(self.dtype))
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
ResNet34 = functools.partial(ResNet, (3, 4, 6, 3))
ResNet50 = functools.partial(ResNet, (3, 4, 6, 3), block=Bottleneck)
# As in the original, BatchNorm and ReLU follow the stem too, and nothing follows the last block.
PreActResNet18 = functools.partial(ResNet, (2, 2, 2, 2), block=PreActBlock)
ResNetTiny = functools.partial(ResNet, (1, 1, 1, 1), width=16)
# Those of torchvision's blocks and names.
RESNETS: dict[str, Callable[..., ResNet]] = {
    'resnet18': ResNet18,
    'resnet34': ResNet34,
    'resnet50': ResNet50,
    'resnet_tiny': ResNetTiny,
}
