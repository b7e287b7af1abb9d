"""Networks by name."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn

from noisy_jax.errors import InputError
from noisy_jax.models.cnn import CNN6, CNNSmall
from noisy_jax.models.heads import CLASSIFIERS, ProjectionHead
from noisy_jax.models.network import Network
from noisy_jax.models.resnet import ResNet18, ResNetTiny

# (image size, dtype=, width=) -> encoder.
ENCODERS: dict[str, Callable[..., nn.Module]] = {
    'resnet18': lambda size, **kw: ResNet18(small_images=size <= 64, **kw),
    'resnet_tiny': lambda size, **kw: ResNetTiny(small_images=size <= 64, **kw),
    'cnn6': lambda size, **kw: CNN6(**kw),
    'cnn_small': lambda size, **kw: CNNSmall(**kw),
}


def create(
    encoder: str,
    *,
    num_classes: int,
    projection_dim: int = 128,
    classifier: str = 'linear',
    width: int = 0,
    dtype: jnp.dtype = jnp.float32,
    image_size: int = 32,
) -> Network:
    """The network of an encoder's name.

    Args:
      encoder: one of ENCODERS.
      num_classes: C of the classifier.
      projection_dim: P of the projection head.
      classifier: one of CLASSIFIERS.
      width: channels of the first stage; 0: the network's own.
      dtype: of the computation; parameters, statistics, logits and projections are float32.
      image_size: chooses the stem of a ResNet.

    Raises:
      InputError: an unknown name.
    """
    for field, name, known in (('encoder', encoder, ENCODERS), ('classifier', classifier, CLASSIFIERS)):
        if name not in known:
            raise InputError(f'model.{field}: {name!r} is unknown; allowed: {", ".join(known)}')
    sizes = {'width': width} if width else {}
    return Network(
        encoder=ENCODERS[encoder](image_size, dtype=dtype, **sizes),
        projection=ProjectionHead(projection_dim, dtype=dtype),
        classifier=CLASSIFIERS[classifier](num_classes, dtype=dtype),
    )
