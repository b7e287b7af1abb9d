"""Whether a config can be used: every key and value, before anything is loaded or trained."""

import difflib
import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from noisy_jax.config.defaults import LABEL_FREE, PHASES, default
from noisy_jax.errors import InputError

# Keys (with wildcards) and the closed range of their values; None is open.
RANGES = {
    'noise.rate': (0.0, 1.0),
    'data.valid_fraction': (0.0, 0.9),
    'early_stop_below': (0.0, 1.0),
    'data.image_size': (0, None),
    'data.max_classes': (0, None),
    'data.memory_bytes': (0, None),
    'data.workers': (0, 256),
    'data.limit': (0, None),
    'data.test_limit': (0, None),
    'devices': (0, None),
    'seed': (0, 2**31 - 1),
    'rounds': (1, 100),
    'checkpoint_every': (1, None),
    'eval_every': (0, None),
    'eval_batch_size': (1, None),
    '*epochs': (0, None),
    'select.epochs': (1, None),
    '*.knn_every': (0, None),
    '*.batch_size': (1, None),
    '*.temperature': (1e-3, None),
    '*.learning_rate': (0.0, None),
    '*.weight_decay': (0.0, None),
    '*.momentum': (0.0, 1.0),
    '*.history': (1, None),
    '*.min_weight': (0.0, 1.0),
    '*.average': (0.0, 0.99999),
    'moco.queue': (1, None),
    'mopro.prototype_momentum': (0.0, 1.0),
    'mopro.alpha': (0.0, 1.0),
    'mopro.threshold': (0.0, 1.0),
    'mopro.start_epoch': (0, None),
    '*.mixup': (0.0, None),
    'elr_plus.mixup': (1e-3, None),
    'bootstrap.mixup': (1e-3, None),
    'dividemix.mixup': (1e-3, None),
    'dividemix.threshold': (0.0, 0.99),  # at 1 nothing could be trusted
    'dividemix.unlabelled_weight': (0.0, None),
    'select.neighbours': (0, None),
    'augment.*.*probability': (0.0, 1.0),
    'augment.*.min_scale': (1e-3, 1.0),
    'augment.*.degrees': (0.0, 180.0),
    'augment.*.padding': (0, None),
    'augment.*.jitter': (0.0, None),
    'augment.*.operations': (0, 16),
    'augment.*.cutout': (0, None),
    'loss_settings.elr.beta': (0.0, 1.0),
    'loss_settings.gce.q': (1e-6, 1.0),
    'loss_settings.label_smoothing.smoothing': (0.0, 1.0),
    'loss_settings.*.gamma': (0.0, None),
    'report.cross_fit': (0, 100),
    'report.threshold': (0.0, 1.0),
    'report.gallery': (0, 100_000),
    'report.thumbnail': (16, 512),
    'model.width': (0, None),
    'model.projection_dim': (1, None),
    'model.batch_norm_*': (0, None),
}


def flatten(config: ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """All leaves as ('pretrain.optimizer.name', 'sgd')."""
    for name in config:
        value = config[name]
        if isinstance(value, ConfigDict):
            yield from flatten(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def validate(config: ConfigDict, choices: Mapping[str, Iterable[str]]) -> None:
    """Checks every value before anything is loaded or trained.

    Args:
      config: a full config.
      choices: the allowed words by key (with wildcards), from those who implement them.

    Raises:
      InputError: naming the key, what was given and what is allowed.
    """
    expected = dict(flatten(default()))
    given = dict(flatten(config))
    for key in given.keys() ^ expected.keys():
        what = 'is unknown' if key in given else 'is missing'
        raise InputError(f'config.{key} {what}{nearest(key, expected)}')
    for key, value in given.items():
        for pattern, allowed in choices.items():
            if fnmatch.fnmatchcase(key, pattern) and value not in allowed:
                raise InputError(f'config.{key}: {value!r} is not allowed; choose one of {", ".join(allowed)}')
        for pattern, (low, high) in RANGES.items():
            if fnmatch.fnmatchcase(key, pattern) and not _within(value, low, high):
                limits = f'at least {low}' if high is None else f'from {low} to {high}'
                raise InputError(f'config.{key}: {value!r} is not allowed; a number {limits}')
    _check_tuples(given)
    _check_phases(tuple(config.phases))
    if config.early_stop != 'none' and not config.data.valid_fraction:
        raise InputError(f'config.early_stop: {config.early_stop!r} needs data.valid_fraction above 0')
    if config.report.cross_fit == 1:
        raise InputError('config.report.cross_fit: 1 is not allowed; at least 2 folds, or 0 for none')
    if config.report.cross_fit and not ('pretrain' in config.phases and config.pretrain.method in LABEL_FREE):
        raise InputError(
            f'config.report.cross_fit: {config.report.cross_fit} needs the phase pretrain by '
            f'{" or ".join(LABEL_FREE)}, whose embeddings have seen no label'
        )
    if config.rounds > 1 and 'finetune' not in config.phases:
        raise InputError(f'config.rounds: {config.rounds} needs the phase finetune, found {tuple(config.phases)}')


# Keys (with wildcards) of several numbers, and the least of each.
NUMBERS = {'data.mean': 0.0, 'data.std': 1e-6, '*.milestones': 0}


def _check_tuples(given: Mapping[str, Any]) -> None:
    for key, values in given.items():
        for pattern, least in NUMBERS.items():
            if fnmatch.fnmatchcase(key, pattern) and not all(_within(value, least, None) for value in values):
                raise InputError(f'config.{key}: {values!r} is not allowed; numbers of at least {least}')


def _check_phases(phases: tuple[str, ...]) -> None:
    for phase in phases:
        if phase not in PHASES:
            raise InputError(f'config.phases: {phase!r} is unknown; choose from {", ".join(PHASES)}')
    if not phases or list(phases) != sorted(set(phases), key=PHASES.index):
        raise InputError(f'config.phases: {phases} must be some of {", ".join(PHASES)}, each once, in this order')
    for phase, needed in (('select', 'classify'), ('contrast', 'select'), ('finetune', 'classify')):
        if phase in phases and needed not in phases:
            raise InputError(f'config.phases: {phase!r} needs {needed!r} before it, found {phases}')


def _within(value: Any, low: float, high: float | None) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value >= low and (high is None or value <= high)


def nearest(key: str, keys: Iterable[str]) -> str:
    """'; did you mean ...?', or nothing."""
    close = difflib.get_close_matches(key, list(keys), n=1)
    return f'; did you mean {close[0]!r}?' if close else ''
