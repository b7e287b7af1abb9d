"""Batches on their way to the step: gathered on the device or streamed, they are the same; reading stays ahead."""

import jax
import numpy as np
import pytest

from noisy_jax.data import digits
from noisy_jax.data.dataset import Dataset
from noisy_jax.training import feed, mesh


@pytest.fixture(scope='module')
def data():
    loaded = digits.load('train', limit=100)
    return loaded.replace(weight=np.linspace(0, 1, len(loaded)))


def _batches(data, resident_bytes, skip=0, weights=None):
    """What the steps of epoch 3 see."""
    source = feed.Feed(data, mesh.make_mesh(), 16, resident_bytes)
    assert bool(source.resident) == bool(resident_bytes)
    steps = range(18 + skip, 24)  # 6 batches an epoch, of which `skip` are done
    return [
        mesh.to_host(feed.Feed.assemble(source.resident, given, np.int32(step)))
        for step, given in zip(steps, source.of_epoch(7, 3, skip, weights=weights), strict=True)
    ]


@pytest.mark.parametrize(('skip', 'draws'), [(0, False), (4, False), (4, True)])
def test_resident_and_streamed_batches_are_those_of_the_data_set(data, skip, draws):
    weights = (np.arange(100) % 5 == 0).astype(np.float32) if draws else None
    expected = list(data.batches(7, 3, batch_size=16, skip=skip, weights=weights))
    for resident_bytes in (2**31, 0):
        batches = _batches(data, resident_bytes, skip, weights)
        assert len(batches) == 6 - skip
        for ours, theirs in zip(batches, expected, strict=True):
            assert ours.keys() == theirs.keys()
            for name, array in theirs.items():
                assert ours[name].dtype == array.dtype
                np.testing.assert_array_equal(ours[name], array)


class _Counting(Dataset):
    """Counts the batches that were read, and fails at one."""

    def batches(self, *arguments, **settings):
        for number, batch in enumerate(super().batches(*arguments, **settings)):
            if number == self.broken:
                raise OSError('the disk is gone')
            self.read.append(number)
            yield batch


def _counting(data, broken=None):
    counting = _Counting(data.image, data.label, data.class_names)
    object.__setattr__(counting, 'read', [])
    object.__setattr__(counting, 'broken', broken)
    return counting


def test_streaming_reads_ahead_but_not_far(data):
    counting = _counting(data)
    stream = feed.Feed(counting, mesh.make_mesh(), 16, 0).of_epoch(0, 0)
    taken = [next(stream), next(stream)]
    stream.close()  # waits for what is being read
    assert len(taken) == 2
    assert counting.read == list(range(2 + feed._AHEAD))


def test_what_goes_wrong_while_reading_is_raised(data):
    stream = feed.Feed(_counting(data, broken=3), mesh.make_mesh(), 16, 0).of_epoch(0, 0)
    assert len([next(stream) for _ in range(3)]) == 3
    with pytest.raises(OSError, match='the disk is gone'):
        next(stream)


def test_a_share_of_the_rows(data):
    whole = list(data.batches(0, 1, batch_size=16))
    share = list(data.batches(0, 1, batch_size=16, rows=np.array([2, 3, 9])))
    for ours, theirs in zip(share, whole, strict=True):
        np.testing.assert_array_equal(ours['image'], theirs['image'][[2, 3, 9]])


def test_one_process_holds_all_rows():
    np.testing.assert_array_equal(mesh.own_rows(12, mesh.make_mesh()), np.arange(12))
    assert jax.process_count() == 1


def test_images_drawn_by_weights_come_beside_those_of_the_batch(data):
    """96 images of an epoch from 20 rows: each four or five times, in other batches than by chance alone; all anew."""
    weights = (np.arange(100) % 5 == 0).astype(np.float32)
    epochs = [list(data.batches(7, epoch, batch_size=16, weights=weights)) for epoch in (3, 4)]
    for batches in epochs:
        rows = np.concatenate([batch['drawn_index'] for batch in batches])
        assert len(rows) == 96
        assert set(np.bincount(rows, minlength=100)[::5]) <= {4, 5}
        assert not np.any(rows % 5)
        for batch in batches:
            np.testing.assert_array_equal(batch['drawn_image'], data.image[batch['drawn_index']])
    first, second = ([batch['drawn_index'] for batch in batches] for batches in epochs)
    assert not np.array_equal(first, second)
    plain = list(data.batches(7, 3, batch_size=16))
    np.testing.assert_array_equal([b['index'] for b in plain], [b['index'] for b in epochs[0]], 'the others stay')
