"""What the phases of a run share, and what goes in and out of them."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict
from optax import GradientTransformation

from noisy_jax import models
from noisy_jax.data import augment as aug
from noisy_jax.data.dataset import Dataset
from noisy_jax.models.network import Network
from noisy_jax.training import optim
from noisy_jax.training.evaluate import Evaluator
from noisy_jax.training.loop import Journal
from noisy_jax.training.state import Variables
from noisy_jax.training.steps import Normalise


@dataclasses.dataclass(frozen=True)
class Method:
    """What the phases of a run share: settings, network, the held-out data. `test` and `valid` may be None."""

    config: ConfigDict
    network: nn.Module
    normalise: Normalise
    evaluator: Evaluator
    fresh: Callable[[str], Variables]  # new variables from a name
    test: Dataset | None
    valid: Dataset | None


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a phase starts from: the variables so far (None: from scratch), and the training data.

    `train.label` is what is believed now, `train.weight` how much.
    """

    variables: Variables | None
    train: Dataset

    def from_scratch(self) -> 'Inputs':
        return dataclasses.replace(self, variables=None)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a phase found: new variables; arrays by name, each [N, ...] in dataset order."""

    variables: Variables
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


Phase = Callable[[Method, Inputs, Journal], Outcome]


def create_network(config: ConfigDict, num_classes: int, image_size: int) -> Network:
    """The network of a config, for images of `image_size` pixels of height."""
    settings = config.model
    return models.create(
        settings.encoder,
        num_classes=num_classes,
        projection=settings.projection,
        projection_dim=settings.projection_dim,
        classifier=settings.classifier,
        width=settings.width,
        stem=settings.stem,
        batch_norm_splits=settings.batch_norm_splits,
        batch_norm_blocks=settings.batch_norm_blocks,
        dtype=jnp.dtype(settings.dtype),
        image_size=image_size,
    )


def stage_optimizer(settings: ConfigDict, epochs: int, batch_size: int, train: Dataset) -> GradientTransformation:
    """The optimiser of a stage of `epochs` over `train`."""
    steps_per_epoch = max(len(train) // batch_size, 1)
    return optim.optimizer(**settings, epochs=epochs, steps_per_epoch=steps_per_epoch, batch_size=batch_size)


def views(method: Method, settings: ConfigDict) -> aug.Policy:
    """The augmentation of a phase, with its settings."""
    return aug.policy(settings.augment, **method.config.augment.get(settings.augment, {}))
