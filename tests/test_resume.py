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


def launch(*arguments):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(HERE.parent), str(HERE)])}
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
