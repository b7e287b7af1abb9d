"""Bootstrapping (Arazo 2019, "Unsupervised Label Noise Modeling and Loss Correction"); arXiv 1904.11238."""

import dataclasses
from typing import ClassVar

from ml_collections import ConfigDict

from noisy_jax.config import Section, Setting
from noisy_jax.losses import CRITERIA
from noisy_jax.methods.classification import Classifier, mixed_step, warmup_stage
from noisy_jax.methods.mixing import MIXUP, MOST_MIXUP
from noisy_jax.methods.trust import Trust, Trusting, by_losses
from noisy_jax.schedule import MOST_EPOCHS
from noisy_jax.training.stage import FORWARD, GRADIENT, Stage
from noisy_jax.training.steps import Learner, Step
from noisy_jax.training.task import Task

_THRESHOLD = 0.5  # clean probability of a label that is trusted


class Bootstrap(Trusting, Classifier):
    """One network with mixup; a beta mixture on its losses sets how far its predictions refine the labels."""

    settings: ClassVar[Section] = {
        'bootstrap': {
            'loss': Setting('ce', 'loss of all its stages', choices=tuple(CRITERIA)),
            'warmup_epochs': Setting(
                10, "epochs before labels are refined; the paper's, from scratch, are 105", 0, MOST_EPOCHS
            ),
            'mixup': Setting(32.0, MIXUP, 1e-3, MOST_MIXUP),
            'hard': Setting(False, 'refine labels by the likeliest class (M-DYR-H), not by probabilities (M-DYR-S)'),
        }
    }

    ignores = ('mixup',)

    def loss(self, config: ConfigDict) -> str:
        return config.bootstrap.loss

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        head, whole = super().stages(config, phase)
        own = config.bootstrap
        passes = GRADIENT + 2 * FORWARD  # the predictions that refine the labels, the losses of the next selection
        mixed = dataclasses.replace(whole, mixup=own.mixup, passes=passes)
        return [head, warmup_stage(whole, own.warmup_epochs, mixup=own.mixup), mixed]

    def trust(self, task: Task) -> Trust:
        return by_losses(task, networks=1, mixture='beta', threshold=_THRESHOLD)

    def threshold(self, config: ConfigDict) -> float:
        return _THRESHOLD

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        if stage.name != 'all':
            return super().step(task, stage, learner)
        own = task.context.config.bootstrap
        return mixed_step(learner, self.criterion(task, stage), stage.mixup, refined=True, hard=own.hard)
