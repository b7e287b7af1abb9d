"""Images of another scale than those of training are warned of, and images of training never are."""

import json
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from noisy_jax import errors
from noisy_jax.data.scale import Scale


@pytest.mark.parametrize(
    ('low', 'high', 'said'),
    [
        (0, 255, None),
        (40, 140, None),
        (0, 24, 'all but black'),
        (240, 255, 'all but white'),
        (120, 160, 'of little contrast'),
        (6, 7, 'all but black'),
        (180, 255, 'of another brightness'),
    ],
)
def test_images_of_another_scale_are_warned_of(low, high, said):
    errors._warn_once.cache_clear()
    images = np.linspace(low, high, 16 * 8 * 8 * 3).reshape(16, 8, 8, 3).round().astype(np.uint8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        Scale((0.45, 0.5, 0.4), (0.25, 0.2, 0.25)).warn_of_other(images, 'X')
    found = [str(each.message) for each in caught]
    assert found == [f'X: {said} beside the images of training; are the pixels of the same scale?'] * (said is not None)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        Scale((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).warn_of_other(images, 'X')  # not of these pixels, but set
        Scale(tuple(images.mean((0, 1, 2)) / 255), tuple(images.std((0, 1, 2)) / 255)).warn_of_other(images, 'X')


def test_single_photographs_may_be_pale_or_of_one_colour():
    fog = np.random.default_rng(0).integers(120, 136, (1, 16, 16, 3), np.uint8)
    sea = np.concatenate([np.full((1, 16, 16, 2), 9, np.uint8), fog[..., :1]], -1)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for image in (fog, sea):
            Scale((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).warn_of_other(image, 'X')


def test_images_of_far_more_contrast_are_warned_of():
    errors._warn_once.cache_clear()
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    with pytest.warns(UserWarning, match='X: of far more contrast beside'):
        Scale((0.03,), (0.02,)).warn_of_other(images, 'X')
    strokes = np.zeros((2, 64, 64, 1), np.uint8)
    strokes[:, 3, 3:9] = 255  # less than a hundredth of the pixels
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for drawn in (strokes, 255 - strokes):
            Scale((drawn.mean() / 255,), (drawn.std() / 255,)).warn_of_other(drawn, 'X')
    opaque = np.concatenate([images // 32, np.full_like(images, 255)], -1)
    with pytest.warns(UserWarning, match='X: all but black beside'):
        Scale((0.5, 1.0), (0.2, 1.0)).warn_of_other(opaque, 'X')
    merged = np.repeat(np.concatenate([np.full_like(images, 255), images, 0 * images], -1), 8, axis=0)
    with pytest.warns(UserWarning, match='X: all but black in channel 2 beside'):
        Scale((1.0, 0.5, 0.5), (1.0, 0.3, 0.3)).warn_of_other(merged, 'X')


@pytest.mark.filterwarnings('error')
def test_images_of_one_class_are_those_of_training():
    """Nine in ten of three colours, hardly any contrast within an image; bright among dark ones."""
    rng = np.random.default_rng(0)
    colours = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)
    coloured = colours[np.arange(90) % 3][:, None, None] + rng.integers(0, 30, (90, 8, 8, 3), np.uint8)
    greys = np.array([30, 30, 220])[np.arange(90) % 3][:, None, None, None] + rng.integers(0, 30, (90, 8, 8, 1))
    for images in (coloured, greys.astype(np.uint8)):
        scale = Scale.of(images)
        for kind in range(3):
            scale.warn_of_other(images[kind::3], 'X')
        assert Scale.load(json.loads(json.dumps(scale.describe()))) == scale
        errors._warn_once.cache_clear()
        with pytest.raises(UserWarning, match='X: all but black'):
            scale.warn_of_other(images // 16, 'X')


def test_blank_pages_of_training_do_not_hide_another_scale():
    """One in twenty is black; half of the pixels of a mask are white."""
    images = np.random.default_rng(0).integers(60, 200, (100, 8, 8, 1), np.uint8)
    masks = np.tile(np.array([0, 255], np.uint8), (100, 32)).reshape(100, 8, 8, 1)
    blank = np.where(np.arange(100)[:, None, None, None] % 20, images, 0).astype(np.uint8)
    for trained, seen in ((blank, images // 16), (blank, images // 255), (masks, masks // 255)):
        errors._warn_once.cache_clear()
        with pytest.warns(UserWarning, match='X: all but black|X: 100 of one colour each'):
            Scale.of(trained).warn_of_other(seen, 'X')


@pytest.mark.parametrize(('share', 'noise'), [(0.05, 1), (0.05, 6), (0.25, 3), (0.25, 0), (0.55, 0)])
def test_blank_images_are_those_of_training_and_others_are_not(share, noise):
    """A class of empty frames, with the noise of a camera, beside digits."""
    errors._warn_once.cache_clear()
    rng, digits = np.random.default_rng(0), (load_digits().images[:200, ..., None] / 16 * 255).astype(np.uint8)
    blank = np.abs(rng.normal(0, noise or 1e-9, (int(200 * share / (1 - share)), 8, 8, 1))).astype(np.uint8)
    scale = Scale.of(np.concatenate([digits, blank]))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for images in (blank, blank[:1], digits, digits[:1], np.concatenate([digits[:1], blank])):
            scale.warn_of_other(images, 'X')
    # Noise of one level is as much as digits have that are divided by 255, noise of 6 as a sixteenth of the digits.
    for divisor in {1: (16,), 6: (255,)}.get(noise, (16, 255)):
        errors._warn_once.cache_clear()
        with pytest.warns(
            UserWarning, match='X: (all but black|of little contrast) beside the images of training|of one colour'
        ):
            scale.warn_of_other(digits // divisor, 'X')


def _of_classes(rng, count, rare):
    """Digits and a rare class of them, float64 [N, 8, 8, 3], from 0 to 255."""
    digits = load_digits().images[:count, ..., None].repeat(3, -1) / 16 * 255
    return np.concatenate([digits, rare(rng, digits[:30])]).astype(np.uint8)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    'rare',
    [
        lambda rng, some: some * [1, 1, 0],
        lambda rng, some: np.abs(rng.normal(0, rng.uniform(3, 30, (30, 1, 1, 1)), some.shape)).clip(0, 255),
        lambda rng, some: some / 12,
    ],
    ids=['yellow', 'nearly blank', 'night'],
)
def test_a_rare_class_is_that_of_training(rare):
    images = _of_classes(np.random.default_rng(0), 600, rare)
    scale = Scale.of(images)
    scale.warn_of_other(images[-30:], 'X')
    scale.warn_of_other(images[-1:], 'X')


def test_many_images_of_one_colour_are_told():
    """They may be a rare class; so are pictures that were divided by 255."""
    images = _of_classes(np.random.default_rng(0), 600, lambda rng, some: 0 * some)
    with pytest.warns(UserWarning, match='X: 30 of one colour each, as 5% of the images of training are'):
        Scale.of(images).warn_of_other(images[-30:], 'X')
