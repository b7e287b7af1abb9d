"""Pure train steps: closures (state, batch, key) -> (state, metrics). `loop` jits them; nothing here knows of devices.

A batch is {image uint8 [B,H,W,C], label int32 [B], weight float32 [B], index int32 [B]}. Metrics are scalars that stay
on the device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from noisy_jax.data import augment as aug
from noisy_jax.losses import Criterion
from noisy_jax.training.state import AVERAGE, TrainState

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]
Normalise = Callable[[jax.Array], jax.Array]


def normaliser(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalise:
    """(x - mean) / std over the last axis; x float32 [..., C] in [0, 1]."""

    def normalise(images: jax.Array) -> jax.Array:
        return (images - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)

    return normalise


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """sum(w v) / sum(w) in float32; 0 where all weights are 0. values, weights [B]."""
    weights = weights.astype(jnp.float32)
    return jnp.sum(weights * values) / jnp.maximum(jnp.sum(weights), 1e-12)


def _update(
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


def _follow(state: TrainState, decay: float) -> TrainState:
    """Moves the average of the variables after a step (Polyak 1992; Tarvainen 2017), faster at first."""
    step = state.step.astype(jnp.float32)
    decay = jnp.minimum(decay, step / (step + 9))
    average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.extra[AVERAGE], state.variables)
    return state.replace(extra={**state.extra, AVERAGE: average})


def classification_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    criterion: Criterion,
    augment: aug.Policy,
    normalise: Normalise,
    *,
    trained: tuple[str, ...],
    average: float = 0.0,
) -> Step:
    """Trains `trained` parts of the classifier on (image, label); losses are weighted by `weight`.

    An encoder that is not trained runs in evaluation mode, so that its BatchNorm statistics rest too.
    `average` is the decay of a moving average of the variables, which the state then keeps; 0: none.
    """
    train_encoder = 'encoder' in trained

    def forward(net: nn.Module, images: jax.Array) -> jax.Array:
        return net.classify(net.embed(images, train=train_encoder), train=True)

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        images = normalise(aug.apply(augment, jax.random.fold_in(key, state.step), batch['image']))  # [B,H,W,C]

        def loss_fn(parts: dict[str, Any]) -> tuple[jax.Array, tuple]:
            variables = {'params': {**state.params, **parts}, 'batch_stats': state.batch_stats}
            logits, changed = network.apply(variables, images, method=forward, mutable=['batch_stats'])  # [B, C]
            extra = criterion.remember(state.extra, batch['index'], logits)
            losses = criterion.loss(logits, batch['label'], criterion.rows(extra, batch['index']))  # [B]
            return weighted_mean(losses, batch['weight']), (logits, changed['batch_stats'], extra)

        parts = {name: state.params[name] for name in trained}
        (loss, (logits, batch_stats, extra)), grads = jax.value_and_grad(loss_fn, has_aux=True)(parts)
        accuracy = jnp.mean(logits.argmax(-1) == batch['label'])
        state = _update(state, optimizer, grads, batch_stats, extra)
        return _follow(state, average) if average else state, {'loss': loss, 'accuracy': accuracy}

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
        return _update(state, optimizer, grads, batch_stats, state.extra), {'loss': value}

    return step
