"""Killed in the middle of an epoch of each phase, a run ends with the same bits as one that was left alone."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent

# 4 steps an epoch: the second epoch of the last stage of each phase.
FATES = [('base', 6), ('pretrain', 6), ('classify', 14), ('select', 6), ('contrast', 6), ('finetune', 14)]


def launch(*arguments, **changes):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(HERE.parent), str(HERE)])}
    environment['CHANGES'] = json.dumps(changes)
    command = [sys.executable, str(HERE / 'killed_run.py'), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    result = launch(folder)
    assert result.returncode == 0, result.stderr
    return folder


def _arrays(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in [*folder.glob('*.npy'), *folder.glob('labels/*.npy'), folder / 'labels.csv']
    }


def test_killed_in_each_phase(undisturbed, tmp_path):
    for phase, step in FATES:
        assert launch(tmp_path, phase, step).returncode == -9
        summary = tmp_path / 'summary.json'
        assert not summary.exists() or not json.loads(summary.read_text())['complete']
    result = launch(tmp_path)
    assert result.returncode == 0, result.stderr
    assert _arrays(tmp_path) == _arrays(undisturbed)
    assert (tmp_path / 'metrics.jsonl').read_text() == (undisturbed / 'metrics.jsonl').read_text()
    assert not list(tmp_path.rglob('*.tmp'))


def test_stop_signal_saves_in_the_middle_of_an_epoch(undisturbed, tmp_path):
    result = launch(tmp_path, 'pretrain', 6, 'SIGTERM')
    assert result.returncode == 130, result.stderr
    result = launch(tmp_path)
    assert result.returncode == 0, result.stderr
    assert _arrays(tmp_path) == _arrays(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('pretrain', 'classify', 'step'),
    [('moco', 'dividemix', 22), ('mopro', 'bootstrap', 14), ('sup_moco', 'elr_plus', 14)],
)
def test_other_methods_killed(tmp_path, pretrain, classify, step):
    """Queue, momentum encoder, prototypes; both networks, their split and averages go on as they were."""
    changes = {'phases': ('pretrain', 'classify'), 'pretrain__method': pretrain, 'classify__method': classify}
    changes |= {'moco__queue': 128, 'mopro__strong_augment': 'handwriting', 'mopro__start_epoch': 1}
    changes |= {'dividemix__warmup_epochs': 2, 'bootstrap__warmup_epochs': 2}
    undisturbed, killed = tmp_path / 'undisturbed', tmp_path / 'killed'
    result = launch(undisturbed, **changes)
    assert result.returncode == 0, result.stderr
    for phase, at in (('pretrain', 6), ('classify', step)):
        assert launch(killed, phase, at, **changes).returncode == -9
    result = launch(killed, **changes)
    assert result.returncode == 0, result.stderr
    assert _arrays(killed) == _arrays(undisturbed)
    assert (killed / 'metrics.jsonl').read_text() == (undisturbed / 'metrics.jsonl').read_text()
