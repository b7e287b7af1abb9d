"""Classical features of images: what a judge of labels has without any training, and what training must beat.

Histograms of oriented gradients (Dalal and Triggs 2005, https://doi.org/10.1109/CVPR.2005.177, as in scikit-image) for
shapes, a coarse copy of the image and histograms of its channels for colours.
"""

from typing import Any

import numpy as np
from PIL import Image
from skimage.feature import hog
from sklearn.preprocessing import StandardScaler

_SIDE, _COARSE, _BINS = 32, 4, 8  # pixels; pixels of the coarse copy; of the histogram of a channel
_AT_ONCE = 512  # images decoded at a time


def describe(images: Any) -> np.ndarray:
    """Features of uint8 images [N, H, W, C], which may be decoded as they are read: float32 [N, D], standardised."""
    rows = [_describe(image) for start in range(0, len(images), _AT_ONCE) for image in images[start : start + _AT_ONCE]]
    return StandardScaler().fit_transform(np.array(rows, np.float32))


def _describe(image: np.ndarray) -> np.ndarray:
    channels = [Image.fromarray(channel) for channel in np.moveaxis(image, -1, 0)]
    small = np.stack([channel.resize((_SIDE, _SIDE), Image.Resampling.BOX) for channel in channels], axis=-1) / 255
    coarse = np.stack([channel.resize((_COARSE, _COARSE), Image.Resampling.BOX) for channel in channels]) / 255
    shapes = hog(small.mean(-1), orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    colours = [np.histogram(channel, _BINS, (0, 1))[0] / channel.size for channel in np.moveaxis(small, -1, 0)]
    return np.concatenate([shapes, coarse.ravel(), *colours])
