"""Arrays of images as a user has them, of any range and type, become bytes as in training, or are refused."""

import tracemalloc
import warnings

import numpy as np
import pytest
from conftest import refused
from sklearn.datasets import load_digits

from noisy_jax import errors
from noisy_jax.data import pixels as pixels_module
from noisy_jax.data.pixels import Pixels

X = load_digits().data  # [1797, 64] in 0..16


def test_pixels_of_bytes_and_of_floats_are_the_same():
    photographs = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3)).astype(np.uint8)
    rows = photographs.reshape(5, -1)
    for numbers in (rows, rows / 255, (rows / 255).astype(np.float32)):
        pixels = Pixels.of(numbers, (4, 6, 3))
        np.testing.assert_array_equal(pixels.images(numbers, (4, 6, 3)), photographs)
        np.testing.assert_array_equal(pixels.images(rows, (72,)), photographs)
    unfolded = Pixels.of(rows, (72,), image_shape=(4, 6, 3))
    np.testing.assert_array_equal(unfolded.images(rows / 255, (72,)), photographs)
    dim = np.where(rows > 200, 2, rows > 100).astype(np.uint8)
    for kind in (float, np.int64, np.float16):
        np.testing.assert_array_equal(unfolded.images(rows.astype(kind), (72,)), photographs)
        with pytest.warns(UserWarning, match='whole numbers up to 2 are taken for bytes'):  # half could be of [0, 1]
            np.testing.assert_array_equal(unfolded.images(dim.astype(kind), (72,)), dim.reshape(photographs.shape))
        errors._warn_once.cache_clear()
    refused(lambda: unfolded.images(rows + 0.5, (72,)), 'X', '255', '[0, 1]')
    divided = Pixels.of((rows / 255).astype(np.float32), (72,), image_shape=(4, 6, 3))
    np.testing.assert_array_equal(divided.images(dim.astype(float), (72,)), dim.reshape(photographs.shape))
    scaled = Pixels.of(rows / 256, (72,), image_shape=(4, 6, 3))
    refused(lambda: scaled.images(rows.astype(float), (72,)), 'X', '255', '[0, 1]')


@pytest.mark.parametrize(
    ('training', 'other', 'words'),
    [
        ([0.0, 12.5, 255.0, 3.0], np.array([0.0, 12.5, 255.0, 3.0]) / 255, ['fractions up to 1', '0 to 255']),
        ([0.0, 12.5, 254.7, 3.0], np.array([0.0, 12.5, 254.7, 3.0]) / 255, ['fractions up to 0.9', '0 to 255']),
        ([0.0, 16.0, 5.0, 3.0], np.array([0.0, 16.0, 5.0, 3.0]) / 16, ['fractions up to 1', '0 to 16']),
        ([0.0, 12.5, 255.0, 3.0], [-2.1, 0.0, 2.6, 1.0], ['numbers from -2.1 to 2.6', '0 to 255']),
        ([0.0, 12.5, 255.0, 3.0], [-1.0, 0.0, 1.0, 0.5], ['numbers from -1 to 1', '0 to 255']),
        ([-80.0, -12.5, 0.0, -3.0], [0.1, 0.5, 1.0, 0.2], ['numbers from 0.1 to 1', '-80 to 0']),
        ([-1.0, 0.5, 1.0, 0.0], [0.0, 120.0, 255.0, 9.0], ['numbers from 0 to 255', '-1 to 1']),
        ([0.0, 0.5, 1.0, 0.2], [-1.0, 0.0, 1.0, -0.6], ['numbers from -1 to 1', '[0, 1]']),
        ([0.0, 9.0, 65535.0, 1.0], np.uint8([0, 120, 255, 9]), ['bytes', '0 to 65535']),
    ],
)
def test_numbers_of_another_scale_are_refused(training, other, words):
    pixels = Pixels.of(np.array([training]), (2, 2))
    pixels.images(np.array([training]), (2, 2))
    pixels.images(np.array([[0.0, 1.0, 1.0, 0.0]]), (2, 2))  # dark, but whole
    refused(lambda: pixels.images(np.array([other]), (2, 2)), 'X: ', *words)


def test_rows_of_colours_are_not_taken_for_grey_without_a_word():
    errors._warn_once.cache_clear()
    rows = np.random.default_rng(0).random((2, 12 * 12 * 3))
    with pytest.warns(UserWarning, match=r'reshape\(-1, 12, 12, 3\), or .* X.reshape\(-1, 3, 12, 12\)'):
        assert Pixels.of(rows, (432,)).image_shape == (21, 21, 1)
    assert Pixels.of(rows, (432,), (12, 12, 3)).image_shape == (12, 12, 3)


def test_a_column_too_many_is_not_taken_without_a_word():
    errors._warn_once.cache_clear()
    with pytest.warns(UserWarning, match='rows of 65 numbers are read as grey squares, padded with black'):
        Pixels.of(np.random.default_rng(0).random((2, 65)), (65,))


def test_a_mean_that_is_not_subtracted_is_told_of():
    errors._warn_once.cache_clear()
    pixels = Pixels.of(X[:20] - X[:20].mean(), (8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        pixels.images(X[20:40] - X[:20].mean(), (8, 8))
        pixels.images(np.full((1, 64), 0.5), (8, 8))
    with pytest.warns(UserWarning, match='X: no number below 0, where those of training went down to -4.*'):
        pixels.images(X[20:40] / 2, (8, 8))


def test_a_little_below_black_is_black():
    rows = np.array([[-1e-8, -0.05, 1.0, -1e-8]])
    assert Pixels.of(np.array([[0.0, 0.5, 1.0, 0.2]]), (2, 2)).images(rows, (2, 2)).ravel().tolist() == [0, 0, 255, 0]


@pytest.mark.parametrize(('number', 'levels'), [(-9999, 1), (600, 7), (20, None)])
def test_a_number_far_from_all_is_warned_of(number, levels):
    """What it leaves of 256 grey levels to images of 17."""
    errors._warn_once.cache_clear()
    rows = np.random.default_rng(0).uniform(0, 16, X.shape)
    rows[5, 0] = number
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        Pixels.of(rows, (8, 8))
    words = [f'100% of the images have about {levels}; is there a hot pixel or a number for no data, as in image 5,']
    assert [str(each.message).split('of which ')[1].split(' or a camera')[0] for each in caught] == words * bool(levels)


def test_a_bright_thing_in_each_image_is_warned_of():
    """Of many levels, in 3 % of the pixels, as beads and time stamps are."""
    errors._warn_once.cache_clear()
    images = np.random.default_rng(0).uniform(200, 600, (9, 32, 32))
    images[:, 0] = np.linspace(600, 65535, 32)
    with pytest.warns(UserWarning, match='X: numbers from .* 100% of the images have about 3; is there a hot pixel'):
        Pixels.of(images.reshape(9, -1), images.shape[1:])


def test_a_channel_of_another_range_is_warned_of():
    errors._warn_once.cache_clear()
    images = np.random.default_rng(0).uniform(0, 255, (9, 32, 32, 4))
    images[..., 3] /= 100  # metres
    with pytest.warns(
        UserWarning, match=r'X, channel 3: .* about 3; .* or a camera or channel of another range'
    ) as caught:
        Pixels.of(images.reshape(9, -1), images.shape[1:])
    assert len(caught) == 1


@pytest.mark.parametrize('dtype', [int, float])
def test_other_numbers_that_are_bytes_stay_what_they_are(dtype):
    rows = np.array([[60, 220, 100, 61]], dtype)
    pixels = Pixels.of(rows, (2, 2))
    np.testing.assert_array_equal(pixels.images(rows, (2, 2)).ravel(), rows[0])
    assert pixels.levels is None
    assert Pixels.of(10 * rows, (2, 2)).levels == (600, 2200)
    assert Pixels.of(10 * rows - 2300, (2, 2)).levels == (-1700, -100)


def test_bytes_of_black_and_white_are_warned_of():
    errors._warn_once.cache_clear()
    with pytest.warns(UserWarning, match='brightest pixel is 1, of 255 for white'):
        Pixels.of(np.uint8([[0, 1, 1, 0]]), (2, 2))


def test_numbers_beyond_the_range_of_training_are_clipped():
    """As MinMaxScaler gives them, fitted to the training rows alone."""
    training = np.array([[0.0, 0.5, 1 + 1e-7, 0.25]])
    pixels = Pixels.of(training, (2, 2))
    assert (pixels.low, pixels.high) == (0.0, 1.0)
    found = pixels.images(np.array([[-3.0, 0.5, 0.2, 1.0], [0.1, 16.0, 0.6, 0.8]]), (2, 2))
    np.testing.assert_array_equal(found.reshape(2, 4), [[0, 128, 51, 255], [26, 255, 153, 204]])
    refused(lambda: pixels.images(np.array([[0.0, 0.0, 1.0, 255.0], [0.0, 0.0, 0.0, 12.0]]), (2, 2)), 'X', '255')
    assert Pixels.of(np.array([[0.0, 1.1]]), (2,)).high == 1.1


def test_pixels_of_other_numbers_and_short_rows():
    rows = np.array([[-10.0, 0, 10, 5, 0], [0, 0, 0, 0, 30]])
    pixels = Pixels.of(rows, (5,))
    assert pixels.image_shape == (3, 3, 1)
    images = pixels.images(rows, (5,))[..., 0]
    np.testing.assert_array_equal(images[0].ravel(), [0, 64, 128, 96, 64, 0, 0, 0, 0])
    assert pixels.images(rows + 30, (5,)).max() == 255  # beyond the training's range: cut off
    assert Pixels.of(np.zeros((2, 1)), (1,)).images(np.zeros((2, 1)), (1,)).shape == (2, 2, 2, 1)


def test_dark_images_of_training_are_taken_alone_too():
    """A frame of noise among frames of 0 to 255; of a batch without one, the same numbers are of another scale."""
    noise = np.abs(np.random.default_rng(0).normal(0, 0.25, (4, 64)))
    frames = Pixels.of(np.concatenate([X[:20] / 16 * 255, noise]), (8, 8))
    for rows in (noise, noise[:1]):
        assert frames.images(rows, (8, 8)).max() <= 1
    refused(lambda: Pixels.of(X[:20] / 16 * 255, (8, 8)).images(noise, (8, 8)), 'X: fractions up to 0.', '0 to 255')


def test_blank_images_of_training_excuse_no_other_scale():
    frames = np.concatenate([(X[:20] / 16 * 4000).round(), np.zeros((4, 64))])
    pixels = Pixels.of(frames, (8, 8))
    pixels.images(frames[-4:], (8, 8))
    refused(lambda: pixels.images(frames[:20] / 4000, (8, 8)), 'X: fractions up to 1', '0 to 4000')
    refused(lambda: pixels.images(frames[:20] / 2000 - 1, (8, 8)), 'X: numbers from -1 to 1', '0 to 4000')


def test_numbers_within_a_little_of_a_range_that_begins_below_0_are_warned_of():
    """Bicubic interpolation overshoots."""
    resized = X[:20] / 16 * 280 - 24.5
    pixels = Pixels.of(resized, (8, 8))
    for rows in (X[:1] / 16, (X[:1] - X[:1].mean()) / X[:1].std()):
        errors._warn_once.cache_clear()
        with pytest.warns(
            UserWarning, match='X: numbers from .*, where those of training went from -24.5 to 255.5; are'
        ):
            pixels.images(rows, (8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        pixels.images(np.zeros((1, 64)), (8, 8))


@pytest.mark.filterwarnings('error')
def test_images_of_a_class_without_negative_numbers_are_those_of_training():
    index = np.concatenate([X[:20] / 16 - 0.6, X[20:40] / 16])
    found = Pixels.of(index, (8, 8)).images(index[20:], (8, 8))
    assert found.max() == 255


def test_only_bytes_are_told_by_those_divided_by_255():
    """Masks tell nothing; half-precision floats round; whole numbers that are all small may be of another range."""
    levels = (X[:20] / 16 * 255).round()
    half = Pixels.of((levels / 255).astype(np.float16), (8, 8))
    np.testing.assert_array_equal(half.images(levels, (8, 8)).reshape(20, 64), levels)
    masks = Pixels.of((X[:20] > 8).astype(float), (8, 8))
    refused(lambda: masks.images(levels, (8, 8)), 'X', '255', '[0, 1]')
    with pytest.warns(UserWarning, match='X: whole numbers up to 16 are taken for bytes, as in training; are they'):
        half.images(X[:20], (8, 8))


def test_large_images_need_little_more_memory_than_their_bytes(monkeypatch):
    """What is computed of them is so of a part at a time; of these, each is more than a part."""
    monkeypatch.setattr(pixels_module, '_NUMBERS', 2**16)
    rows = np.random.default_rng(0).random((64, 256 * 256), np.float32)
    tracemalloc.start()
    try:
        Pixels.of(rows, (256, 256)).images(rows, (256, 256))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 6 * rows.size  # a byte each, and copies of 256 images at most; where all were scaled at once, 24 each


def test_none_are_none():
    assert Pixels.of(X[:3], (8, 8)).images(X[:0], (8, 8)).shape == (0, 8, 8, 1)
