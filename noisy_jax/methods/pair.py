"""Two networks that teach each other, as one stacked tree: every array is [2, ...].

The optimisers are elementwise, so that the stacked tree is trained as one; the loss is the sum of both networks'
losses, and no gradient flows between them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from noisy_jax import losses
from noisy_jax.losses import Criterion
from noisy_jax.losses.elr import TARGETS
from noisy_jax.methods.classification import Classifier
from noisy_jax.methods.mixing import draw_mixing
from noisy_jax.training.method import Memory
from noisy_jax.training.stage import FORWARD, GRADIENT, Stage
from noisy_jax.training.state import TrainState, Variables, one_of, stack
from noisy_jax.training.steps import ASIDE, Batch, Learner, Metrics, Step, rampup, weighted_mean
from noisy_jax.training.task import Task

# Gradients of both networks, and the predictions of each for the memory of the other.
PASSES, HEAD_PASSES = 2 * (GRADIENT + FORWARD), 2 * (FORWARD + FORWARD)


def of_each(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap(function)` for two networks, written out.

    With the kernels of both at once a convolution is a grouped one, which took six times as long on a CPU.
    """

    def call(*trees: Any) -> Any:
        return stack(*(function(*(one_of(tree, number) for tree in trees)) for number in (0, 1)))

    return call


def keys(key: jax.Array, state: TrainState) -> jax.Array:
    """One for each network, and a third for what both share."""
    return jax.random.split(jax.random.fold_in(key, state.step), 3)


class Pair(Classifier):
    """Two networks by the losses of the config; the memory of each loss is predicted by the other network."""

    networks = 2

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        head, whole = super().stages(config, phase)
        return [dataclasses.replace(head, passes=HEAD_PASSES), dataclasses.replace(whole, passes=PASSES)]

    def first_memory(self, task: Task, criterion: Criterion) -> Memory:
        first = super().first_memory(task, criterion)
        return stack(first, first)

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        return pair_step(learner, self.criterion(task, stage), mixup=stage.mixup)


def pair_step(
    learner: Learner, criterion: Criterion, *, mixup: float = 0.0, weigh_labels: bool = False, rampup_steps: int = 0
) -> Step:
    """`classification_step` for two networks (ELR+, Liu 2020, appendix; DivideMix's warm-up with cross-entropy).

    Both see the same samples, augmented independently. The memory of each one's loss is predicted by the averaged
    weights of the other, on the same images before mixing; BatchNorm's statistics are averaged too, and predict in
    evaluation mode (the authors' code predicts by those of the batch).

    Args:
      learner: the common parts.
      criterion: the loss of each network.
      mixup: alpha of the mixing shares, of which the image itself has the larger; 0: none.
      weigh_labels: whether mixed labels are first multiplied by ELR's targets.
      rampup_steps: steps over which cross-entropy passes into the loss: CE + ramp (loss - CE), for ELR a regulariser
        that rises.
    """

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        own_keys, index = keys(key, state)[:2], batch['index']
        images = jax.vmap(lambda key: learner.augmented(key, batch['image']))(own_keys)  # [2, B, H, W, C]
        others = of_each(learner.logits)(jax.tree.map(lambda leaf: leaf[::-1], state.averaged), images)  # [2, B, C]
        memory = jax.vmap(criterion.remember, (0, None, 0))(criterion.memory(state.extra), index, others)
        rows = jax.vmap(criterion.rows, (0, None), axis_size=2)(memory, index)

        def loss_of_one(variables: Variables, images: jax.Array, rows: dict, key: jax.Array) -> tuple[jax.Array, tuple]:
            labels, weight = batch['label'], batch['weight']
            if mixup:
                labels = jax.nn.one_hot(labels, others.shape[-1], dtype=others.dtype)
                mixing = draw_mixing(jax.random.fold_in(key, ASIDE), len(images), mixup, own_larger=True)
                images, labels, weight, rows = jax.tree.map(mixing, (images, labels, weight, rows))
            if weigh_labels:
                labels = losses.weigh_labels(labels, rows[TARGETS])
            logits, batch_stats = learner.logits_in_training(variables, images)
            accuracy = jnp.mean(logits.argmax(-1) == (labels.argmax(-1) if mixup else labels))
            values = criterion.loss(logits, labels, rows)  # [B]
            if rampup_steps:
                plain = losses.cross_entropy(logits, labels)
                values = plain + rampup(state.step + 1, rampup_steps) * (values - plain)
            return weighted_mean(values, weight), (batch_stats, accuracy)

        def loss_of(variables: Variables) -> tuple[jax.Array, tuple]:
            values, more = of_each(loss_of_one)(variables, images, rows, own_keys)
            return values.sum(), more

        new, loss, accuracy = learner.descend(state, loss_of)
        sureness = jax.tree.map(jnp.mean, jax.vmap(losses.sureness)(others, rows))
        return new.remember(memory), {'loss': loss / 2, 'accuracy': accuracy.mean(), **sureness}

    return step
