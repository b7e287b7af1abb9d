"""MoCo (He 2020, "Momentum Contrast for Unsupervised Visual Representation Learning"); arXiv 1911.05722."""

from typing import ClassVar

import jax
import jax.numpy as jnp

from noisy_jax import losses
from noisy_jax.config import Section
from noisy_jax.methods.queue import MOMENTUM, QUEUE, Queued, follow, project, queue_settings
from noisy_jax.training.stage import Stage
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import Batch, Learner, Metrics, Step
from noisy_jax.training.task import Task


class MoCo(Queued):
    """Contrasts a view with the key of its other view against a queue of keys; reads no label."""

    sees_labels = False
    section = 'moco'
    # The authors' for CIFAR-10 (https://github.com/facebookresearch/moco, colab/moco_cifar10_demo.ipynb).
    settings: ClassVar[Section] = {section: queue_settings(4096, 0.99, 0.1)}

    def loss(self, query: jax.Array, keys: jax.Array, batch: Batch, extra: dict, temperature: float) -> jax.Array:
        """[B], of queries and keys [B, D]."""
        del batch
        return losses.info_nce(query, keys, extra[QUEUE], temperature=temperature)

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        own = task.context.config[self.section]
        return self.step_of(learner, own.temperature, own.momentum)

    def step_of(self, learner: Learner, temperature: float, momentum: float) -> Step:
        """The step by its numbers."""

        def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
            views = learner.two_views(jax.random.fold_in(key, state.step), batch['image'])  # [B, 2, H, W, C]
            keys = learner.network.apply(state.extra[MOMENTUM], views[:, 1], train=False, method=project)  # [B, D]

            def loss_of(variables: Variables) -> tuple[jax.Array, tuple]:
                query, batch_stats = learner.projections(variables, views[:, 0])  # [B, D]
                values = self.loss(query, keys, batch, state.extra, temperature)
                return jnp.mean(values), (batch_stats, None)

            new, value, _ = learner.descend(state, loss_of)
            return follow(new, state, keys, batch, momentum), {'loss': value}

        return step
