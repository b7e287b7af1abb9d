"""A classification loss as a train step uses it: with the batch, and with what it remembers between batches."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from noisy_jax.errors import InputError
from noisy_jax.losses.classification import cross_entropy, nfl_rce
from noisy_jax.losses.elr import elr, elr_targets

Extra = dict[str, jax.Array]


class Criterion(NamedTuple):
    """A loss with memory.

    Attributes:
      init: (number of samples N, number of classes C) -> what it remembers; {} for most losses.
      apply: (logits [B, C], batch, extra) -> (losses [B], extra). It reads 'label' and 'index' of the batch and passes
        on what others keep in `extra`.
    """

    init: Callable[[int, int], Extra]
    apply: Callable[[jax.Array, dict[str, jax.Array], Extra], tuple[jax.Array, Extra]]


def _memoryless(loss: Callable) -> Criterion:
    return Criterion(
        lambda num_samples, num_classes: {},
        lambda logits, batch, extra: (loss(logits, batch['label']), extra),
    )


def _ce() -> Criterion:
    return _memoryless(cross_entropy)


def _nfl_rce(*, alpha: float, beta: float, gamma: float = 0.5) -> Criterion:
    return _memoryless(lambda logits, labels: nfl_rce(logits, labels, alpha=alpha, beta=beta, gamma=gamma))


def _elr(*, beta: float, lam: float) -> Criterion:
    def init(num_samples: int, num_classes: int) -> Extra:
        return {'elr_targets': jnp.zeros((num_samples, num_classes), jnp.float32)}

    def apply(logits: jax.Array, batch: dict[str, jax.Array], extra: Extra) -> tuple[jax.Array, Extra]:
        targets = elr_targets(extra['elr_targets'], batch['index'], logits, beta=beta)
        values = elr(logits, batch['label'], targets[batch['index']], lam=lam)
        return values, {**extra, 'elr_targets': targets}

    return Criterion(init, apply)


CRITERIA: dict[str, Callable[..., Criterion]] = {'ce': _ce, 'nfl_rce': _nfl_rce, 'elr': _elr}


def criterion(name: str, **settings: Any) -> Criterion:
    """The loss of that name: 'ce', 'nfl_rce' (alpha, beta, gamma=0.5) or 'elr' (beta, lam).

    Raises:
      InputError: an unknown name; a setting missing or unknown to that loss.
    """
    if name not in CRITERIA:
        raise InputError(f'loss: {name!r} is unknown; allowed: {", ".join(CRITERIA)}')
    signature = inspect.signature(CRITERIA[name])
    try:
        signature.bind(**settings)
    except TypeError as error:
        takes = ', '.join(signature.parameters) or 'none'
        raise InputError(f'loss {name}: {error}; its settings: {takes}') from None
    return CRITERIA[name](**settings)
