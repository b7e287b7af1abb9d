"""A classifier by one network: the head alone, then all weights. The base of the methods for classifiers."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from noisy_jax import losses
from noisy_jax.errors import InputError
from noisy_jax.losses import Criterion
from noisy_jax.methods.mixing import balance, draw_mixing, refine
from noisy_jax.training import optim
from noisy_jax.training.method import Memory, Method
from noisy_jax.training.stage import FORWARD, GRADIENT, Stage
from noisy_jax.training.state import CLEAN, TrainState, Variables
from noisy_jax.training.steps import ASIDE, Batch, Learner, Metrics, Step, weighted_mean
from noisy_jax.training.task import Task


class Classifier(Method):
    """A new head alone for `head_epochs`, then all weights, by the losses of the config."""

    ignores: ClassVar[tuple[str, ...]] = ()  # settings of the phase that a method replaces by its own

    def check(self, config: ConfigDict, phase: str) -> None:
        for name in self.ignores:
            if config[phase][name]:
                method = config[phase].method
                raise InputError(
                    f'config.{phase}.{name}: {config[phase][name]} has no effect with {method}; it must be 0'
                )

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        own = config[phase]
        head = Stage(
            'head',
            optim.HEAD,
            own.get('head_epochs', 0),
            own.batch_size,
            optim.settings_of(config, phase, head=True),
            passes=FORWARD,
        )
        whole = Stage(
            'all',
            optim.CLASSIFIER,
            own.epochs,
            own.batch_size,
            optim.settings_of(config, phase, head=False),
            passes=GRADIENT + (FORWARD if own.mixup else 0),
            average=own.average,
            mixup=own.mixup,
        )
        return [head, whole]

    def criterion(self, task: Task, stage: Stage) -> Criterion:
        """The loss of a stage; that of a head also keeps the memory of the loss after it."""
        config = task.context.config
        name = self.loss(config)
        criterion = losses.criterion(name, **config.loss_settings[name])
        of_head = task.settings.get('head_loss', 'same')
        if of_head == 'auto':  # chosen by the phase; without a pre-trained encoder there is nothing to choose by
            of_head = task.journal.record.get('heads', {}).get('chosen', 'same')
        if stage.name != 'head' or of_head in ('same', name):
            return criterion
        return losses.remembering(losses.criterion(of_head, **config.loss_settings[of_head]), criterion)

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        criterion = self.criterion(task, stage)
        return memory if criterion.init(1, 1).keys() <= memory.keys() else self.first_memory(task, criterion) | memory

    def first_memory(self, task: Task, criterion: Criterion) -> Memory:
        """The memory of a loss before it has seen anything."""
        count = len(task.train)
        if task.journal.session.shard_state:
            count = -(-count // 256) * 256  # whole rows for every device, on any usual number of them
        return criterion.init(count, task.train.num_classes)

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        criterion = self.criterion(task, stage)
        return mixed_step(learner, criterion, stage.mixup) if stage.mixup else classification_step(learner, criterion)


def classification_step(learner: Learner, criterion: Criterion) -> Step:
    """Trains a classifier on (image, label); losses are weighted by `weight`."""

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        index, labels = batch['index'], batch['label']
        images = learner.augmented(jax.random.fold_in(key, state.step), batch['image'])  # [B, H, W, C]

        def loss_of(variables: Variables) -> tuple[jax.Array, tuple]:
            logits, batch_stats = learner.logits_in_training(variables, images)  # [B, C]
            memory = criterion.remember(criterion.memory(state.extra), index, logits)
            values = criterion.loss(logits, labels, criterion.rows(memory, index))  # [B]
            return weighted_mean(values, batch['weight']), (batch_stats, (logits, memory))

        new, loss, (logits, memory) = learner.descend(state, loss_of)
        metrics = {'loss': loss, 'accuracy': jnp.mean(logits.argmax(-1) == labels)}
        return new.remember(memory), metrics | losses.sureness(logits, criterion.rows(memory, index))

    return step


def mixed_step(
    learner: Learner, criterion: Criterion, alpha: float, *, refined: bool = False, hard: bool = False
) -> Step:
    """`classification_step` on images and labels mixed by shares from Beta(alpha, alpha) (Zhang 2018).

    The memory of a loss is predicted by the averaged weights on the images before mixing (Liu 2020, ELR+). With
    `refined`, labels are first refined by predictions on these images and the clean probabilities of the state, and the
    classes are kept in balance (dynamic bootstrapping, Arazo 2019, eq. 16 and 17): by probabilities, or with `hard` by
    the likeliest class. As in the authors' code (https://github.com/PaulAlbert31/LabelNoiseCorrection), the network
    itself predicts, in training mode, so that the running statistics see plain images too.
    """

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        key, index, weight = jax.random.fold_in(key, state.step), batch['index'], batch['weight']
        images = learner.augmented(key, batch['image'])  # [B, H, W, C]
        if refined:
            reference, plain = learner.logits_in_training(state.variables, images)  # [B, C]
            state = state.replace(batch_stats=plain)
            predicted = jax.nn.softmax(reference)
            if hard:
                predicted = jax.nn.one_hot(reference.argmax(-1), reference.shape[-1], dtype=reference.dtype)
            labels = refine(batch['label'], predicted, state.extra[CLEAN][index])  # [B, C]
        else:
            reference = learner.logits(state.averaged, images)  # [B, C]
            labels = jax.nn.one_hot(batch['label'], reference.shape[-1], dtype=reference.dtype)
        memory = criterion.remember(criterion.memory(state.extra), index, reference)
        sureness = losses.sureness(reference, criterion.rows(memory, index))
        mixing = draw_mixing(jax.random.fold_in(key, ASIDE), len(images), alpha)
        images, labels, weight, rows = jax.tree.map(mixing, (images, labels, weight, criterion.rows(memory, index)))

        def loss_of(variables: Variables) -> tuple[jax.Array, tuple[Any, jax.Array]]:
            logits, batch_stats = learner.logits_in_training(variables, images)  # [B, C]
            loss = weighted_mean(criterion.loss(logits, labels, rows), weight)
            return loss + (balance(logits) if refined else 0.0), (batch_stats, logits)

        new, loss, logits = learner.descend(state, loss_of)
        accuracy = jnp.mean(logits.argmax(-1) == labels.argmax(-1))
        return new.remember(memory), {'loss': loss, 'accuracy': accuracy, **sureness}

    return step


def warmup_stage(whole: Stage, epochs: int, *, mixup: float = 0.0, clip_norm: float = 0.0) -> Stage:
    """All weights at a constant learning rate, before the first selection of labels; `clip_norm`: its own, or 0."""
    changes = {'schedule': 'constant', 'warmup_epochs': 0} | ({'clip_norm': clip_norm} if clip_norm else {})
    constant = ConfigDict(whole.optimizer.to_dict() | changes)
    return Stage(
        'warmup',
        whole.trained,
        epochs,
        whole.batch_size,
        constant,
        passes=GRADIENT + (FORWARD if mixup else 0),
        mixup=mixup,
    )
