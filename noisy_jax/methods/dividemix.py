"""DivideMix (Li 2020, "DivideMix: Learning with Noisy Labels as Semi-supervised Learning"); arXiv 2002.07394."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from noisy_jax import losses
from noisy_jax.config import Section, Setting
from noisy_jax.losses import Criterion, cross_entropy
from noisy_jax.methods import pair
from noisy_jax.methods.classification import warmup_stage
from noisy_jax.methods.mixing import MIXUP, MOST_MIXUP, balance, draw_mixing, refine, sharpen
from noisy_jax.methods.pair import PASSES, Pair
from noisy_jax.methods.trust import Trust, Trusting, by_losses
from noisy_jax.schedule import MOST_EPOCHS
from noisy_jax.training.stage import FORWARD, GRADIENT, Stage
from noisy_jax.training.state import CLEAN, TrainState, Variables
from noisy_jax.training.steps import Batch, Learner, Metrics, Step, weighted_mean
from noisy_jax.training.task import Task


class DivideMix(Trusting, Pair):
    """Two networks; after a warm-up each is trained by MixMatch on the labels that the other trusts."""

    settings: ClassVar[Section] = {
        'dividemix': {
            'loss': Setting('ce', 'loss of the warm-up', choices=tuple(losses.CRITERIA)),
            'negative_entropy': Setting(False, 'penalise confident predictions in the warm-up, for asymmetric noise'),
            'warmup_epochs': Setting(10, 'epochs of all weights before the first selection', 0, MOST_EPOCHS),
            'warmup_clip_norm': Setting(
                0.0, "length to which its gradients are cut, 1 in C2D's code; 0: as in `optimizer.clip_norm`", 0.0, 1e6
            ),
            'history': Setting(1, 'epochs of losses whose mean is modelled; 5 at 90 % noise', 1, 1000),
            # At 1 nothing could be trusted.
            'threshold': Setting(0.5, 'clean probability from which a label is trusted', 0.0, 0.99),
            'temperature': Setting(
                0.5, 'temperature by which labels are sharpened; lower: more confident', 1e-3, 1000.0
            ),
            'mixup': Setting(4.0, MIXUP, 1e-3, MOST_MIXUP),
            'unlabelled_weight': Setting(25.0, 'weight of the error on labels that are not trusted', 0.0, 1e6),
            'rampup_epochs': Setting(16, 'epochs over which that weight rises', 0, MOST_EPOCHS),
        }
    }

    ignores = ('mixup',)

    def loss(self, config: ConfigDict) -> str:
        return config.dividemix.loss

    def criterion(self, task: Task, stage: Stage) -> Criterion:
        criterion = super().criterion(task, stage)
        penalised = stage.name == 'warmup' and task.context.config.dividemix.negative_entropy
        return losses.with_negative_entropy(criterion) if penalised else criterion

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        head, whole = super().stages(config, phase)
        own = config.dividemix
        warmup = warmup_stage(whole, own.warmup_epochs, clip_norm=own.warmup_clip_norm)
        warmup = dataclasses.replace(warmup, passes=PASSES)
        # Two views, with gradient and for the guesses; then the losses for the next selection.
        passes = 2 * (2 * (GRADIENT + FORWARD) + FORWARD)
        return [head, warmup, dataclasses.replace(whole, mixup=own.mixup, passes=passes)]

    def trust(self, task: Task) -> Trust:
        own = task.context.config.dividemix
        return by_losses(task, networks=2, mixture='gaussian', threshold=own.threshold, history=own.history)

    def threshold(self, config: ConfigDict) -> float:
        return config.dividemix.threshold

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        if stage.name != 'all':
            return super().step(task, stage, learner)
        own = task.context.config.dividemix
        mixmatch = MixMatch(
            threshold=own.threshold,
            temperature=own.temperature,
            mixup=stage.mixup,
            unlabelled_weight=own.unlabelled_weight,
            rampup_steps=max(own.rampup_epochs * task.steps_per_epoch(stage), 1),
        )
        return dividemix_step(learner, mixmatch)


@dataclasses.dataclass(frozen=True)
class MixMatch:
    """Settings of DivideMix's step.

    Attributes:
      threshold: least clean probability of a trusted sample.
      temperature: of the sharpening, below 1.
      mixup: alpha of the shares.
      unlabelled_weight: of the squared error on samples that are not trusted.
      rampup_steps: steps over which that weight rises from 0.
    """

    threshold: float
    temperature: float
    mixup: float
    unlabelled_weight: float
    rampup_steps: float


def dividemix_step(learner: Learner, own: MixMatch) -> Step:
    """DivideMix (Li 2020, algorithm 1): MixMatch on the samples that the other network trusts and on the rest.

    `state.extra[CLEAN]` [2, N] holds each network's clean probabilities; each network uses those of the other. The
    label of a trusted sample is mixed with the network's own prediction by that probability; the label of another
    sample is the mean prediction of both networks. Both are sharpened, then mixed.

    A batch is drawn from all samples, so that it has trusted samples in their natural proportion; the authors' code
    draws equally many of each, trains the networks in turn, and guesses with batch statistics. Here both networks see
    the same two views and guess in evaluation mode.
    """

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        keys = pair.keys(key, state)
        views = learner.two_views(keys[2], batch['image'])  # [B, 2, H, W, C]
        images = views.reshape(-1, *views.shape[2:])  # [2B, H, W, C], a pair side by side
        trusts = state.extra[CLEAN][::-1, batch['index']]  # [2, B], of the other network
        ramp = jnp.minimum(state.step.astype(jnp.float32) / own.rampup_steps, 1.0)

        def guess(variables: Variables) -> jax.Array:
            return jax.nn.softmax(learner.logits(variables, images)).reshape(*views.shape[:2], -1).mean(1)  # [B, C]

        guesses = pair.of_each(guess)(state.variables)  # [2, B, C]
        guessed = guesses.mean(0)

        def loss_of_one(
            variables: Variables, guess: jax.Array, trust: jax.Array, key: jax.Array
        ) -> tuple[jax.Array, tuple]:
            trusted = trust > own.threshold
            target = jnp.where(trusted[:, None], refine(batch['label'], guess, trust), guessed)
            target = jnp.repeat(sharpen(target, own.temperature), 2, axis=0)  # [2B, C], for both views
            mixing = draw_mixing(key, len(images), own.mixup, own_larger=True)
            logits, batch_stats = learner.logits_in_training(variables, mixing(images))  # [2B, C]
            target = mixing(target)
            labelled = jnp.repeat(trusted * batch['weight'], 2)  # of the larger share
            unlabelled = jnp.repeat(~trusted * batch['weight'], 2)
            error = jnp.mean((jax.nn.softmax(logits) - target) ** 2, axis=-1)
            loss = weighted_mean(cross_entropy(logits, target), labelled) + balance(logits)
            loss += ramp * own.unlabelled_weight * weighted_mean(error, unlabelled)
            accuracy = jnp.mean(logits.argmax(-1) == target.argmax(-1))
            return loss, (batch_stats, (accuracy, trusted.mean()))

        def loss_of(variables: Variables) -> tuple[jax.Array, tuple]:
            values, more = pair.of_each(loss_of_one)(variables, guesses, trusts, keys[:2])
            return values.sum(), more

        new, loss, (accuracy, trusted) = learner.descend(state, loss_of)
        return new, {'loss': loss / 2, 'accuracy': accuracy.mean(), 'trusted': trusted.mean()}

    return step
