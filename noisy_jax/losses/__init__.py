"""Losses per sample [B]; the mean belongs to the training step.

The examples in the docstrings assume `import jax.numpy as jnp`, `from noisy_jax.losses import *` and a print precision
of 3 digits; tests/test_docstrings.py runs them.
"""

from noisy_jax.losses.classification import (
    cross_entropy,
    focal,
    generalized_cross_entropy,
    label_smoothing,
    mean_absolute_error,
    nce_mae,
    nce_rce,
    negative_entropy,
    nfl_rce,
    normalized_cross_entropy,
    normalized_focal,
    reverse_cross_entropy,
    symmetric_cross_entropy,
)
from noisy_jax.losses.contrastive import info_nce, normalise, nt_xent, queue_sup_con, sup_con
from noisy_jax.losses.criterion import (
    CRITERIA,
    Criterion,
    criterion,
    remembering,
    settings,
    sureness,
    with_negative_entropy,
)
from noisy_jax.losses.elr import elr, elr_targets, weigh_labels

__all__ = [
    'CRITERIA',
    'Criterion',
    'criterion',
    'cross_entropy',
    'elr',
    'elr_targets',
    'focal',
    'generalized_cross_entropy',
    'info_nce',
    'label_smoothing',
    'mean_absolute_error',
    'nce_mae',
    'nce_rce',
    'negative_entropy',
    'nfl_rce',
    'normalise',
    'normalized_cross_entropy',
    'normalized_focal',
    'nt_xent',
    'queue_sup_con',
    'remembering',
    'reverse_cross_entropy',
    'settings',
    'sup_con',
    'sureness',
    'symmetric_cross_entropy',
    'weigh_labels',
    'with_negative_entropy',
]
