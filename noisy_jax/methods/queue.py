"""A momentum encoder and a queue of its keys: the base of MoCo, supervised MoCo and MoPro.

The momentum encoder is the moving average of the weights and of the BatchNorm statistics, and runs in evaluation mode
(Cai 2021, "EMAN", https://arxiv.org/abs/2101.08482): a key then depends on its own image alone, so that nothing of a
batch can leak from query to key and no shuffled BatchNorm is needed.

`state.extra` holds `MOMENTUM` (its variables), and the queue: `QUEUE` keys [K, D], their labels [K], their weights [K].
"""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from noisy_jax import losses
from noisy_jax.config import Section, Setting
from noisy_jax.errors import InputError
from noisy_jax.methods.contrast import Contrast
from noisy_jax.training import optim
from noisy_jax.training.method import Memory
from noisy_jax.training.stage import FORWARD, GRADIENT, Stage
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import Batch
from noisy_jax.training.task import Task

MOMENTUM, QUEUE, QUEUE_LABELS, QUEUE_WEIGHTS = 'momentum', 'queue', 'queue_labels', 'queue_weights'


def queue_settings(queue: int, momentum: float, temperature: float) -> Section:
    """What every method with a queue has, with these defaults."""
    return {
        'queue': Setting(queue, 'number of earlier embeddings to contrast with; at least a batch', 1, 2**20),
        'momentum': Setting(momentum, 'momentum of the momentum encoder, per step', 0.0, 1.0),
        'temperature': Setting(temperature, 'temperature of its contrast; lower: the nearest count more', 1e-3, 1000.0),
    }


class Queued(Contrast):
    """Contrasts one view with keys of the momentum encoder, including those of earlier batches."""

    passes = GRADIENT + FORWARD  # the momentum encoder has no gradient
    section: ClassVar[str]  # the name of its settings, among them those of `queue_settings`

    def check(self, config: ConfigDict, phase: str) -> None:
        size, queue = config[phase].batch_size, config[self.section].queue
        if queue < size:
            raise InputError(f'config.{self.section}.queue: {queue} is smaller than a batch; at least {size}')

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        del stage, memory
        context, key = task.context, jax.random.key(task.journal.seed('queue'))
        return start(context.network, variables, task.train.image.shape[1:], key, context.config[self.section].queue)


def start(network: nn.Module, variables: Variables, image_shape: tuple[int, ...], key: jax.Array, size: int) -> Memory:
    """A momentum encoder equal to the encoder, and a queue of `size` random directions that belong to no image."""
    features = projection_size(network, variables, image_shape)
    return {
        MOMENTUM: _representation(variables),
        QUEUE: losses.normalise(jax.random.normal(key, (size, features), jnp.float32)),
        QUEUE_LABELS: jnp.full(size, -1, jnp.int32),
        QUEUE_WEIGHTS: jnp.zeros(size, jnp.float32),
    }


def projection_size(network: nn.Module, variables: Variables, image_shape: tuple[int, ...]) -> int:
    """D of the projections [B, D] of images of that shape."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(functools.partial(network.apply, train=False, method=project), variables, image).shape[-1]


def _representation(variables: Variables) -> Variables:
    params = {name: variables['params'][name] for name in optim.REPRESENTATION if name in variables['params']}
    return {'params': params, 'batch_stats': variables['batch_stats']}


def enqueue(queue: jax.Array, newest: jax.Array, step: jax.Array) -> jax.Array:
    """The queue [K, ...] in which the batch [B, ...] of this step has replaced the oldest rows; B is at most K."""
    place = (step * len(newest) + jnp.arange(len(newest))) % len(queue)
    return queue.at[place].set(newest.astype(queue.dtype))


def follow(state: TrainState, before: TrainState, keys: jax.Array, batch: Batch, momentum: float) -> TrainState:
    """The state after a step: the batch's keys [B, D] enqueued, the momentum encoder updated."""
    rows = {QUEUE: losses.normalise(keys), QUEUE_LABELS: batch['label'], QUEUE_WEIGHTS: batch['weight']}
    queue = {name: enqueue(before.extra[name], value, before.step) for name, value in rows.items()}
    newest = _representation(state.variables)
    average = jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, before.extra[MOMENTUM], newest)
    return state.remember({**queue, MOMENTUM: average})


def project(net: nn.Module, images: jax.Array, *, train: bool) -> jax.Array:
    """Projections [B, D] of normalised images."""
    return net.project(net.embed(images, train=train))
