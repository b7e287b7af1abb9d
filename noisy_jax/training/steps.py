"""Pure train steps: closures (state, batch, key) -> (state, metrics). `loop` jits them; nothing here knows of devices.

A batch is {image uint8 [B,H,W,C], label int32 [B], weight float32 [B], index int32 [B]}. Metrics are scalars that stay
on the device.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from noisy_jax.data import augment as aug
from noisy_jax.losses import Criterion
from noisy_jax.training.mixup import balance, draw_mixing, refine
from noisy_jax.training.state import AVERAGE, CLEAN, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]
Normalise = Callable[[jax.Array], jax.Array]

# fold_in(key, i) is the key of image i of a batch as well: what else is drawn takes a number that no batch reaches.
ASIDE = 2**31 - 1


def normaliser(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalise:
    """(x - mean) / std over the last axis; x float32 [..., C] in [0, 1]."""

    def normalise(images: jax.Array) -> jax.Array:
        return (images - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)

    return normalise


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """sum(w v) / sum(w) in float32; 0 where all weights are 0. values, weights [B]."""
    weights = weights.astype(jnp.float32)
    return jnp.sum(weights * values) / jnp.maximum(jnp.sum(weights), 1e-12)


def update(
    state: TrainState,
    optimizer: optax.GradientTransformation,
    grads: dict[str, Any],
    batch_stats: dict[str, Any],
    extra: dict[str, jax.Array],
) -> TrainState:
    """One step of the optimiser on the parts that have gradients; the other parts rest."""
    trained = {name: state.params[name] for name in grads}
    updates, opt_state = optimizer.update(grads, state.opt_state, trained)
    params = {**state.params, **optax.apply_updates(trained, updates)}
    return TrainState(state.step + 1, params, batch_stats, opt_state, extra)


def follow(state: TrainState, decay: float) -> TrainState:
    """Moves the average of the variables after a step (Polyak 1992; Tarvainen 2017), faster at first."""
    step = state.step.astype(jnp.float32)
    decay = jnp.minimum(decay, step / (step + 9))
    average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.extra[AVERAGE], state.variables)
    return state.replace(extra={**state.extra, AVERAGE: average})


def classify(net: nn.Module, images: jax.Array, *, train: bool, train_encoder: bool) -> jax.Array:
    """Logits [B, C] of normalised images; an encoder at rest keeps its BatchNorm statistics too."""
    return net.classify(net.embed(images, train=train_encoder), train=train)


def classification_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    criterion: Criterion,
    augment: aug.Policy,
    normalise: Normalise,
    *,
    trained: tuple[str, ...],
    average: float = 0.0,
    mixup: float = 0.0,
) -> Step:
    """Trains `trained` parts of the classifier on (image, label); losses are weighted by `weight`.

    An encoder that is not trained runs in evaluation mode, so that its BatchNorm statistics rest too.
    `average` is the decay of a moving average of the variables, which the state then keeps; 0: none.
    `mixup` is the alpha of the shares by which images and labels are mixed (Zhang 2018); 0: none. What a loss then
    remembers is predicted by the averaged weights on the images as they are (Liu 2020, ELR+), and where the state holds
    clean probabilities, labels are refined by the same predictions (dynamic bootstrapping, Arazo 2019, eq. 16; its code
    can also take the predicted class alone).
    """
    forward = functools.partial(network.apply, method=classify)
    modes = {'train': True, 'train_encoder': 'encoder' in trained, 'mutable': ['batch_stats']}

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        key, index = jax.random.fold_in(key, state.step), batch['index']
        images = normalise(aug.apply(augment, key, batch['image']))  # [B,H,W,C]
        labels, weight = batch['label'], batch['weight']
        if mixup:
            reference = forward(state.averaged, images, train=False, train_encoder=False)  # [B, C]
            memory = criterion.remember(state.extra, index, reference)
            if CLEAN in memory:
                labels = refine(labels, jax.nn.softmax(reference), memory[CLEAN][index])  # [B, C]
            else:
                labels = jax.nn.one_hot(labels, reference.shape[-1])
            mixing = draw_mixing(jax.random.fold_in(key, ASIDE), len(images), mixup)
            images, labels, weight, rows = jax.tree.map(mixing, (images, labels, weight, criterion.rows(memory, index)))

        def loss_fn(parts: dict[str, Any]) -> tuple[jax.Array, tuple]:
            variables = {'params': {**state.params, **parts}, 'batch_stats': state.batch_stats}
            logits, changed = forward(variables, images, **modes)  # [B, C]
            if mixup:
                extra, losses = memory, criterion.loss(logits, labels, rows)  # [B]
            else:
                extra = criterion.remember(state.extra, index, logits)
                losses = criterion.loss(logits, labels, criterion.rows(extra, index))  # [B]
            loss = weighted_mean(losses, weight)
            loss += balance(logits) if mixup and CLEAN in extra else 0.0
            return loss, (logits, changed['batch_stats'], extra)

        parts = {name: state.params[name] for name in trained}
        (loss, (logits, batch_stats, extra)), grads = jax.value_and_grad(loss_fn, has_aux=True)(parts)
        accuracy = jnp.mean(logits.argmax(-1) == (labels.argmax(-1) if mixup else labels))
        state = update(state, optimizer, grads, batch_stats, extra)
        return follow(state, average) if average else state, {'loss': loss, 'accuracy': accuracy}

    return step


def contrastive_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    loss: Callable[[jax.Array, jax.Array, Batch], jax.Array],
    augment: aug.Policy,
    normalise: Normalise,
    *,
    trained: tuple[str, ...],
) -> Step:
    """Trains encoder and projection head on two views of each image.

    `loss(z1 [B,D], z2 [B,D], batch) -> [2B]` sees the whole batch, also where it is spread over devices: negatives are
    global.
    """

    def forward(net: nn.Module, images: jax.Array) -> jax.Array:
        return net.project(net.embed(images, train=True))

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        views = normalise(aug.two_views(augment, jax.random.fold_in(key, state.step), batch['image']))  # [B,2,H,W,C]
        images = views.reshape(-1, *views.shape[2:])  # [2B,H,W,C], a pair side by side

        def loss_fn(parts: dict[str, Any]) -> tuple[jax.Array, dict]:
            variables = {'params': {**state.params, **parts}, 'batch_stats': state.batch_stats}
            z, changed = network.apply(variables, images, method=forward, mutable=['batch_stats'])  # [2B, D]
            z = z.reshape(-1, 2, z.shape[-1])  # [B, 2, D]
            return jnp.mean(loss(z[:, 0], z[:, 1], batch)), changed['batch_stats']

        parts = {name: state.params[name] for name in trained}
        (value, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(parts)
        return update(state, optimizer, grads, batch_stats, state.extra), {'loss': value}

    return step
