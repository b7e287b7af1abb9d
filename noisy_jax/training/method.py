"""The interface of a training method; `noisy_jax/methods` has a file for each."""

from typing import Any, ClassVar

from ml_collections import ConfigDict

from noisy_jax.config import Section
from noisy_jax.training.loop import AfterEpoch
from noisy_jax.training.stage import Stage
from noisy_jax.training.state import Variables
from noisy_jax.training.steps import Learner, Step
from noisy_jax.training.task import Task

Memory = dict[str, Any]


class Method:
    """A way to train an encoder or a classifier.

    Attributes:
      settings: its own settings by the name of their group: {'NAME': {'KEY': Setting(...)}} is config.NAME.KEY.
      networks: how many it trains, 1 or 2; the variables of two are stacked, every array [2, ...].
      sees_labels: whether its steps read labels; images without one join those that do not.
      rows_per_image: rows of an encoder batch that an image takes, normalised together by BatchNorm.
    """

    settings: ClassVar[Section] = {}
    networks: int = 1
    sees_labels: bool = True
    rows_per_image: int = 1

    def check(self, config: ConfigDict, phase: str) -> None:
        """Raises InputError where settings do not fit together; before anything is trained."""

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        """The stages of a phase in order; stages of no epochs are skipped."""
        raise NotImplementedError

    def loss(self, config: ConfigDict) -> str:
        """The name of the loss by which a classifier trains all weights."""
        return config.loss

    def heads(self, task: Task, variables: Variables) -> Variables:
        """Parts of its own that are trained beside the network's and dropped at the end of the phase.

        {'params': {NAME: ...}, 'batch_stats': {NAME: ...}}; a stage trains those that it names.
        """
        del task, variables
        return {}

    def memory(self, task: Task, stage: Stage, variables: Variables, memory: Memory) -> Memory:
        """Memory beside the weights at the start of a stage; the argument is that of the stage before, or {}."""
        del task, stage, variables
        return memory

    def step(self, task: Task, stage: Stage, learner: Learner) -> Step:
        """The pure train step of a stage."""
        raise NotImplementedError

    def after_epoch(self, task: Task, stage: Stage) -> AfterEpoch | None:
        """Host code to run after every epoch of a stage; it may change the state and adds metrics. None: none."""
        del task, stage
        return None
