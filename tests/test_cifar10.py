"""configs/cifar10.py on real CIFAR-10 JPEGs."""

import csv
import json
import pathlib

import numpy as np
import pytest

from noisy_jax import config as config_lib
from noisy_jax import pipeline

CONFIG = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'cifar10.py'


def _config(argument, cifar):
    config = config_lib.load(f'{CONFIG}:{argument}')
    config.data.path = str(cifar)
    for phase in config.phases:
        config[phase].batch_size = 40
    return config


def test_phases_on_real_jpegs(cifar, tmp_path):
    config = _config('smoke,phases=pretrained,rate=0.2', cifar)
    config.data.limit, config.report.page = 0, False  # its own tests ask for it
    config.pretrain.epochs, config.classify.head_epochs, config.classify.epochs = 2, 0, 1
    summary = pipeline.run(config, tmp_path)
    assert summary['complete']
    assert [phase['name'] for phase in summary['phases']] == ['pretrain', 'classify']
    # Two classes: 0.2 of each class goes to the other.
    assert summary['noise']['realised_rate'] == pytest.approx(0.2)
    with (tmp_path / 'labels.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert rows[0]['id'] == 'train/airplane/0000.jpg'
    assert {row['given_label'] for row in rows} == {'airplane', 'automobile'}
    assert sum(row['given_label'] != row['true_label'] for row in rows) == 40
    lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
    losses = [line['loss'] for line in lines if line['phase'] == 'pretrain']
    assert losses[1] < losses[0]


@pytest.mark.slow
def test_resnet18_learns_two_classes(cifar, tmp_path):
    config = _config('loss=ce,noise=none,phases=base', cifar)
    assert config.model.encoder == 'resnet18'
    config.base.epochs, config.classify.optimizer.learning_rate = 6, 0.2
    summary = pipeline.run(config, tmp_path)
    assert summary['phases'][0]['test_accuracy_best'] > 0.65
    assert np.load(tmp_path / 'pred_probs.npy').shape == (200, 2)
