"""SimCLR (Chen 2020, "A Simple Framework for Contrastive Learning of Visual Representations"); arXiv 2002.05709."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from noisy_jax import losses
from noisy_jax.methods.contrast import Contrast
from noisy_jax.training.stage import Stage
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.steps import Batch, Learner, Metrics, Step
from noisy_jax.training.task import Task

# (z1 [B, D], z2 [B, D], batch) -> losses [2B].
PairLoss = Callable[[jax.Array, jax.Array, Batch], jax.Array]


class SimCLR(Contrast):
    """Contrasts two views of each image against the rest of the batch (NT-Xent); reads no label."""

    sees_labels = False
    rows_per_image = 2

    def loss(self, task: Task) -> PairLoss:
        """The loss on the projections of two views."""
        temperature = task.settings.temperature
        return lambda z1, z2, batch: losses.nt_xent(z1, z2, temperature=temperature)

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        return contrastive_step(learner, self.loss(task))


def contrastive_step(learner: Learner, loss: PairLoss) -> Step:
    """Trains encoder and projection head on two views of each image.

    The loss sees the whole batch, also where it is sharded: negatives are global.
    """

    def step(state: TrainState, batch: Batch, key: jax.Array) -> tuple[TrainState, Metrics]:
        views = learner.two_views(jax.random.fold_in(key, state.step), batch['image'])  # [B, 2, H, W, C]
        images = views.reshape(-1, *views.shape[2:])  # [2B, H, W, C], a pair side by side

        def loss_of(variables: Variables) -> tuple[jax.Array, tuple]:
            z, batch_stats = learner.projections(variables, images)  # [2B, D]
            z = z.reshape(-1, 2, z.shape[-1])  # [B, 2, D]
            return jnp.mean(loss(z[:, 0], z[:, 1], batch)), (batch_stats, None)

        state, value, _ = learner.descend(state, loss_of)
        return state, {'loss': value}

    return step
