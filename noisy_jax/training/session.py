"""How the phases of a run are executed."""

import dataclasses

from jax.sharding import Mesh

from noisy_jax.training.compiling import Options
from noisy_jax.training.metrics import MetricWriter
from noisy_jax.training.progress import Progress
from noisy_jax.training.signals import StopSignal


@dataclasses.dataclass(frozen=True)
class Session:
    """Devices, metrics, progress and checkpointing of a run.

    Attributes:
      checkpoint_every: epochs between two checkpoints.
      resident_bytes: image arrays up to this size stay on the devices.
      shard_state: whether the optimiser's state and a method's memory are sharded instead of replicated.
    """

    mesh: Mesh
    seed: int
    metrics: MetricWriter
    stop: StopSignal
    checkpoint_every: int = 10
    resident_bytes: int = 2**31
    shard_state: bool = False
    compiler_options: Options = dataclasses.field(default_factory=dict)
    progress: Progress = dataclasses.field(default_factory=Progress)
