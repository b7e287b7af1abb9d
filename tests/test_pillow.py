"""Augmentation against Pillow, image by image, where nothing is drawn: a fixed box, factor, angle, threshold."""

import functools

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from noisy_jax.data.augment import colour, geometry, operations, sub_policies


def _pictures():
    """uint8 [5, 24, 32, 3]: smooth, noisy, dark, of few colours, of one colour."""
    y, x = np.mgrid[:24, :32]
    smooth = 127 + 100 * np.stack([np.sin(x / 5), np.cos(y / 4), np.sin((x + y) / 7)], -1)
    noisy = np.random.default_rng(0).integers(0, 256, (24, 32, 3))
    few = np.where((x // 8 + y // 8)[..., None] % 2, [250, 20, 90], [30, 200, 60])
    return np.stack([smooth, noisy, smooth / 6, few, np.full_like(few, 77)]).astype(np.uint8)


PICTURES = _pictures()


@functools.cache
def _jitted(function, count):
    return jax.jit(jax.vmap(function, in_axes=(0, *[None] * count)))


def _ours(function, *arguments):
    """The function of each picture, in levels 0..255."""
    return np.asarray(_jitted(function, len(arguments))(PICTURES / np.float32(255), *arguments)) * 255


def _pillows(function):
    return np.stack([np.asarray(function(Image.fromarray(picture))) for picture in PICTURES]).astype(np.float32)


@pytest.mark.parametrize('box', [(0, 0, 32, 24), (3, 2, 25, 17), (10, 5, 27, 23), (0.5, 7.25, 16.5, 20)])
def test_a_crop_is_resized_as_by_pillow(box):
    left, top, right, bottom = box
    fractions = np.array([top / 24, left / 32, (bottom - top) / 24, (right - left) / 32], np.float32)
    pillows = _pillows(lambda picture: picture.resize((32, 24), Image.Resampling.BILINEAR, box))
    # Pillow rounds after the rows and after the columns.
    np.testing.assert_allclose(_ours(geometry.resized_crop, fractions), pillows, atol=1.1)
    mirrored = _ours(geometry.resized_crop, fractions, True)
    np.testing.assert_allclose(mirrored, pillows[:, :, ::-1], atol=1.1)


@pytest.mark.parametrize('degrees', [-20.0, -3.0, 0.0, 11.0, 20.0])
def test_a_picture_is_turned_as_by_pillow(degrees):
    pillows = _pillows(lambda picture: picture.rotate(degrees, Image.Resampling.BILINEAR))
    np.testing.assert_allclose(_ours(geometry.rotate, degrees), pillows, atol=1.1)


@pytest.mark.parametrize('factor', [0.05, 0.6, 1.0, 1.4])
@pytest.mark.parametrize(
    ('ours', 'enhance'),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
        (colour.sharpness, ImageEnhance.Sharpness),
    ],
    ids=['brightness', 'contrast', 'saturation', 'sharpness'],
)
def test_colours_change_as_by_pillow(ours, enhance, factor):
    pillows = _pillows(lambda picture: enhance(picture).enhance(factor))
    # Pillow rounds what it blends with and cuts the result.
    np.testing.assert_allclose(_ours(ours, factor), pillows, atol=1.7)


@pytest.mark.parametrize('turn', [-0.1, 0.05])
def test_hue_turns_as_by_pillow(turn):
    def turned(picture):
        hue, saturation, value = picture.convert('HSV').split()
        hue = Image.fromarray(np.asarray(hue) + np.uint8(round(turn * 255) % 256))
        return Image.merge('HSV', (hue, saturation, value)).convert('RGB')

    difference = np.abs(_ours(colour.shift_hue, np.float32(turn)) - _pillows(turned))
    # 8 bits of hue are steps of up to 6 levels.
    assert difference.max() < 12
    assert difference.mean() < 2


def test_gray_is_pillows():
    pillows = _pillows(lambda picture: picture.convert('L').convert('RGB'))
    np.testing.assert_allclose(_ours(colour.grayscale), pillows, atol=0.51)


def test_a_small_blur_is_near_pillows():
    """Pillow's Gaussian is three boxes, not cut at a tenth of the side: the same only where sigma is small."""
    smooth = slice(0, 1)
    pillows = _pillows(lambda picture: picture.filter(ImageFilter.GaussianBlur(0.5)))
    difference = np.abs(_ours(colour.blur, 0.5) - pillows)[smooth, 2:-2, 2:-2]
    assert difference.max() < 2


OPERATIONS = {
    'identity': (lambda picture, _: picture, (0.5,)),
    'autocontrast': (lambda picture, _: ImageOps.autocontrast(picture), (0.5,)),
    'equalize': (lambda picture, _: ImageOps.equalize(picture), (0.5,)),
    'solarize': (lambda picture, v: ImageOps.solarize(picture, v), (0.0, 100.5, 128.0, 256.0)),
    'posterize': (lambda picture, v: ImageOps.posterize(picture, int(v)), (4.0, 5.7, 7.99)),
    'color': (lambda picture, v: ImageEnhance.Color(picture).enhance(v), (0.3,)),
    'contrast': (lambda picture, v: ImageEnhance.Contrast(picture).enhance(v), (0.3,)),
    'brightness': (lambda picture, v: ImageEnhance.Brightness(picture).enhance(v), (0.3,)),
    'sharpness': (lambda picture, v: ImageEnhance.Sharpness(picture).enhance(v), (0.3,)),
    'rotate': (lambda picture, v: picture.rotate(v), (-29.0, 13.0)),
    'shear_x': (lambda picture, v: _affine(picture, (1, v, 0, 0, 1, 0)), (-0.09, 0.07)),
    'shear_y': (lambda picture, v: _affine(picture, (1, 0, 0, v, 1, 0)), (-0.09, 0.07)),
    'translate_x': (lambda picture, v: _affine(picture, (1, 0, v * 32, 0, 1, 0)), (-0.09, 0.07)),
    'translate_y': (lambda picture, v: _affine(picture, (1, 0, 0, 0, 1, v * 24)), (-0.09, 0.07)),
}
EXACT = ('identity', 'equalize', 'solarize', 'posterize')
MOVING = ('rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y')


def _affine(picture, matrix):
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix)


# One program for all operations: which one it is, is drawn in training too.
_operation = jax.jit(jax.vmap(operations.operation, in_axes=(0, None, None)))


@pytest.mark.parametrize('name', operations.OPERATIONS)
def test_every_operation_is_pillows(name):
    pillows_function, amounts = OPERATIONS[name]
    number = list(operations.OPERATIONS).index(name)
    low, high = operations.OPERATIONS[name]
    for amount in amounts:
        assert low <= amount <= high
        ours = np.asarray(_operation(PICTURES / np.float32(255), number, amount)) * 255
        pillows = _pillows(lambda picture, v=amount: pillows_function(picture, v))
        if name in EXACT:
            np.testing.assert_allclose(ours, pillows, atol=1e-3)
        elif name in MOVING:  # a pixel whose centre falls on a border may be taken from either side
            assert (np.abs(ours - pillows).max(-1) > 1e-3).mean() < 0.01
        else:
            np.testing.assert_allclose(ours, pillows, atol=1.7)


def test_every_image_draws_its_own_operation():
    assert operations.OPERATIONS.keys() == OPERATIONS.keys()
    assert len(operations.OPERATIONS) == 14
    keys = jax.random.split(jax.random.key(0), 100)
    image = PICTURES[1] / np.float32(255)
    draw = jax.jit(jax.vmap(functools.partial(operations.random_operations, count=1), in_axes=(0, None)))
    views = np.asarray(draw(keys, image)).reshape(100, -1)
    same = (np.abs(views - image.ravel()).max(1) < 1e-6).mean()
    assert 0 < same < 0.25  # identity, and amounts that change nothing
    assert len(np.unique(views, axis=0)) > 60
    assert views.min() >= 0
    assert views.max() <= 1


# Amounts of Cubuk 2019, table 7, by magnitude; AutoAugment's reach further than those of SCAN.
@pytest.mark.parametrize(
    ('name', 'magnitude', 'amounts', 'pillows_function'),
    [
        ('contrast', 6, (0.4, 1.6), OPERATIONS['contrast'][0]),
        ('color', 9, (0.1, 1.9), OPERATIONS['color'][0]),
        ('brightness', 3, (0.7, 1.3), OPERATIONS['brightness'][0]),
        ('sharpness', 9, (0.1, 1.9), OPERATIONS['sharpness'][0]),
        ('rotate', 2, (-20 / 3, 20 / 3), OPERATIONS['rotate'][0]),
        ('shear_y', 8, (-0.8 / 3, 0.8 / 3), OPERATIONS['shear_y'][0]),
        ('translate_x', 9, (-150 / 331, 150 / 331), OPERATIONS['translate_x'][0]),
        ('posterize', 7, (5.0,), OPERATIONS['posterize'][0]),
        ('solarize', 3, (512 / 3,), OPERATIONS['solarize'][0]),
        ('invert', 7, (0.0,), lambda picture, _: ImageOps.invert(picture)),
        ('equalize', 8, (0.0,), OPERATIONS['equalize'][0]),
        ('autocontrast', 3, (0.0,), OPERATIONS['autocontrast'][0]),
    ],
)
def test_an_operation_of_autoaugment_is_pillows(name, magnitude, amounts, pillows_function):
    number, middle, span = sub_policies.step(name, magnitude)
    np.testing.assert_allclose(sorted({middle - span, middle + span}), amounts, rtol=1e-6)
    for amount in amounts:
        ours = np.asarray(_operation(PICTURES / np.float32(255), number, amount)) * 255
        differs = np.abs(ours - _pillows(lambda picture, v=amount: pillows_function(picture, v))).max(-1)
        # As above; a factor above 1 enlarges what rounding to levels leaves.
        assert (differs > 3).mean() < (0.03 if name in MOVING else 1e-9)


def test_sub_policies_are_drawn_alike_and_their_operations_as_often_as_they_say():
    draws = 20_000
    which, amounts = jax.jit(jax.vmap(sub_policies.draw))(jax.random.split(jax.random.key(0), draws))
    which, names = np.asarray(which), list(operations.OPERATIONS)
    expected = np.zeros((2, len(names)))
    for pair in sub_policies.SUB_POLICIES:
        for place, (name, probability, magnitude) in enumerate(pair):
            share = probability / len(sub_policies.SUB_POLICIES)
            expected[place, sub_policies.step(name, magnitude)[0]] += share
            expected[place, names.index('identity')] += 1 / len(sub_policies.SUB_POLICIES) - share
    found = np.stack([np.bincount(column, minlength=len(names)) for column in which.T]) / draws
    assert np.abs(found - expected).max() < 0.015  # four standard errors of a share
    # Magnitudes 3 and 9, up and down alike.
    moved = np.asarray(amounts)[which == names.index('translate_y')]
    np.testing.assert_allclose(np.unique(np.abs(moved)), [50 / 331, 150 / 331], rtol=1e-6)
    assert 0.45 < (moved > 0).mean() < 0.55
    # Two that fail or succeed together would show here: both of the 22nd happen 0.63 of its times.
    both = (which == names.index('translate_y')).all(1).mean()
    assert abs(both - 0.9 * 0.7 / 25) < 0.005


def test_a_hole_is_a_grey_square_of_at_most_the_length():
    keys = jax.random.split(jax.random.key(0), 200)
    cut = jax.jit(jax.vmap(functools.partial(geometry.cutout, length=8), in_axes=(0, None)))
    holes = np.asarray(cut(keys, np.ones((12, 16, 3), np.float32))) == 0.5
    assert (holes == holes[..., :1]).all()
    rows, columns = holes[..., 0].any(2).sum(1), holes[..., 0].any(1).sum(1)
    np.testing.assert_array_equal(holes[..., 0].sum((1, 2)), rows * columns)  # a full rectangle
    assert set(rows) | set(columns) <= set(range(9))
    assert rows.max() == columns.max() == 8
    assert (rows == columns).mean() > 0.4  # the others leave the image
    assert holes[..., 0].any(0).all()


def test_warp_lets_black_in_without_a_soft_edge():
    moved = geometry.warp(np.ones((4, 5, 1), np.float32), np.array([[1.0, 0, 1.25], [0, 1, 0]]))
    np.testing.assert_array_equal(moved[..., 0], [[1, 1, 1, 1, 0]] * 4)
