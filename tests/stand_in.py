"""In place of a network: features that tell one image from another, counted batches, and an end where it is wanted."""

import numpy as np

from noisy_jax.embed.backbone import Backbone

MADE_OF = {'model': 'stand-in', 'weights': 'none', 'size': (1, 2)}


def vector(image):
    """Features of an RGB image."""
    pixels = np.asarray(image, np.float32)
    return np.array([*pixels.mean((0, 1)), *image.size], np.float32)


class Network:
    """Counts the batches it sees; before batch `dies` it calls `die`."""

    def __init__(self, dies=-1, die=None, **made_of):
        self.sizes, self._dies, self._die, self._made_of = [], dies, die, MADE_OF | made_of

    def __call__(self):
        return Backbone(self._made_of, 5, 'paper', vector, self._embed)

    def _embed(self, inputs):
        if len(self.sizes) == self._dies:
            self._die()
        self.sizes.append(len(inputs))
        return np.stack(inputs)
