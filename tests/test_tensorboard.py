"""TensorBoard's files are a picture of a run, and cost it nothing."""

import os
import resource
import threading

import numpy as np
import pytest

from noisy_jax import errors

tensorboard = pytest.importorskip('noisy_jax.training.tensorboard')
pytest.importorskip('tensorboardX', reason='the extra `tensorboard` is not installed')


def _lines(board, count):
    for number in range(count):
        board.scalars({'phase': 'classify', 'stage': 'all', 'epoch': number, 'step': number, 'loss': 1.0})


def test_a_run_outlasts_a_disk_that_is_full_for_a_while(tmp_path, monkeypatch):
    """The thread that writes has ended then, and its queue takes ten points."""
    monkeypatch.setattr(tensorboard, '_FLUSH_SECONDS', 0)
    monkeypatch.setattr(tensorboard, 'warn_once', (said := []).append)
    errors.warn_anew()
    board, before = tensorboard.Board(tmp_path / 'tensorboard'), resource.getrlimit(resource.RLIMIT_FSIZE)
    _lines(board, 3)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        _lines(board, 3)
        while not said:
            os.sched_yield()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 'cannot be written (File too large); TensorBoard shows what was before' in said[0]
    goes_on = threading.Thread(target=lambda: (_lines(board, 40), board.close()), daemon=True)
    goes_on.start()
    goes_on.join(60)
    assert not goes_on.is_alive(), 'it waits for the thread that has ended'


def test_values_that_are_not_finite_have_no_histogram(tmp_path):
    board = tensorboard.Board(tmp_path)
    board.histogram('select/weight', np.array([np.nan, np.inf]))
    board.close()
