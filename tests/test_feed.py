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


def _batches(data, resident_bytes, skip=0):
    """What the steps of epoch 3 see."""
    source = feed.Feed(data, mesh.make_mesh(), 16, resident_bytes)
    assert bool(source.resident) == bool(resident_bytes)
    steps = range(18 + skip, 24)  # 6 batches an epoch, of which `skip` are done
    return [
        mesh.to_host(feed.Feed.assemble(source.resident, given, np.int32(step)))
        for step, given in zip(steps, source.of_epoch(7, 3, skip), strict=True)
    ]


@pytest.mark.parametrize('skip', [0, 4])
def test_resident_and_streamed_batches_are_those_of_the_data_set(data, skip):
    expected = list(data.batches(7, 3, batch_size=16, skip=skip))
    for resident_bytes in (2**31, 0):
        batches = _batches(data, resident_bytes, skip)
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
