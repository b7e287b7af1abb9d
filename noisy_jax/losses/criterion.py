"""A classification loss as a train step uses it: with the batch, and with what it remembers between batches."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from noisy_jax.config import Section, Setting
from noisy_jax.errors import InputError
from noisy_jax.losses.classification import LOSSES, Loss, negative_entropy
from noisy_jax.losses.elr import elr, elr_targets

Extra = dict[str, jax.Array]


def _nothing(num_samples: int, num_classes: int) -> Extra:
    return {}


def _as_it_is(memory: Extra, index: jax.Array, logits: jax.Array) -> Extra:
    return memory


class Criterion(NamedTuple):
    """A loss with memory: `remember` what is predicted, then `loss` with the memory's rows of the batch.

    Attributes:
      loss: (logits [B, C], labels [B] or [B, C], {name: [B, ...]}) -> losses [B].
      init: (number of samples N, number of classes C) -> the memory, arrays [N, ...] by name; {} for most losses.
      remember: (memory, index [B], logits [B, C]) -> memory, without gradient; passes on what others keep there.
    """

    loss: Callable[[jax.Array, jax.Array, Extra], jax.Array]
    init: Callable[[int, int], Extra] = _nothing
    remember: Callable[[Extra, jax.Array, jax.Array], Extra] = _as_it_is

    def rows(self, memory: Extra, index: jax.Array) -> Extra:
        """Of its own memory, what belongs to the samples `index` [B]: {name: [B, ...]}."""
        return {name: memory[name][index] for name in self.init(1, 1)}


def _memoryless(loss: Callable, **settings: float) -> Criterion:
    return Criterion(lambda logits, labels, rows: loss(logits, labels, **settings))


def with_negative_entropy(criterion: Criterion) -> Criterion:
    """The loss plus sum_k p_k log p_k, a penalty on sure predictions (Pereyra 2017; Li 2020, eq. 9)."""

    def loss(logits: jax.Array, labels: jax.Array, rows: Extra) -> jax.Array:
        return criterion.loss(logits, labels, rows) + negative_entropy(logits)

    return criterion._replace(loss=loss)


def remembering(criterion: Criterion, other: Criterion) -> Criterion:
    """`criterion`, which also keeps the memory of `other`: a stage by the one prepares a stage by the other."""

    def init(num_samples: int, num_classes: int) -> Extra:
        return {**other.init(num_samples, num_classes), **criterion.init(num_samples, num_classes)}

    def remember(memory: Extra, index: jax.Array, logits: jax.Array) -> Extra:
        return criterion.remember(other.remember(memory, index, logits), index, logits)

    return Criterion(criterion.loss, init, remember)


def _elr(*, beta: float, lam: float) -> Criterion:
    def init(num_samples: int, num_classes: int) -> Extra:
        return {'elr_targets': jnp.zeros((num_samples, num_classes), jnp.float32)}

    def remember(memory: Extra, index: jax.Array, logits: jax.Array) -> Extra:
        return {**memory, 'elr_targets': elr_targets(memory['elr_targets'], index, logits, beta=beta)}

    def loss(logits: jax.Array, labels: jax.Array, rows: Extra) -> jax.Array:
        return elr(logits, labels, rows['elr_targets'], lam=lam)

    return Criterion(loss, init, remember)


# Losses with memory: `function` gives the whole criterion.
_REMEMBERING = {
    'elr': Loss(
        _elr,
        {
            'beta': Setting(0.7, 'decay of the moving average of predictions', 0.0, 1.0),
            'lam': Setting(3.0, 'weight of the regulariser'),
        },
        {100: {'beta': 0.9, 'lam': 7.0}},
    ),
}
CRITERIA: dict[str, Loss] = LOSSES | _REMEMBERING


def settings(num_classes: int = 10) -> Section:
    """The settings of every loss, with the papers' values for that number of classes."""

    def of_classes(loss: Loss) -> Section:
        values = loss.by_classes.get(num_classes, {})
        return {
            name: dataclasses.replace(setting, default=values.get(name, setting.default))
            for name, setting in loss.settings.items()
        }

    return {name: of_classes(loss) for name, loss in CRITERIA.items()}


def criterion(name: str, **settings: Any) -> Criterion:
    """The loss of that name, one of CRITERIA, e.g. 'ce', 'nfl_rce' (alpha, beta, gamma=0.5) or 'elr' (beta, lam).

    Raises:
      InputError: an unknown name; a setting missing or unknown to that loss.
    """
    if name not in CRITERIA:
        raise InputError(f'loss: {name!r} is unknown; allowed: {", ".join(CRITERIA)}')
    function = CRITERIA[name].function
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    try:
        signature.replace(parameters=parameters).bind(**settings)
    except TypeError as error:
        takes = ', '.join(p.name for p in parameters) or 'none'
        raise InputError(f'loss {name}: {error}; its settings: {takes}') from None
    return function(**settings) if name in _REMEMBERING else _memoryless(function, **settings)
