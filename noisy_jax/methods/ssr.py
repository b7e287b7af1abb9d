"""SSR (Feng 2022, "SSR: An Efficient and Robust Framework for Learning with Unknown Label Noise"); arXiv 2111.11288."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from noisy_jax import losses
from noisy_jax.config import Section, Setting
from noisy_jax.data import augment as aug
from noisy_jax.methods.classification import Classifier
from noisy_jax.methods.mixing import MIXUP, MOST_MIXUP, cut, draw_mixing
from noisy_jax.models.heads import Consistency
from noisy_jax.training import knn
from noisy_jax.training.evaluate import over_dataset
from noisy_jax.training.loop import AfterEpoch
from noisy_jax.training.method import Memory
from noisy_jax.training.stage import FORWARD, GRADIENT, Stage, Values
from noisy_jax.training.state import VOTE, TrainState, Variables
from noisy_jax.training.steps import Batch, Learner, Metrics, Step
from noisy_jax.training.task import Task

HEADS = 'consistency'  # its part of the parameters
LABEL, BALANCE = 'current_label', 'balance'  # [N] each, in `state.extra`

Select = Callable[[Variables], Memory]  # the memory of the next epoch by the variables of this one


class SSR(Classifier):
    """Relabels what the network is sure of, keeps the labels that win the vote of their neighbours, learns from them.

    As in the authors' code (https://github.com/MrChenFeng/SSR_BMVC2022), every selection starts from the given labels,
    and nothing warms up. Unlike there, an image has no vote on itself and is selected without augmentation, and the
    learning rate falls to almost 0, not to a fiftieth.
    """

    settings: ClassVar[Section] = {
        'ssr': {
            'loss': Setting('ce', 'loss of a head alone', choices=tuple(losses.CRITERIA)),
            'relabel_above': Setting(
                0.9,
                'probability above which a prediction replaces the label (theta_r); CIFAR-100 from 50 % noise on: 0.8, '
                'WebVision: 0.95, Clothing1M: 0.99; 1: never, for noise that depends on the image',
                0.0,
                1.0,
            ),
            'keep_from': Setting(
                1.0, "share of the largest vote from which a label is kept (theta_s); 1: the label's is it", 0.0, 1.0
            ),
            'neighbours': Setting(200, 'number of neighbours that vote (k)', 1, 10_000),
            'mixup': Setting(4.0, MIXUP, 1e-3, MOST_MIXUP),
            'cutmix': Setting(False, 'paste a box of the other image instead of blending both'),
            'consistency': Setting(1.0, 'weight of the feature consistency on all images; 0: none', 0.0, 1e6),
            'strong_augment': Setting(
                'autoaugment',
                'augmentation of the kept images, and of the view that predicts that of PHASE.augment',
                choices=tuple(aug.POLICIES),
            ),
        }
    }

    ignores = ('mixup',)

    def loss(self, config: ConfigDict) -> str:
        return config.ssr.loss

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        head, whole = super().stages(config, phase)
        # Two mixed views of the kept; a view that predicts and one that is predicted; then the selection.
        passes = 2 * GRADIENT + FORWARD + (GRADIENT + FORWARD if config.ssr.consistency else 0)
        own = {'trained': (*whole.trained, HEADS), 'mixup': config.ssr.mixup, 'passes': passes, 'drawn_by': BALANCE}
        return [head, dataclasses.replace(whole, **own)]

    def heads(self, task: Task, variables: Variables) -> Variables:
        if not task.context.config.ssr.consistency:
            return {}
        image = jax.ShapeDtypeStruct((1, *task.train.image.shape[1:]), jnp.float32)
        network, key = task.context.network, jax.random.key(task.journal.seed(HEADS))
        embedding = jax.eval_shape(lambda v, x: network.apply(v, x, train=False, method='embed'), variables, image)
        made = Consistency().init(key, jnp.zeros(embedding.shape), train=False)
        return {kind: {HEADS: tree} for kind, tree in made.items()}

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        return self._select(task)(variables) if stage.name == 'all' else super().memory(task, stage, variables, memory)

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        if stage.name != 'all':
            return super().step(task, stage, learner)
        own = task.context.config.ssr
        strong = dataclasses.replace(learner, augment=task.context.policy(own.strong_augment))
        return ssr_step(learner, strong, mixup=stage.mixup, cutmix=own.cutmix, consistency=own.consistency)

    def after_epoch(self, task: Task, stage: Stage) -> AfterEpoch | None:
        if stage.name != 'all':
            return None
        select, given = self._select(task), task.train.label

        def after(state: TrainState, epoch: int) -> tuple[TrainState, Values]:
            del epoch
            newest = select(state.averaged)
            shares = {'relabelled_next': newest[LABEL] != given, 'kept_next': newest[BALANCE] > 0}
            return state.remember(newest), {name: float(rows.mean()) for name, rows in shares.items()}

        return after

    def _select(self, task: Task) -> Select:
        if 'select' not in task.compiled:
            task.compiled['select'] = selection(task)
        return task.compiled['select']


# ---------------------------------------------------------------- selection


def selection(task: Task) -> Select:
    """Embeds all images of the task, relabels, lets the neighbours vote, and keeps the labels that win."""
    context, train, own = task.context, task.train, task.context.config.ssr

    def look(variables: Variables, batch: Batch) -> tuple[jax.Array, jax.Array]:
        def both(net: nn.Module, images: jax.Array) -> tuple[jax.Array, jax.Array]:
            embeddings = net.embed(images, train=False)
            return embeddings, net.classify(embeddings, train=False)

        images = context.normalise(aug.to_float(batch['image']))
        embeddings, logits = context.network.apply(variables, images, method=both)
        return embeddings.astype(jnp.float32), jax.nn.softmax(logits)

    run = over_dataset(
        look, task.journal.session.mesh, context.evaluator.batch_size, task.journal.session.compiler_options
    )

    def select(variables: Variables) -> Memory:
        embeddings, probabilities = run(variables, {'image': train.image})  # [N, D], [N, C]
        label = relabel(train.label, probabilities, own.relabel_above)
        shares = vote(embeddings, label, k=own.neighbours, num_classes=train.num_classes)
        kept = keep(shares, label, own.keep_from)
        of_given = shares[np.arange(len(label)), train.label]
        balance = balance_classes(label, kept, train.num_classes) * train.weight
        return {LABEL: label, BALANCE: balance, VOTE: of_given}

    return select


def relabel(given: np.ndarray, probabilities: np.ndarray, above: float) -> np.ndarray:
    """The predicted class where its probability is `above` this, else the given label: [N], [N, C] -> int32 [N]."""
    return np.where(probabilities.max(-1) > above, probabilities.argmax(-1), given).astype(np.int32)


def vote(embeddings: np.ndarray, labels: np.ndarray, *, k: int, num_classes: int) -> np.ndarray:
    """Each class's share of the votes of the k nearest others by cosine, one vote each: [N, D], [N] -> float32 [N, C].

    The votes for a class are divided by its share of the labels, so that a frequent class wins no more than others.
    """
    settings = {'k': k, 'num_classes': num_classes, 'temperature': math.inf, 'leave_one_out': True}
    counts = np.asarray(knn.predict(embeddings, labels, embeddings, **settings))
    balanced = counts / np.maximum(np.bincount(labels, minlength=num_classes), 1).astype(np.float32)
    return balanced / balanced.sum(-1, keepdims=True)


def keep(shares: np.ndarray, labels: np.ndarray, least: float) -> np.ndarray:
    """Whether a label's share of the votes is at least this part of the largest: [N, C], [N] -> bool [N]."""
    return shares[np.arange(len(labels)), labels] >= least * shares.max(-1)


def balance_classes(labels: np.ndarray, kept: np.ndarray, num_classes: int) -> np.ndarray:
    """float32 [N] by which kept samples are drawn: all classes that have some equally often; 0 for the others."""
    counts = np.bincount(labels[kept], minlength=num_classes)
    return np.where(kept, 1 / np.maximum(counts, 1)[labels], 0).astype(np.float32)


# ---------------------------------------------------------------- step


def consistency_loss(predicted: jax.Array, projected: jax.Array) -> jax.Array:
    """-cosine(p, z) without a gradient for z (SimSiam, Chen 2021, https://arxiv.org/abs/2011.10566): [B, P] -> [B]."""
    target = losses.normalise(jax.lax.stop_gradient(projected))
    return -jnp.sum(losses.normalise(predicted) * target, axis=-1)


def ssr_step(learner: Learner, strong: Learner, *, mixup: float, cutmix: bool, consistency: float) -> Step:
    """Cross-entropy on mixed strong views of kept samples, and feature consistency on all (Feng 2022, section 3.3).

    The kept, drawn from all by `state.extra[BALANCE]`, have their newest labels. A strong view predicts the projection
    of a weak one.

    Args:
      learner: augments weakly.
      strong: the same, augments strongly.
      mixup: alpha of the shares, of which the larger comes first.
      cutmix: whether images are mixed by boxes.
      consistency: weight of the feature consistency; 0: none, and no heads for it.
    """

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        keys = jax.random.split(jax.random.fold_in(key, state.step), 5)
        views = strong.two_views(keys[0], batch['drawn_image'])  # [B, 2, H, W, C]
        images, labels = views.reshape(-1, *views.shape[2:]), jnp.repeat(state.extra[LABEL][batch['drawn_index']], 2)
        mixing = draw_mixing(keys[1], len(images), mixup, own_larger=True)
        if cutmix:
            mixed, mixing = cut(keys[2], images, mixing)
        else:
            mixed = mixing(images)
        weak, other = learner.augmented(keys[3], batch['image']), strong.augmented(keys[4], batch['image'])
        any_kept = jnp.any(state.extra[BALANCE] > 0)

        def loss_of(variables: Variables) -> tuple[jax.Array, tuple]:
            logits, batch_stats = learner.logits_in_training(variables, mixed)  # [2B, C]
            target = mixing(jax.nn.one_hot(labels, logits.shape[-1], dtype=jnp.float32))
            loss = jnp.mean(losses.cross_entropy(logits, target)) * any_kept
            agreement = jnp.zeros((), jnp.float32)
            if consistency:
                (z, _), batch_stats = _look_at(learner, {**variables, 'batch_stats': batch_stats}, weak)
                (_, p), batch_stats = _look_at(learner, {**variables, 'batch_stats': batch_stats}, other)
                apart = jnp.mean(consistency_loss(p, z))
                loss, agreement = loss + consistency * apart, -apart
            accuracy = jnp.mean(logits.argmax(-1) == labels)
            return loss, (batch_stats, {'accuracy': accuracy, 'consistency': agreement})

        new, loss, metrics = learner.descend(state, loss_of)
        return new, {'loss': loss, **(metrics if consistency else {'accuracy': metrics['accuracy']})}

    return step


def _look_at(learner: Learner, variables: Variables, images: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Any]:
    """Projections and predictions [B, P] in training, and the new BatchNorm statistics of network and heads."""
    embed = {'train': True, 'method': 'embed', 'mutable': ['batch_stats']}
    embeddings, changed = learner.network.apply(variables, images, **embed)
    own = {kind: tree[HEADS] for kind, tree in variables.items()}
    outputs, of_heads = Consistency().apply(own, embeddings, train=True, mutable=['batch_stats'])
    return outputs, {**changed['batch_stats'], HEADS: of_heads['batch_stats']}
