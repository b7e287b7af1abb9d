"""The beliefs of a run about its training images, passed from phase to phase."""

import dataclasses

import numpy as np

from noisy_jax.data.dataset import Dataset
from noisy_jax.training.state import Variables


@dataclasses.dataclass(frozen=True, eq=False)
class Belief:
    """The network, and the labels of T training images, after the newest phase.

    Attributes:
      variables: of the network; None: not trained yet.
      label: int32 [T] to train on next: the given labels, later pseudo-labels.
      weight: float32 [T], the trust in each label.
      probabilities: float32 [T, C] of the newest classifier, or None.
      valid_probabilities: float32 [V, C] of the held-out images, or None.
      selection_losses: float32 [E, T] that the newest weights were computed from, or None.
    """

    variables: Variables | None
    label: np.ndarray
    weight: np.ndarray
    probabilities: np.ndarray | None = None
    valid_probabilities: np.ndarray | None = None
    selection_losses: np.ndarray | None = None

    @classmethod
    def of(cls, train: Dataset) -> 'Belief':
        """Before any phase: the given labels with equal weights."""
        return cls(None, train.label, train.weight)

    def arrays_since(self, before: 'Belief') -> dict[str, np.ndarray]:
        """The arrays, by name, that differ from those of `before`."""
        names = (field.name for field in dataclasses.fields(self) if field.name != 'variables')
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not getattr(before, name)}
