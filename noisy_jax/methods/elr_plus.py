"""ELR+ (Liu 2020, "Early-Learning Regularization Prevents Memorization of Noisy Labels"); arXiv 2007.00151."""

import dataclasses
from typing import ClassVar

from ml_collections import ConfigDict

from noisy_jax.config import Section, Setting
from noisy_jax.errors import InputError
from noisy_jax.methods.mixing import MIXUP, MOST_MIXUP
from noisy_jax.methods.pair import Pair, pair_step
from noisy_jax.schedule import MOST_EPOCHS
from noisy_jax.training.stage import Stage
from noisy_jax.training.steps import Learner, Step
from noisy_jax.training.task import Task

_PUBLISHED = "the authors' 40,000 steps are 102"


class ELRPlus(Pair):
    """Two networks with mixup and averaged weights; with the loss `elr` of the config."""

    settings: ClassVar[Section] = {
        'elr_plus': {
            'average': Setting(0.997, 'decay of the moving average of the weights', 0.0, 0.99999),
            'average_rampup_epochs': Setting(
                0, f'epochs over which that decay rises; {_PUBLISHED}; 0: a few steps', 0, MOST_EPOCHS
            ),
            'mixup': Setting(1.0, MIXUP, 1e-3, MOST_MIXUP),
            'rampup_epochs': Setting(
                0, f'epochs over which cross-entropy passes into the loss; {_PUBLISHED} for CIFAR-100', 0, MOST_EPOCHS
            ),
            'weigh_labels': Setting(
                False, "multiply labels by ELR's targets, as its authors do for CIFAR-100; needs the loss elr"
            ),
        }
    }
    ignores = ('average', 'mixup')

    def check(self, config: ConfigDict, phase: str) -> None:
        super().check(config, phase)
        if config.elr_plus.weigh_labels and config.loss != 'elr':
            raise InputError(f'config.elr_plus.weigh_labels: True needs the loss elr, found {config.loss!r}')

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        head, whole = super().stages(config, phase)
        own = config.elr_plus
        return [
            head,
            dataclasses.replace(whole, average=own.average, average_rampup=own.average_rampup_epochs, mixup=own.mixup),
        ]

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        if stage.name != 'all':
            return super().step(task, stage, learner)
        own = task.context.config.elr_plus
        return pair_step(
            learner,
            self.criterion(task, stage),
            mixup=stage.mixup,
            weigh_labels=own.weigh_labels,
            rampup_steps=own.rampup_epochs * task.steps_per_epoch(stage),
        )
