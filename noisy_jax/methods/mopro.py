"""MoPro (Li 2021, "MoPro: Webly Supervised Learning with Momentum Prototypes"); arXiv 2009.07995."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from noisy_jax import losses
from noisy_jax.config import Section, Setting
from noisy_jax.data import augment as aug
from noisy_jax.methods.queue import MOMENTUM, QUEUE, Queued, follow, project, projection_size, queue_settings
from noisy_jax.schedule import MOST_EPOCHS
from noisy_jax.training import optim
from noisy_jax.training.method import Memory
from noisy_jax.training.stage import Stage
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import ASIDE, Batch, Learner, Metrics, Step, weighted_mean
from noisy_jax.training.task import Task

PROTOTYPES = 'prototypes'  # [C, D] in `state.extra`


class MoPro(Queued):
    """Encoder, projection head and classifier, by labels that prototypes and classifier correct."""

    trained = (*optim.REPRESENTATION, *optim.HEAD)
    section = 'mopro'
    settings: ClassVar[Section] = {
        section: queue_settings(8192, 0.999, 0.1)
        | {
            'strong_augment': Setting(
                'mopro_strong',
                'augmentation of the keys, which the momentum encoder sees',
                choices=tuple(aug.POLICIES),
            ),
            'prototype_momentum': Setting(0.999, "momentum of each class's mean embedding, per sample", 0.0, 1.0),
            'alpha': Setting(0.5, "share of the classifier's prediction in a corrected label", 0.0, 1.0),
            'threshold': Setting(0.8, 'probability from which a corrected label is trusted', 0.0, 1.0),
            'start_epoch': Setting(11, 'epoch from which labels are corrected', 0, MOST_EPOCHS),
        }
    }

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        size = projection_size(task.context.network, variables, task.train.image.shape[1:])
        prototypes = jnp.zeros((task.train.num_classes, size), jnp.float32)  # of length 0: no class has been seen
        return super().memory(task, stage, variables, memory) | {PROTOTYPES: prototypes}

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        own, steps_per_epoch = task.context.config.mopro, task.steps_per_epoch(stage)
        numbers = MoProNumbers(
            temperature=own.temperature,
            momentum=own.momentum,
            prototype_momentum=own.prototype_momentum,
            alpha=own.alpha,
            threshold=own.threshold,
            prototype_step=steps_per_epoch,
            start_step=own.start_epoch * steps_per_epoch,
        )
        return mopro_step(learner, task.context.policy(own.strong_augment), numbers)


@dataclasses.dataclass(frozen=True)
class MoProNumbers:
    """Settings of MoPro's step.

    Attributes:
      temperature: of both contrastive losses.
      momentum: of the momentum encoder.
      prototype_momentum: of the prototypes.
      alpha: share of the classifier in the corrected label.
      threshold: from which on a corrected label is believed.
      prototype_step: until then prototypes only follow; then the samples are drawn to them (its code: an epoch).
      start_step: until then labels are as given (its code: 11 epochs).
    """

    temperature: float
    momentum: float
    prototype_momentum: float
    alpha: float
    threshold: float
    prototype_step: int
    start_step: int


def correct(
    labels: jax.Array, predicted: jax.Array, similar: jax.Array, *, alpha: float, threshold: float
) -> tuple[jax.Array, jax.Array]:
    """MoPro's labels (Li 2021, section 3): from alpha p + (1 - alpha) s, where that is sure; else as given.

    Args:
      labels: int [B], as given.
      predicted: [B, C], the classifier's probabilities p.
      similar: [B, C], the softmax s of the similarities to the prototypes.
      alpha: the classifier's share.
      threshold: how sure is sure.

    Returns:
      Labels int [B], and bool [B]: whether the sample belongs to one of the classes. Where nothing is sure and the
      given label is less likely than 1 / C, it does not (out of distribution).
    """
    belief = alpha * predicted + (1 - alpha) * similar
    sure = belief.max(-1) > threshold
    given = jnp.take_along_axis(belief, labels[:, None], axis=1)[:, 0]
    return jnp.where(sure, belief.argmax(-1), labels), sure | (given > 1 / belief.shape[-1])


def move_prototypes(
    prototypes: jax.Array, z: jax.Array, labels: jax.Array, belongs: jax.Array, momentum: float
) -> jax.Array:
    """Each class's prototype [C, D] moved towards the mean of its samples z [B, D] of the batch, of length 1 again.

    (Li 2021, section 3, for a batch at once: as many steps as the class has samples, towards their mean.)
    """
    share = jax.nn.one_hot(labels, len(prototypes), dtype=z.dtype) * belongs[:, None]  # [B, C]
    count = share.sum(0)[:, None]  # [C, 1]
    mean = share.T @ z / jnp.maximum(count, 1)
    unseen = jnp.sum(prototypes**2, axis=1, keepdims=True) < 0.5
    keep = jnp.where(unseen & (count > 0), 0.0, momentum**count)
    return losses.normalise(keep * prototypes + (1 - keep) * mean)


def mopro_step(learner: Learner, strong_augment: aug.Policy, own: MoProNumbers) -> Step:
    """Cross-entropy, prototypical and instance contrastive loss, on corrected labels (Li 2021, section 3).

    The query sees `learner.augment`, the key `strong_augment`.
    """

    def forward(net: nn.Module, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        embeddings = net.embed(images, train=True)
        return net.project(embeddings), net.classify(embeddings, train=True)

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        key, extra = jax.random.fold_in(key, state.step), state.extra
        weak = learner.augmented(key, batch['image'])  # [B, H, W, C]
        strong = learner.normalise(aug.apply(strong_augment, jax.random.fold_in(key, ASIDE), batch['image']))
        keys = learner.network.apply(extra[MOMENTUM], strong, train=False, method=project)  # [B, D]
        prototypes, begun = extra[PROTOTYPES], state.step >= own.start_step

        def loss_of(variables: Variables) -> tuple[jax.Array, tuple]:
            (z, logits), changed = learner.network.apply(variables, weak, method=forward, mutable=['batch_stats'])
            z = losses.normalise(z)
            similarity = jnp.matmul(z, prototypes.T, precision='highest') / own.temperature  # [B, C]
            belief = jax.lax.stop_gradient((jax.nn.softmax(logits), jax.nn.softmax(similarity)))
            corrected, belongs = correct(batch['label'], *belief, alpha=own.alpha, threshold=own.threshold)
            labels = jnp.where(begun, corrected, batch['label'])
            belongs = belongs | ~begun
            weight = belongs * batch['weight']
            instance = jnp.mean(losses.info_nce(z, keys, extra[QUEUE], temperature=own.temperature))
            classes = weighted_mean(losses.cross_entropy(logits, labels), weight)
            to_prototype = weighted_mean(losses.cross_entropy(similarity, labels), weight)
            value = instance + classes + jnp.where(state.step >= own.prototype_step, to_prototype, 0.0)
            return value, (changed['batch_stats'], (jax.lax.stop_gradient(z), labels, belongs))

        new, value, (z, labels, belongs) = learner.descend(state, loss_of)
        moved = move_prototypes(prototypes, z, labels, belongs, own.prototype_momentum)
        new = follow(new, state, keys, {**batch, 'label': labels}, own.momentum).remember({PROTOTYPES: moved})
        return new, {'loss': value, 'corrected': jnp.mean(labels != batch['label']), 'belongs': jnp.mean(belongs)}

    return step
