"""Settings that a config leaves to the data: -1, 'auto' and () become numbers, names and means, shown in a table.

What is chosen stands in settings/choices.py. The choices are saved in the work directory's config.json; a resumed run
takes them from there, on whichever machine.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import config as config_lib
from noisy_jax import data
from noisy_jax.data import lazy, pixels
from noisy_jax.data.dataset import NO_LABEL, Dataset
from noisy_jax.data.decoding import warn_of_crop
from noisy_jax.data.rows import spread
from noisy_jax.errors import InputError, one_line, shortened
from noisy_jax.models.pretrained import Pretrained
from noisy_jax.models.resnet import RESNETS
from noisy_jax.schedule import PHASES
from noisy_jax.settings.choices import Facts, choices

_LOOKED_AT = 1000  # images whose sizes and pixels are looked at
# All settings that may be left to the data: `choose` finds the loader and the statistics, `choices` the others.
KEYS = ('data.name', 'data.mean', 'data.std', *choices(Facts(1000, 0, 10, 32, True, 3)))


def open_settings(config: ConfigDict) -> list[str]:
    """The keys that `config` leaves to the data."""
    values = dict(config_lib.flatten(config))
    given = [key for key in KEYS if type(values.get(key)) in (int, float, str, tuple, list)]
    return [key for key in given if values[key] in (-1, 'auto', (), [])]


def choose(
    config: ConfigDict, earlier: Mapping[str, Any] | None = None, given: tuple[Dataset, Dataset | None] | None = None
) -> tuple[ConfigDict, str]:
    """A config without open settings, and the table that shows the choices ('' where nothing was open).

    Args:
      config: some of its settings may be open.
      earlier: the settings by key of a run that is resumed, whose choices stay.
      given: training and test set, instead of those that config.data names.

    Raises:
      InputError: data or model.weights that cannot be used.
    """
    weights, keys = _weights(config.model), open_settings(config)
    if weights:  # the stem is never left to the data, but to the size of the images where no weights decide it
        config = config.copy_and_resolve_references()
        config.model.stem = weights.stem
    if not keys:
        if config.effort != 'normal':
            raise InputError(
                f'config.effort: {config.effort!r} has no meaning where the config leaves no epochs to the data; '
                'configs/own_images.py does'
            )
        return config, ''
    if config.effort == 'quick' and not config.report.cross_fit:
        raise InputError(
            'config.effort: quick trains no classifier, and makes a list with report.cross_fit only; it is 0'
        )
    if earlier:
        title, found = '', {key: (earlier[key], 'chosen before') for key in keys}
    else:
        title, found = _choose_from_data(config, keys, given, weights)
    values = {key: found[key] for key in keys}
    chosen = config.copy_and_resolve_references()
    chosen.update_from_flattened_dict({key: value for key, (value, _) in values.items()})
    if config.effort == 'quick':
        chosen.phases, chosen.early_stop, chosen.data.valid_fraction = (), 'none', 0.0
    idle = set(PHASES) - set(chosen.phases)
    if not chosen.phases:  # nothing is augmented or trained, and without a file there is no network
        idle |= {'augment', 'loss_settings'} | (set() if weights else {'model', 'eval_batch_size'})
    return chosen, _table(title, {key: each for key, each in values.items() if key.split('.')[0] not in idle})


def _weights(model: ConfigDict) -> Pretrained | None:
    """The file of model.weights; InputError: it cannot be used, or `model` names another network."""
    if not model.weights:
        return None
    weights = Pretrained.load(model.weights)
    width = model.width or RESNETS[weights.encoder]().width
    for name, value in (('encoder', model.encoder), ('stem', model.stem), ('width', width)):
        if value not in ('auto', -1, has := getattr(weights, name)):
            raise InputError(
                f'model.{name}: {value!r}, but model.weights: {weights.path} is of {has!r}; allowed: {has!r}'
            )
    return weights


def _choose_from_data(
    config: ConfigDict, keys: list[str], given: tuple[Dataset, Dataset | None] | None, weights: Pretrained | None
) -> tuple[str, dict[str, tuple[Any, str]]]:
    """A title, and a value and its reason for each of `keys` at least."""
    loader, size = config.data.name, config.data.image_size
    if loader == 'auto':
        loader = 'arrays' if given else data.kind_of(config.data.path, config.data.list)
        data.check_form({**config.data, 'name': loader})
    images = given[0] if given else data.load_undecoded({**config.data, 'name': loader}, 'train')
    shapes = _shapes(images)
    facts = _facts(images, shapes, config.devices, config.effort)
    facts = dataclasses.replace(facts, folds=config.cross_fit.folds, weights=weights)
    if weights and facts.channels != weights.channels:
        raise InputError(
            f'model.weights: {weights.path} takes images of {weights.channels} channels, these have {facts.channels}'
        )
    found = choices(facts)
    if size == -1:
        size = found['data.image_size'][0]
        if size:  # nobody has asked for it
            warn_of_crop(shapes, remedy='; data.image_size=0 takes images of one size as they are')
    if weights and weights.mean:
        mean, std, why = weights.mean, weights.std, 'as the encoder of model.weights had it'
    elif {'data.mean', 'data.std'}.isdisjoint(keys):
        mean, std, why = config.data.mean, config.data.std, 'given'
    else:
        rows = spread(len(images), _LOOKED_AT)
        mean, std, why = *pixels.statistics(images.image, rows, size or facts.side), 'of the pixels'
    found['data.name'] = loader, 'by data.path'
    found['data.mean'], found['data.std'] = (mean, why), (std, why)
    return _title(config, images, facts), found


def _facts(images: Dataset, shapes: np.ndarray, devices: int, effort: str) -> Facts:
    """The facts of a data set that is in memory, or whose files have not been decoded; `shapes` as of `_shapes`."""
    heights, widths, channels = shapes.T
    side = int(np.median(np.minimum(heights, widths)))
    unlabelled = int(np.sum(images.label == NO_LABEL))
    return Facts(
        labelled=len(images) - unlabelled,
        unlabelled=unlabelled,
        classes=images.num_classes,
        side=side,
        square=bool(np.all(heights == side) and np.all(widths == side)),
        channels=int(channels.max()),
        devices=devices or jax.device_count(),
        accelerator=jax.default_backend() != 'cpu',
        effort=effort,
    )


def _shapes(images: Dataset) -> np.ndarray:
    """(H, W, C) of some images as they are stored, int [M, 3]."""
    lazily = isinstance(images.image, lazy.Files)
    shapes = images.image.stored_shapes(spread(len(images), _LOOKED_AT)) if lazily else [images.image.shape[1:]]
    return np.array(shapes)


def _title(config: ConfigDict, images: Dataset, facts: Facts) -> str:
    counts = np.bincount(images.label[images.label != NO_LABEL], minlength=facts.classes)
    largest = [f'{shortened(images.class_names[row])} {counts[row]}' for row in np.argsort(-counts, kind='stable')[:5]]
    more = ', ...' if facts.classes > 5 else ''
    unlabelled = f', {facts.unlabelled} without a label' if facts.unlabelled else ''
    where = f'{config.data.path}: ' if config.data.path else ''
    left = images.available - len(images) - len(images.broken)
    limited = f'; data.limit leaves out {left} of {images.available}' if left else ''
    return (
        f'{where}{facts.labelled} images of {facts.classes} classes ({", ".join(largest)}{more}){unlabelled}{limited}'
    )


def _table(title: str, values: Mapping[str, tuple[Any, str]]) -> str:
    """The choices; a setting with the same value and reason in several phases takes one line."""
    lines: dict[tuple[str, str, str], list[str]] = {}
    for key, (value, why) in values.items():
        phase, _, name = key.rpartition('.')
        lines.setdefault((name if phase in PHASES else key, str(value), why), []).append(phase)
    text = [title] if title else []
    text.append('chosen from the data; config.KEY=VALUE overrides it:')
    for (name, value, why), (phase, *others) in lines.items():
        key = f'{phase}.{name}' if phase in PHASES else name
        also = f' (also {", ".join(others)})' if others else ''
        text.append(f'  {key:<34} {value:<26} {why}{also}'.rstrip())
    return '\n'.join(map(one_line, text))
