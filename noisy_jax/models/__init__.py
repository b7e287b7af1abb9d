"""Networks by name."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from noisy_jax.config import Section, Setting
from noisy_jax.errors import InputError
from noisy_jax.models.cnn import CNN6, CNNSmall
from noisy_jax.models.heads import CLASSIFIERS, PROJECTIONS
from noisy_jax.models.network import Network
from noisy_jax.models.norm import BatchNorm
from noisy_jax.models.resnet import RESNETS, PreActResNet18

# (dtype=, norm=, width=, small_images=) -> encoder.
_RESNETS: dict[str, Callable[..., nn.Module]] = RESNETS | {'preact_resnet18': PreActResNet18}
# (dtype=, norm=, width=) -> encoder.
_CNNS: dict[str, Callable[..., nn.Module]] = {'cnn6': CNN6, 'cnn_small': CNNSmall}
ENCODERS = _RESNETS | _CNNS
STEMS = ('auto', 'small', 'large')
_LEAST = {'cnn6': 8, 'cnn_small': 2}  # pixels a side, of which something is left after pooling
_SMALL = 64  # pixels a side up to which 'auto' means 'small', as in the original


def settings() -> Section:
    """The settings of the network."""
    return {
        'encoder': Setting('resnet18', 'encoder; resnet_tiny, cnn_small: for small images', choices=tuple(ENCODERS)),
        'width': Setting(0, "channels of the encoder's first stage; 0: its own", 0, 2048),
        'weights': Setting(
            '',
            'file (.safetensors, .npz) of a torchvision ResNet that the encoder starts from; decides encoder and stem, '
            'and mean, size and epochs where they are left to the data',
            is_path=True,
        ),
        'stem': Setting('auto', "first layer of a ResNet, 3x3 or 7x7; 'auto': large above 64 pixels", choices=STEMS),
        'classifier': Setting('linear', 'classifier head', choices=tuple(CLASSIFIERS)),
        'projection': Setting(
            'mlp',
            "projection head of the contrastive phases; 'none': the embeddings themselves are contrasted",
            choices=tuple(PROJECTIONS),
        ),
        'projection_dim': Setting(128, 'outputs of the projection head', 1, 2**16),
        'batch_norm_splits': Setting(
            1, 'interleaved groups of a batch that the encoder normalises separately', 0, 2**16
        ),
        'batch_norm_blocks': Setting(1, 'contiguous groups of a batch, as on one device each; 0 or 1: one', 0, 2**16),
        'dtype': Setting(
            'float32', 'type to compute in; weights and losses are float32', choices=('float32', 'bfloat16')
        ),
    }


def create(model: Mapping[str, Any], *, num_classes: int, image_size: int = 32) -> Network:
    """Encoder, projection head and classifier.

    Args:
      model: the section `model` of a config, or the part of it that differs from the defaults.
      num_classes: C, outputs of the classifier.
      image_size: pixels of a side, by which the stem 'auto' is chosen.

    Raises:
      InputError: a name is unknown, or `stem` is set for an encoder without one, or the images are too small for one.
    """
    known = settings()
    own = ConfigDict({name: setting.default for name, setting in known.items()} | dict(model))
    for name in ('encoder', 'projection', 'classifier', 'stem'):
        if own[name] not in known[name].choices:
            raise InputError(f'model.{name}: {own[name]!r} is unknown; allowed: {known[name].allowed}')
    if image_size < (least := _LEAST.get(own.encoder, 1)):
        raise InputError(
            f'model.encoder: {own.encoder} needs images of {least} pixels a side, found {image_size}; set '
            'data.image_size or use a ResNet'
        )
    dtype = jnp.dtype(own.dtype)
    options = {'width': own.width} if own.width else {}
    if own.encoder in _RESNETS:
        options['small_images'] = image_size <= _SMALL if own.stem == 'auto' else own.stem == 'small'
    elif own.stem != 'auto':
        raise InputError(
            f"model.stem: {own.stem!r}, but {own.encoder} has no stem to choose; allowed: 'auto', or a ResNet"
        )
    # As in the original, a classifier's BatchNorm sees the whole batch.
    norm = functools.partial(BatchNorm, blocks=max(own.batch_norm_blocks, 1), splits=max(own.batch_norm_splits, 1))
    return Network(
        encoder=ENCODERS[own.encoder](dtype=dtype, norm=norm, **options),
        projection=PROJECTIONS[own.projection](own.projection_dim, dtype=dtype),
        classifier=CLASSIFIERS[own.classifier](num_classes, dtype=dtype),
    )
