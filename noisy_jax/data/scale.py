"""Whether images are scaled as those of training were, by what is kept of the pixels of these."""

from typing import Any, NamedTuple

import numpy as np

from noisy_jax.data import lazy
from noisy_jax.data.pixels import statistics
from noisy_jax.data.rows import spread
from noisy_jax.errors import warn_once

_LOOKED_AT, _PIXELS = 256, 2**16  # images, and pixels of them
_MANY = 16  # images whose mean is not that of one scene
_RARE = 0.01  # share of the images of training that may be beyond what is kept of each
_ALIKE = 1.5  # ratio of contrasts up to which they are alike
_STEP = 2e-4  # contrast that is as good as none
_USUAL = 0.1  # share of images of one colour from which on these are not worth a word


class Scale(NamedTuple):
    """Of the pixels of training in [0, 1], a number for each channel; the last three may be None of an earlier version.

    Attributes:
      mean: of all.
      std: their standard deviation; above 0.5 it is not that of pixels: it was set, or the channel has one value.
      contrasts: quantiles of the standard deviation within an image, of each channel.
      darkest: mean of an image, which few are below.
      brightest: the same, which few are above.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    contrasts: tuple[tuple[float, ...], ...] | None = None
    darkest: tuple[float, ...] | None = None
    brightest: tuple[float, ...] | None = None

    @classmethod
    def of(cls, images: lazy.Images) -> 'Scale':
        """That of some of the images, uint8 [N, H, W, C]."""
        some = images[spread(len(images), _LOOKED_AT)]
        means, contrasts = _of_each(some)
        steps = np.linspace(0, 1, round(1 / _RARE) + 1)
        spread_out = tuple(map(tuple, np.round(np.quantile(contrasts, steps, axis=0).T, 5).tolist()))
        ends = (tuple(np.round(np.quantile(means, each, axis=0), 4).tolist()) for each in (_RARE, 1 - _RARE))
        return cls(*statistics(some, np.arange(len(some))), spread_out, *ends)

    @classmethod
    def load(cls, described: dict[str, Any] | None) -> 'Scale | None':
        """What `describe` gave; None: an earlier version gave nothing."""
        return described and cls(**{name: _tuples(described[name]) for name in cls._fields if name in described})

    def describe(self) -> dict[str, Any]:
        """For JSON."""
        return {name: values for name, values in self._asdict().items() if values is not None}

    def warn_of_other(self, images: lazy.Images, source: object) -> None:
        """Warns of images uint8 [N, H, W, C] that are dark, bright or pale beside those of training.

        So are pixels of another scale. All may be of one class, the darkest or a blank one: nothing is said of images
        with as little contrast as some of training had.

        Args:
          images: as the network sees them.
          source: how the warning begins.
        """
        known = np.less_equal(self.std, 0.5)
        if not known.any() or not len(images):
            return
        mean, std = np.array(self.mean)[known], np.array(self.std)[known]
        some = images[spread(len(images), _LOOKED_AT)][..., known]
        pixels = some.reshape(-1, some.shape[-1])
        pixels = pixels[spread(len(pixels), _PIXELS)] / 255
        low, high = np.quantile(pixels, (0.01, 0.99), axis=0)
        middle, spreads = pixels.mean(0), pixels.std(0)
        own_means, own_contrasts = _of_each(some)
        own_mean, how, is_pale = np.median(own_means, axis=0), '', spreads < std / 3
        of_many = len(images) >= _MANY  # single photographs may be pale, in one colour above all
        if self.contrasts:
            of_training = np.array(self.contrasts)[known]  # [C, Q]
            low_half, high_half = np.quantile(own_contrasts, (0.25, 0.75), axis=0)[..., None]
            above = of_training + _STEP > (low_half + _STEP) / _ALIKE
            is_pale &= np.sum(above & (of_training + _STEP < (high_half + _STEP) * _ALIKE), axis=1) < 2
            share = np.mean(of_training < _STEP, axis=1).min()
            if of_many and high_half.max() < _STEP and 0 < share < _USUAL:  # so are pictures divided by 255
                warn_once(f'{source}: {len(images)} of one colour each, as {share:.0%} of the images of training are')
                return
        is_usual = False
        if self.darkest and self.brightest:
            darkest, brightest = np.array(self.darkest)[known], np.array(self.brightest)[known]
            is_usual = np.any((darkest <= own_mean) & (own_mean <= brightest))
        is_dark, is_bright = is_pale & (high < mean / 4), is_pale & (1 - low < (1 - mean) / 4)
        if is_pale.any() if of_many else (is_dark.all() or is_bright.all()):
            kinds = (('all but black', is_dark), ('all but white', is_bright), ('of little contrast', is_pale))
            how = next(name for name, found in kinds if np.array_equal(found, is_pale))
            if not is_pale.all():
                how += f' in channel {", ".join(map(str, np.flatnonzero(known)[is_pale]))}'
        elif np.all(spreads > 3 * std):
            how = 'of far more contrast'
        elif np.all(np.abs(middle - mean) > std) and of_many and not is_usual:
            how = 'of another brightness'
        if how:
            warn_once(f'{source}: {how} beside the images of training; are the pixels of the same scale?')


def _tuples(values: Any) -> Any:
    """Lists of JSON as tuples, within each other too."""
    return tuple(map(_tuples, values)) if isinstance(values, (list, tuple)) else values


def _of_each(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation within each image, in [0, 1] by channel: two of [N, C]."""
    values = images.reshape(len(images), -1, images.shape[-1])
    return values.mean(1) / 255, values.std(1) / 255
