"""The common parts of pure train steps (state, batch, key) -> (state, metrics).

`loop` jits them; nothing here depends on devices. A batch is {image uint8 [B,H,W,C], label int32 [B], weight float32
[B], index int32 [B]}. Metrics are scalars on the device.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from noisy_jax.data import augment as aug
from noisy_jax.training.state import AVERAGE, TrainState, Variables

Batch = dict[str, jax.Array]
Metrics = dict[str, jax.Array]
Step = Callable[[TrainState, Batch, jax.Array], tuple[TrainState, Metrics]]
Normalise = Callable[[jax.Array], jax.Array]

# fold_in(key, i) is also the key of image i of a batch: other draws take a number that no batch reaches.
ASIDE = 2**31 - 1


def normaliser(mean: tuple[float, ...], std: tuple[float, ...]) -> Normalise:
    """(x - mean) / std over the last axis; x float32 [..., C] in [0, 1]."""

    def normalise(images: jax.Array) -> jax.Array:
        return (images - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)

    return normalise


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """sum(w v) / sum(w) in float32; 0 where all weights are 0. values, weights [B]."""
    weights = weights.astype(jnp.float32)
    return jnp.sum(weights * values.astype(jnp.float32)) / jnp.maximum(jnp.sum(weights), 1e-12)


@dataclasses.dataclass(frozen=True)
class Learner:
    """The common parts of the steps of a stage.

    Attributes:
      network: with `embed`, `project` and `classify`.
      optimizer: of the trained parts.
      augment: the policy of one image.
      normalise: images in [0, 1] to what the network takes.
      trained: names of the trained parts of the parameters; the others are frozen.
      average: decay of a moving average of the variables, which the state then keeps; 0: none.
      average_rampup: steps over which that decay rises, as `rampup` does; 0: a few.
    """

    network: nn.Module
    optimizer: optax.GradientTransformation
    augment: aug.Policy
    normalise: Normalise
    trained: tuple[str, ...]
    average: float = 0.0
    average_rampup: int = 0

    def augmented(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """One augmented, normalised version of each image: uint8 [B, H, W, C] -> float32 [B, H, W, C]."""
        with jax.named_scope('augment'):
            return self.normalise(aug.apply(self.augment, key, images))

    def two_views(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Two of each: uint8 [B, H, W, C] -> float32 [B, 2, H, W, C]."""
        with jax.named_scope('augment'):
            return self.normalise(aug.two_views(self.augment, key, images))

    def logits(self, variables: Variables, images: jax.Array) -> jax.Array:
        """[B, C] of normalised images, in evaluation mode."""
        return self.network.apply(variables, images, train=False, train_encoder=False, method=classify)

    def logits_in_training(self, variables: Variables, images: jax.Array) -> tuple[jax.Array, Any]:
        """Logits [B, C], and the new BatchNorm statistics; a frozen encoder keeps its own."""
        train_encoder = 'encoder' in self.trained
        logits, changed = self.network.apply(
            variables, images, train=True, train_encoder=train_encoder, method=classify, mutable=['batch_stats']
        )
        return logits, changed['batch_stats']

    def projections(self, variables: Variables, images: jax.Array) -> tuple[jax.Array, Any]:
        """Projections [B, D] of normalised images in training, and the new BatchNorm statistics."""
        z, changed = self.network.apply(variables, images, method=_project, mutable=['batch_stats'])
        return z, changed['batch_stats']

    def descend(
        self, state: TrainState, loss_of: Callable[[Variables], tuple[jax.Array, tuple[Any, Any]]]
    ) -> tuple[TrainState, jax.Array, Any]:
        """One step of the optimiser on loss_of(variables) -> (loss, (new BatchNorm statistics, more)).

        Returns:
          The new state, the loss, and `more`.
        """

        def of_parts(parts: dict[str, Any]) -> tuple[jax.Array, tuple[Any, Any]]:
            return loss_of({'params': {**state.params, **parts}, 'batch_stats': state.batch_stats})

        parts = {name: state.params[name] for name in self.trained}
        (loss, (batch_stats, more)), grads = jax.value_and_grad(of_parts, has_aux=True)(parts)
        with jax.named_scope('optimizer'):
            updates, opt_state = self.optimizer.update(grads, state.opt_state, parts)
            params = {**state.params, **optax.apply_updates(parts, updates)}
        new = TrainState(state.step + 1, params, batch_stats, opt_state, state.extra)
        return (_follow(new, self.average, self.average_rampup) if self.average else new), loss, more


def rampup(step: jax.Array, length: int) -> jax.Array:
    """exp(-5 (1 - step / length)^2): from almost 0 to 1 at the step `length`, then 1 (Laine 2017); 1 if that is 0.

    https://arxiv.org/abs/1610.02242, section 3.1, as in ELR+'s code.
    """
    done = jnp.minimum(step.astype(jnp.float32) / length, 1.0) if length else jnp.ones((), jnp.float32)
    return jnp.exp(-5.0 * (1.0 - done) ** 2)


def _follow(state: TrainState, decay: float, length: int) -> TrainState:
    """Moves the average of the variables after a step (Polyak 1992; Tarvainen 2017), faster at first."""
    step = state.step.astype(jnp.float32)
    decay = decay * rampup(step + 1, length) if length else jnp.minimum(decay, step / (step + 9))
    average = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.extra[AVERAGE], state.variables)
    return state.remember({AVERAGE: average})


def classify(net: nn.Module, images: jax.Array, *, train: bool, train_encoder: bool) -> jax.Array:
    """Logits [B, C] of normalised images; a frozen encoder keeps its BatchNorm statistics too."""
    return net.classify(net.embed(images, train=train_encoder), train=train)


def _project(net: nn.Module, images: jax.Array) -> jax.Array:
    return net.project(net.embed(images, train=True))
