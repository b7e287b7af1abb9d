"""A head on frozen embeddings by cross-entropy, whose losses tell right pseudo-labels from wrong ones."""

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import losses
from noisy_jax.methods.classification import Classifier
from noisy_jax.training import optim
from noisy_jax.training.evaluate import over_dataset
from noisy_jax.training.loop import AfterEpoch
from noisy_jax.training.mesh import to_host
from noisy_jax.training.method import Memory
from noisy_jax.training.stage import FORWARD, Stage, Values
from noisy_jax.training.state import LOSSES, TrainState, Variables
from noisy_jax.training.task import Task


class SelectionHead(Classifier):
    """A linear head on frozen embeddings [N, D] by cross-entropy, which keeps the losses of its last epochs."""

    def __init__(self, embeddings: np.ndarray | None = None) -> None:
        self._embeddings = embeddings

    def loss(self, config: ConfigDict) -> str:
        return 'ce'

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        own = config[phase]
        optimizer = optim.settings_of(config, phase, head=True)
        return [Stage('head', optim.HEAD, own.epochs, own.batch_size, optimizer, passes=FORWARD)]

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        return {LOSSES: np.full((task.settings.history, len(task.train)), np.nan, np.float32)}

    def after_epoch(self, task: Task, stage: Stage) -> AfterEpoch:
        network, session = task.context.network, task.journal.session

        def per_sample(variables: Variables, batch: dict[str, jax.Array]) -> jax.Array:
            logits = network.apply(variables, batch['embedding'], train=False, method='classify')
            values = losses.cross_entropy(logits, batch['label'])
            return values + losses.negative_entropy(logits) if task.settings.negative_entropy else values

        run = over_dataset(per_sample, session.mesh, task.context.evaluator.batch_size, session.compiler_options)

        def remember(current: TrainState, epoch: int) -> tuple[TrainState, Values]:
            del epoch
            newest = run(current.variables, {'embedding': self._embeddings, 'label': task.train.label})  # [N]
            history = np.append(to_host(current.extra[LOSSES])[1:], newest[None], axis=0)  # [E, N]
            return current.remember({LOSSES: history}), {}

        return remember
