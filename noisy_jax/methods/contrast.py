"""The base class of methods for encoders: one stage of encoder and projection head."""

from typing import ClassVar

from ml_collections import ConfigDict

from noisy_jax.training import optim
from noisy_jax.training.method import Method
from noisy_jax.training.stage import GRADIENT, Stage


class Contrast(Method):
    """Trains encoder and projection head for the epochs of the phase."""

    trained: ClassVar[tuple[str, ...]] = optim.REPRESENTATION
    passes = 2 * GRADIENT

    def stages(self, config: ConfigDict, phase: str) -> list[Stage]:
        own = config[phase]
        optimizer = optim.settings_of(config, phase, head=False)
        return [Stage('encoder', self.trained, own.epochs, own.batch_size, optimizer, passes=self.passes)]
