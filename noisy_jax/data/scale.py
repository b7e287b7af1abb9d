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
    """Statistics of the pixels of training in [0, 1] by channel; an earlier version lacks the last three (None).

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
        """The scale of some of the images, uint8 [N, H, W, C]."""
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
        known = np.flatnonzero(np.less_equal(self.std, 0.5))
        if not len(known) or not len(images):
            return
        trained = Scale(*(values and np.array(values)[known] for values in self))
        seen = _Seen.of(images, known)
        pale = trained._pale(seen)
        if share := trained._of_one_colour(seen):
            warn_once(f'{source}: {len(images)} of one colour each, as {share:.0%} of the images of training are')
        elif how := trained._too_little(seen, pale, known) or trained._too_much(seen):
            warn_once(f'{source}: {how} beside the images of training; are the pixels of the same scale?')

    def _of_one_colour(self, seen: '_Seen') -> float:
        """The share of the images of training that are of one colour where all that are seen are, but few of these.

        0: otherwise. Pictures divided by 255 look alike.
        """
        if self.contrasts is None or not seen.are_many or np.any(seen.contrast_of_half[1] >= _STEP):
            return 0.0
        share = np.mean(self.contrasts < _STEP, axis=1).min()
        return share if share < _USUAL else 0.0

    def _pale(self, seen: '_Seen') -> np.ndarray:
        """Channels bool [C] with far less contrast than those of training, and than any image of these."""
        pale = seen.std < self.std / 3
        if self.contrasts is None:
            return pale
        low, high = (half[:, None] + _STEP for half in seen.contrast_of_half)
        own = self.contrasts + _STEP  # [C, Q]
        return pale & (np.sum((own > low / _ALIKE) & (own < high * _ALIKE), axis=1) < 2)

    def _too_little(self, seen: '_Seen', pale: np.ndarray, known: np.ndarray) -> str:
        """How images whose channels bool [C] are pale, of those that are `known`, differ from training; or ''."""
        dark, bright = pale & (seen.high < self.mean / 4), pale & (1 - seen.low < (1 - self.mean) / 4)
        # single photographs may be pale, in one colour above all
        if not (pale.any() if seen.are_many else dark.all() or bright.all()):
            return ''
        kinds = (('all but black', dark), ('all but white', bright), ('of little contrast', pale))
        how = next(name for name, found in kinds if np.array_equal(found, pale))
        return how if pale.all() else f'{how} in channel {", ".join(map(str, known[pale]))}'

    def _too_much(self, seen: '_Seen') -> str:
        """How images differ that are not pale, or ''."""
        if np.all(seen.std > 3 * self.std):
            return 'of far more contrast'
        is_usual = self.darkest is not None and np.any((self.darkest <= seen.middle) & (seen.middle <= self.brightest))
        if seen.are_many and not is_usual and np.all(np.abs(seen.mean - self.mean) > self.std):
            return 'of another brightness'
        return ''


class _Seen(NamedTuple):
    """What is looked at of other images, float64 [C] of the pixels in [0, 1].

    Attributes:
      are_many: whether there are so many that they are hardly of one scene.
      mean: of all.
      std: their standard deviation.
      low: a hundredth is below.
      high: a hundredth is above.
      middle: the median image's mean.
      contrast_of_half: [2, C], between which half of the images lie.
    """

    are_many: bool
    mean: np.ndarray
    std: np.ndarray
    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    contrast_of_half: np.ndarray

    @classmethod
    def of(cls, images: lazy.Images, channels: np.ndarray) -> '_Seen':
        some = images[spread(len(images), _LOOKED_AT)][..., channels]
        pixels = some.reshape(-1, some.shape[-1])
        pixels = pixels[spread(len(pixels), _PIXELS)] / 255
        means, contrasts = _of_each(some)
        return cls(
            len(images) >= _MANY,
            pixels.mean(0),
            pixels.std(0),
            *np.quantile(pixels, (0.01, 0.99), axis=0),
            np.median(means, axis=0),
            np.quantile(contrasts, (0.25, 0.75), axis=0),
        )


def _tuples(values: Any) -> Any:
    """Lists of JSON as tuples, within each other too."""
    return tuple(map(_tuples, values)) if isinstance(values, (list, tuple)) else values


def _of_each(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation within each image, in [0, 1] by channel: two of [N, C]."""
    values = images.reshape(len(images), -1, images.shape[-1])
    return values.mean(1) / 255, values.std(1) / 255
