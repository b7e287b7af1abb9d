"""Classification losses as a training step uses them: by name, and with a memory that lasts from batch to batch."""

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
    """A loss with memory: `remember` the predictions, then compute `loss` with the memory's rows of the batch.

    Attributes:
      loss: (logits [B, C], labels [B] or [B, C], {name: [B, ...]}) -> losses [B].
      init: (number of samples N, number of classes C) -> the memory: arrays [N, ...] by name, {} for most losses.
      remember: (memory, index [B], logits [B, C]) -> memory, without gradient; entries of other owners pass through.
    """

    loss: Callable[[jax.Array, jax.Array, Extra], jax.Array]
    init: Callable[[int, int], Extra] = _nothing
    remember: Callable[[Extra, jax.Array, jax.Array], Extra] = _as_it_is

    def memory(self, extra: Extra) -> Extra:
        """Its own memory among all that a state remembers."""
        return {name: extra[name] for name in self.init(1, 1)}

    def rows(self, memory: Extra, index: jax.Array) -> Extra:
        """Its own entries of the memory at the rows `index` [B]: {name: [B, ...]}."""
        return {name: memory[name][index] for name in self.init(1, 1)}


def _memoryless(loss: Callable, **settings: float) -> Criterion:
    return Criterion(lambda logits, labels, rows: loss(logits, labels, **settings))


def with_negative_entropy(criterion: Criterion) -> Criterion:
    """The loss plus sum_k p_k log p_k, a penalty on confident predictions.

    Source: Pereyra et al. 2017, https://arxiv.org/abs/1701.06548; Li et al. 2020, eq. 9,
    https://arxiv.org/abs/2002.07394

    >>> with_negative_entropy(criterion('ce')).loss(jnp.array([[2.0, 0.0]]), jnp.array([0]), {})
    Array([-0.238], dtype=float32)
    """

    def loss(logits: jax.Array, labels: jax.Array, rows: Extra) -> jax.Array:
        return criterion.loss(logits, labels, rows) + negative_entropy(logits)

    return criterion._replace(loss=loss)


def remembering(criterion: Criterion, other: Criterion) -> Criterion:
    """The criterion, which also keeps the memory of `other`: a stage with one loss prepares a stage with another.

    >>> sorted(remembering(criterion('ce'), criterion('elr', beta=0.7, lam=3.0)).init(5, 2))
    ['elr_targets']
    """

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
    """The loss `name` of CRITERIA with its settings, e.g. 'ce', 'nfl_rce' (alpha, beta, gamma) or 'elr' (beta, lam).

    Raises:
      InputError: the name is unknown, or a setting is missing or unknown to that loss.

    >>> criterion('gce', q=0.7).loss(jnp.array([[2.0, 0.0]]), jnp.array([1]), {})
    Array([1.106], dtype=float32)
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
