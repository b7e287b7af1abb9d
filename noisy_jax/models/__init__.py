"""Networks by name."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.config import Section, Setting
from noisy_jax.errors import InputError
from noisy_jax.models.cnn import CNN6, CNNSmall
from noisy_jax.models.heads import CLASSIFIERS, PROJECTIONS
from noisy_jax.models.network import Network
from noisy_jax.models.norm import BatchNorm
from noisy_jax.models.preact_resnet import PreActResNet18
from noisy_jax.models.resnet import ResNet18, ResNet50, ResNetTiny

# (dtype=, norm=, width=, small_images=) -> encoder.
_RESNETS: dict[str, Callable[..., nn.Module]] = {
    'resnet18': ResNet18,
    'resnet50': ResNet50,
    'preact_resnet18': PreActResNet18,
    'resnet_tiny': ResNetTiny,
}
# (dtype=, norm=, width=) -> encoder.
_CNNS: dict[str, Callable[..., nn.Module]] = {
    'cnn6': CNN6,
    'cnn_small': CNNSmall,
}
ENCODERS = _RESNETS | _CNNS
STEMS = ('auto', 'small', 'large')
_SMALL = 64  # pixels a side up to which 'auto' means 'small', as in the original


def settings() -> Section:
    """The settings of the network."""
    return {
        'encoder': Setting('resnet18', 'encoder; resnet_tiny, cnn_small: for small images', choices=tuple(ENCODERS)),
        'width': Setting(0, "channels of the encoder's first stage; 0: its own", least=0),
        'stem': Setting('auto', "first layer of a ResNet, 3x3 or 7x7; 'auto': large above 64 pixels", choices=STEMS),
        'classifier': Setting('linear', 'classifier head', choices=tuple(CLASSIFIERS)),
        'projection': Setting(
            'mlp',
            "projection head of the contrastive phases; 'none': the embeddings themselves are contrasted",
            choices=tuple(PROJECTIONS),
        ),
        'projection_dim': Setting(128, 'outputs of the projection head', least=1),
        'batch_norm_splits': Setting(
            1, 'interleaved groups of a batch that the encoder normalises separately', least=0
        ),
        'batch_norm_blocks': Setting(1, 'contiguous groups of a batch, as on one device each; 0 or 1: one', least=0),
        'dtype': Setting(
            'float32', 'type to compute in; weights and losses are float32', choices=('float32', 'bfloat16')
        ),
    }


def create(
    encoder: str,
    *,
    num_classes: int,
    projection: str = 'mlp',
    projection_dim: int = 128,
    classifier: str = 'linear',
    width: int = 0,
    stem: str = 'auto',
    batch_norm_splits: int = 1,
    batch_norm_blocks: int = 1,
    dtype: jnp.dtype = jnp.float32,
    image_size: int = 32,
) -> Network:
    """Encoder, projection head and classifier by name.

    Args:
      encoder: one of ENCODERS.
      num_classes: C, outputs of the classifier.
      projection: one of PROJECTIONS; 'none' contrasts the embeddings themselves.
      projection_dim: P, outputs of the projection head.
      classifier: one of CLASSIFIERS.
      width: channels of the first stage; 0: the encoder's default.
      stem: first layers of a ResNet: 'small' (3x3), 'large' (7x7, stride 2, pooling), or 'auto': by `image_size`.
      batch_norm_splits: interleaved groups of a batch, each normalised separately in the encoder (see
        `models.norm.BatchNorm`); 0 or 1: one group. As in the original, a classifier's BatchNorm sees the whole batch.
      batch_norm_blocks: blocks of neighbouring samples, each normalised separately and interleaved as above.
      dtype: type of the computation; parameters, statistics, logits and projections are float32.
      image_size: pixels of a side, by which 'auto' chooses the stem.

    Raises:
      InputError: a name is unknown, or `stem` is set for an encoder without one.
    """
    for field, name, known in (
        ('encoder', encoder, ENCODERS),
        ('projection', projection, PROJECTIONS),
        ('classifier', classifier, CLASSIFIERS),
        ('stem', stem, STEMS),
    ):
        if name not in known:
            raise InputError(f'model.{field}: {name!r} is unknown; allowed: {", ".join(known)}')
    options = {'width': width} if width else {}
    if encoder in _RESNETS:
        options['small_images'] = image_size <= _SMALL if stem == 'auto' else stem == 'small'
    elif stem != 'auto':
        raise InputError(f"model.stem: {stem!r}, but {encoder} has no stem to choose; allowed: 'auto', or a ResNet")
    norm = functools.partial(BatchNorm, blocks=max(batch_norm_blocks, 1), splits=max(batch_norm_splits, 1))
    return Network(
        encoder=ENCODERS[encoder](dtype=dtype, norm=norm, **options),
        projection=PROJECTIONS[projection](projection_dim, dtype=dtype),
        classifier=CLASSIFIERS[classifier](num_classes, dtype=dtype),
    )
