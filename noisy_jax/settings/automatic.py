"""Settings that a config leaves to the data: -1, 'auto' and () become numbers, names and means, shown in a table.

How much is trained depends on what the machine does in reasonable time: an accelerator trains the paper's ResNet-18, a
CPU a small network on small images. The choices are saved in the work directory's config.json; a resumed run takes them
from there, on whichever machine.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import config as config_lib
from noisy_jax import data, losses
from noisy_jax.data import lazy, pixels
from noisy_jax.data.dataset import NO_LABEL, Dataset, spread
from noisy_jax.errors import InputError, one_line, shortened
from noisy_jax.labels.cross_fit import fewest_fitted
from noisy_jax.models.pretrained import Pretrained
from noisy_jax.models.resnet import RESNETS
from noisy_jax.schedule import PHASES

_LOOKED_AT = 1000  # images whose sizes and pixels are looked at
_SMALL = 16  # pixels; below it images are drawings rather than photographs
_MOST_IN_A_BATCH = 256
_OF_IMAGENET, _ON_A_CPU = 224, 128  # pixels; a CPU takes about half of the time for the second
_FEW = 5000  # images that a CPU embeds at the first in a few minutes
_HEAD_EPOCHS = 10  # of a head on a frozen encoder
# Images of all epochs of pre-training, by effort: on a CPU, and on a GPU or TPU.
_PASSES = {'quick': (0, 0), 'normal': (100_000, 10_000_000), 'thorough': (500_000, 10_000_000)}
# The same of each cross-fitted network.
_LEFT_OUT = {'quick': (0, 0), 'normal': (30_000, 1_000_000), 'thorough': (60_000, 2_000_000)}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the choices depend on.

    Attributes:
      labelled: images with a label.
      unlabelled: images without.
      classes: C.
      side: pixels of the shorter side, the median of the images.
      square: whether all images are squares of that side.
      channels: 1 where all are grey, else 3.
      devices: how many the batch is sharded over.
      accelerator: whether they are GPUs or TPUs.
      effort: config.effort.
      folds: of config.cross_fit.
      weights: of config.model.weights; None without.
    """

    labelled: int
    unlabelled: int
    classes: int
    side: int
    square: bool
    channels: int
    devices: int = 1
    accelerator: bool = False
    effort: str = 'normal'
    folds: int = 5
    weights: Pretrained | None = None


def choices(facts: Facts) -> dict[str, tuple[Any, str]]:
    """A value for every setting that may be left to the data, and why; the loader and the statistics are not here."""
    size, why_size = _image_size(facts)
    labelled = max(facts.labelled, 1)  # none is refused later
    side = size or facts.side
    small = side < _SMALL
    if small:
        encoder = 'cnn_small', f'below {_SMALL} pixels'
    else:
        encoder = ('resnet18', 'on a GPU or TPU') if facts.accelerator else ('cnn6', 'on a CPU')
    policy = ('handwriting', 'for small grey images') if small and facts.channels == 1 else ('simclr', "SimCLR's")
    passes = _PASSES[facts.effort][facts.accelerator]
    # Some hundred images of 32 pixels are soon learned by heart: longer, a CPU only keeps a person waiting.
    most_epochs = 500 if facts.accelerator or facts.effort == 'thorough' else 200
    pretrain = _clip(passes // (facts.labelled + facts.unlabelled), 20, most_epochs)
    left_out = _LEFT_OUT[facts.effort][facts.accelerator]
    network = _clip(pretrain // 3, 10, 100 if facts.accelerator else 40)
    fitted = fewest_fitted(labelled, min(facts.folds, labelled))  # by each cross-fitted network
    found: dict[str, tuple[Any, str]] = {
        'data.image_size': (size, why_size),
        'model.encoder': encoder,
        'model.width': (0 if small or facts.accelerator else 16, 'channels of the first layer; 0: its own'),
        'augment.standard.padding': (max(side // 8, 1), 'an eighth of the side'),
        'augment.simclr.blur_probability': (0.5 if side > 32 else 0.0, 'only above 32 pixels'),
        'pretrain.epochs': (pretrain, f'about {passes:,} images in all'),
        'cross_fit.epochs': (_clip(left_out // labelled, 5, 40), f'about {left_out:,} images for each network'),
        'contrast.epochs': (max(pretrain // 5, 5), 'a fifth of that'),
        'select.epochs': (10, 'of a head on its own'),
        'eval_batch_size': (
            512 if facts.accelerator or side <= 64 else 64,
            'images at a time where nothing is trained',
        ),
    }
    for phase in PHASES:
        batch = _batch_size(facts, fitted if phase == 'cross_fit' else int(labelled * 0.85))
        found[f'{phase}.batch_size'] = (
            batch,
            'a thirty-second of the images, a power of two' if batch < _MOST_IN_A_BATCH else 'the usual',
        )
    for phase in ('pretrain', 'contrast'):
        found[f'{phase}.augment'] = policy
    for phase in ('base', 'classify', 'finetune'):
        found[f'{phase}.epochs'] = network, 'fewer if predictions on held-out images settle'
        found[f'{phase}.augment'] = ('none', 'too small') if small else ('standard', 'crop and flip')
    found['cross_fit.augment'] = found['base.augment']
    for phase in ('classify', 'finetune'):
        found[f'{phase}.head_epochs'] = 0, 'of a head alone'
    if facts.weights:
        found |= _frozen(facts.weights)
    for name, setting in losses.settings(facts.classes)['elr'].items():
        found[f'loss_settings.elr.{name}'] = setting.default, f'for {facts.classes} classes'
    return found


def _frozen(weights: Pretrained) -> dict[str, tuple[Any, str]]:
    """The encoder of a file as it is, with heads trained on it: a matter of minutes on a CPU too."""
    found: dict[str, tuple[Any, str]] = {
        'model.encoder': (weights.encoder, 'that of model.weights'),
        'model.width': (weights.width, 'that of model.weights'),
    }
    for phase in ('pretrain', 'cross_fit', 'classify', 'contrast', 'finetune'):
        found[f'{phase}.epochs'] = 0, 'the encoder stays that of model.weights'
    for phase in ('classify', 'finetune'):
        found[f'{phase}.head_epochs'] = _HEAD_EPOCHS, 'of a head alone'
    return found


def _image_size(facts: Facts) -> tuple[int, str]:
    if facts.weights and facts.weights.image_size:
        return facts.weights.image_size, 'as the encoder of model.weights had them'
    if facts.weights and facts.weights.stem == 'large':
        is_short = facts.effort == 'quick' and facts.labelled <= _FEW  # each image is seen once
        if facts.accelerator or is_short:
            return _OF_IMAGENET, "ImageNet's networks have it"
        return _ON_A_CPU, f"less than ImageNet's {_OF_IMAGENET}, for speed"
    most = 128 if facts.accelerator else 32
    if facts.square and facts.side <= most:
        return 0, f'as they are, {facts.side}x{facts.side}'
    return min(facts.side, most), f'shorter side of about {facts.side} scaled, the middle cut out'


def _batch_size(facts: Facts, most: int) -> int:
    """A power of two with which an epoch has some thirty steps, from 32 to 256; a multiple of the devices.

    No more than `most`: the images that are left where a tenth of them, or a fold, is held out.
    """
    wanted = _clip(_power_of_two(facts.labelled / 32), 32, _MOST_IN_A_BATCH)
    batch = min(wanted, _power_of_two(most))
    return max(batch // facts.devices, 1) * facts.devices


def _power_of_two(most: float) -> int:
    return 2 ** int(math.log2(max(most, 1)))


def _clip(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


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
    facts = _facts(images, config.devices, config.effort)
    facts = dataclasses.replace(facts, folds=config.cross_fit.folds, weights=weights)
    if weights and facts.channels != weights.channels:
        raise InputError(
            f'model.weights: {weights.path} takes images of {weights.channels} channels, these have {facts.channels}'
        )
    found = choices(facts)
    size = found['data.image_size'][0] if size == -1 else size
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


def _facts(images: Dataset, devices: int, effort: str) -> Facts:
    """The facts of a data set that is in memory, or whose files have not been decoded."""
    lazily = isinstance(images.image, lazy.Files)
    shapes = images.image.stored_shapes(spread(len(images), _LOOKED_AT)) if lazily else [images.image.shape[1:]]
    heights, widths, channels = np.array(shapes).T
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


def _title(config: ConfigDict, images: Dataset, facts: Facts) -> str:
    counts = np.bincount(images.label[images.label != NO_LABEL], minlength=facts.classes)
    largest = [f'{shortened(images.class_names[row])} {counts[row]}' for row in np.argsort(-counts, kind='stable')[:5]]
    more = ', ...' if facts.classes > 5 else ''
    unlabelled = f', {facts.unlabelled} without a label' if facts.unlabelled else ''
    where = f'{config.data.path}: ' if config.data.path else ''
    left = images.available - len(images)
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
    text.append('chosen from the data; --config.KEY=VALUE overrides it:')
    for (name, value, why), (phase, *others) in lines.items():
        key = f'{phase}.{name}' if phase in PHASES else name
        also = f' (also {", ".join(others)})' if others else ''
        text.append(f'  {key:<34} {value:<26} {why}{also}'.rstrip())
    return '\n'.join(map(one_line, text))
