"""Augmentation: identities, known results, range, and keys."""

import colorsys
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import EPSILON
from scipy import ndimage

from noisy_jax import settings
from noisy_jax.data import augment
from noisy_jax.data.augment import colour, geometry
from noisy_jax.errors import InputError

IDENTITY = {
    'random_resized_crop': functools.partial(geometry.random_resized_crop, min_scale=1.0, ratio=(1.0, 1.0), flip=False),
    'crop_with_padding': functools.partial(geometry.crop_with_padding, padding=0, flip=False),
    'affine': functools.partial(geometry.affine, degrees=0.0, scale=0.0, shift=0.0),
    'colour_jitter': functools.partial(colour.colour_jitter, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0),
}


def _images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# What the others consist of: `mopro` is a crop, `simclr` is `moco` without its blur.
POLICIES = ('none', 'standard', 'moco', 'mopro_strong', 'scan', 'autoaugment', 'handwriting')

RGB, GRAY = _images(6, 9, 13, 3), _images(6, 8, 8, 1)


def _views(policy, image, count):
    """`count` views [count, H, W, C] of one float image."""
    views = jax.jit(jax.vmap(policy, in_axes=(0, None)))
    return np.asarray(views(jax.random.split(jax.random.key(0), count), jnp.asarray(image)))


@functools.cache
def _jitted(name):
    """One compiled function per policy: the tests share it, as compiling is what takes time."""
    return jax.jit(functools.partial(augment.apply, augment.policy(name)))


@functools.cache
def _two_views(name):
    return jax.jit(functools.partial(augment.two_views, augment.policy(name)))(jax.random.key(0), RGB)


def _assert_image_values(values):
    assert values.dtype == jnp.float32
    assert float(values.min()) >= 0
    assert float(values.max()) <= 1


@pytest.mark.parametrize('images', [RGB, GRAY], ids=['rgb', 'gray'])
@pytest.mark.parametrize('name', POLICIES)
def test_every_policy_keeps_shape_type_and_range(name, images):
    view = _jitted(name)(jax.random.key(0), images)
    assert view.shape == images.shape
    _assert_image_values(view)


@pytest.mark.parametrize('name', ['none', 'standard', 'moco'])
def test_two_views_stand_behind_the_batch_and_differ(name):
    views = _two_views(name)
    assert views.shape == (6, 2, 9, 13, 3)
    _assert_image_values(views)
    differs = np.abs(views[:, 0] - views[:, 1]).max(axis=(1, 2, 3)) > 1e-3
    assert (differs == (name != 'none')).all()


# Plain calls of the others take long; their parts are compared with Pillow's.
@pytest.mark.parametrize('name', ['none', 'standard', 'mopro', 'handwriting'])
def test_jit_gives_what_plain_calls_give(name):
    plain = augment.apply(augment.policy(name), jax.random.key(0), RGB)
    np.testing.assert_allclose(plain, _jitted(name)(jax.random.key(0), RGB), atol=1e-5)


@pytest.mark.parametrize('name', [name for name in POLICIES if name != 'none'])
def test_the_key_decides_and_every_image_draws_for_itself(name):
    images = np.repeat(RGB[:1], 6, axis=0)
    view, again, other = (np.asarray(_jitted(name)(jax.random.key(seed), images)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(view, again)
    assert len(np.unique(view.reshape(6, -1), axis=0)) == 6
    assert (np.abs(view - other).max(axis=(1, 2, 3)) > 1e-3).all()


def test_none_is_exact():
    # np.float32 division as on the device; the compiled one may round the last bit differently.
    view = np.asarray(augment.apply(augment.policy('none'), jax.random.key(0), RGB))
    np.testing.assert_array_equal(view, RGB.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(np.round(np.asarray(_jitted('none')(jax.random.key(0), RGB)) * 255), RGB)
    np.testing.assert_array_equal(_two_views('none')[:, 0], _jitted('none')(jax.random.key(0), RGB))


@pytest.mark.parametrize('name', IDENTITY)
def test_strength_zero_is_the_identity(name):
    image = _images(7, 10, 3) / np.float32(255)
    views = _views(IDENTITY[name], image, 5)
    np.testing.assert_allclose(views, np.broadcast_to(image, views.shape), atol=2e-5)


def test_crop_with_padding_is_one_of_the_81_shifts_of_the_image_or_its_mirror():
    image = _images(6, 8, 3) / np.float32(255)
    padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
    crops = {(dy, dx): padded[dy : dy + 6, dx : dx + 8] for dy in range(9) for dx in range(9)}
    table = np.stack([crop[:, ::step] for crop in crops.values() for step in (1, -1)]).reshape(162, -1)
    views = _views(geometry.crop_with_padding, image, 400).reshape(400, -1)
    distance = np.abs(views[:, None] - table).max(-1)
    assert distance.min(1).max() < 1e-6
    found = distance.argmin(1)
    # 400 draws: every shift in each direction, both extremes too; half are mirrored.
    assert set(found // 2 // 9) == set(found // 2 % 9) == set(range(9))
    assert 150 < (found % 2).sum() < 250


def test_random_resized_crop_reads_a_box_of_the_asked_area():
    size = 32
    y, x = np.meshgrid(np.arange(size), np.arange(size), indexing='ij')
    ramp = np.stack([y, x], -1).astype(np.float32) / size  # shows from where each pixel was read
    crop = functools.partial(geometry.random_resized_crop, min_scale=0.25, ratio=(3 / 4, 4 / 3))
    views = _views(crop, ramp, 300)
    inner = views[:, 4:-4, 4:-4]  # the border is clamped where the box touches it
    heights = (inner[:, -1, 0, 0] - inner[:, 0, 0, 0]) * size / (size - 9)
    widths = (inner[:, 0, -1, 1] - inner[:, 0, 0, 1]) * size / (size - 9)
    assert 110 < (widths < 0).sum() < 190  # half are mirrored
    area, ratio = heights * np.abs(widths), np.abs(widths) / heights
    assert (area > 0.25 * 0.98).all()
    assert (area < 1.001).all()
    # A box that would leave the image is cut, so its ratio can only come closer to 1.
    assert (ratio > 0.75 * 0.99).all()
    assert (ratio < 4 / 3 * 1.01).all()
    assert area.min() < 0.3
    assert area.max() > 0.9
    # A side of a box is resampled linearly: the ramp stays a ramp.
    np.testing.assert_allclose(np.diff(inner[..., 0], n=2, axis=1), 0, atol=1e-5)


def test_affine_turns_scales_and_shifts_about_the_centre():
    size, centre = 25, 12
    y, x = np.meshgrid(np.arange(size) - centre, np.arange(size) - centre, indexing='ij')
    ramp = np.stack([y, x], -1) / (4 * size) + 0.5
    affine = functools.partial(geometry.affine, degrees=20.0, scale=0.1, shift=2.0)
    views = (_views(affine, ramp.astype(np.float32), 300) - 0.5) * 4 * size
    middle = views[:, centre - 2 : centre + 3, centre - 2 : centre + 3]  # [300, 5, 5, (y, x)]: where it was read
    offset = middle[:, 2, 2]
    along_y, along_x = middle[:, 3, 2] - offset, middle[:, 2, 3] - offset
    # Columns of a rotation times a scale: at right angles, of the same length, determinant positive.
    np.testing.assert_allclose((along_y * along_x).sum(1), 0, atol=1e-3)
    lengths = np.linalg.norm(along_y, axis=1)
    np.testing.assert_allclose(np.linalg.norm(along_x, axis=1), lengths, atol=1e-3)
    angle = np.degrees(np.arctan2(along_y[:, 1], along_y[:, 0]))
    for values, low, high in ((angle, -20, 20), (1 / lengths, 0.9, 1.1), (offset, -2, 2)):
        reach = (high - low) / 2
        assert low - 0.02 * reach < values.min() < low + 0.1 * reach
        assert high - 0.1 * reach < values.max() < high + 0.02 * reach


def test_affine_lets_black_in():
    views = _views(functools.partial(geometry.affine, degrees=0.0, scale=0.0, shift=3.0), np.ones((8, 8, 1)), 20)
    assert float(views.min()) == 0
    np.testing.assert_allclose(views[:, 3:5, 3:5], 1, rtol=EPSILON)


@pytest.mark.parametrize('shift', [-0.5, -0.1, 0.0, 0.07, 0.3, 1.0])
def test_shift_hue_is_that_of_the_standard_library(shift):
    colours = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    corners = np.stack(np.meshgrid([0, 0.5, 1], [0, 0.5, 1], [0, 0.5, 1]), -1).reshape(-1, 3)  # greys, pure colours
    colours = np.concatenate([colours, corners.astype(np.float32)])

    def shifted(red, green, blue):
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        return colorsys.hsv_to_rgb((hue + shift) % 1.0, saturation, value)

    expected = np.array([shifted(*colour) for colour in colours.tolist()])
    np.testing.assert_allclose(jax.jit(colour.shift_hue)(colours[None], shift)[0], expected, atol=2e-6)


@pytest.mark.parametrize('shift', [0.0, 1.0, -1.0])
def test_a_full_circle_of_hue_is_the_identity(shift):
    image = _images(6, 6, 3) / np.float32(255)
    np.testing.assert_allclose(jax.jit(colour.shift_hue)(image, shift), image, atol=2e-6)


def test_grayscale_has_the_weights_of_itu_601():
    corners = jnp.eye(3)[None]  # one red, one green, one blue pixel
    np.testing.assert_allclose(
        colour.grayscale(corners)[0], np.repeat([[0.299], [0.587], [0.114]], 3, axis=1), atol=1e-6
    )
    single = jnp.asarray(_images(4, 4, 1) / np.float32(255))
    np.testing.assert_array_equal(colour.grayscale(single), single)


def _gray(image):
    return image @ np.array([0.299, 0.587, 0.114])


@pytest.mark.parametrize('part', ['brightness', 'contrast', 'saturation', 'hue'])
def test_each_part_of_the_jitter_keeps_what_it_should(part):
    image = 0.4 + 0.1 * np.random.default_rng(0).random((6, 6, 3)).astype(np.float32)  # nothing is clipped
    strengths = {'brightness': 0.0, 'contrast': 0.0, 'saturation': 0.0, 'hue': 0.0, part: 0.4}
    views = _views(functools.partial(colour.colour_jitter, **strengths), image, 200)
    if part == 'brightness':
        factors = (views / image).mean(axis=(1, 2, 3))
        expected = factors[:, None, None, None] * image
    elif part == 'contrast':
        mean = _gray(image).mean()
        factors = ((views - mean) / (image - mean)).mean(axis=(1, 2, 3))
        expected = mean + factors[:, None, None, None] * (image - mean)
    elif part == 'saturation':
        gray = _gray(image)[..., None]
        factors = np.median((views - gray) / (image - gray), axis=(1, 2, 3))
        expected = gray + factors[:, None, None, None] * (image - gray)
    else:  # the largest and the smallest channel stay, and some colours turn
        np.testing.assert_allclose(views.max(-1), np.broadcast_to(image.max(-1), views.shape[:-1]), atol=1e-5)
        np.testing.assert_allclose(views.min(-1), np.broadcast_to(image.min(-1), views.shape[:-1]), atol=1e-5)
        assert (np.abs(views - image).max(axis=(1, 2, 3)) > 0.01).mean() > 0.8
        return
    np.testing.assert_allclose(views, expected, atol=1e-5)
    assert 0.6 - 1e-3 < factors.min() < 0.65
    assert 1.35 < factors.max() < 1.4 + 1e-3


def test_simclr_draws_jitter_and_grayscale_as_often_as_asked():
    flat = np.full((8, 8, 3), [0.2, 0.5, 0.7], np.float32)  # every crop of one colour is that colour
    views = _views(augment.policy('simclr'), flat, 1000)
    gray = np.abs(views - views[..., :1]).max(axis=(1, 2, 3)) < 1e-5
    same = np.abs(views - flat).max(axis=(1, 2, 3)) < 1e-5
    assert abs(gray.mean() - 0.2) < 0.05  # 4 standard deviations
    assert abs(same[~gray].mean() - 0.2) < 0.06
    always = _views(augment.policy('simclr', jitter_probability=0.0, gray_probability=1.0), flat, 20)
    np.testing.assert_allclose(always, np.full(always.shape, _gray(flat[0, 0])), atol=1e-5)


def test_handwriting_adds_noise_of_the_asked_size():
    quiet = augment.policy('handwriting', degrees=0.0, scale=0.0, shift=0.0, brightness=0.0, noise=0.05)
    image = np.random.default_rng(0).uniform(0.3, 0.7, (8, 8, 1)).astype(np.float32)  # nothing is clipped
    added = _views(quiet, image, 100) - image
    assert abs(added.std() - 0.05) < 0.005
    assert np.abs(added.mean(0)).max() < 0.025  # 5 standard deviations


@pytest.mark.parametrize(('size', 'radius'), [(8, 1), (32, 1), (64, 3)])
def test_blur_is_a_gaussian_of_a_tenth_of_the_side_reflected_at_the_border(size, radius):
    image = _images(size, size, 3) / np.float32(255)
    for sigma in (0.1, 0.7, 2.0):
        expected = np.stack([ndimage.gaussian_filter(c, sigma, mode='mirror', radius=radius) for c in image.T], -1)
        np.testing.assert_allclose(colour.blur(image, sigma), expected.swapaxes(0, 1), atol=1e-5)


def test_blur_is_drawn_as_often_as_asked():
    dot = np.zeros((8, 8, 3), np.float32)
    dot[4, 4] = 1
    policy = augment.policy('moco', min_scale=1.0, flip=False, jitter_probability=0.0, gray_probability=0.0)
    plain = augment.policy('simclr', min_scale=1.0, flip=False, jitter_probability=0.0, gray_probability=0.0)
    changed = np.abs(_views(policy, dot, 1000) - _views(plain, dot, 1000)).max(axis=(1, 2, 3)) > 1e-4
    # The same keys draw the same crops. A sigma of 0.1 to 0.22 of 0.1 to 2 changes less than that.
    assert abs(changed.mean() - 0.5 * 0.94) < 0.06  # 4 standard deviations


def test_standard_turns_where_it_is_asked_to():
    size = 33
    dot = np.zeros((size, size, 1), np.float32)
    dot[4, 16] = 1  # above the centre: where it goes tells the angle
    views = _views(augment.policy('standard', padding=0, flip=False, degrees=20.0), dot, 200)[..., 0]
    y, x = np.mgrid[:size, :size] - 16
    angle = np.degrees(np.arctan2((views * x).sum((1, 2)), -(views * y).sum((1, 2))))
    assert -20.5 < angle.min() < -18
    assert 18 < angle.max() < 20.5


def test_every_parameter_of_a_policy_is_a_setting():
    configured = settings.default().augment.to_dict()
    assert configured.keys() == augment.POLICIES.keys() - {'none'}
    for name, values in configured.items():
        policy = augment.POLICIES[name]
        known = {key: p.default for key, p in inspect.signature(policy).parameters.items() if p.kind == p.KEYWORD_ONLY}
        known.pop('ratio', None)
        assert values == known, name


def test_an_unknown_policy_is_refused_with_the_allowed_names():
    with pytest.raises(InputError) as caught:
        augment.policy('simcrl')
    message = str(caught.value)
    assert '\n' not in message
    assert "'simcrl'" in message
    assert ', '.join(augment.POLICIES) in message
