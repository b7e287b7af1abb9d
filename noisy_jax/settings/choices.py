"""The values of settings that a config leaves to the data, as a function of a few facts.

How much is trained depends on what the machine does in reasonable time: an accelerator trains the paper's ResNet-18, a
CPU a small network on small images.
"""

import dataclasses
import math
from typing import Any

from noisy_jax import losses
from noisy_jax.labels.cross_fit import fewest_fitted
from noisy_jax.models.pretrained import Pretrained
from noisy_jax.schedule import PHASES

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
    # A few hundred images of 32 pixels are soon memorised: longer, a CPU only keeps a person waiting.
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
        most = fitted if phase == 'cross_fit' else int(labelled * 0.85)
        if phase in ('pretrain', 'contrast'):
            most = max(most, 2)  # which their settings need; the labels are refused by what loads them
        batch = _batch_size(facts, most)
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
