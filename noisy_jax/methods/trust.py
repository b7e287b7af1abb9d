"""Clean probabilities of the training labels, renewed after every epoch by a mixture on the losses."""

from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import losses
from noisy_jax.data import augment as aug
from noisy_jax.labels import selection
from noisy_jax.methods import pair
from noisy_jax.training.evaluate import over_dataset
from noisy_jax.training.loop import AfterEpoch
from noisy_jax.training.mesh import to_host
from noisy_jax.training.method import Memory, Method
from noisy_jax.training.stage import Stage, Values
from noisy_jax.training.state import CLEAN, LOSSES, TrainState, Variables
from noisy_jax.training.steps import classify
from noisy_jax.training.task import Task

# (variables, losses of the last epochs [E, N] or [E, N, 2], None at first) -> CLEAN and LOSSES for the state.
Trust = Callable[[Variables, np.ndarray | None], dict[str, np.ndarray]]


def by_losses(task: Task, *, networks: int, mixture: str, threshold: float, history: int = 1) -> Trust:
    """Clean probabilities [N], of two networks [2, N], by a `mixture` on each network's losses on the labels.

    'gaussian' as in DivideMix (Li 2020), 'beta' as in Arazo 2019. `history` epochs of losses are averaged.
    """
    context, session, train = task.context, task.journal.session, task.train

    def per_sample(variables: Variables, batch: dict[str, jax.Array]) -> jax.Array:
        images = context.normalise(aug.to_float(batch['image']))

        def losses_of(variables: Variables) -> jax.Array:
            logits = context.network.apply(variables, images, train=False, train_encoder=False, method=classify)
            return losses.cross_entropy(logits, batch['label'])

        return pair.of_each(losses_of)(variables).T if networks == 2 else losses_of(variables)  # [B, 2] or [B]

    run = over_dataset(per_sample, session.mesh, context.evaluator.batch_size, session.compiler_options)

    def clean(recorded: np.ndarray) -> np.ndarray:  # [E, N] -> [N]
        found = selection.clean_probability(recorded, history=history, seed=session.seed, mixture=mixture)
        return selection.keep_every_class(found, train.label, train.num_classes, threshold=threshold)

    def trust(variables: Variables, before: np.ndarray | None) -> dict[str, np.ndarray]:
        newest = run(variables, {'image': train.image, 'label': train.label})[None]  # [1, N] or [1, N, 2]
        # At first the only epoch stands for those before it.
        recorded = np.repeat(newest, history, axis=0) if before is None else np.append(before[1:], newest, axis=0)
        found = np.stack([clean(each) for each in np.moveaxis(recorded, 2, 0)]) if networks == 2 else clean(recorded)
        return {CLEAN: found.astype(np.float32), LOSSES: recorded}

    return trust


class Trusting(Method):
    """A method whose stage `all` starts from clean probabilities of the labels and renews them after every epoch."""

    def trust(self, task: Task) -> Trust:
        """How the clean probabilities are found."""
        raise NotImplementedError

    def threshold(self, config: ConfigDict) -> float:
        """Clean probability from which a label is trusted."""
        raise NotImplementedError

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        memory = super().memory(task, stage, variables, memory)
        return memory | self._compiled(task)(variables, None) if stage.name == 'all' else memory

    def after_epoch(self, task: Task, stage: Stage) -> AfterEpoch | None:
        if stage.name != 'all':
            return None
        trust, threshold = self._compiled(task), self.threshold(task.context.config)

        def after(state: TrainState, epoch: int) -> tuple[TrainState, Values]:
            del epoch
            newest = trust(state.variables, to_host(state.extra[LOSSES]))
            return state.remember(newest), {'trusted_next': float((newest[CLEAN] > threshold).mean())}

        return after

    def _compiled(self, task: Task) -> Trust:
        if 'trust' not in task.compiled:
            task.compiled['trust'] = self.trust(task)
        return task.compiled['trust']
