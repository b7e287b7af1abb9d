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
from noisy_jax.losses.elr import TARGETS, elr, elr_targets

Extra = dict[str, jax.Array]


class Criterion(NamedTuple):
    """A loss with memory: `remember` the predictions, then compute `loss` with the memory's rows of the batch.

    Attributes:
      loss: (logits [B, C], labels [B] or [B, C], {name: [B, ...]}) -> losses [B].
      init: (number of samples N, number of classes C) -> the memory: arrays [N, ...] by name, {} for most losses.
      remember: (memory, index [B], logits [B, C]) -> memory, without gradient; entries of other owners pass through.
    """

    loss: Callable[[jax.Array, jax.Array, Extra], jax.Array]
    init: Callable[[int, int], Extra] = lambda num_samples, num_classes: {}
    remember: Callable[[Extra, jax.Array, jax.Array], Extra] = lambda memory, index, logits: memory

    def memory(self, extra: Extra) -> Extra:
        """Its own memory among all that a state remembers."""
        return {name: extra[name] for name in self.init(1, 1)}

    def rows(self, memory: Extra, index: jax.Array) -> Extra:
        """Its own entries of the memory at the rows `index` [B]: {name: [B, ...]}."""
        return {name: array[index] for name, array in self.memory(memory).items()}


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
    return Criterion(
        criterion.loss,
        lambda *sizes: {**other.init(*sizes), **criterion.init(*sizes)},
        lambda memory, *batch: criterion.remember(other.remember(memory, *batch), *batch),
    )


def sureness(logits: jax.Array, rows: Extra) -> Extra:
    """How sure a classifier is: the mean largest probability p, and with ELR's memory t the mean of <p, t>.

    ELR's gradient grows with 1 / (1 - <p, t>): it holds on to what the classifier is sure of, right or wrong, and
    leaves the rest to the labels.

    >>> sureness(jnp.array([[2.0, 0.0]]), {'elr_targets': jnp.array([[0.5, 0.1]])})
    {'confidence': Array(0.881, dtype=float32), 'p_memory': Array(0.452, dtype=float32)}
    """
    p = jax.nn.softmax(logits)
    values = {'confidence': p.max(-1).mean()}
    return values | ({'p_memory': jnp.sum(p * rows[TARGETS], axis=-1).mean()} if TARGETS in rows else {})


def _elr(*, beta: float, lam: float) -> Criterion:
    return Criterion(
        lambda logits, labels, rows: elr(logits, labels, rows[TARGETS], lam=lam),
        lambda num_samples, num_classes: {TARGETS: jnp.zeros((num_samples, num_classes), jnp.float32)},
        lambda memory, *batch: {**memory, TARGETS: elr_targets(memory[TARGETS], *batch, beta=beta)},
    )


# With a memory, a loss's `function` makes the whole criterion from its settings.
_REMEMBERING = {
    'elr': Loss(
        _elr,
        {
            'beta': Setting(0.7, 'decay of the moving average of predictions', 0.0, 1.0),
            'lam': Setting(3.0, 'weight of the regulariser', 0.0, 1e6),
        },
        {100: {'beta': 0.9, 'lam': 7.0}},
    ),
}
CRITERIA: dict[str, Loss] = LOSSES | _REMEMBERING


def settings(num_classes: int = 10) -> Section:
    """The settings of every loss, with the papers' values for that number of classes, or the next below it."""
    found: Section = {}
    for name, loss in CRITERIA.items():
        values = loss.by_classes.get(max((known for known in loss.by_classes if known <= num_classes), default=0), {})
        changed = {key: dataclasses.replace(loss.settings[key], default=value) for key, value in values.items()}
        found[name] = loss.settings | changed
    return found


def criterion(name: str, **settings: Any) -> Criterion:
    """The loss `name` of CRITERIA with its settings, e.g. 'ce', 'nfl_rce' (alpha, beta, gamma) or 'elr' (beta, lam).

    Raises:
      InputError: the name is unknown, or a setting is missing or unknown to that loss.

    >>> criterion('gce', q=0.7).loss(jnp.array([[2.0, 0.0]]), jnp.array([1]), {})
    Array([1.106], dtype=float32)
    """
    if name not in CRITERIA:
        raise InputError(f'loss: {name!r} is unknown; allowed: {", ".join(CRITERIA)}')
    function, has_memory = CRITERIA[name].function, name in _REMEMBERING
    try:
        inspect.signature(function).bind(*([] if has_memory else [None, None]), **settings)
    except TypeError as error:
        takes = ', '.join(CRITERIA[name].settings) or 'none'
        raise InputError(f'loss {name}: {error}; its settings: {takes}') from None
    if has_memory:
        return function(**settings)
    return Criterion(lambda logits, labels, rows: function(logits, labels, **settings))
