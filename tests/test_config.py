"""Configs: what is checked before anything runs, and that every config of the repository passes."""

import pathlib

import pytest

from noisy_jax import automatic
from noisy_jax import config as config_lib
from noisy_jax.errors import InputError
from noisy_jax.pipeline import CHOICES

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_configs_of_the_repository_are_valid(path):
    for argument in ('', ':loss=ce,phases=base', ':loss=nfl_rce,noise=asymmetric,rate=0.2', ':phases=finetuned'):
        config = config_lib.load(f'{path}{argument}')
        config_lib.validate(automatic.placeholders(config), CHOICES)
        assert config.is_locked


def test_the_arguments_reach_the_config():
    config = config_lib.load(f'{CONFIGS / "cifar10.py"}:loss=nfl_rce,noise=asymmetric,rate=0.3,phases=pretrained,smoke')
    assert (config.loss, config.noise.kind, config.noise.rate) == ('nfl_rce', 'asymmetric', 0.3)
    assert config.phases == ('pretrain', 'classify')
    assert config.model.encoder == 'resnet_tiny'


def test_the_papers_settings_are_the_defaults():
    config = config_lib.load(str(CONFIGS / 'cifar10.py'))
    assert config.model.encoder == 'resnet18'
    assert config.pretrain.temperature == 0.5
    assert config.contrast.temperature == 0.07
    assert config.contrast.min_weight == 0.01
    assert config.contrast.own_view_weight == 'one'
    assert config.pretrain.optimizer.learning_rate == 0.03
    assert config.classify.optimizer.learning_rate == 0.01
    assert config.classify.optimizer.weight_decay == 1e-4
    assert config.data.mean == (0.4914, 0.4822, 0.4465)
    assert config.select.history == 5


# The original's, for a batch of 256: contrastive; (rate, decay) of the head, of all weights, of all when fine-tuning.
RATES = {
    'cifar10': (0.03, (0.01, 1e-4), (0.01, 1e-4), (0.01, 1e-5)),
    'cifar100': (0.03, (0.1, 1e-4), (0.1, 1e-5), (0.1, 1e-5)),
    'clothing1m': (0.03, (0.1, 1e-4), (0.01, 1e-4), (0.001, 1e-5)),
    'webvision': (0.1, (0.04, 3e-6), (0.4, 3e-5), (0.04, 3e-6)),
    'tiny_imagenet': (0.1, (30, 0), (0.1, 1e-4), (0.1, 1e-4)),
}


@pytest.mark.parametrize('name', RATES)
def test_rates_of_each_data_set(name):
    config = config_lib.load(str(CONFIGS / f'{name}.py'))
    contrastive, head, whole, finetune = RATES[name]
    for phase in (config.pretrain, config.contrast):
        assert phase.optimizer.learning_rate == contrastive
        assert phase.optimizer.weight_decay == 1e-4
    for settings, expected in (
        (config.classify.head_optimizer, head),
        (config.finetune.head_optimizer, head),
        (config.select.optimizer, head),
        (config.base.optimizer, whole),
        (config.classify.optimizer, whole),
        (config.finetune.optimizer, finetune),
    ):
        assert (settings.learning_rate, settings.weight_decay) == expected


def test_losses_and_noise_of_each_data_set():
    webvision, cifar100n = (config_lib.load(str(CONFIGS / f'{name}.py')) for name in ('webvision', 'cifar100n'))
    assert webvision.loss_settings.nfl_rce.to_dict() == {'alpha': 50, 'beta': 0.1, 'gamma': 0.5}
    assert cifar100n.loss_settings.elr.to_dict() == {'beta': 0.9, 'lam': 7}
    assert webvision.noise.kind == cifar100n.noise.kind == 'none'
    cifar10n = config_lib.load(f'{CONFIGS / "cifar10n.py"}:labels=aggre_label')
    assert (cifar10n.data.dataset, cifar10n.data.label_key) == ('cifar10_n', 'aggre_label')


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_smoke(path):
    if path.stem == 'digits':
        return
    config = config_lib.load(f'{path}:smoke')
    config_lib.validate(automatic.placeholders(config), CHOICES)
    assert config.name == f'{path.stem}_smoke'
    assert config.data.image_size <= 32
    assert config.is_locked


@pytest.mark.parametrize(
    ('loss', 'classes', 'expected'),
    [
        ('nfl_rce', 10, {'alpha': 1, 'beta': 1, 'gamma': 0.5}),
        ('nfl_rce', 100, {'alpha': 10, 'beta': 0.1, 'gamma': 0.5}),
        ('nfl_rce', 50, {'alpha': 50, 'beta': 0.1, 'gamma': 0.5}),
        ('elr', 10, {'beta': 0.7, 'lam': 3}),
        ('elr', 100, {'beta': 0.9, 'lam': 7}),
        ('ce', 10, {}),
        ('sce', 100, {'alpha': 6, 'beta': 0.1}),
        ('nce_mae', 50, {'alpha': 50, 'beta': 1.0}),
        ('nce_mae', 100, {'alpha': 10, 'beta': 1.0}),
        ('sce', 50, {'alpha': 10, 'beta': 1.0}),
        ('gce', 100, {'q': 0.7}),
    ],
)
def test_loss_settings(loss, classes, expected):
    assert config_lib.loss_settings(loss, classes) == expected


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'noise.rate': 1.5}, ['noise.rate', '1.5', '0.0 to 1.0']),
        ({'noise.rate': float('nan')}, ['noise.rate', 'nan']),
        ({'noise.kind': 'symetric'}, ['noise.kind', "'symetric'", 'symmetric_may_keep', 'human']),
        ({'augment.standard.padding': -3}, ['augment.standard.padding', '-3', 'at least 0']),
        ({'data.std': (0.2, 0.0, 0.2)}, ['data.std', '(0.2, 0.0, 0.2)', 'at least 1e-06']),
        ({'data.mean': ('a',)}, ['data.mean', "('a',)", 'numbers']),
        ({'base.optimizer.milestones': ('a',)}, ['base.optimizer.milestones', "('a',)"]),
        ({'dividemix.threshold': 1.0}, ['dividemix.threshold', '0.99']),
        ({'bootstrap.loss': 'mse'}, ['bootstrap.loss', "'mse'", 'nfl_rce']),
        ({'augment.standard.degrees': 200.0}, ['augment.standard.degrees', '200.0']),
        ({'augment.moco.blur_probability': 1.2}, ['augment.moco.blur_probability', '1.2']),
        ({'loss': 'mse'}, ['loss', "'mse'", 'nfl_rce']),
        ({'model.encoder': 'resnet99'}, ['model.encoder', 'resnet18']),
        ({'model.stem': 'tiny'}, ['model.stem', "'tiny'", 'large']),
        ({'model.projection': 'nonlinear'}, ['model.projection', 'none']),
        ({'model.batch_norm_splits': -1}, ['model.batch_norm_splits', '-1', 'at least 0']),
        ({'pretrain.augment': 'mirror'}, ['pretrain.augment', 'simclr']),
        ({'classify.head_optimizer.name': 'lion'}, ['classify.head_optimizer.name', 'adamw']),
        ({'contrast.own_view_weight': 'two'}, ['contrast.own_view_weight', 'sample']),
        ({'finetune.epochs': -1}, ['finetune.epochs', '-1']),
        ({'select.epochs': 0}, ['select.epochs', 'at least 1']),
        ({'base.batch_size': 0}, ['base.batch_size', 'at least 1']),
        ({'pretrain.temperature': 0.0}, ['pretrain.temperature']),
        ({'phases': ('classify', 'pretrain')}, ['phases', 'in this order']),
        ({'phases': ('pretrain', 'select')}, ['phases', "'classify'"]),
        ({'phases': ()}, ['phases']),
        ({'phases': ('warmup',)}, ['phases', "'warmup'"]),
    ],
)
def test_bad_values_name_key_value_and_what_is_allowed(changes, words):
    config = config_lib.default()
    config.update_from_flattened_dict(changes)
    with pytest.raises(InputError) as caught:
        config_lib.validate(config, CHOICES)
    assert '\n' not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_key_too_many_or_too_few():
    config = config_lib.default().unlock()
    config.pretrain.tempreature = 0.5
    with pytest.raises(InputError, match=r"'pretrain\.temperature'"):
        config_lib.validate(config, CHOICES)
    config = config_lib.default().unlock()
    del config.noise
    with pytest.raises(InputError, match=r'noise\.\w+ is missing'):
        config_lib.validate(config, CHOICES)
