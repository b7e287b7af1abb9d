"""Classifiers with random weights and statistics, as a run could have them, without a run."""

import jax
import jax.numpy as jnp
import numpy as np
import tiny
from flax.traverse_util import flatten_dict, unflatten_dict

from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.training.state import SECOND


def random_classifier(shape, classes=5, pair=False, **model):
    """For images of `shape` (H, W, C); `pair`: of two networks."""
    config = tiny.config(**{f'model__{name}': value for name, value in model.items()})
    config.data.mean, config.data.std = [0.4, 0.5, 0.6][: shape[-1]], [0.2, 0.3, 0.25][: shape[-1]]
    names = tuple(f'class {i}' for i in range(classes))
    network = TrainedClassifier({}, config, names, shape).network

    def variables(seed):
        rng = np.random.default_rng(seed)
        init = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, *shape))))
        flat = {}
        for name, leaf in flatten_dict(init, sep='/').items():
            fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 1
            values = rng.normal(size=leaf.shape) / np.sqrt(fan_in)
            flat[name] = np.float32(1 + 0.1 * values if name.endswith(('scale', 'var')) else 0.5 * values)
        return unflatten_dict(flat, sep='/')

    both = variables(0) | ({SECOND: variables(1)} if pair else {})
    return TrainedClassifier(both, config, names, shape)
