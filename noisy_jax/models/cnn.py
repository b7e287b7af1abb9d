"""Small convolutional networks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.errors import InputError
from noisy_jax.models.heads import conv, dense
from noisy_jax.models.norm import BatchNorm


def _halve(x: jax.Array) -> jax.Array:
    """Max-pooling over 2x2 pixels: [B, H, W, C] -> [B, H // 2, W // 2, C].

    The gradient of `nn.max_pool` is a scatter, which on a CPU takes longer than the rest of a small network.
    """
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


def _flatten(x: jax.Array) -> jax.Array:
    """[B, h, w, C] -> [B, h w C].

    Raises:
      InputError: the image is too small, nothing is left of it after pooling.
    """
    if not x.size:
        raise InputError(
            'model.encoder: the images are too small: cnn6 needs 8 pixels a side, cnn_small needs 2 pixels; '
            'set data.image_size or use a ResNet'
        )
    return x.reshape(x.shape[0], -1)  # not len(x), which may be a symbol (noisy_jax.export)


class CNN6(nn.Module):
    """The original's network of six convolutions: images [B, H, W, C] -> embeddings [B, 128]."""

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
                x = conv(width, x.shape[-1], self.dtype, f'block{block}_conv{layer}')(x)
                x = nn.relu(self.norm(self.dtype, name=f'block{block}_norm{layer}')(x, train=train))
            x = _halve(x)
        x = _flatten(x)
        x = dense(self.hidden, x.shape[-1], self.dtype, 'hidden')(x)
        x = nn.relu(self.norm(self.dtype, name='hidden_norm')(x, train=train))
        return dense(self.features, self.hidden, self.dtype, 'out')(x).astype(jnp.float32)


class CNNSmall(nn.Module):
    """Two convolutions and a dense layer, for images of about 8x8 pixels: [B, H, W, C] -> embeddings [B, 128]."""

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
        x = _flatten(_halve(x))
        x = dense(self.features, x.shape[-1], self.dtype, 'out')(x)
        return nn.relu(self.norm(self.dtype, name='out_norm')(x, train=train)).astype(jnp.float32)
