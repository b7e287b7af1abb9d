"""The training of one phase."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from noisy_jax.data.dataset import Dataset
from noisy_jax.training import optim
from noisy_jax.training.context import Context
from noisy_jax.training.journal import Journal
from noisy_jax.training.stage import Stage
from noisy_jax.training.state import Variables
from noisy_jax.training.steps import Learner


@dataclasses.dataclass(frozen=True)
class Task:
    """The training of one phase on `train`, whose labels and weights are those believed now.

    `compiled` holds what a method compiles once for all of the phase, by name.
    """

    context: Context
    journal: Journal
    train: Dataset
    compiled: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def phase(self) -> str:
        return self.journal.phase

    @property
    def settings(self) -> ConfigDict:
        """The settings of the phase."""
        return self.context.config[self.phase]

    def learner(self, stage: Stage, variables: Variables, networks: int = 1) -> Learner:
        """The common parts of the steps of `stage`, of 1 network or 2; parts that a network lacks are skipped."""
        context = self.context
        return Learner(
            network=context.network,
            optimizer=optim.optimizer(
                stage.optimizer,
                epochs=stage.epochs,
                steps_per_epoch=self.steps_per_epoch(stage),
                batch_size=stage.batch_size,
                networks=networks,
            ),
            augment=context.policy(self.settings.augment),
            normalise=context.normalise,
            trained=tuple(part for part in stage.trained if part in variables['params']),
            average=stage.average,
            average_rampup=stage.average_rampup * self.steps_per_epoch(stage),
        )

    def steps_per_epoch(self, stage: Stage) -> int:
        return max(len(self.train) // stage.batch_size, 1)
