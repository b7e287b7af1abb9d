"""Image classification when the labels are partly wrong."""

import importlib
from typing import Any

__all__ = ['NoisyLabelClassifier']


def __getattr__(name: str) -> Any:
    """`NoisyLabelClassifier` when it is asked for: the commands need not wait for JAX to say --help."""
    if name == 'NoisyLabelClassifier':
        return importlib.import_module('noisy_jax.estimator').NoisyLabelClassifier
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
