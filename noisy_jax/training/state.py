"""The train state: everything a step changes, and nothing else."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

Variables = dict[str, Any]  # {'params': ..., 'batch_stats': ...}, of a pair of networks also SECOND
SECOND = 'second'  # the variables of the other of two networks that were trained together
# Names in `TrainState.extra`.
AVERAGE = 'average'  # moving average of the variables
CLEAN = 'clean_probability'  # [N], the trust in each label
LEFT_OUT = 'left_out'  # [2, N, C], predictions of images by networks that left them out
VOTE = 'vote'  # [N], the share of the neighbours' votes for each label
LOSSES = 'loss_history'  # [E, N], each sample's loss after the last epochs
PREDICTIONS = 'valid_predictions'  # [V], the classes of the held-out images at the last epoch
BEFORE = 'before'  # the variables to return to where a stage makes a classifier worse
BEST = 'best'  # their predictions of held-out images [V], or agreement with what is sure (infinite: before the stage)
CHANGED = 'valid_changed'  # [E], how many of them changed in each of the last epochs


@flax.struct.dataclass
class TrainState:
    """What a step takes and returns.

    Attributes:
      step: int32 scalar, the steps done in this stage; randomness and schedules are functions of it.
      params: {'encoder', 'projection' (unless there is no such head), 'classifier'}, trained or not.
      batch_stats: running statistics of BatchNorm.
      opt_state: of the trained parts only.
      extra: what a method remembers beside its weights, by name (ELR's targets [N, C], the loss history [E, N], a
        moving average of the variables).
    """

    step: jax.Array
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    extra: dict[str, Any]

    @property
    def variables(self) -> Variables:
        return {'params': self.params, 'batch_stats': self.batch_stats}

    def remember(self, memory: dict[str, Any]) -> 'TrainState':
        """The state with these arrays of `extra` replaced or added."""
        return self.replace(extra={**self.extra, **memory})

    @property
    def averaged(self) -> Variables:
        """The moving average of the variables where one is kept, else the variables."""
        return self.extra.get(AVERAGE, self.variables)


def stack(first: Variables, second: Variables) -> Variables:
    """Two networks as one tree of arrays [2, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), first, second)


def one_of(stacked: Any, number: int) -> Any:
    """The tree of one of two networks, 0 or 1."""
    return jax.tree.map(lambda leaf: leaf[number], stacked)


def unstack(stacked: Variables) -> Variables:
    """The first network's variables, those of the other under SECOND: a prediction is then the mean of both.

    (Of their probabilities; the codes of DivideMix and ELR+ add the logits.)
    """
    return {**one_of(stacked, 0), SECOND: one_of(stacked, 1)}


def networks_of(variables: Variables) -> list[Variables]:
    """The variables of each network, one or two."""
    first = {kind: tree for kind, tree in variables.items() if kind != SECOND}
    return [first, variables[SECOND]] if SECOND in variables else [first]


def create(
    variables: Variables,
    optimizer: optax.GradientTransformation,
    trained: tuple[str, ...],
    extra: dict[str, jax.Array] | None = None,
) -> TrainState:
    """An initial state at step 0 whose optimiser covers the `trained` parts of the parameters."""
    params = variables['params']
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get('batch_stats', {}),
        opt_state=optimizer.init({name: params[name] for name in trained}),
        extra=extra or {},
    )
