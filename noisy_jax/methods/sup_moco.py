"""Supervised MoCo: MoCo (He 2020) with the positives of supervised contrast (Khosla 2020)."""

from typing import ClassVar

import jax

from noisy_jax import losses
from noisy_jax.config import Section
from noisy_jax.methods.moco import MoCo
from noisy_jax.methods.queue import QUEUE, QUEUE_LABELS, QUEUE_WEIGHTS, queue_settings
from noisy_jax.training.steps import Batch


class SupMoCo(MoCo):
    """Positives are all keys of an image's label, weighted by clean probability."""

    sees_labels = True
    section = 'sup_moco'
    settings: ClassVar[Section] = {section: queue_settings(8192, 0.999, 0.07)}

    def loss(self, query: jax.Array, keys: jax.Array, batch: Batch, extra: dict, temperature: float) -> jax.Array:
        queued = (extra[name] for name in (QUEUE, QUEUE_LABELS, QUEUE_WEIGHTS))
        return losses.queue_sup_con(query, keys, batch['label'], *queued, temperature=temperature)
