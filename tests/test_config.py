"""Configs: what is checked before anything runs, and that every config of the repository passes."""

import json
import pathlib

import pytest
from conftest import refused

from noisy_jax import config as config_lib
from noisy_jax import losses, settings
from noisy_jax.config import Setting
from noisy_jax.errors import InputError
from noisy_jax.methods import METHODS
from noisy_jax.settings import automatic
from noisy_jax.training import optim

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_configs_of_the_repository_are_valid(path):
    for argument in ('', ':loss=ce,phases=base', ':loss=nfl_rce,noise=asymmetric,rate=0.2', ':phases=finetuned'):
        config = config_lib.load(f'{path}{argument}')
        settings.validate(config, unchecked=automatic.open_settings(config))
        assert config.is_locked


def test_the_arguments_reach_the_config():
    config = config_lib.load(f'{CONFIGS / "cifar10.py"}:loss=nfl_rce,noise=asymmetric,rate=0.3,phases=pretrained,smoke')
    assert (config.loss, config.noise.kind, config.noise.rate) == ('nfl_rce', 'asymmetric', 0.3)
    assert config.phases == ('pretrain', 'classify')
    assert config.model.encoder == 'resnet_tiny'


def test_the_papers_recipe_is_that_of_the_originals_demo():
    config = config_lib.load(f'{CONFIGS / "cifar10.py"}:recipe=paper')
    assert config.model.encoder == 'resnet18'
    assert config.data.mean == (0.4914, 0.4822, 0.4465)
    assert (config.pretrain.temperature, config.pretrain.augment, config.pretrain.batch_size) == (0.5, 'moco', 128)
    adam = config.pretrain.optimizer
    assert (adam.name, adam.learning_rate, adam.weight_decay, adam.schedule) == ('adam', 1e-3, 1e-6, 'constant')
    assert config.contrast.temperature == 0.07
    assert config.contrast.min_weight == 0.01
    assert config.contrast.own_view_weight == 'one'
    assert config.augment.standard.degrees == 20
    assert config.select.history == 5
    assert not config.guard
    assert (config.head_optimizer.schedule, config.classify.optimizer.schedule) == ('constant', 'cosine')
    for phase in (config.classify, config.finetune):
        assert (phase.head_epochs, phase.epochs, phase.head_loss) == (20, 100, 'same')
        optimizer = phase.optimizer
        assert (optimizer.name, optimizer.learning_rate, optimizer.weight_decay) == ('sgd', 0.01, 1e-4)
        assert optimizer.encoder_scale == 1.0


@pytest.mark.parametrize('name', ['cifar100', 'cifar100n', 'tiny_imagenet', 'webvision', 'clothing1m'])
def test_a_pre_trained_encoder_is_slow(name):
    config = config_lib.load(str(CONFIGS / f'{name}.py'))
    assert config.guard
    assert config.classify.head_loss == 'auto'
    assert config.classify.optimizer.encoder_scale == config.finetune.optimizer.encoder_scale == 0.1


@pytest.mark.parametrize('name', ['cifar10', 'cifar10n'])
def test_our_recipe_keeps_the_encoder_slow_and_chooses_the_head(name):
    config = config_lib.load(str(CONFIGS / f'{name}.py'))
    assert config.guard
    assert config.classify.head_loss == 'auto'
    assert config.classify.optimizer.encoder_scale == config.finetune.optimizer.encoder_scale == 0.1
    simclr = config_lib.load(str(CONFIGS / 'cifar10_simclr.py'))
    for key in ('batch_size', 'temperature', 'augment', 'method', 'optimizer'):
        assert config.pretrain[key] == simclr.pretrain[key], key  # the recipe that was measured
    with pytest.raises(InputError, match="recipe='theirs' is unknown; allowed: ours, paper"):
        config_lib.load(f'{CONFIGS / name}.py:recipe=theirs')


# The original's, for a batch of 256: contrastive; (rate, decay) of the head, of all weights, of all when fine-tuning.
RATES = {
    'cifar100': (0.03, (0.1, 1e-4), (0.1, 1e-5), (0.1, 1e-5)),
    'clothing1m': (0.03, (0.1, 1e-4), (0.01, 1e-4), (0.001, 1e-5)),
    'webvision': (0.1, (0.04, 3e-6), (0.4, 3e-5), (0.04, 3e-6)),
    'tiny_imagenet': (0.1, (0.1, 0), (0.1, 1e-4), (0.1, 1e-4)),
}


@pytest.mark.parametrize('name', RATES)
def test_rates_of_each_data_set(name):
    config = config_lib.load(str(CONFIGS / f'{name}.py'))
    contrastive, head, whole, finetune = RATES[name]
    for phase in ('pretrain', 'contrast'):
        optimizer = optim.settings_of(config, phase, head=False)
        assert (optimizer.learning_rate, optimizer.weight_decay) == (contrastive, 1e-4)
    expected = {(phase, True): head for phase in ('classify', 'select', 'finetune')}
    expected |= {('base', False): whole, ('classify', False): whole, ('finetune', False): finetune}
    for (phase, alone), values in expected.items():
        optimizer = optim.settings_of(config, phase, head=alone)
        assert (optimizer.learning_rate, optimizer.weight_decay) == values


def test_elr_of_asymmetric_noise():
    """The authors' config_cifar10_asym.json; for CIFAR-100 they have one config for both kinds."""
    for name, kind, expected in (
        ('cifar10', 'asymmetric', {'beta': 0.9, 'lam': 1}),
        ('cifar10', 'symmetric', {'beta': 0.7, 'lam': 3}),
        ('cifar100', 'asymmetric', {'beta': 0.9, 'lam': 7}),
    ):
        config = config_lib.load(f'{CONFIGS / name}.py:noise={kind}')
        assert config.loss_settings.elr.to_dict() == expected


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        ('cifar10_c2d:rate=0.2', {'unlabelled_weight': 0, 'threshold': 0.5, 'history': 1, 'negative_entropy': False}),
        ('cifar10_c2d:rate=0.5', {'unlabelled_weight': 25}),
        ('cifar10_c2d:rate=0.8', {'unlabelled_weight': 25, 'threshold': 0.5, 'history': 1}),
        ('cifar10_c2d:rate=0.9', {'unlabelled_weight': 50, 'history': 5, 'negative_entropy': False}),
        ('cifar10_c2d:noise=asymmetric,rate=0.4', {'unlabelled_weight': 0, 'negative_entropy': True}),
        ('cifar100_c2d:rate=0.2', {'unlabelled_weight': 25, 'threshold': 0.5}),
        ('cifar100_c2d:rate=0.5', {'unlabelled_weight': 150, 'threshold': 0.5}),
        ('cifar100_c2d:rate=0.8', {'unlabelled_weight': 500, 'threshold': 0.03, 'history': 1}),
        ('cifar100_c2d:rate=0.9', {'unlabelled_weight': 500, 'threshold': 0.03, 'history': 5}),
        ('webvision', {'unlabelled_weight': 0, 'mixup': 0.5, 'warmup_epochs': 1, 'threshold': 0.03}),
        ('webvision:phases=base', {'threshold': 0.5}),
    ],
)
def test_dividemix_by_noise_and_data_set(config, expected):
    """Li 2020, appendix; C2D's README; their Train_webvision.py."""
    name, _, argument = config.partition(':')
    own = config_lib.load(f'{CONFIGS / name}.py:{argument}').dividemix
    assert {key: own[key] for key in expected} == expected


@pytest.mark.parametrize(
    ('name', 'method', 'stages'),
    [
        # (epochs, rate at the start, epoch from which it is a tenth, the next such epoch, clip) of each stage
        ('cifar10_c2d', 'classify', [(5, 0.02, None, None, 1), (355, 0.02, 145, 295, 0)]),
        ('cifar100_c2d', 'classify', [(5, 0.02, None, None, 1), (355, 0.02, 145, 295, 0)]),
        ('cifar10_elr_plus', 'base', [(200, 0.02, 150, None, 0)]),
        ('cifar100_elr_plus', 'base', [(250, 0.02, 200, None, 0)]),
        ('webvision:method=dividemix', 'classify', [(1, 0.01, None, None, 0), (79, 0.01, 39, None, 0)]),
    ],
)
def test_published_schedules_of_two_networks(name, method, stages):
    """Epochs of the warm-up count in the authors' milestones; the rate is that of the batch."""
    name, _, argument = name.partition(':')
    config = config_lib.load(f'{CONFIGS / name}.py:{argument}')
    found = [stage for stage in METHODS[config[method].method].stages(config, method) if stage.epochs]
    for stage, (epochs, rate, *milestones, clip) in zip(found, stages, strict=True):
        own = stage.optimizer
        assert (own.name, own.momentum, own.weight_decay, own.encoder_scale) == ('sgd', 0.9, 5e-4, 1)
        assert (stage.epochs, own.clip_norm) == (epochs, clip)
        assert own.learning_rate * stage.batch_size / 256 == pytest.approx(rate)
        assert tuple(own.milestones) == tuple(filter(None, milestones)) or own.schedule == 'constant'


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
    settings.validate(config, unchecked=automatic.open_settings(config))
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
        ('elr', 50, {'beta': 0.7, 'lam': 3}),  # as the authors' WebVision
        ('elr', 200, {'beta': 0.9, 'lam': 7}),
        ('nfl_rce', 14, {'alpha': 1, 'beta': 1, 'gamma': 0.5}),
        ('nfl_rce', 99, {'alpha': 50, 'beta': 0.1, 'gamma': 0.5}),
        ('nfl_rce', 200, {'alpha': 10, 'beta': 0.1, 'gamma': 0.5}),
        ('ce', 10, {}),
        ('sce', 100, {'alpha': 6, 'beta': 0.1}),
        ('nce_mae', 50, {'alpha': 50, 'beta': 1.0}),
        ('nce_mae', 100, {'alpha': 10, 'beta': 1.0}),
        ('sce', 50, {'alpha': 10, 'beta': 1.0}),
        ('gce', 100, {'q': 0.7}),
    ],
)
def test_loss_settings(loss, classes, expected):
    assert settings.default(classes).loss_settings[loss].to_dict() == expected
    assert list(losses.settings(classes)[loss]) == list(expected)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'noise.rate': 1.5}, ['noise.rate', '1.5', '0.0 to 1.0']),
        ({'noise.rate': float('nan')}, ['noise.rate', 'nan']),
        ({'noise.kind': 'symetric'}, ['noise.kind', "'symetric'", 'symmetric_may_keep', 'human']),
        ({'augment.standard.padding': -3}, ['augment.standard.padding', '-3', 'from 0 to 8192']),
        ({'data.std': (0.2, 0.0, 0.2)}, ['data.std', '(0.2, 0.0, 0.2)', 'from 1e-06']),
        ({'data.mean': ('a',)}, ['data.mean', "('a',)", 'numbers']),
        ({'classify.optimizer.milestones': ('a',)}, ['classify.optimizer.milestones', "('a',)"]),
        ({'dividemix.threshold': 1.0}, ['dividemix.threshold', '0.99']),
        ({'bootstrap.loss': 'mse'}, ['bootstrap.loss', "'mse'", 'nfl_rce']),
        ({'augment.standard.degrees': 200.0}, ['augment.standard.degrees', '200.0']),
        ({'augment.moco.blur_probability': 1.2}, ['augment.moco.blur_probability', '1.2']),
        ({'loss': 'mse'}, ['loss', "'mse'", 'nfl_rce']),
        ({'model.encoder': 'resnet99'}, ['model.encoder', 'resnet18']),
        ({'model.stem': 'tiny'}, ['model.stem', "'tiny'", 'large']),
        ({'model.projection': 'nonlinear'}, ['model.projection', 'none']),
        ({'model.batch_norm_splits': -1}, ['model.batch_norm_splits', '-1', 'from 0 to']),
        ({'pretrain.augment': 'mirror'}, ['pretrain.augment', 'simclr']),
        ({'head_optimizer.name': 'lion'}, ['head_optimizer.name', 'adamw']),
        ({'contrast.own_view_weight': 'two'}, ['contrast.own_view_weight', 'sample']),
        ({'finetune.epochs': -1}, ['finetune.epochs', '-1']),
        ({'select.epochs': 0}, ['select.epochs', 'from 1 to']),
        ({'pretrain.batch_size': 1}, ['pretrain.batch_size', 'from 2 to']),
        ({'base.batch_size': 0}, ['base.batch_size', 'from 1 to']),
        ({'pretrain.temperature': 0.0}, ['pretrain.temperature']),
        ({'data.mean': (0.5, float('nan'))}, ['data.mean', 'nan', 'a tuple of numbers from 0.0 to 1.0']),
        ({'loss_settings.nfl_rce.alpha': -1.0}, ['loss_settings.nfl_rce.alpha', '-1.0']),
        ({'classify.optimizer.encoder_scale': -0.1}, ['encoder_scale', '-0.1']),
        ({'augment.handwriting.scale': 1.0}, ['augment.handwriting.scale', '0.99']),
        ({'model.width': 10**8}, ['model.width', '2048']),
        ({'data.image_size': 10**6}, ['data.image_size', '8192']),
        ({'phases': ('classify', 'pretrain')}, ['phases', 'in this order']),
        ({'phases': ('pretrain', 'select')}, ['phases', "'classify'"]),
        ({'phases': ()}, ['phases']),
        ({'phases': ('warmup',)}, ['phases', "'warmup'"]),
    ],
)
def test_bad_values_name_key_value_and_what_is_allowed(changes, words):
    config = settings.default()
    config.update_from_flattened_dict(changes)
    refused(lambda: settings.validate(config), *words)


def test_a_key_too_many_or_too_few():
    config = settings.default().unlock()
    config.pretrain.tempreature = 0.5
    with pytest.raises(InputError, match=r"'pretrain\.temperature'"):
        settings.validate(config)
    config = settings.default().unlock()
    del config.noise
    with pytest.raises(InputError, match=r'noise\.\w+ is missing'):
        settings.validate(config)


@pytest.mark.parametrize(
    ('setting', 'accepted', 'not_accepted'),
    [
        (Setting(1, '', least=0), (0, 10**9), (-1, 1.0, True, '1', (1,), None)),
        (Setting(1.0, '', least=0.0, most=2.0), (0, 2.0), (2.1, float('nan'), float('inf'), False, '1')),
        (Setting(True, ''), (True, False), (1, 'True')),
        (Setting('', ''), ('', 'text'), (0, ())),
        (Setting('a', '', choices=('a', 'b')), ('a', 'b'), ('c', '')),
        (Setting(1.0, ''), (-1, 1e30), (1e39, -(10**400), float('-inf'))),  # as float32, infinite too
        (Setting('', ''), ('a\nb', 'r\udcfc'), ('a\0b', 'r\ud83d')),
        (Setting((), '', least=0), ((), (1, 0.5), [1]), (1, ('a',), (-1,), (True,), ((1,),), (float('nan'),), (1e39,))),
        (Setting(('a',), '', choices=('a', 'b')), ((), ('b', 'a')), ('a', ('c',), (1,))),
    ],
)
def test_what_a_setting_accepts(setting, accepted, not_accepted):
    assert all(setting.accepts(value) for value in accepted)
    assert not any(setting.accepts(value) for value in not_accepted)


def test_every_default_is_accepted_and_every_setting_has_a_meaning():
    for key, setting in config_lib.flatten(settings.sections()):
        assert setting.accepts(setting.default), key
        assert setting.meaning, key
        assert '\n' not in setting.meaning, key


def test_every_number_has_bounds_and_they_hold_together():
    """So that no size takes all memory, and no rate or weight is infinite in float32."""
    for key, setting in config_lib.flatten(settings.sections()):
        if isinstance(setting.default, (int, float, tuple)) and not setting.words:
            assert setting.least < setting.most, key
            number = (setting.most * 10,) if isinstance(setting.default, tuple) else setting.most * 10
            assert not setting.accepts(number), key


def test_a_config_comes_back_from_json():
    config = settings.default()
    again = config_lib.from_json(json.loads(json.dumps(config.to_dict())))
    assert dict(config_lib.flatten(again)) == dict(config_lib.flatten(config))
    settings.validate(again)


def test_a_renamed_setting_is_refused_with_its_new_name(tmp_path):
    now = 'pretrain.optimizer.learning_rate'
    old = 'contrast.optimizer.learning_rate'
    refused(lambda: config_lib.override(settings.default(), old, '1', settings.RENAMED), f'config.{old} is now {now}')
    config = settings.default().unlock()
    config.base.optimizer = config.classify.optimizer
    refused(lambda: settings.validate(config), 'config.base.optimizer.', 'is now classify.optimizer.')
    assert all(config_lib.flatten(settings.default()[new.split('.')[0]]) for new in settings.RENAMED.values())
    file = tmp_path / 'mine.py'
    file.write_text(
        'from noisy_jax import settings\n'
        'def get_config():\n'
        '    config = settings.default()\n'
        '    config.contrast.optimizer.learning_rate = 1.0\n'
    )
    refused(lambda: config_lib.load(str(file), settings.RENAMED), 'mine.py', 'contrast.optimizer.* is now pretrain.')


def test_the_work_directory_of_another_version_is_refused():
    saved = settings.default().to_dict()
    settings.of_run(json.loads(json.dumps(saved)), 'work')
    added = {name: values for name, values in saved.items() if name != 'dividemix'}
    settings.of_run(added, 'work')  # a method that was added since locks no run out
    gone = saved | {'contrast_optimizer': {'name': 'sgd'}}
    refused(lambda: settings.of_run(gone, 'work'), 'work: another version', 'contrast_optimizer.', '--workdir')
    refused(lambda: settings.of_run({'architectures': ['ResNet']}, 'work'), 'work/config.json is not that of a run')


@pytest.mark.parametrize(
    ('code', 'words'),
    [
        ('1 / 0', ['ZeroDivisionError', 'line 2']),
        ('raise ValueError("no such data")', ['ValueError', 'no such data', 'line 2']),
        ('return None', ['NoneType', 'ConfigDict']),
        ('raise SystemExit(3)', ['SystemExit: 3', 'line 2']),
        ('return get_config()', ['RecursionError', 'line 2']),
        (
            'return m.ConfigDict({"a": {"b": 1}, "c": {"seed": m.config_dict.required_placeholder(int)}})',
            ['config.c.seed is a placeholder'],
        ),
        ('return m.ConfigDict({"seed": m.config_dict.placeholder(int)})', ['config.seed is of type NoneType']),
        ('return m.ConfigDict({"seed": len})', ['config.seed is of type builtin']),
        ('return m.ConfigDict({3: 4, "seed": 5})', ['the names of settings are texts']),
        ('c = m.ConfigDict(); c.c = c; return c', ['a config is a part of itself']),
        (
            'm.ConfigDict({"ab": {"c": 1}}).lock().abc = 2',
            ['"abc" does not exist', 'locked. Did you mean "ab"', 'line 2'],
        ),
    ],
)
def test_a_config_file_that_fails_is_named_with_its_line(tmp_path, code, words):
    path = tmp_path / 'mine.py'
    path.write_text(f'def get_config():\n    {code}\n\nimport ml_collections as m\n')
    refused(lambda: config_lib.load(str(path)), 'mine.py', *words)


def test_a_name_with_another_suffix_is_no_config_of_the_package():
    assert config_lib.load('digits.py') == config_lib.load('digits')
    refused(lambda: config_lib.load('digits.yaml'), "no file 'digits.yaml'")


def test_a_frozen_config_can_be_changed(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(
        'from ml_collections import FrozenConfigDict\n'
        'from noisy_jax import settings\n'
        'def get_config():\n'
        '    return FrozenConfigDict(settings.default())\n'
    )
    config = config_lib.load(str(file))
    config_lib.override(config, 'seed', '3')
    assert config.seed == 3


@pytest.mark.parametrize(
    ('key', 'text', 'value'),
    [
        ('seed', '3', 3),
        ('noise.rate', '1', 1.0),
        ('report.page', 'false', False),
        ('report.page', '', True),
        ('data.path', '3', '3'),
        ('data.mean', '(0.5, 0.5)', (0.5, 0.5)),
        ('data.mean', '0.5,0.25', (0.5, 0.25)),
        ('data.mean', '0.5', (0.5,)),
        ('phases', 'pretrain,classify', ('pretrain', 'classify')),
        ('phases', "('base',)", ('base',)),
        ('phases', 'base', ('base',)),
    ],
)
def test_a_setting_of_the_command_line(key, text, value):
    config = settings.default()
    config_lib.override(config, key, text)
    assert dict(config_lib.flatten(config))[key] == value
    assert type(dict(config_lib.flatten(config))[key]) is type(value)


@pytest.mark.parametrize(
    ('key', 'text'),
    [
        ('seed', '1.5'),
        ('seed', '9' * 5000),
        ('report.page', 'perhaps'),
        ('data.mean', '1 2'),
        ('data.mean', '{[]: 1}'),
        ('phases', '('),
        ('phases', '-' * 5000 + '1'),
    ],
)
def test_text_of_another_type(key, text):
    refused(lambda: config_lib.override(settings.default(), key, text), f'config.{key}', repr(text)[:50], 'of type')


def test_a_group_is_no_setting():
    refused(
        lambda: config_lib.override(settings.default(), 'data', '3'), 'config.data is a group', 'config.data.broken'
    )
    config = settings.default().unlock()
    config.model = None
    refused(lambda: settings.validate(config), 'config.model is a group')


def test_a_long_mistake_takes_a_short_line():
    long = 'x' * 10_000
    mistakes = [
        lambda: config_lib.load(long),
        lambda: config_lib.load(f'digits:{long}=1'),
        lambda: config_lib.load(f'digits:rate={long}'),
        lambda: config_lib.override(settings.default(), long, '1'),
        lambda: config_lib.override(settings.default(), 'seed', long),
    ]
    for value in ({'seed': 10**10_000}, {'data.mean': (0.5, *[-1.0] * 10_000)}, {'loss': long}):
        config = settings.default()
        config.update_from_flattened_dict(value)
        mistakes.append(lambda config=config: settings.validate(config))
    for mistake in mistakes:
        with pytest.raises(InputError) as caught:
            mistake()
        assert len(str(caught.value)) < 1000


def test_a_bare_name_is_a_config_of_the_package(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert config_lib.load('own_images:loss=ce').loss == 'ce'
    assert config_lib.load('digits.py').name == 'digits'
    refused(lambda: config_lib.load('own_image'), "'own_image'", 'own_images')
    refused(lambda: config_lib.load('other/digits.py'), "'other/digits.py'")
    (tmp_path / 'digits').mkdir()
    assert config_lib.load('digits').name == 'digits'


@pytest.mark.parametrize('name', ['cifar10', 'digits'])
def test_a_config_fits_a_screen(name):
    assert len((CONFIGS / f'{name}.py').read_text().splitlines()) <= 45
