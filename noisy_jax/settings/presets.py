"""What the files of configs/ and the estimator have in common: arguments, a smoke run, settings left to the data."""

import numbers
import os
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from noisy_jax import schedule, settings
from noisy_jax.config import flatten, load, parse_argument, thawed
from noisy_jax.errors import InputError, short
from noisy_jax.methods import METHODS
from noisy_jax.schedule import PHASE_LISTS, PHASES, REPEATED
from noisy_jax.settings import automatic

# Parameter of NoisyLabelClassifier -> the settings that it sets.
_PARAMETERS = {
    'encoder': ('model.encoder',),
    'loss': ('loss',),
    'pretrain_epochs': ('pretrain.epochs',),
    'epochs': ('classify.epochs', 'finetune.epochs', 'base.epochs'),
    'batch_size': tuple(f'{phase}.batch_size' for phase in PHASES),
    'augment': ('pretrain.augment', 'contrast.augment'),
    'cross_fit': ('report.cross_fit',),
    'threshold': ('report.threshold',),
    'rounds': ('rounds',),
    'random_state': ('seed',),
}
RECIPES = ('ours', 'paper')
CIFAR100 = {'mean': (0.5071, 0.4865, 0.4409), 'std': (0.2673, 0.2564, 0.2762)}  # of its pixels
_LARGE = 32  # pixels; an estimator scales larger images to a size that depends on the machine


def begin(name: str, argument: str, num_classes: int = 10, **takes: Any) -> tuple[ConfigDict, dict[str, Any]]:
    """The default settings changed by the argument of a config file, and all values of the argument.

    Args:
      name: of the run in its summary.
      argument: the text behind `--config=FILE:`, e.g. 'loss=ce,rate=0.8'.
      num_classes: chooses the settings of the losses; ELR's depend on the kind of noise too.
      takes: what the argument may name besides loss, noise, rate and phases, or other defaults of these. They are set
        here, as is data (the loader); the file reads the others, such as smoke, from the values.

    Raises:
      InputError: an unknown name, a value of another type, or an unknown list of phases.
    """
    given = parse_argument(argument, {'loss': 'elr', 'noise': 'none', 'rate': 0.4, 'phases': 'finetuned', **takes})
    if given['phases'] not in PHASE_LISTS:
        raise InputError(f'phases={short(given["phases"])} is unknown; allowed: {", ".join(PHASE_LISTS)}')
    config = settings.default(num_classes)
    config.name, config.loss, config.phases = name, given['loss'], PHASE_LISTS[given['phases']]
    config.noise.kind, config.noise.rate = given['noise'], given['rate']
    if given['noise'].startswith('asymmetric') and num_classes < 100:
        # The authors' for CIFAR-10; for CIFAR-100 they have one config for both kinds of noise.
        config.loss_settings.elr.update(beta=0.9, lam=1.0)
    config.data.name = given.get('data', config.data.name)
    return config, given


def recipe(config: ConfigDict, name: str) -> None:
    """How a ResNet-18 is trained on CIFAR-10: 'ours', or the 'paper' as the demo of its code has it.

    Both have a head for 20 epochs, then all weights, at SGD 0.01 for 256 images.

    ours   SimCLR as `simclr`, classifiers as `protect` has them: at one rate for encoder and head they memorised. All
           weights for 20 epochs: in 100, ELR fell from 86.4 to 78.8 % at 40 % wrong labels, slowly.
    paper  SimCLR by Adam, views with blur, temperature 0.5; classifiers see rotations; the head's rate is constant, and
           one rate is for encoder and head, for 100 epochs; nothing guards against memorising.

    Raises:
      InputError: an unknown name.
    """
    if name not in RECIPES:
        raise InputError(f'recipe={short(name)} is unknown; allowed: {", ".join(RECIPES)}')
    set_optimizers(config, learning_rate=0.01, weight_decay=1e-4)  # the demo fine-tunes as it classifies
    config.classify.update(head_epochs=20, epochs=20)
    config.finetune.update(head_epochs=20, epochs=20)
    config.base.epochs = 120  # as many as the paper's head and network have in `classify`
    if name == 'paper':
        config.classify.epochs = config.finetune.epochs = 100
        config.guard = False
        config.augment.standard.degrees = 20.0
        config.head_optimizer.schedule = 'constant'
        config.pretrain.update(batch_size=128, epochs=500, augment='moco', temperature=0.5)
        config.pretrain.optimizer.update(name='adam', learning_rate=1e-3, weight_decay=1e-6, schedule='constant')
        return
    protect(config)
    simclr(config, epochs=500)


def cifar100(config: ConfigDict) -> None:
    """The paper's settings for CIFAR-100, but a slow encoder."""
    config.data.update(CIFAR100)
    config.head_optimizer.learning_rate = 0.1
    config.classify.optimizer.update(learning_rate=0.1, weight_decay=1e-5)
    config.finetune.optimizer.update(learning_rate=0.1, weight_decay=1e-5)
    protect(config)
    config.dividemix.warmup_epochs = 30


def protect(config: ConfigDict) -> None:
    """Keeps a pre-trained network from memorising: a slow encoder, and a head by the loss that unseen labels prefer.

    Measured on CIFAR-10 (docs/reproducing.md, CIFAR-10 on a GPU, Full size without images).
    """
    config.classify.head_loss = 'auto'
    config.classify.optimizer.encoder_scale = config.finetune.optimizer.encoder_scale = 0.1


def simclr(config: ConfigDict, epochs: int) -> None:
    """SimCLR on CIFAR-10: of five recipes the best by k-NN on held-out training images (docs/reproducing.md)."""
    config.pretrain.update(batch_size=512, epochs=epochs, temperature=0.2)
    config.pretrain.optimizer.update(learning_rate=0.12, weight_decay=5e-4, warmup_epochs=10)


def c2d(config: ConfigDict) -> None:
    """SimCLR, then DivideMix on all weights at once, as C2D's code has it for CIFAR.

    A batch has as many images as theirs, 64 labelled and 64 others; the rate of 0.02 is written as that for 256. Their
    360 epochs count the warm-up, whose gradients they cut to length 1.

    Source: Zheltonozhskii et al. 2022, https://arxiv.org/abs/2103.13646, https://github.com/ContrastToDivide/C2D;
    SimCLR as in https://github.com/HobbitLong/SupContrast
    """
    warmup = 5
    config.pretrain.update(batch_size=512, epochs=1000, temperature=0.5)
    config.pretrain.optimizer.update(learning_rate=0.125, weight_decay=1e-4, warmup_epochs=10)
    config.classify.update(method='dividemix', head_epochs=0, epochs=360 - warmup, batch_size=128)
    config.classify.optimizer.update(learning_rate=0.04, weight_decay=5e-4)
    config.classify.optimizer.update(schedule='step', milestones=(150 - warmup, 300 - warmup))
    config.dividemix.update(warmup_epochs=warmup, warmup_clip_norm=1.0)
    config.dividemix.negative_entropy = config.noise.kind.startswith('asymmetric')
    config.dividemix.history = 5 if config.noise.rate >= 0.9 else 1


def elr_plus(config: ConfigDict, epochs: int, milestone: int) -> None:
    """ELR+ as its authors train it on CIFAR: SGD at 0.02 for 128 images, a tenth of it from `milestone` on.

    Source: Liu et al. 2020, https://arxiv.org/abs/2007.00151, https://github.com/shengliu66/ELR
    """
    config.model.encoder = 'preact_resnet18'
    for phase in (config.base, config.classify):
        phase.update(method='elr_plus', epochs=epochs, batch_size=128)
    config.classify.head_epochs = 0
    config.classify.optimizer.update(learning_rate=0.04, weight_decay=5e-4)
    config.classify.optimizer.update(schedule='step', milestones=(milestone,))
    config.elr_plus.average_rampup_epochs = 102


def smoke(config: ConfigDict) -> ConfigDict:
    """The config shrunk to a run of minutes on two CPU cores, whose accuracies mean nothing."""
    config.name += '_smoke'
    config.model.encoder = 'resnet_tiny'
    config.data.limit, config.data.test_limit = 1000, 500
    config.data.image_size = min(config.data.image_size, 32)
    config.pretrain.epochs, config.contrast.epochs = 5, 2
    config.base.epochs, config.select.epochs, config.cross_fit.epochs = 5, 5, 2
    for phase in (config.classify, config.finetune):
        phase.head_epochs, phase.epochs = min(phase.head_epochs, 2), 3
    for phase in PHASES:
        config[phase].batch_size = min(config[phase].batch_size, 128)
    for name in {name for method in METHODS.values() for name in method.settings}:
        config[name].update({key: 1 for key in ('warmup_epochs', 'start_epoch') if key in config[name]})
    config.checkpoint_every = 2
    return config


def leave_to_data(config: ConfigDict) -> None:
    """Leaves sizes, network, epochs, augmentation and normalisation to the data (noisy_jax/settings/automatic.py).

    AdamW, with rates for the networks and epochs that are chosen there.
    """
    config.data.update({'image_size': -1, 'mean': (), 'std': ()})
    config.model.update({'encoder': 'auto', 'width': -1})
    config.augment.standard.padding, config.augment.simclr.blur_probability = -1, -1.0
    config.loss_settings.elr.update({'beta': -1.0, 'lam': -1.0})
    for phase in PHASES:
        config[phase].update({'epochs': -1, 'batch_size': -1})
        if phase != 'select':
            config[phase].augment = 'auto'
    set_optimizers(config, name='adamw', learning_rate=2e-3, weight_decay=1e-4)
    config.classify.head_epochs = config.finetune.head_epochs = -1
    config.pretrain.knn_every = config.contrast.knn_every = 0
    config.pretrain.temperature = 0.2
    config.eval_batch_size = -1


def set_optimizers(config: ConfigDict, **values: Any) -> None:
    """The same values for all optimisers."""
    for part in (config.pretrain, config.classify, config.finetune):
        part.optimizer.update(values)
    config.head_optimizer.update(values)


def for_estimator(parameters: Mapping[str, Any], side: int) -> ConfigDict:
    """The config of a NoisyLabelClassifier: its own or the defaults, with the parameters that are not None.

    Args:
      parameters: all of the estimator's, by name.
      side: pixels of the longer side of its images.

    Raises:
      InputError: a parameter or config that cannot be used.
    """
    if (workdir := parameters['workdir']) is not None and not isinstance(workdir, (str, os.PathLike)):
        raise InputError(f'workdir: {short(workdir)} is not allowed; allowed: the path of a folder')
    config = _left_to_data(side) if parameters['config'] is None else _given(parameters['config'])
    config.noise.kind = 'none'
    if workdir is None:  # nothing is kept
        config.report.page = config.report.tensorboard = False
        config.checkpoint_every = 10**9
    values = {name: value for name in _PARAMETERS if (value := parameters[name]) is not None}
    if isinstance(values.get('rounds'), numbers.Integral) and values['rounds'] == 0:
        config.phases = tuple(phase for phase in config.phases if phase not in REPEATED)
        del values['rounds']
    if isinstance(parameters['random_state'], np.random.RandomState):
        values['random_state'] = parameters['random_state'].randint(2**31 - 1)
    for name, value in values.items():
        value = value.item() if isinstance(value, np.generic) else value
        setting = dict(flatten(settings.sections()))[_PARAMETERS[name][0]]
        try:
            config.update_from_flattened_dict(dict.fromkeys(_PARAMETERS[name], value))
            is_refused = name == 'rounds' and not setting.accepts(value)  # 0 is none of the setting's values
        except (TypeError, ValueError):
            is_refused = True
        if is_refused:
            allowed = f'0, or a {setting.allowed}' if name == 'rounds' else setting.allowed
            raise InputError(f'{name}: {short(value)} is not allowed; allowed: {allowed}')
    if 'pretrain_epochs' in values:
        config.contrast.epochs = max(int(values['pretrain_epochs']) // 5, 1)
    if config.effort == 'quick' or not schedule.last_classifier(config.phases):
        found = "effort='quick'" if config.effort == 'quick' else f'phases={tuple(config.phases)}'
        raise InputError(f'config: {found} trains no classifier, which `fit` needs; only the command can do without')
    return config


def _given(config: Any) -> ConfigDict:
    """A copy of an estimator's own config, or what it names."""
    if isinstance(config, (str, os.PathLike)):
        config = load(os.fspath(config))
    elif not isinstance(config, ConfigDict):
        raise InputError(f'config: {short(config)} is not allowed; allowed: a ConfigDict, or the name of a config file')
    config = thawed(config, 'config')
    settings.validate(config, unchecked=automatic.open_settings(config))
    return config.copy_and_resolve_references()


def _left_to_data(side: int) -> ConfigDict:
    """All phases, their sizes chosen from the data."""
    config = settings.default()
    config.name, config.phases = 'estimator', PHASE_LISTS['finetuned']
    config.report.cross_fit, config.eval_every = 5, 0
    if jax.default_backend() == 'cpu':
        # Resident images gain nothing there, and their programs fit data of one length only, not the next fold.
        config.resident_bytes = 0
    leave_to_data(config)
    if side <= _LARGE:
        config.data.image_size = 0
    return config
