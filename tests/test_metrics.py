"""Means over an epoch."""

import json
import os

import numpy as np
import pytest
from conftest import refused

from noisy_jax import errors
from noisy_jax.training import metrics
from noisy_jax.training.metrics import Means, MetricWriter
from noisy_jax.workdir import WorkDir


@pytest.mark.parametrize('stopped_after', [0, 1, 699])
def test_an_epoch_that_was_stopped_has_the_bits_of_a_whole_one(stopped_after):
    losses = np.random.default_rng(0).exponential(size=700).astype(np.float32)
    whole, first = Means(), Means()
    for number, loss in enumerate(losses):
        whole.add({'loss': loss, 'accuracy': np.float32(number % 2)})
        if number < stopped_after:
            first.add({'loss': loss, 'accuracy': np.float32(number % 2)})
    resumed = Means(json.loads(json.dumps(first.saved())))
    assert resumed.steps == stopped_after
    for number, loss in list(enumerate(losses))[stopped_after:]:
        resumed.add({'loss': loss, 'accuracy': np.float32(number % 2)})
    assert resumed.values() == whole.values()
    assert whole.values()['accuracy'] == 0.5
    assert whole.values()['loss'] == pytest.approx(losses.astype(np.float64).mean(), rel=1e-12)


def _lines(folder):
    lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [(line['phase'], line['epoch']) for line in lines]


def test_a_resumed_phase_writes_what_came_after_its_checkpoint_anew(tmp_path):
    errors.warn_anew()
    writer = MetricWriter(tmp_path / 'metrics.jsonl')
    for epoch in (1, 2, 3):
        writer.write(phase='base', stage='all', epoch=epoch, step=epoch, loss=1.0)
    assert writer.lines_of('base') == 3
    assert writer.lines_of('base', within=2 * (tmp_path / 'metrics.jsonl').stat().st_size // 3) == 2
    writer.keep('base', 3)
    writer.keep('base', 1)
    assert _lines(tmp_path) == [('base', 1)]
    writer.write(phase='base', stage='all', epoch=2, step=2, loss=1.0)
    assert _lines(tmp_path) == [('base', 1), ('base', 2)]
    with pytest.warns(UserWarning, match=r'metrics\.jsonl lacks lines of this run'):
        writer.keep('base', 3)
    writer.close()


def test_a_phase_that_is_run_again_leaves_the_lines_of_later_ones(tmp_path):
    """Also those that a later phase, which was stopped, comes back to."""
    writer = MetricWriter(tmp_path / 'metrics.jsonl')
    for phase, epoch in (('pretrain', 1), ('classify', 1), ('classify', 2), ('classify_2', 1)):
        writer.write(phase=phase, stage='all', epoch=epoch, step=1, loss=1.0)
    writer.keep('pretrain', 0)
    writer.write(phase='pretrain', stage='all', epoch=1, step=1, loss=2.0)
    writer.keep('classify', 1)
    writer.close()
    assert _lines(tmp_path) == [('classify', 1), ('classify_2', 1), ('pretrain', 1)]


@pytest.mark.parametrize('link', [os.link, lambda file, copy: (file.rename(copy), file.symlink_to(copy))])
def test_a_snapshot_by_links_stays(tmp_path, link):
    folder = WorkDir(tmp_path)
    line = json.dumps({'phase': 'classify', 'stage': 'all', 'epoch': 1, 'step': 4, 'loss': 0.5}) + '\n'
    folder.metrics.write_text(line)
    link(folder.metrics, tmp_path / 'snapshot')
    metrics.check(folder)
    writer = MetricWriter(folder.metrics)
    writer.write(phase='classify', stage='all', epoch=2, step=8, loss=0.4)
    writer.close()
    assert (tmp_path / 'snapshot').read_text() == line
    assert len(folder.metrics.read_text().splitlines()) == 2


@pytest.mark.parametrize('torn', ['{"phase": "ba', '{"phase": "base", "loss": 1.0}'])
def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path, torn):
    folder, line = WorkDir(tmp_path), '{"phase": "base", "stage": "all", "epoch": 1, "step": 1, "loss": 1.0}\n'
    metrics.check(folder)  # there is none yet
    folder.metrics.write_text(line + torn)
    metrics.check(folder)
    assert folder.metrics.read_text() == line
    folder.metrics.write_text('{"phase": \n' + line)
    refused(lambda: metrics.check(folder), 'metrics.jsonl', 'remove it')
