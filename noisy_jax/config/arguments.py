"""What a config file and the command line say: the string argument, the file, single settings."""

import ast
import pathlib
import runpy
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from noisy_jax.config.defaults import LOSSES, PHASE_LISTS, PHASES, default, loss_settings, optimizer
from noisy_jax.config.validation import flatten, nearest
from noisy_jax.errors import InputError


def with_argument(argument: str, defaults: Mapping[str, Any]) -> tuple[ConfigDict, dict[str, Any]]:
    """`default()` changed by what every config takes (loss, noise, rate, phases), and all values of the argument.

    Raises:
      InputError: as `parse_argument` and `phase_list`.
    """
    given = parse_argument(argument, defaults)
    config = default()
    config.phases = phase_list(given['phases'])
    config.loss = given['loss']
    config.noise.kind, config.noise.rate = given['noise'], given['rate']
    return config, given


def with_data(argument: str, name: str, num_classes: int = 10, **defaults: Any) -> tuple[ConfigDict, dict[str, Any]]:
    """As `with_argument` for a config `name` of photographs: its argument also takes data=LOADER and smoke.

    `defaults` change or add to what the argument takes. The losses get the paper's settings for `num_classes`. The
    config calls `shrink` at its end where `smoke` was given.
    """
    usual = {'loss': 'elr', 'noise': 'none', 'rate': 0.4, 'phases': 'finetuned', 'data': 'folder', 'smoke': False}
    config, given = with_argument(argument, usual | defaults)
    config.name, config.data.name = name, given['data']
    with config.unlocked():
        config.loss_settings = ConfigDict({loss: loss_settings(loss, num_classes) for loss in LOSSES})
    return config, given


def leave_to_data(config: ConfigDict) -> None:
    """Leaves sizes, network, epochs, views and normalisation to the data (noisy_jax/automatic.py).

    AdamW, with rates for the networks and epochs that are chosen there; no head is trained alone.
    """
    rates = {'name': 'adamw', 'learning_rate': 2e-3, 'weight_decay': 1e-4}
    with config.unlocked():
        config.data.update({'image_size': -1, 'mean': (), 'std': ()})
        config.model.update({'encoder': 'auto', 'width': -1})
        config.augment.standard.padding, config.augment.simclr.blur_probability = -1, -1.0
        config.loss_settings.elr.update({'beta': -1.0, 'lam': -1.0})
        for phase in PHASES:
            config[phase].update({'epochs': -1, 'batch_size': -1, 'optimizer': optimizer(**rates)})
            if phase != 'select':
                config[phase].augment = 'auto'
        for phase in (config.classify, config.finetune):
            phase.head_epochs = 0
    config.pretrain.knn_every = config.contrast.knn_every = 0
    config.pretrain.temperature = 0.2


def set_rates(
    config: ConfigDict,
    contrastive: float,
    head: tuple[float, float],
    whole: tuple[float, float],
    finetune: tuple[float, float],
) -> None:
    """Learning rates for a batch of 256, each classifier's with its weight decay: of a head alone, and all weights."""
    config.pretrain.optimizer.learning_rate = config.contrast.optimizer.learning_rate = contrastive
    heads = [config.classify.head_optimizer, config.finetune.head_optimizer, config.select.optimizer]
    wholes = [config.base.optimizer, config.classify.optimizer]
    pairs = [(optimizers, head) for optimizers in heads] + [(optimizers, whole) for optimizers in wholes]
    for settings, (rate, decay) in [*pairs, (config.finetune.optimizer, finetune)]:
        settings.learning_rate, settings.weight_decay = float(rate), float(decay)


def shrink(config: ConfigDict) -> None:
    """A run of minutes on two CPU cores; its accuracies mean nothing."""
    config.name += '_smoke'
    config.model.encoder = 'resnet_tiny'
    config.data.limit, config.data.test_limit = 1000, 500
    config.data.image_size = min(config.data.image_size, 32)
    config.pretrain.epochs, config.contrast.epochs = 5, 2
    config.base.epochs, config.select.epochs = 5, 5
    for phase in (config.classify, config.finetune):
        phase.head_epochs, phase.epochs = 2, 3
    for phase in PHASES:
        config[phase].batch_size = 128
    config.mopro.start_epoch = config.bootstrap.warmup_epochs = config.dividemix.warmup_epochs = 1
    config.checkpoint_every = 2


def parse_argument(argument: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the text behind `--config=file.py:`, e.g. 'loss=elr,rate=0.8,smoke', into the types of `defaults`.

    Raises:
      InputError: an unknown name or a value of another type.
    """
    values = dict(defaults)
    for item in filter(None, argument.split(',')):
        name, _, text = item.partition('=')
        if name not in defaults:
            raise InputError(
                f'config argument {name!r} is unknown{nearest(name, defaults)}; allowed: {", ".join(defaults)}'
            )
        kind = type(defaults[name])
        try:
            values[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise InputError(f'config argument {name}={text!r} is not a {kind.__name__}') from None
    return values


def phase_list(name: str) -> tuple[str, ...]:
    """The phases of one of the paper's columns, or 'all'.

    Raises:
      InputError: an unknown name.
    """
    if name not in PHASE_LISTS:
        raise InputError(f'phases={name!r} is unknown; allowed: {", ".join(PHASE_LISTS)}')
    return PHASE_LISTS[name]


_BOOLEANS = {'': True, 'true': True, '1': True, 'false': False, '0': False}


def load(path_and_argument: str) -> ConfigDict:
    """The config of `path/to/file.py` or `path/to/file.py:argument`, as the command line names it.

    Raises:
      InputError: no such file, no `get_config` in it, or an argument that it does not take.
    """
    path, _, argument = path_and_argument.partition(':')
    if not pathlib.Path(path).is_file():
        raise InputError(f'--config: no file {path!r}; choose one of configs/*.py')
    try:
        module = runpy.run_path(path)
        return module['get_config'](*([argument] if argument else []))
    except KeyError as error:
        raise InputError(f'--config: {path} has no {error}') from error
    except (SyntaxError, ImportError, AttributeError, TypeError) as error:
        raise InputError(f'--config: {path} cannot be loaded ({" ".join(str(error).split())})') from error


def check_override(config: ConfigDict, key: str, text: str) -> None:
    """Whether `--config.key=text` can be taken.

    Raises:
      InputError: an unknown key, or text that is not of the type of the value there.
    """
    values = dict(flatten(config))
    if key not in values:
        raise InputError(f'config.{key} is unknown{nearest(key, values)}')
    kind = type(values[key])
    convert = {bool: lambda t: _BOOLEANS[t.lower()], tuple: ast.literal_eval}.get(kind, kind)
    try:
        convert(text)
    except (KeyError, ValueError, SyntaxError):
        raise InputError(f'config.{key}: {text!r} is not of type {kind.__name__}, as {values[key]!r} is') from None
