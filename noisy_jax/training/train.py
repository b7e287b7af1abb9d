"""train(): the stages of a method in sequence."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from noisy_jax.training import state
from noisy_jax.training.loop import AfterEpoch, fit
from noisy_jax.training.method import Memory, Method
from noisy_jax.training.stage import Stage, Values
from noisy_jax.training.state import TrainState, Variables
from noisy_jax.training.task import Task


class Watch(Protocol):
    """Measurements after every epoch, the memory they need in the state, and what they let a stage return."""

    stop_when: Callable[[Values], bool] | None

    def memory(self, variables: Variables, stage: Stage, *, is_first: bool) -> Memory:
        """The memory of a stage that starts from `variables`; it may be the first of its phase."""

    def __call__(self, state: TrainState, epoch: int) -> tuple[TrainState, Values]: ...

    def outcome(self, state: TrainState, stage: Stage) -> Variables:
        """The variables that a finished stage returns."""


def train(method: Method, task: Task, variables: Variables, watch: Watch | None = None) -> tuple[Variables, Memory]:
    """Trains `variables` by the stages of `method`; each passes its memory on to the next.

    Returns:
      The variables (their average if a stage averages), and the memory of the last stage.
    """
    heads, memory = method.heads(task, variables), {}
    variables = {kind: {**tree, **heads.get(kind, {})} for kind, tree in variables.items()}
    stages = [stage for stage in method.stages(task.context.config, task.phase) if stage.epochs]
    for number, stage in enumerate(stages):
        learner = task.learner(stage, variables, method.networks)
        memory = method.memory(task, stage, variables, memory)
        if stage.average:
            memory = {**memory, state.AVERAGE: variables}
        after = [method.after_epoch(task, stage)]
        if watch:
            memory, after = {**memory, **watch.memory(variables, stage, is_first=number == 0)}, [watch, *after]
            stage = dataclasses.replace(stage, stop_when=watch.stop_when)
        start = state.create(variables, learner.optimizer, learner.trained, memory)
        step = method.step(task, stage, learner)
        past = task.journal.is_past(stage.name)  # resumed in a later stage: this one's state is not known any more
        final = fit(stage, step, start, task.train, task.journal, _chained(after))
        variables, memory = watch.outcome(final, stage) if watch and not past else final.averaged, final.extra
    of_network = {
        kind: {name: part for name, part in tree.items() if name not in heads.get(kind, {})}
        for kind, tree in variables.items()
    }
    return of_network, memory


def _chained(hooks: list[AfterEpoch | None]) -> AfterEpoch:
    def after(current: TrainState, epoch: int) -> tuple[TrainState, Values]:
        values: Values = {}
        for hook in filter(None, hooks):
            current, more = hook(current, epoch)
            values |= more
        return current, values

    return after
