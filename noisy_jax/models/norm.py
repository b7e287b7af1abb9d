"""BatchNorm with PyTorch's running statistics, over the whole batch or over parts of it."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.errors import InputError


class BatchNorm(nn.Module):
    """Normalises over all axes but the last (Ioffe 2015); the batch may be spread over devices.

    Flax's own keeps the biased variance as running statistic, PyTorch (and so the original) the unbiased one.
    Statistics are float32 also under bfloat16 compute. Where the batch has several parts, the running statistics are
    the mean over them.

    Attributes:
      dtype: of the result.
      momentum: what the running statistics keep in a step.
      epsilon: added to the variance.
      blocks: the batch falls into so many blocks of neighbouring samples, each normalised by itself. A batch is spread
        over devices in that way too: with a multiple of the devices, no device waits for the statistics of another.
      splits: sample n of a block belongs to split n mod `splits`, each normalised by itself (the original's split
        BatchNorm). The two views of an image stand side by side in a contrastive batch: with an even number they never
        share statistics, which could tell them from negatives (for that, He 2020, section 3.3, shuffles).
    """

    dtype: jnp.dtype = jnp.float32
    momentum: float = 0.9
    epsilon: float = 1e-5
    blocks: int = 1
    splits: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x [B, ..., C] -> [B, ..., C]; `train`: by the batch's statistics, which also move the running ones.

        Raises:
          InputError: a training batch that does not divide into blocks and splits.
        """
        features = x.shape[-1]
        scale = self.param('scale', nn.initializers.ones, (features,))
        bias = self.param('bias', nn.initializers.zeros, (features,))
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (features,))
        running_var = self.variable('batch_stats', 'var', jnp.ones, (features,))
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train:
            if len(x) % (self.blocks * self.splits):
                raise InputError(
                    f'model.batch_norm_splits: a batch of {len(x)} rows does not divide into {self.blocks} x '
                    f'{self.splits} parts (batch_norm_blocks x batch_norm_splits); allowed: divisors of {len(x)}'
                )
            parted = self.blocks * self.splits > 1
            if parted:
                # [blocks, B', splits, ..., C]: the blocks lead, so that a spread batch stays where it is.
                wide = wide.reshape(self.blocks, -1, self.splits, *x.shape[1:])
            axes = tuple(axis for axis in range(wide.ndim - 1) if not (parted and axis in (0, 2)))
            mean = wide.mean(axes, keepdims=parted)
            square = (wide * wide).mean(axes, keepdims=parted)  # both sums in one pass over x
            var = jnp.maximum(square - mean * mean, 0.0)
            count = wide.size // mean.size
            keep = self.momentum
            mean_of_parts, var_of_parts = (
                moment.reshape(-1, features).mean(0) if parted else moment for moment in (mean, var)
            )
            running_mean.value = keep * running_mean.value + (1 - keep) * mean_of_parts
            running_var.value = keep * running_var.value + (1 - keep) * var_of_parts * (count / max(count - 1, 1))
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (wide * factor + (bias - mean * factor)).astype(self.dtype).reshape(x.shape)
