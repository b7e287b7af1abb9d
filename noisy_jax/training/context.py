"""What all phases of a run share, and the belief that they hand on."""

import dataclasses
from collections.abc import Callable

import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh
from ml_collections import ConfigDict

from noisy_jax import models
from noisy_jax.data import augment as aug
from noisy_jax.data.dataset import Dataset
from noisy_jax.data.splits import Splits
from noisy_jax.errors import InputError
from noisy_jax.labels.image_facts import ImageFacts
from noisy_jax.models.network import Network
from noisy_jax.models.pretrained import Pretrained
from noisy_jax.training.compiling import Options
from noisy_jax.training.evaluate import Evaluator, initialiser
from noisy_jax.training.state import Variables
from noisy_jax.training.steps import Normalise, normaliser
from noisy_jax.workdir import WorkDir


@dataclasses.dataclass(frozen=True)
class Context:
    """The objects that all phases share.

    Attributes:
      config: all settings.
      network: with `embed`, `project` and `classify`.
      normalise: images in [0, 1] to what the network takes.
      evaluator: whole data sets through the network.
      initial: newly initialised variables for a name, the same in every run of the seed.
      splits: training, held-out and test images.
      image_facts: classical features and copies of the images.
      pretrained: variables with the encoder of model.weights, from which the first phase starts; None without.
    """

    config: ConfigDict
    network: Network
    normalise: Normalise
    evaluator: Evaluator
    initial: Callable[[str], Variables]
    splits: Splits
    image_facts: ImageFacts
    pretrained: Variables | None = None

    @classmethod
    def create(
        cls,
        config: ConfigDict,
        splits: Splits,
        folder: WorkDir,
        mesh: Mesh,
        options: Options,
        network: Network | None = None,
    ) -> 'Context':
        """`network`, or that of `config`, and its evaluation for the images of `splits`; the run is in `folder`.

        Raises:
          InputError: model.weights cannot be read, or are of another network.
        """
        shape = splits.train.image.shape[1:]
        network = network or create_network(config, splits.train.num_classes, shape[0])
        normalise = normaliser(config.data.mean, config.data.std)
        evaluator = Evaluator(network, normalise, mesh, config.eval_batch_size, options)
        initial, path = initialiser(network, shape, config.seed, options), config.model.weights
        pretrained = _with_encoder(initial('encoder'), Pretrained.load(path)) if path else None
        facts = ImageFacts(folder, splits.labelled.image, splits.test and splits.test.image, seed=config.seed)
        return cls(config, network, normalise, evaluator, initial, splits, facts, pretrained)

    def policy(self, name: str) -> aug.Policy:
        """The augmentation of that name by the run's settings."""
        return aug.policy(name, **self.config.augment.get(name, {}))


@dataclasses.dataclass(frozen=True, eq=False)
class Belief:
    """The network, and the labels of T training images, after the newest phase.

    Attributes:
      variables: of the network; None: it starts from scratch.
      label: int32 [T] to train on next: the given labels, later pseudo-labels.
      weight: float32 [T], the trust in each label.
      probabilities: float32 [T, C] of the newest classifier, or None.
      valid_probabilities: float32 [V, C] of the held-out images, or None.
      classifier: the variables of the newest classifier, or None.
      selection_losses: float32 [E, T] that the newest weights were computed from, or None.
      head_probabilities: float32 [T, C] of cross-fitted heads on the pre-trained embeddings, or None.
      vote: float32 [T], the share of their neighbours' votes for the labels of the newest classifier by SSR, or None.
      left_out: float32 [2, N, C] of all labelled images by networks that left them out, trained on the given labels and
        on these with planted errors, or None.
    """

    variables: Variables | None
    label: np.ndarray
    weight: np.ndarray
    probabilities: np.ndarray | None = None
    valid_probabilities: np.ndarray | None = None
    classifier: Variables | None = None
    selection_losses: np.ndarray | None = None
    head_probabilities: np.ndarray | None = None
    vote: np.ndarray | None = None
    left_out: np.ndarray | None = None

    @classmethod
    def of(cls, train: Dataset, variables: Variables | None = None) -> 'Belief':
        """Before any phase: the given labels with equal weights, and the network that the first phase starts from."""
        return cls(variables, train.label, train.weight)

    def arrays_since(self, before: 'Belief') -> dict[str, np.ndarray]:
        """The arrays, by name, that differ from those of `before`."""
        names = (field.name for field in dataclasses.fields(self) if field.name not in ('variables', 'classifier'))
        values = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {name: value for name, value in values.items() if value is not getattr(before, name)}


def create_network(config: ConfigDict, num_classes: int, image_size: int) -> Network:
    """The network of a config, for images of `image_size` pixels of height."""
    return models.create(config.model, num_classes=num_classes, image_size=image_size)


def _with_encoder(variables: Variables, weights: Pretrained) -> Variables:
    """`variables` with the encoder of `weights`; InputError: it has another shape."""
    own, theirs = (
        {name: leaf.shape for name, leaf in flatten_dict(tree, sep='/').items()}
        for tree in ({kind: tree['encoder'] for kind, tree in variables.items()}, weights.variables)
    )
    for name in sorted(own.keys() | theirs.keys()):
        if own.get(name) != theirs.get(name):
            raise InputError(
                f'model.weights: {weights.path} does not fit the network of this run, whose images have another number '
                f'of channels than {weights.channels} or whose encoder is no {weights.encoder} ({name} is '
                f'{theirs.get(name)}, {own.get(name)} is needed)'
            )
    return {kind: {**tree, 'encoder': weights.variables[kind]} for kind, tree in variables.items()}
