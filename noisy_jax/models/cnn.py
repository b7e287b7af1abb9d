"""Small convolutional networks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.errors import InputError
from noisy_jax.models.heads import conv, dense
from noisy_jax.models.norm import BatchNorm


def _halve(x: jax.Array) -> jax.Array:
    """The largest of every 2x2 pixels: [B, H, W, C] -> [B, H // 2, W // 2, C].

    As `nn.max_pool`, whose gradient is a scatter: on a CPU that takes longer than the rest of a small network.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def _flatten(x: jax.Array) -> jax.Array:
    """[B, h, w, C] -> [B, h w C].

    Raises:
      InputError: pooling has left nothing of the image.
    """
    if not x.size:
        raise InputError(
            'model.encoder: the images are too small for it: cnn6 needs 8 pixels a side, cnn_small needs 2 pixels; '
            'set data.image_size or take a resnet'
        )
    return x.reshape(x.shape[0], -1)  # not len(x): it may be a symbol (noisy_jax.export)


class CNN6(nn.Module):
    """The original's network of 6 convolutions: embeddings [B, 128] of images [B, H, W, C]."""

    width: int = 64
    hidden: int = 256
    features: int = 128
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.astype(self.dtype)
        widths = (self.width, 2 * self.width, 49 * self.width // 16)  # 64, 128, 196
        for block, width in enumerate(widths, 1):
            for layer in (1, 2):
                name = f'block{block}_{{}}{layer}'
                x = conv(width, x.shape[-1], self.dtype, name.format('conv'))(x)
                x = nn.relu(self.norm(self.dtype, name=name.format('norm'))(x, train=train))
            x = _halve(x)
        x = _flatten(x)
        x = dense(self.hidden, x.shape[-1], self.dtype, 'hidden')(x)
        x = nn.relu(self.norm(self.dtype, name='hidden_norm')(x, train=train))
        return dense(self.features, self.hidden, self.dtype, 'out')(x).astype(jnp.float32)


class CNNSmall(nn.Module):
    """For images of about 8x8 pixels: two convolutions of 16 and 32 channels, then one hidden layer; [B, 128]."""

    width: int = 16
    features: int = 128
    norm: Callable[..., nn.Module] = BatchNorm
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.astype(self.dtype)
        for layer, width in enumerate((self.width, 2 * self.width), 1):
            x = conv(width, x.shape[-1], self.dtype, f'conv{layer}')(x)
            x = nn.relu(self.norm(self.dtype, name=f'norm{layer}')(x, train=train))
        x = _halve(x)
        x = _flatten(x)
        x = dense(self.features, x.shape[-1], self.dtype, 'out')(x)
        return nn.relu(self.norm(self.dtype, name='out_norm')(x, train=train)).astype(jnp.float32)
