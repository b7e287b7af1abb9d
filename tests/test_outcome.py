"""What a phase ends with: finite weights and arrays, which come back as they were or not at all."""

import contextlib
import errno
import json
import resource
import shutil
import sys
import threading
import types
from unittest import mock

import jax
import numpy as np
import pytest
from conftest import refused

from noisy_jax import files
from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError
from noisy_jax.training import checkpoints as checkpoints_lib
from noisy_jax.training import outcome, pytrees
from noisy_jax.training.checkpoints import Checkpoints
from noisy_jax.training.context import Belief
from noisy_jax.training.journal import Journal
from noisy_jax.training.state import TrainState
from noisy_jax.workdir import WorkDir

TRAIN = Dataset(np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 1, 0, 1]), ('a', 'b'))
SPLITS = types.SimpleNamespace(train=TRAIN, labelled=TRAIN, valid=None)
METRICS = types.SimpleNamespace(lines_of=lambda *_: 0, keep=lambda phase, count: None)
SUMMARY = {'seconds': 1.0, 'images_per_second': None}
SESSION = types.SimpleNamespace(metrics=METRICS, seed=0)


def _weights(value=1.0):
    return {'params': {'kernel': np.array([value, 2], np.float32)}, 'batch_stats': {}}


def _state(value=1.0):
    return TrainState(np.array(3, np.int32), _weights(value)['params'], {}, (), {'loss_history': np.full(2, np.nan)})


@pytest.fixture
def work(tmp_path):
    """A work directory, and the journal of a phase `base` in it, which is closed at the end."""
    folder = WorkDir(tmp_path)
    checkpoints = Checkpoints(folder.checkpoints('base'))
    yield folder, Journal('base', SESSION, checkpoints)
    checkpoints.close()


def test_the_first_array_that_is_not_finite_is_named():
    tree = {'params': {'a': np.ones(2), 'b': np.array([0, np.inf])}, 'steps': np.int32(3)}
    assert pytrees.not_finite(tree) == 'params/b'
    assert pytrees.not_finite({'a': np.ones(2, np.float32), 'b': np.zeros(0)}) is None


@pytest.mark.parametrize('value', [np.nan, -np.inf])
def test_weights_that_diverged_after_the_last_loss_are_not_saved(work, value):
    folder, journal = work
    words = ('kernel', 'phase base', 'stage all', 'lower config.classify.optimizer.learning_rate')
    refused(lambda: journal.save('all', _state(value)), *words)
    refused(lambda: outcome.save(folder, journal, Belief.of(TRAIN), Belief.of(TRAIN, _weights(value))), 'kernel')
    assert journal.checkpoints.step == -1


def test_a_checkpoint_that_diverged_is_not_gone_on_with(work):
    _, journal = work
    journal.checkpoints.save(3, _state(np.nan), journal.meta('all'))
    again = Journal('base', SESSION, journal.checkpoints)
    refused(lambda: again.restore('all', _state()), 'kernel', 'config.classify.optimizer.learning_rate')


def test_outputs_that_are_not_finite_end_no_phase(work):
    folder, journal = work
    after = Belief(_weights(), TRAIN.label, TRAIN.weight, probabilities=np.full((4, 2), np.nan, np.float32))
    refused(lambda: outcome.save(folder, journal, Belief.of(TRAIN), after), 'probabilities', 'phase base')
    assert journal.checkpoints.step == -1


def test_an_outcome_comes_back(work):
    folder, journal = work
    before = Belief.of(TRAIN)
    after = Belief(_weights(), 1 - TRAIN.label, TRAIN.weight, probabilities=np.full((4, 2), 0.5, np.float32))
    outcome.save(folder, journal, before, after)
    found = outcome.restore(folder, 'base', journal.checkpoints, SPLITS, before)
    np.testing.assert_array_equal(found.label, [1, 0, 1, 0])
    np.testing.assert_array_equal(found.probabilities, after.probabilities)
    np.testing.assert_array_equal(found.variables['params']['kernel'], [1, 2])
    folder.save_array('labels/base_label', TRAIN.label)
    words = 'labels/base_label.npy', 'not what the phase ended with'
    refused(lambda: outcome.restore(folder, 'base', journal.checkpoints, SPLITS, before), *words)


def test_a_digest_sees_every_bit_and_name():
    tree = {'a': np.arange(6, dtype=np.float32), 'b': np.array(1)}
    others = [{'c': tree['a'], 'b': tree['b']}, {**tree, 'a': tree['a'].reshape(2, 3)}, {'a': tree['a']}]
    others += [{**tree, 'a': tree['a'].view(np.int32)}]
    for bit in (0, 77, 191):
        flipped = tree['a'].copy()
        flipped.view(np.uint8)[bit // 8] ^= 1 << bit % 8
        others.append({**tree, 'a': flipped})
    assert len({pytrees.digest(other) for other in (tree, *others)}) == 8
    # Memory may be laid out otherwise.
    assert pytrees.digest({'a': np.asfortranarray(np.eye(3))}) == pytrees.digest({'a': np.eye(3)})


@pytest.mark.parametrize('kind', ['state', 'outcome'])
def test_a_checkpoint_that_is_not_what_was_saved_is_refused(work, monkeypatch, kind):
    """As after a flipped bit, which Orbax does not always notice."""
    checkpoints, what = work[1].checkpoints, {'state': _state(2.0).replace(extra={}), 'outcome': _weights(2.0)}[kind]
    signed = pytrees.signed
    monkeypatch.setattr(pytrees, 'signed', lambda meta, tree: signed(meta, jax.tree.map(np.zeros_like, tree)))
    if kind == 'state':
        checkpoints.save(3, what, {'stage': 'all'})
    else:
        checkpoints.save_outcome(3, what, {'complete': True})
    monkeypatch.undo()
    restore = {'state': lambda: checkpoints.restore(what), 'outcome': checkpoints.restore_outcome}[kind]
    refused(restore, 'checkpoints/base', 'checkpoint 3', 'not what was saved', 'remove this folder')


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / 'base').write_text('')
    refused(lambda: Checkpoints(tmp_path / 'base'), tmp_path / 'base', 'remove this')


@pytest.mark.parametrize(
    ('error', 'words'),
    [
        (PermissionError(errno.EACCES, 'no'), ['(Permission denied); mend that']),
        (ValueError("read [os_error_code='24'] [spec=..."), ['(Too many open files); mend that']),
        (FileNotFoundError(errno.ENOENT, 'no'), ['(No such file or directory); remove this folder']),
        (KeyError('params'), ["('params'); remove this folder"]),
        (ValueError('NOT_FOUND: x [spec=...'), ['(NOT_FOUND: x); remove this folder']),
    ],
)
def test_what_cannot_be_read_now_need_not_be_removed(work, monkeypatch, error, words):
    monkeypatch.setattr(work[1].checkpoints._manager, 'restore', mock.Mock(side_effect=error))
    refused(work[1].checkpoints.restore_outcome, *words)


def test_an_array_that_cannot_be_read_now_need_not_be_removed(work, monkeypatch):
    work[0].save_array('given', TRAIN.label)
    monkeypatch.setattr(np.lib.format, 'read_array', mock.Mock(side_effect=OSError(errno.EIO, 'Input/output error')))
    refused(lambda: work[0].load_array('given', remedy='remove it'), 'given.npy', 'Input/output error); mend that')


def test_want_of_memory_is_no_damage(work, monkeypatch):
    restore = mock.Mock(side_effect=MemoryError)
    monkeypatch.setattr(work[1].checkpoints, '_manager', mock.Mock(restore=restore))
    with pytest.raises(MemoryError):
        work[1].checkpoints.restore_outcome()


@pytest.mark.parametrize('meta', [{'stages_done': 'all'}, {'complete': 1}, {'record': []}, {'metrics_lines': 'x'}])
def test_a_meta_of_another_form_is_named(work, meta):
    checkpoints = work[1].checkpoints
    checkpoints.save_outcome(3, _weights(), meta)
    checkpoints._meta = None  # as of another process
    refused(lambda: checkpoints.meta, 'checkpoint 3', *meta, 'remove this folder')


@pytest.mark.parametrize('limit', [0, 300])
def test_a_disk_that_takes_no_more_is_one_line(tmp_path, capfd, limit):
    """Whichever file it is in which the space ends; later there is room."""
    threads = set(threading.enumerate())
    checkpoints, before = Checkpoints(tmp_path / 'base'), resource.getrlimit(resource.RLIMIT_FSIZE)

    def save():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            checkpoints.save(3, _state(2.0), {'stage': 'all'})
            checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    refused(save, f'{tmp_path}/base', 'cannot be saved (File too large)', 'rerun')
    with contextlib.suppress(InputError):  # of a part that had failed unseen
        checkpoints.close()
    for thread in set(threading.enumerate()) - threads:  # one of them may still make a folder
        with contextlib.suppress(ValueError):  # Orbax's threads raise in `join` what ended them
            thread.join(5)
    assert capfd.readouterr().err == ''
    again = Checkpoints(tmp_path / 'base')
    again.save(3, _state(2.0), {'stage': 'all'})
    again.close()
    assert Checkpoints(tmp_path / 'base').step == 3


def test_a_save_that_failed_is_told_once(tmp_path, monkeypatch):
    """At the end there is no checkpoint, of which something else would be said."""
    checkpoints = Checkpoints(tmp_path / 'base')
    with monkeypatch.context() as patched:
        patched.setattr(checkpoints._manager, 'save', mock.Mock(side_effect=OSError(errno.ENOSPC, 'full')))
        refused(lambda: checkpoints.save(3, _state(2.0), {}), 'cannot be saved (No space left on device)')
    checkpoints.close()


def test_what_failed_first_is_told_at_the_end(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path / 'base')
    checkpoints._manager.close()
    fails = {'wait_until_finished': OSError(errno.ENOSPC, 'full'), 'close': FileNotFoundError(errno.ENOENT, 'gone')}
    manager = mock.Mock(**{f'{name}.side_effect': error for name, error in fails.items()})
    monkeypatch.setattr(checkpoints, '_manager', manager)
    refused(checkpoints.close, 'cannot be saved (No space left on device)')
    manager.close.assert_called_once_with()


def test_a_checkpoint_goes_when_the_next_one_stands_on_the_disk(tmp_path, monkeypatch):
    """And not before: after a loss of power the newer one may be empty."""
    synced, real = [], files.sync

    def sync(folder):
        synced.append(sorted(int(path.name) for path in folder.parent.iterdir() if path.name.isdigit()))
        real(folder)

    monkeypatch.setattr(files, 'sync', sync)
    checkpoints = Checkpoints(tmp_path / 'base')
    (tmp_path / 'base/best').symlink_to('1')  # as people have them; it will lead nowhere
    (tmp_path / 'base/7.orbax-checkpoint-tmp/state').mkdir(parents=True)  # half a checkpoint of a killed process
    for step in (1, 2, 3):
        checkpoints.save(step, _state(), {'stage': 'all'})
    checkpoints.wait()
    assert synced == [[1], [1, 2], [2, 3]]
    assert {path.name for path in (tmp_path / 'base').iterdir()} == {'3', 'best'}
    checkpoints.save(4, _state(), {'stage': 'all'})
    checkpoints._manager.wait_until_finished()
    for path in (tmp_path / 'base/4/meta').glob('*'):
        path.write_bytes(b'')
    refused(
        lambda: Checkpoints(tmp_path / 'base').meta,
        'checkpoint 4',
        f'remove {tmp_path}/base/4 to go on',
        'checkpoint 3',
    )
    shutil.rmtree(tmp_path / 'base/4')
    assert Checkpoints(tmp_path / 'base').step == 3
    checkpoints._manager.close()


def test_one_without_a_digest_is_taken(work, monkeypatch):
    monkeypatch.setattr(pytrees, 'signed', lambda meta, tree: meta)
    checkpoints = work[1].checkpoints
    checkpoints.save_outcome(3, _weights(), {'complete': True})
    np.testing.assert_array_equal(checkpoints.restore_outcome()['params']['kernel'], [1, 2])


def test_what_reads_or_writes_beside_a_failure_prints_nothing(monkeypatch):
    """They end in other threads, once nobody waits for them any more."""
    seen = []
    monkeypatch.setattr(sys, 'unraisablehook', lambda said: seen.append(str(said.exc_value)))
    checkpoints_lib._hush_closed_loops.__wrapped__()
    for text in ('Event loop is closed', 'another fault'):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(text)))
    assert seen == ['another fault']


def test_the_digest_covers_the_meta():
    meta = pytrees.signed({'record': {'seconds': 0.1, 'stopped_after_epoch': {}}}, _weights())
    assert pytrees.signed(json.loads(json.dumps(meta)), _weights()) == meta
    assert pytrees.signed({**meta, 'record': {'seconds': 0.2}}, _weights())['sha256'] != meta['sha256']


@pytest.mark.parametrize(
    ('kind', 'array', 'needed'),
    [
        ('probabilities', np.zeros((3, 2)), 'finite numbers [4, 2]'),
        ('probabilities', np.full((4, 2), np.nan), 'finite numbers [4, 2]'),
        ('probabilities', np.zeros((4, 2), int), 'finite numbers [4, 2]'),
        ('label', np.array([0, 1, 0, 2]), 'classes from 0 to 1 [4]'),
        ('label', np.zeros(4), 'classes from 0 to 1 [4]'),
        ('label', np.array(1), 'classes from 0 to 1 [4]'),
    ],
)
def test_arrays_of_another_shape_type_or_range_are_named(tmp_path, kind, array, needed):
    folder, checkpoints = WorkDir(tmp_path), types.SimpleNamespace(meta={'arrays': [kind], 'summary': SUMMARY})
    folder.save_array(f'labels/base_{kind}', array)
    words = (f'labels/base_{kind}.npy', array.dtype, needed, 'checkpoints/base')
    refused(lambda: outcome.restore(folder, 'base', checkpoints, SPLITS, Belief.of(TRAIN)), *words)
