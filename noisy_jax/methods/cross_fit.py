"""Networks that each leave out a fold of the images and then predict its labels, which they have not seen."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from noisy_jax.methods.classification import Classifier
from noisy_jax.training import optim
from noisy_jax.training.loop import AfterEpoch
from noisy_jax.training.mesh import to_host
from noisy_jax.training.method import Memory
from noisy_jax.training.stage import FORWARD, GRADIENT, Stage, Values
from noisy_jax.training.state import LEFT_OUT, TrainState, Variables
from noisy_jax.training.task import Task


class CrossFit(Classifier):
    """All weights of each network by cross-entropy, a stage each: one for every fold, twice."""

    def loss(self, config: ConfigDict) -> str:
        return 'ce'

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        if not config.report.cross_fit:
            return []
        own = config[phase]
        settings: dict[str, Any] = {'passes': GRADIENT + (FORWARD if own.mixup else 0), 'mixup': own.mixup}
        optimizer = optim.settings_of(config, phase, head=False)
        return [
            Stage(f'network_{number}', optim.CLASSIFIER, own.epochs, own.batch_size, optimizer, **settings)
            for number in range(1, 2 * own.folds + 1)
        ]


class LeftOut(CrossFit):
    """The training of one of these networks, which ends with its predictions in the memory, beside those before it."""

    def __init__(self, number: int, rows: np.ndarray, found: np.ndarray) -> None:
        """Network `number` from 0 on, that leaves out `rows` int [F]; `found` float32 [2, N, C] is the memory."""
        self._number, self._rows, self._found = number, rows, found

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        return super().stages(config, phase)[self._number : self._number + 1]

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        return {LEFT_OUT: self._found}

    def after_epoch(self, task: Task, stage: Stage) -> AfterEpoch:
        images = task.context.splits.labelled.take(self._rows)

        def predict(current: TrainState, epoch: int) -> tuple[TrainState, Values]:
            if epoch + 1 < stage.epochs:
                return current, {}
            found = np.array(to_host(current.extra[LEFT_OUT]))
            half = self._number // task.settings.folds
            found[half, self._rows] = task.context.evaluator.predict(current.variables, images)
            agreement = np.mean(found[half, self._rows].argmax(-1) == images.label)
            return current.remember({LEFT_OUT: found}), {'left_out_agreement': float(agreement)}

        return predict
