"""The frozen data set: order, batches, splits and its errors."""

import numpy as np
import pytest
from conftest import refused

from noisy_jax.data.dataset import Dataset, balanced
from noisy_jax.data.rows import split


def _dataset(count=20, num_classes=2, **changes):
    """Image i is filled with the value i, so that a mix-up of rows shows."""
    image = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 2, 3, 1))
    label = np.arange(count) % num_classes
    names = tuple('abcdefghijkl'[:num_classes])
    return Dataset(**{'image': image, 'label': label, 'class_names': names, 'true_label': label[::-1], **changes})


def test_defaults_and_types():
    dataset = Dataset(np.zeros((3, 4, 4, 3), np.uint8), [0, 1, 1], ('cat', 'dog'))
    assert len(dataset) == 3
    assert dataset.num_classes == 2
    assert dataset.label.dtype == np.int32
    assert dataset.true_label is None
    assert dataset.weight.dtype == np.float32
    np.testing.assert_array_equal(dataset.weight, [1, 1, 1])
    np.testing.assert_array_equal(dataset.id, ['0', '1', '2'])
    np.testing.assert_array_equal(dataset.row, [0, 1, 2])
    assert dataset.available == dataset.take(np.array([1])).available == 3


def test_order_is_a_pure_function_of_seed_and_epoch():
    orders = [_dataset().order(seed, epoch, batch_size=4) for seed in (0, 1) for epoch in (0, 1)]
    again = [_dataset().order(seed, epoch, batch_size=4) for seed in (0, 1) for epoch in (0, 1)]
    np.testing.assert_array_equal(orders, again)
    # (0, 1) and (1, 0) differ too: seed + epoch would not do.
    assert len({order.tobytes() for order in orders}) == 4


def test_order_does_not_depend_on_the_epochs_before_or_on_the_state_of_numpy():
    dataset = _dataset()
    np.random.seed(3)  # noqa: NPY002
    first = dataset.order(0, 7, batch_size=4)
    for epoch in range(7):
        dataset.order(0, epoch, batch_size=4)
    np.testing.assert_array_equal(first, dataset.order(0, 7, batch_size=4))


def test_order_has_full_batches_only_and_no_sample_twice():
    order = _dataset(23).order(0, 0, batch_size=5)
    assert order.shape == (4, 5)
    assert order.dtype == np.int32
    assert len(np.unique(order)) == 20
    assert _dataset(20).order(0, 0, batch_size=20).shape == (1, 20)


def test_every_sample_is_seen_over_the_epochs():
    dataset = _dataset(23)
    seen = np.concatenate([dataset.order(0, epoch, batch_size=9).ravel() for epoch in range(30)])
    counts = np.bincount(seen, minlength=23)
    # 30 epochs of 18 of 23: 23.5 each; the first or last rows are not the ones that are always left out.
    assert counts.min() >= 12


def test_batches_hold_the_four_entries_and_never_the_true_label():
    dataset = _dataset(weight=np.linspace(0, 1, 20))
    batches = list(dataset.batches(0, 3, batch_size=6))
    assert len(batches) == 3
    for batch, index in zip(batches, dataset.order(0, 3, batch_size=6), strict=True):
        assert {name: value.dtype for name, value in batch.items()} == {
            'image': np.uint8,
            'label': np.int32,
            'weight': np.float32,
            'index': np.int32,
        }
        np.testing.assert_array_equal(batch['index'], index)
        np.testing.assert_array_equal(batch['image'], np.broadcast_to(index[:, None, None, None], (6, 2, 3, 1)))
        np.testing.assert_array_equal(batch['label'], dataset.label[index])
        np.testing.assert_array_equal(batch['weight'], dataset.weight[index])


def test_skip_starts_in_the_middle_of_the_same_epoch():
    dataset = _dataset()
    whole = list(dataset.batches(1, 2, batch_size=4))
    rest = list(dataset.batches(1, 2, batch_size=4, skip=3))
    assert len(rest) == 2
    for expected, found in zip(whole[3:], rest, strict=True):
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name])
    assert not list(dataset.batches(1, 2, batch_size=4, skip=5))


def test_take_keeps_the_rows_together_and_in_the_given_order():
    dataset = _dataset(weight=np.arange(20) / 20, id=[f'image{i}' for i in range(20)])
    taken = dataset.take(np.array([7, 2, 19]))
    np.testing.assert_array_equal(taken.image[:, 0, 0, 0], [7, 2, 19])
    np.testing.assert_array_equal(taken.id, ['image7', 'image2', 'image19'])
    for field in ('label', 'true_label', 'weight'):
        np.testing.assert_array_equal(getattr(taken, field), getattr(dataset, field)[[7, 2, 19]])
    assert taken.class_names == dataset.class_names
    assert _dataset(true_label=None).take(np.array([1])).true_label is None


def test_replace_leaves_the_original_as_it_was():
    dataset = _dataset()
    changed = dataset.replace(label=1 - dataset.label)
    np.testing.assert_array_equal(changed.label, 1 - dataset.label)
    np.testing.assert_array_equal(dataset.label, np.arange(20) % 2)
    np.testing.assert_array_equal(changed.true_label, dataset.true_label)
    with pytest.raises(AttributeError):
        dataset.label = changed.label


def _split(dataset, *arguments, **settings):
    return tuple(dataset.take(rows) for rows in split(dataset.label, dataset.num_classes, *arguments, **settings))


def test_split_is_stratified_disjoint_and_deterministic():
    dataset = _dataset(100, label=np.repeat([0, 1], [80, 20]))
    rest, held = _split(dataset, 0.2, seed=0)
    np.testing.assert_array_equal(np.bincount(held.label), [16, 4])
    np.testing.assert_array_equal(np.bincount(rest.label), [64, 16])
    np.testing.assert_array_equal(np.sort(np.concatenate([rest.id, held.id]).astype(int)), np.arange(100))
    np.testing.assert_array_equal(held.image[:, 0, 0, 0].astype(str), held.id)
    np.testing.assert_array_equal(_split(dataset, 0.2, seed=0)[1].id, held.id)
    assert not np.array_equal(_split(dataset, 0.2, seed=1)[1].id, held.id)


def test_split_holds_out_one_image_at_least_and_leaves_one_at_least():
    rest, held = _split(_dataset(6), 0.01, seed=0)
    assert (len(rest), len(held)) == (5, 1)
    refused(lambda: split(np.arange(6) % 2, 2, 1.0, seed=0), 'data.valid_fraction', '1.0', '6')


def test_split_goes_by_the_given_labels_not_the_true_ones():
    given = np.repeat([0, 1], [40, 60])
    dataset = _dataset(100, label=given, true_label=np.arange(100) % 2)
    np.testing.assert_array_equal(np.bincount(_split(dataset, 0.1, seed=0)[1].label), [4, 6])


def _held_out(sizes, fraction, seed=0):
    """How many of each class are held out."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    rest, held = split(labels, len(sizes), fraction, seed)
    np.testing.assert_array_equal(np.union1d(rest, held), np.arange(len(labels)))
    return np.bincount(labels[held], minlength=len(sizes)).tolist()


@pytest.mark.parametrize(
    ('sizes', 'fraction', 'held'),
    [
        ([100, 2, 2, 1], 0.1, [8, 1, 1, 0]),  # one of each that can spare it; of 100, what is left
        ([14, 11, 15], 0.1, [1, 1, 2]),  # shares of 1.4, 1.1 and 1.5
        ([3, 3], 0.9, [2, 2]),  # none gives its last image
        ([50, 30, 20, 0], 0.2, [10, 6, 4, 0]),
    ],
)
def test_split_holds_out_some_of_every_class_and_the_share_of_all(sizes, fraction, held):
    assert _held_out(sizes, fraction) == held


def test_split_of_small_classes_is_by_chance():
    found = [_held_out([5] * 12, 0.1, seed) for seed in range(3)]
    assert [sorted(held) for held in found] == [[0] * 6 + [1] * 6] * 3
    assert found[0] != found[1] or found[0] != found[2]


def test_split_needs_a_class_of_two():
    refused(lambda: split(np.arange(3), 3, 0.1, seed=0), 'data.valid_fraction', 'none of 3')


def test_two_classes_of_one_name_are_refused():
    refused(lambda: _dataset(class_names=('cat', 'cat')), 'class_names', "'cat'", 'twice')


def test_balanced_takes_the_first_rows_of_every_class():
    labels = np.array([0, 0, 0, 1, 2, 1, 0, 2, 2])
    np.testing.assert_array_equal(balanced(labels, 6, 3), [0, 1, 3, 4, 5, 7])
    np.testing.assert_array_equal(balanced(labels, 1, 3), [0, 3, 4])
    np.testing.assert_array_equal(balanced(labels, 0, 3), np.arange(9))
    np.testing.assert_array_equal(balanced(labels, 900, 3), np.arange(9))


def test_images_without_a_label_count_as_a_class_of_a_limit():
    labels = np.array([0, -1, 0, 1, -1, 1, -1])
    np.testing.assert_array_equal(balanced(labels, 2, 2), [0, 1, 3])
    assert _dataset(7, label=labels).label.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ('field', 'value'), [('label', -2), ('label', 2), ('true_label', -1), ('true_label', -2), ('true_label', 2)]
)
def test_a_label_out_of_range_names_the_image(field, value):
    label = np.zeros(20, int)
    label[[13, 17]] = value
    ids = [f'train/cat/{i:04d}.jpg' for i in range(20)]
    refused(lambda: _dataset(**{field: label, 'id': ids}), field, 'train/cat/0013.jpg', str(value), '0 to 1')


@pytest.mark.parametrize('field', ['label', 'true_label', 'weight', 'id'])
@pytest.mark.parametrize('shape', [(19,), (20, 2), ()])
def test_values_of_another_shape_are_refused(field, shape):
    refused(lambda: _dataset(**{field: np.zeros(shape, int)}), field, str(shape), '20')


@pytest.mark.parametrize(
    'image', [np.zeros((20, 4, 4), np.uint8), np.zeros((20, 4, 4, 1), np.float32), np.zeros((0, 4, 4, 1), np.uint8)]
)
def test_images_that_are_not_uint8_nhwc_are_refused(image):
    refused(lambda: _dataset(image=image), str(image.dtype), str(image.shape), 'uint8 [N, H, W, C]')


def test_a_batch_larger_than_the_data_is_refused():
    refused(lambda: _dataset().order(0, 0, batch_size=21), 'batch_size', '21', '20')
    refused(lambda: list(_dataset().batches(0, 0, batch_size=21)), 'batch_size', '21', '20')
