"""Stopped or killed in the middle of an epoch of each phase, a run ends with the same bits as one left alone."""

import collections
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent

# 4 steps an epoch: the second epoch of the last stage of a phase.
FATES = [('pretrain', 6, 'SIGTERM'), ('classify', 14), ('finetune', 14)]
CUT = {'classify': 'meta', 'finetune': 'state'}  # of several epochs: a checkpoint is there
OTHER_FATES = [('base', 6), ('select', 6), ('contrast', 6)]


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


def _killed(folder, fates, cut=()):
    """Ended once in each of these phases; a file of the newest checkpoint may be `cut` each time."""
    expected = ()
    for phase, *fate in fates:
        result = launch(folder, phase, *fate)
        assert result.returncode == (130 if 'SIGTERM' in fate else -9), result.stderr
        assert all(words in result.stderr for words in expected)
        summary = folder / 'summary.json'
        assert not summary.exists() or not json.loads(summary.read_text())['complete']
        expected = _cut(folder / 'checkpoints' / phase, cut[phase]) if phase in cut else ()
    result = launch(folder)
    assert result.returncode == 0, result.stderr
    assert all(words in result.stderr for words in expected)
    return folder


def _cut(steps, item):
    """Adds a newer checkpoint in which the files of `item` are empty; returns what is to be said of it."""
    newest = max(int(path.name) for path in steps.iterdir() if path.name.isdigit())
    shutil.copytree(steps / str(newest), steps / str(newest + 1))
    for path in (steps / str(newest + 1) / item).rglob('*'):
        if path.is_file():
            path.write_bytes(b'')
    return f'checkpoint {newest + 1} cannot be read', f'the phase goes on from checkpoint {newest}'


@pytest.fixture(scope='module')
def killed(tmp_path_factory):
    return _killed(tmp_path_factory.mktemp('killed'), FATES, CUT)


def _check_same(killed, undisturbed):
    assert _arrays(killed) == _arrays(undisturbed)
    metrics = [(folder / 'metrics.jsonl').read_text() for folder in (killed, undisturbed)]
    assert metrics[0] == metrics[1], 'means are over the whole epoch'
    assert not list(killed.rglob('*.part'))


def test_stopped_and_killed_in_three_phases(undisturbed, killed):
    """By a signal that saves, then twice by one that does not, after which the newest checkpoint is damaged."""
    _check_same(killed, undisturbed)


@pytest.mark.slow
def test_killed_in_the_other_phases(undisturbed, tmp_path):
    _check_same(_killed(tmp_path, OTHER_FATES), undisturbed)


def test_tensorboard_shows_every_epoch_once(undisturbed, killed):
    pytest.importorskip('tensorboardX', reason='the extra `tensorboard` is not installed')
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    lines = [json.loads(line) for line in (killed / 'metrics.jsonl').read_text().splitlines()]
    expected, epochs = {}, collections.Counter()
    for line in lines:
        epochs[line['phase']] += 1
        for name, value in line.items():
            if name not in ('phase', 'stage', 'epoch', 'step') and value is not None:
                expected.setdefault(f'{line["phase"]}/{name}', []).append((epochs[line['phase']], value))
    assert expected['classify/loss'][-1][0] == 4, 'over both stages'
    boards = [
        events.EventAccumulator(str(folder / 'tensorboard'), size_guidance={'scalars': 0}).Reload()
        for folder in (killed, undisturbed)
    ]
    for board in boards:
        shown = {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.Tags()['scalars']}
        assert shown.keys() == expected.keys()
        for tag, points in shown.items():
            assert points == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected[tag]]
        histograms = {'labels/loss', 'labels/clean_probability', 'select/losses', 'select/clean_probability'}
        assert set(board.Tags()['histograms']) == histograms
        assert all(board.Histograms(tag)[0].histogram_value.num == 300 for tag in histograms)
        views, suspects = (board.Images(tag)[0] for tag in ('pretrain/views', 'labels/suspects'))
        assert (views.height, views.width) == (3 * 8, 12 * 8)
        assert (suspects.height, suspects.width) == (3 * 8, 8 * 8)
    texts = [board.Tensors('labels/suspects/text_summary')[0].tensor_proto.string_val[0] for board in boards]
    assert texts[0] == texts[1]
    with (killed / 'labels.csv').open() as file:
        first = min(csv.DictReader(file), key=lambda row: (float(row['clean_probability']), -float(row['pred_prob'])))
    assert f'{first["given_label"]} → {first["suggested_label"]}' in texts[0].decode().splitlines()[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('pretrain', 'classify', 'step'),
    [('moco', 'dividemix', 22), ('mopro', 'bootstrap', 14), ('sup_moco', 'elr_plus', 14), ('simclr', 'ssr', 14)],
)
def test_other_methods_killed(tmp_path, pretrain, classify, step):
    """Queue, momentum encoder, prototypes; both networks, their split, averages and heads go on as they were."""
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


@pytest.mark.slow
def test_the_guard_says_the_same_after_a_kill(tmp_path):
    """In the last of three stages: those before are over, and their states are not known any more."""
    changes = {'phases': ('pretrain', 'classify'), 'classify__method': 'bootstrap', 'bootstrap__warmup_epochs': 2}
    changes |= {'guard': True, 'noise__rate': 0.2}
    records = []
    for folder, fates in ((tmp_path / 'undisturbed', []), (tmp_path / 'killed', [('classify', 22)])):
        for phase, at in fates:
            assert launch(folder, phase, at, **changes).returncode == -9
        result = launch(folder, **changes)
        assert result.returncode == 0, result.stderr
        found = json.loads((folder / 'summary.json').read_text())['phases'][1]
        records.append({name: value for name, value in found.items() if name not in ('seconds', 'images_per_second')})
    assert records[0] == records[1]
    assert 'heads' in records[0]
    assert _arrays(tmp_path / 'killed') == _arrays(tmp_path / 'undisturbed')
