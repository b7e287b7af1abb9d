"""Contrastive steps with a momentum encoder: MoCo, supervised MoCo, MoPro.

The momentum encoder is the moving average of the weights and of the BatchNorm statistics, and runs in evaluation mode
(Cai 2021, "EMAN"): a key then depends on its own image alone, so that nothing of a batch can leak from query to key
and no shuffled BatchNorm is needed.

`state.extra` holds `MOMENTUM` (its variables), and the queue: `QUEUE` keys [K, D], their labels [K], their weights [K].
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from noisy_jax import losses
from noisy_jax.data import augment as aug
from noisy_jax.training import optim
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import ASIDE, Batch, Metrics, Normalise, Step, update, weighted_mean

MOMENTUM, QUEUE, QUEUE_LABELS, QUEUE_WEIGHTS = 'momentum', 'queue', 'queue_labels', 'queue_weights'
PROTOTYPES = 'prototypes'

Extra = dict[str, Any]


def start(
    network: nn.Module,
    variables: Variables,
    image_shape: tuple[int, ...],
    key: jax.Array,
    *,
    size: int,
    num_classes: int = 0,
) -> Extra:
    """A momentum encoder that is the encoder, and a queue of `size` random directions that are nobody's.

    With `num_classes`, also prototypes [C, D] of length 0: no class has been seen.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    project = functools.partial(network.apply, train=False, method=_project)
    features = jax.eval_shape(project, variables, image).shape[-1]
    queue = losses.normalise(jax.random.normal(key, (size, features)))
    extra = {
        MOMENTUM: _representation(variables),
        QUEUE: queue,
        QUEUE_LABELS: jnp.full(size, -1, jnp.int32),
        QUEUE_WEIGHTS: jnp.zeros(size),
    }
    return extra | ({PROTOTYPES: jnp.zeros((num_classes, features))} if num_classes else {})


def _representation(variables: Variables) -> Variables:
    params = {name: variables['params'][name] for name in optim.REPRESENTATION if name in variables['params']}
    return {'params': params, 'batch_stats': variables['batch_stats']}


def enqueue(queue: jax.Array, newest: jax.Array, step: jax.Array) -> jax.Array:
    """The queue [K, ...] in which the batch [B, ...] of this step has replaced the oldest rows; B is at most K."""
    place = (step * len(newest) + jnp.arange(len(newest))) % len(queue)
    return queue.at[place].set(newest.astype(queue.dtype))


def _enqueued(extra: Extra, keys: jax.Array, labels: jax.Array, weights: jax.Array, step: jax.Array) -> Extra:
    rows = {QUEUE: losses.normalise(keys), QUEUE_LABELS: labels, QUEUE_WEIGHTS: weights}
    return {**extra, **{name: enqueue(extra[name], value, step) for name, value in rows.items()}}


def _followed(extra: Extra, variables: Variables, momentum: float) -> Extra:
    newest = _representation(variables)
    average = jax.tree.map(lambda old, new: momentum * old + (1 - momentum) * new, extra[MOMENTUM], newest)
    return {**extra, MOMENTUM: average}


def _project(net: nn.Module, images: jax.Array, *, train: bool) -> jax.Array:
    return net.project(net.embed(images, train=train))


def moco_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: aug.Policy,
    normalise: Normalise,
    *,
    trained: tuple[str, ...],
    temperature: float,
    momentum: float,
    supervised: bool,
) -> Step:
    """MoCo (He 2020); `supervised`: positives are all of an image's label, weighted by clean probability (`weight`)."""

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        views = normalise(aug.two_views(augment, jax.random.fold_in(key, state.step), batch['image']))  # [B,2,H,W,C]
        extra = state.extra
        keys = network.apply(extra[MOMENTUM], views[:, 1], train=False, method=_project)  # [B, D]

        def loss_fn(parts: dict[str, Any]) -> tuple[jax.Array, dict]:
            variables = {'params': {**state.params, **parts}, 'batch_stats': state.batch_stats}
            q, changed = network.apply(variables, views[:, 0], train=True, method=_project, mutable=['batch_stats'])
            if supervised:
                queued = (extra[name] for name in (QUEUE, QUEUE_LABELS, QUEUE_WEIGHTS))
                values = losses.queue_sup_con(q, keys, batch['label'], *queued, temperature=temperature)
            else:
                values = losses.info_nce(q, keys, extra[QUEUE], temperature=temperature)
            return jnp.mean(values), changed['batch_stats']

        parts = {name: state.params[name] for name in trained}
        (value, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(parts)
        extra = _enqueued(extra, keys, batch['label'], batch['weight'], state.step)
        state = update(state, optimizer, grads, batch_stats, extra)
        return state.replace(extra=_followed(extra, state.variables, momentum)), {'loss': value}

    return step


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
    share = jax.nn.one_hot(labels, len(prototypes)) * belongs[:, None]  # [B, C]
    count = share.sum(0)[:, None]  # [C, 1]
    mean = share.T @ z / jnp.maximum(count, 1)
    unseen = jnp.sum(prototypes**2, axis=1, keepdims=True) < 0.5
    keep = jnp.where(unseen & (count > 0), 0.0, momentum**count)
    return losses.normalise(keep * prototypes + (1 - keep) * mean)


def mopro_step(
    network: nn.Module,
    optimizer: optax.GradientTransformation,
    augment: aug.Policy,
    strong_augment: aug.Policy,
    normalise: Normalise,
    *,
    trained: tuple[str, ...],
    temperature: float,
    momentum: float,
    prototype_momentum: float,
    alpha: float,
    threshold: float,
    prototype_step: int,
    start_step: int,
) -> Step:
    """MoPro (Li 2021): cross-entropy, prototypical and instance contrastive loss, on corrected labels.

    Args:
      network: with `embed`, `project` and `classify`.
      optimizer: of the trained parts.
      augment: weak views, for the query and its prediction.
      strong_augment: strong views, for the key.
      normalise: what the network wants of images in [0, 1].
      trained: parts of the parameters, the classifier among them.
      temperature: of both contrastive losses.
      momentum: of the momentum encoder.
      prototype_momentum: of the prototypes.
      alpha: share of the classifier in the corrected label.
      threshold: from which on a corrected label is believed.
      prototype_step: until then prototypes only follow; then the samples are drawn to them (its code: an epoch).
      start_step: until then labels are as given (its code: 11 epochs).
    """

    def forward(net: nn.Module, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        embeddings = net.embed(images, train=True)
        return net.project(embeddings), net.classify(embeddings, train=True)

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        key, extra = jax.random.fold_in(key, state.step), state.extra
        weak = normalise(aug.apply(augment, key, batch['image']))  # [B, H, W, C]
        strong = normalise(aug.apply(strong_augment, jax.random.fold_in(key, ASIDE), batch['image']))
        keys = network.apply(extra[MOMENTUM], strong, train=False, method=_project)  # [B, D]
        prototypes, begun = extra[PROTOTYPES], state.step >= start_step

        def loss_fn(parts: dict[str, Any]) -> tuple[jax.Array, tuple]:
            variables = {'params': {**state.params, **parts}, 'batch_stats': state.batch_stats}
            (z, logits), changed = network.apply(variables, weak, method=forward, mutable=['batch_stats'])
            z = losses.normalise(z)
            similarity = jnp.matmul(z, prototypes.T, precision='highest') / temperature  # [B, C]
            belief = jax.lax.stop_gradient((jax.nn.softmax(logits), jax.nn.softmax(similarity)))
            corrected, belongs = correct(batch['label'], *belief, alpha=alpha, threshold=threshold)
            labels = jnp.where(begun, corrected, batch['label'])
            belongs = belongs | ~begun
            weight = belongs * batch['weight']
            instance = jnp.mean(losses.info_nce(z, keys, extra[QUEUE], temperature=temperature))
            classes = weighted_mean(losses.cross_entropy(logits, labels), weight)
            to_prototype = weighted_mean(losses.cross_entropy(similarity, labels), weight)
            value = instance + classes + jnp.where(state.step >= prototype_step, to_prototype, 0.0)
            return value, (changed['batch_stats'], jax.lax.stop_gradient(z), labels, belongs)

        parts = {name: state.params[name] for name in trained}
        (value, (batch_stats, z, labels, belongs)), grads = jax.value_and_grad(loss_fn, has_aux=True)(parts)
        moved = move_prototypes(prototypes, z, labels, belongs, prototype_momentum)
        extra = _enqueued({**extra, PROTOTYPES: moved}, keys, labels, batch['weight'], state.step)
        state = update(state, optimizer, grads, batch_stats, extra)
        metrics = {'loss': value, 'corrected': jnp.mean(labels != batch['label']), 'belongs': jnp.mean(belongs)}
        return state.replace(extra=_followed(extra, state.variables, momentum)), metrics

    return step
