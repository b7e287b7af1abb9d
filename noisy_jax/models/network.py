"""Encoder, projection head and classifier in one module."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class Network(nn.Module):
    """Parameters {'encoder', 'projection', 'classifier'}, of which a phase trains some.

    The heads take embeddings, so that a frozen encoder (`train=False`) can feed a head that is trained. Without
    projection layers there are no parameters 'projection'.
    """

    encoder: nn.Module
    projection: nn.Module
    classifier: nn.Module

    def embed(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Normalised images [B, H, W, C] -> embeddings float32 [B, D]."""
        return self.encoder(images, train=train)

    def project(self, embeddings: jax.Array) -> jax.Array:
        """Embeddings [B, D] -> projections float32 [B, P], not normalised."""
        return self.projection(embeddings).astype(jnp.float32)

    def classify(self, embeddings: jax.Array, *, train: bool) -> jax.Array:
        """Embeddings [B, D] -> logits float32 [B, C]."""
        return self.classifier(embeddings, train=train).astype(jnp.float32)

    def __call__(self, images: jax.Array, *, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """Logits [B, C] and projections [B, P]."""
        embeddings = self.embed(images, train=train)
        return self.classify(embeddings, train=train), self.project(embeddings)
