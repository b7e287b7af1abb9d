"""A classifier as programs that JAX runs without the code they were made from."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import export

from noisy_jax.training.evaluate import forward

if TYPE_CHECKING:
    from noisy_jax.inference.trained import TrainedClassifier

_PLATFORMS = ('cpu', 'cuda', 'tpu')


def exported(classifier: 'TrainedClassifier') -> dict[str, bytes]:
    """'classifier': images -> probabilities float32 [B, C], 'encoder': images -> embeddings float32 [B, D].

    Images are uint8 [B, H, W, C] with any B; weights and normalisation are inside.
    """
    embed, log_probabilities = forward(classifier.network, classifier.normalise)
    functions: dict[str, Callable[[jax.Array], jax.Array]] = {
        'classifier': lambda images: jnp.exp(log_probabilities(classifier.variables, {'image': images})),
        'encoder': lambda images: embed(classifier.variables, {'image': images}),
    }
    (batch,) = export.symbolic_shape('b')
    images = jax.ShapeDtypeStruct((batch, *classifier.image_shape), jnp.uint8)
    return {
        name: bytes(export.export(jax.jit(function), platforms=_PLATFORMS)(images).serialize())
        for name, function in functions.items()
    }
