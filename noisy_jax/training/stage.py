"""A stage of a phase: one optimiser, one set of trained parts, for some epochs."""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

Values = dict[str, float | None]  # metrics of an epoch by name

# Passes through the network, a pass forward being 1; with its gradient it takes about 3.
FORWARD, GRADIENT = 1.0, 3.0


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stretch of training.

    Attributes:
      name: its name in metrics.jsonl and checkpoints.
      trained: the parts of the parameters that are trained; the others are frozen.
      epochs: how many at most.
      batch_size: of all devices together.
      optimizer: settings of the optimiser.
      passes: through the network, of each image in an epoch; FORWARD and GRADIENT say what they cost.
      average: decay of the moving average of the variables, which is the result then; 0: none.
      average_rampup: epochs over which that decay rises; 0: a few steps.
      mixup: alpha of the mixing shares; 0: none.
      drawn_by: name of weights [N] in the state's memory, by which a batch gets as many images again; '': it gets none.
      stop_when: looks at the metrics of an epoch and may end the stage early.
    """

    name: str
    trained: tuple[str, ...]
    epochs: int
    batch_size: int
    optimizer: ConfigDict
    passes: float = GRADIENT
    average: float = 0.0
    average_rampup: int = 0
    mixup: float = 0.0
    drawn_by: str = ''
    stop_when: Callable[[Values], bool] | None = None
