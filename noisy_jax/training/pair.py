"""Steps of two networks that teach each other: one stacked tree, every array [2, ...].

The optimisers work element by element, so that the stacked tree is trained as one; the loss is the sum of both
networks' losses, and neither sees a gradient of the other.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from noisy_jax.data import augment as aug
from noisy_jax.losses import Criterion, cross_entropy
from noisy_jax.training.mixup import balance, draw_mixing, refine, sharpen
from noisy_jax.training.state import CLEAN, SECOND, TrainState, Variables
from noisy_jax.training.steps import ASIDE, Batch, Metrics, Normalise, Step, classify, follow, update, weighted_mean


def stack(first: Variables, second: Variables) -> Variables:
    """Two networks as one tree of arrays [2, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)


def unstack(stacked: Variables) -> Variables:
    """The first network's variables, those of the other under SECOND: a prediction is then the mean of both.

    (Of their probabilities; the codes of DivideMix and ELR+ add the logits.)
    """
    return {**_one(stacked, 0), SECOND: _one(stacked, 1)}


def _one(stacked: Any, number: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[number], stacked)


def of_each(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.vmap(function)` for two networks, written out: with the kernels of both at once a convolution is a grouped
    one, which took six times as long on a CPU (experiments/together.py).
    """

    def call(*trees: Any) -> Any:
        return stack(*(function(*(_one(tree, number) for tree in trees)) for number in (0, 1)))

    return call


def _keys(key: jax.Array, state: TrainState) -> jax.Array:
    """One for each network, and a third for what both share."""
    return jax.random.split(jax.random.fold_in(key, state.step), 3)


def _parts(state: TrainState, trained: tuple[str, ...]) -> dict[str, Any]:
    return {name: state.params[name] for name in trained}


def pair_step(
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
    """`classification_step` for two networks (ELR+, Liu 2020, appendix; DivideMix's warm-up with cross-entropy).

    They see the same samples in views of their own. What a loss remembers for one is predicted by the averaged weights
    of the other, on the same images before they are mixed. `mixup`: alpha of the shares; 0: none.

    ELR+'s code lets the average forget faster at first, and for 100 classes multiplies the labels by the targets and
    raises lambda slowly: left out here.
    """
    forward = functools.partial(network.apply, method=classify)
    modes = {'train': True, 'train_encoder': 'encoder' in trained, 'mutable': ['batch_stats']}

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        keys, index = _keys(key, state)[:2], batch['index']

        def prepare(key: jax.Array) -> jax.Array:
            return normalise(aug.apply(augment, key, batch['image']))

        def guess(variables: Variables, images: jax.Array) -> jax.Array:
            return forward(variables, images, train=False, train_encoder=False)

        images = jax.vmap(prepare)(keys)  # [2, B, H, W, C]
        others = of_each(guess)(jax.tree.map(lambda leaf: leaf[::-1], state.averaged), images)  # [2, B, C]
        memory = {name: state.extra[name] for name in criterion.init(1, 1)}
        memory = jax.vmap(criterion.remember, (0, None, 0))(memory, index, others)
        rows = jax.vmap(criterion.rows, (0, None), axis_size=2)(memory, index)

        def loss_of(variables: Variables, images: jax.Array, rows: dict, key: jax.Array) -> tuple[jax.Array, tuple]:
            labels, weight = batch['label'], batch['weight']
            if mixup:
                labels = jax.nn.one_hot(labels, others.shape[-1])
                mixing = draw_mixing(jax.random.fold_in(key, ASIDE), len(images), mixup)
                images, labels, weight, rows = jax.tree.map(mixing, (images, labels, weight, rows))
            logits, changed = forward(variables, images, **modes)
            accuracy = jnp.mean(logits.argmax(-1) == (labels.argmax(-1) if mixup else labels))
            return weighted_mean(criterion.loss(logits, labels, rows), weight), (changed['batch_stats'], accuracy)

        def loss_fn(parts: dict[str, Any]) -> tuple[jax.Array, tuple]:
            variables = {'params': {**state.params, **parts}, 'batch_stats': state.batch_stats}
            values, more = of_each(loss_of)(variables, images, rows, keys)
            return values.sum(), more

        (loss, (batch_stats, accuracy)), grads = jax.value_and_grad(loss_fn, has_aux=True)(_parts(state, trained))
        state = update(state, optimizer, grads, batch_stats, {**state.extra, **memory})
        return follow(state, average) if average else state, {'loss': loss / 2, 'accuracy': accuracy.mean()}

    return step


def dividemix_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: aug.Policy,
    normalise: Normalise,
    *,
    trained: tuple[str, ...],
    average: float = 0.0,
    threshold: float = 0.5,
    temperature: float = 0.5,
    mixup: float = 4.0,
    unlabelled_weight: float = 25.0,
    rampup_steps: int = 1,
) -> Step:
    """DivideMix (Li 2020, algorithm 1): MixMatch on what the other network trusts and what it does not.

    `state.extra[CLEAN]` [2, N] holds each network's clean probabilities; a network learns by those of the other. A
    sample that is trusted (above `threshold`) keeps its label by that probability, the network's own prediction for the
    rest; another takes the mean prediction of both networks. Both are sharpened by `temperature` and mixed.

    A batch is drawn from all samples, so that trusted and other ones come as they are in the data; its code draws as
    many of each, trains one network after the other, and lets the one in training guess by the batch's statistics.
    Both networks see the same two views here, and guess in evaluation mode.

    Args:
      network: with `embed` and `classify`.
      optimizer: of the trained parts.
      augment: the policy of the views.
      normalise: what the network wants of images in [0, 1].
      trained: parts of the parameters.
      average: decay of a moving average of the variables; 0: none.
      threshold: least clean probability of a trusted sample.
      temperature: of the sharpening, below 1.
      mixup: alpha of the shares.
      unlabelled_weight: of the squared error on samples that are not trusted.
      rampup_steps: over which that weight rises from 0.
    """
    forward = functools.partial(network.apply, method=classify)
    modes = {'train': True, 'train_encoder': 'encoder' in trained, 'mutable': ['batch_stats']}

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        keys = _keys(key, state)
        views = normalise(aug.two_views(augment, keys[2], batch['image']))  # [B, 2, H, W, C]
        images = views.reshape(-1, *views.shape[2:])  # [2B, H, W, C], a pair side by side
        trust = state.extra[CLEAN][::-1, batch['index']]  # [2, B], of the other network
        ramp = jnp.minimum(state.step / rampup_steps, 1.0)

        def guess(variables: Variables) -> jax.Array:
            logits = forward(variables, images, train=False, train_encoder=False)
            return jax.nn.softmax(logits).reshape(*views.shape[:2], -1).mean(1)  # [B, C]

        own = of_each(guess)(state.variables)  # [2, B, C]
        guessed = own.mean(0)

        def loss_of(variables: Variables, own: jax.Array, trust: jax.Array, key: jax.Array) -> tuple[jax.Array, tuple]:
            trusted = trust > threshold
            target = jnp.where(trusted[:, None], refine(batch['label'], own, trust), guessed)
            target = jnp.repeat(sharpen(target, temperature), 2, axis=0)  # [2B, C], for both views
            mixing = draw_mixing(key, len(images), mixup, own_larger=True)
            logits, changed = forward(variables, mixing(images), **modes)  # [2B, C]
            target = mixing(target)
            labelled = jnp.repeat(trusted * batch['weight'], 2)  # of the larger share
            unlabelled = jnp.repeat(~trusted * batch['weight'], 2)
            error = jnp.mean((jax.nn.softmax(logits) - target) ** 2, axis=-1)
            loss = weighted_mean(cross_entropy(logits, target), labelled) + balance(logits)
            loss += ramp * unlabelled_weight * weighted_mean(error, unlabelled)
            accuracy = jnp.mean(logits.argmax(-1) == target.argmax(-1))
            return loss, (changed['batch_stats'], accuracy, trusted.mean())

        def loss_fn(parts: dict[str, Any]) -> tuple[jax.Array, tuple]:
            variables = {'params': {**state.params, **parts}, 'batch_stats': state.batch_stats}
            values, more = of_each(loss_of)(variables, own, trust, keys[:2])
            return values.sum(), more

        (loss, more), grads = jax.value_and_grad(loss_fn, has_aux=True)(_parts(state, trained))
        batch_stats, accuracy, trusted = more
        state = update(state, optimizer, grads, batch_stats, state.extra)
        metrics = {'loss': loss / 2, 'accuracy': accuracy.mean(), 'trusted': trusted.mean()}
        return follow(state, average) if average else state, metrics

    return step
