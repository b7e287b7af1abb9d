"""Whole data sets through a network in their own order: probabilities, embeddings, per-sample values."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from noisy_jax.data.augment import Policy, to_float, two_views
from noisy_jax.data.dataset import Dataset
from noisy_jax.schedule import PHASES
from noisy_jax.training.compiling import Options
from noisy_jax.training.mesh import own_rows, replicate, shard_batch, to_host
from noisy_jax.training.state import Variables, networks_of
from noisy_jax.training.steps import Normalise

Arrays = dict[str, np.ndarray]
Compute = Callable[[Variables, Any], Any]  # of one batch: (variables, {name: [B, ...]}) -> a tree of [B, ...]

_AHEAD = 4  # batches in flight: enough to keep a device busy, few enough for its memory


def over_dataset(compute: Compute, mesh: Mesh, batch_size: int, options: Options | None = None) -> Callable:
    """Makes run(variables, arrays) of a function of one batch.

    `compute(variables, {name: [B, ...]})` gives a tree of arrays [B, ...]; `run` takes arrays [N, ...] and gives the
    same tree with [N, ...], on the host, in order. The last batch is filled up with copies of its first row, and cut
    again. A few batches are on their way while the results of earlier ones are fetched. `options` are the compiler's.
    """
    # Every process gets all results, whichever rows it computed.
    jitted = jax.jit(compute, out_shardings=NamedSharding(mesh, PartitionSpec()), compiler_options=options)
    size = -(-batch_size // mesh.size) * mesh.size
    own = own_rows(size, mesh)

    def run(variables: Variables, arrays: Arrays) -> Any:
        variables = replicate(variables, mesh)
        total = len(next(iter(arrays.values())))
        parts = []
        for start in range(0, total, size):
            rows = start + own
            rows[rows >= total] = start
            batch = {name: array[rows] for name, array in arrays.items()}
            parts.append(jitted(variables, shard_batch(batch, mesh)))
            if len(parts) > _AHEAD:
                parts[-_AHEAD - 1] = to_host(parts[-_AHEAD - 1])
        parts[-_AHEAD:] = [to_host(part) for part in parts[-_AHEAD:]]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:total], *parts)

    return run


def forward(network: nn.Module, normalise: Normalise) -> tuple[Compute, Compute]:
    """Embeddings float32 [B, D], and log probabilities float32 [B, C], of {'image': uint8 [B, H, W, C]}; pure."""

    def images(batch: dict[str, jax.Array]) -> jax.Array:
        return normalise(to_float(batch['image']))

    def embed(variables: Variables, batch: dict[str, jax.Array]) -> jax.Array:
        return network.apply(networks_of(variables)[0], images(batch), train=False, method='embed').astype(jnp.float32)

    def log_probabilities(variables: Variables, batch: dict[str, jax.Array]) -> jax.Array:
        def classify(net: nn.Module, x: jax.Array) -> jax.Array:
            return net.classify(net.embed(x, train=False), train=False)

        # Of two networks trained together, the mean of what both say.
        networks = networks_of(variables)
        given = [jax.nn.log_softmax(network.apply(one, images(batch), method=classify)) for one in networks]
        return jax.nn.logsumexp(jnp.stack(given), axis=0) - math.log(len(given)) if given[1:] else given[0]

    return embed, log_probabilities


class Evaluator:
    """predict, embed and accuracy of one network; compiled once, without augmentation, in evaluation mode."""

    def __init__(
        self,
        network: nn.Module,
        normalise: Normalise,
        mesh: Mesh,
        batch_size: int,
        options: Options | None = None,
    ) -> None:
        self.network, self.mesh, self.batch_size = network, mesh, batch_size
        embed, log_probabilities = forward(network, normalise)
        self._embed = over_dataset(embed, mesh, batch_size, options)
        self._log_probabilities = over_dataset(log_probabilities, mesh, batch_size, options)

    def embed(self, variables: Variables, dataset: Dataset) -> np.ndarray:
        """Embeddings float32 [N, D], in dataset order."""
        return self._embed(variables, {'image': dataset.image})

    def log_probabilities(self, variables: Variables, dataset: Dataset) -> np.ndarray:
        """Log softmax float32 [N, C], in dataset order."""
        return self._log_probabilities(variables, {'image': dataset.image})

    def predict(self, variables: Variables, dataset: Dataset) -> np.ndarray:
        """Probabilities float32 [N, C], in dataset order."""
        return np.exp(self.log_probabilities(variables, dataset))

    def accuracy(self, variables: Variables, dataset: Dataset, labels: np.ndarray) -> float:
        """The fraction of `labels` [N] that the classifier predicts."""
        return float(np.mean(self.log_probabilities(variables, dataset).argmax(-1) == labels))


def initialiser(
    network: nn.Module, shape: tuple[int, ...], seed: int, options: Options | None = None
) -> Callable[[str], Variables]:
    """initial(name): newly initialised variables for images of `shape`, the same in every run of `seed`.

    The names are those of the phases, 'encoder', and with '_second' those of the other of two networks.
    """
    init = jax.jit(lambda key: network.init(key, jnp.zeros((1, *shape)), train=False), compiler_options=options)
    names = (*PHASES, 'encoder', *(f'{phase}_second' for phase in PHASES))

    def initial(name: str) -> Variables:
        variables = to_host(init(jax.random.fold_in(jax.random.key(seed), names.index(name))))
        return {'batch_stats': {}, **variables}

    return initial


def views_of(augment: Policy, seed: int, images: np.ndarray) -> np.ndarray:
    """Two views float32 [N, 2, H, W, C] of each of a few images uint8 [N, H, W, C]."""
    return np.asarray(jax.jit(lambda key: two_views(augment, key, images))(jax.random.key(seed)))
