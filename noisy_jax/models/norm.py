"""BatchNorm with PyTorch's running statistics, over the whole batch or groups of it."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.errors import InputError


class BatchNorm(nn.Module):
    """Normalises over all axes but the last; the batch may be sharded over devices.

    Flax's own keeps the biased variance as running statistic, PyTorch (and so the original) the unbiased one.
    Statistics are float32 even when computing in bfloat16. With several groups, running statistics are their mean.

    Source: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167

    Attributes:
      dtype: type of the result.
      momentum: share of the running statistics that a step keeps.
      epsilon: added to the variance.
      blocks: groups of neighbouring samples, each normalised separately. A batch is sharded in the same order: with a
        multiple of the devices, no device waits for the statistics of another.
      splits: interleaved groups, each normalised separately: sample n of a block belongs to group n mod `splits` (the
        original's split BatchNorm). The two views of an image are neighbours in a contrastive batch: with an even
        number they never share statistics, which could tell them from negatives. MoCo shuffles to the same end (He
        2020, section 3.3, https://arxiv.org/abs/1911.05722).
    """

    dtype: jnp.dtype = jnp.float32
    momentum: float = 0.9
    epsilon: float = 1e-5
    blocks: int = 1
    splits: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x [B, ..., C] -> [B, ..., C]; with `train`, by the batch's statistics, which also update the running ones.

        Raises:
          InputError: a training batch that does not divide into `blocks` x `splits` groups.
        """
        features = x.shape[-1]
        scale = self.param('scale', nn.initializers.ones, (features,), jnp.float32)
        bias = self.param('bias', nn.initializers.zeros, (features,), jnp.float32)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (features,), jnp.float32)
        running_var = self.variable('batch_stats', 'var', jnp.ones, (features,), jnp.float32)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train:
            if len(x) % (self.blocks * self.splits):
                raise InputError(
                    f'model.batch_norm_splits: a batch of {len(x)} rows does not divide into {self.blocks} x '
                    f'{self.splits} groups (batch_norm_blocks x batch_norm_splits); allowed: divisors of {len(x)}'
                )
            grouped = self.blocks * self.splits > 1
            if grouped:
                # [blocks, B', splits, ..., C]: the blocks lead, so that a sharded batch stays where it is.
                wide = wide.reshape(self.blocks, -1, self.splits, *x.shape[1:])
            axes = (1, *range(3, wide.ndim - 1)) if grouped else tuple(range(wide.ndim - 1))
            mean = wide.mean(axes, keepdims=grouped)
            square = (wide * wide).mean(axes, keepdims=grouped)  # both sums in one pass over x
            var = jnp.maximum(square - mean * mean, 0.0)
            count = wide.size // mean.size
            keep = self.momentum
            mean_of_groups, var_of_groups = (
                moment.reshape(-1, features).mean(0) if grouped else moment for moment in (mean, var)
            )
            running_mean.value = keep * running_mean.value + (1 - keep) * mean_of_groups
            running_var.value = keep * running_var.value + (1 - keep) * var_of_groups * (count / max(count - 1, 1))
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (wide * factor + (bias - mean * factor)).astype(self.dtype).reshape(x.shape)
