"""All settings of a run, assembled from the parts that own them, and what a config must satisfy as a whole."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from noisy_jax import config as config_lib
from noisy_jax import data, losses, models
from noisy_jax.config import Section, Setting
from noisy_jax.data import augment
from noisy_jax.data.settings import DATA, NOISE
from noisy_jax.errors import InputError, short
from noisy_jax.methods import CLASSIFIERS, METHODS, REPRESENTATIONS
from noisy_jax.methods.mixing import MIXUP, MOST_MIXUP
from noisy_jax.report.settings import SETTINGS as REPORT
from noisy_jax.schedule import MOST_EPOCHS, PHASE_LISTS, PHASES
from noisy_jax.training import optim

# Settings that may change when a run is resumed: where it computes, what is listed and shown, not what is trained.
MACHINE = (
    'report.*',
    'devices',
    'checkpoint_every',
    'resident_bytes',
    'compile_cache',
    'xla_options',
    'data.memory_bytes',
    'data.workers',
    'data.embeddings',
)
# Those that each host may have in its own way.
_OF_A_HOST = ('resident_bytes', 'compile_cache', 'xla_options', 'data.memory_bytes', 'data.workers', 'data.embeddings')
# Prefixes of keys in earlier versions, and today's.
RENAMED = {
    'base.optimizer.': 'classify.optimizer.',
    'contrast.optimizer.': 'pretrain.optimizer.',
    'select.optimizer.': 'head_optimizer.',
    'classify.head_optimizer.': 'head_optimizer.',
    'finetune.head_optimizer.': 'head_optimizer.',
}

_LOSSES, _POLICIES = tuple(losses.CRITERIA), tuple(augment.POLICIES)

RUN: Section = {
    'name': Setting('unnamed', 'name of the run in its summary'),
    'seed': Setting(0, 'random seed for noise, splits, initialisation, shuffling and augmentation', 0, 2**31 - 1),
    'phases': Setting(PHASE_LISTS['all'], 'phases to run, in this order', choices=PHASES),
    'effort': Setting(
        'normal',
        'how much is trained where that is left to the data; quick: nothing, the list is made without a network',
        choices=('quick', 'normal', 'thorough'),
    ),
    'rounds': Setting(1, 'rounds of select, contrast and finetune, each from the labels of the last', 1, 100),
    'loss': Setting('elr', 'loss of the methods single and elr_plus; the others have their own', choices=_LOSSES),
    'devices': Setting(0, 'number of devices; 0: all', 0, 10**6),
    'checkpoint_every': Setting(10, 'epochs between two checkpoints, from which a killed run resumes', 1, 10**9),
    'eval_every': Setting(1, 'epochs between evaluations of a classifier on held-out data; 0: at its end', 0, 10**9),
    'eval_batch_size': Setting(512, 'images per batch where nothing is trained', 1, 2**16),
    'early_stop': Setting(
        'none',
        "stopping rule; 'stable_predictions' ends a classifier's stage when few predictions still change",
        choices=('none', 'stable_predictions'),
    ),
    'early_stop_below': Setting(
        0.01, 'share of held-out images that counts as few, averaged over five epochs', 0.0, 1.0
    ),
    'guard': Setting(
        True,
        'replace a classifier that has memorised wrong labels by the best before, and skip what a selection that '
        'tells nothing would feed; needs held-out images (data.valid_fraction) or a pre-trained encoder',
    ),
    'linear_probe': Setting(False, 'evaluate embeddings also by a linear classifier trained to convergence'),
    'resident_bytes': Setting(2**31, 'most bytes of training images that stay on the device', 0, 2**60),
    'shard_state': Setting(False, "shard the optimiser's state and a method's memory over the devices"),
    'compile_cache': Setting(
        'auto', "folder of compiled programs; 'auto': in the user's cache folder; 'off': none", is_path=True
    ),
    'xla_options': Setting('', "compiler options 'name=value,...' besides noisy_jax's own; 'none': none at all"),
}


def _trained(epochs: int, augmentation: str, least: int = 0, least_batch: int = 1) -> Section:
    """What every phase has; `least` epochs, and images in a batch, at least."""
    return {
        'epochs': Setting(
            epochs, 'epochs, at most; those of the last stage where there are several', least, MOST_EPOCHS
        ),
        'batch_size': Setting(256, 'images per batch, over all devices', least_batch, 2**20),
        'augment': Setting(augmentation, 'augmentation of the images', choices=_POLICIES),
    }


def _classifier(epochs: int = 100) -> Section:
    return _trained(epochs, 'standard') | {
        'method': Setting('single', "training method; 'single': one network by `loss`", choices=tuple(CLASSIFIERS)),
        'average': Setting(
            0.0, 'decay of the moving average of weights that becomes the classifier; 0: none', 0.0, 0.99999
        ),
        'mixup': Setting(0.0, f'{MIXUP}; 0: none', 0.0, MOST_MIXUP),
    }


def _headed() -> Section:
    return _classifier() | {
        'head_epochs': Setting(20, 'epochs of a new head alone, before all weights are trained', 0, MOST_EPOCHS),
        'head_loss': Setting('same', "loss of these epochs; 'same' as after them", choices=('same', *_LOSSES)),
    }


_HEAD_LOSS = Setting(
    'same',
    "loss of the head alone; 'same' as of all weights; 'auto': ce, elr or nfl_rce instead, where cross-fitted heads on "
    'the pre-trained embeddings then agree better with labels that they have not seen',
    choices=('same', 'auto', *_LOSSES),
)


def _contrastive(method: str, epochs: int, temperature: float) -> Section:
    return _trained(epochs, 'simclr', least_batch=2) | {  # of one image there are no negatives
        'method': Setting(
            method,
            'training method; simclr and moco use no labels, the others weight them by clean probability',
            choices=tuple(REPRESENTATIONS),
        ),
        'temperature': Setting(
            temperature, 'temperature of simclr and sup_con; lower: the nearest count more', 1e-3, 1000.0
        ),
        'own_view_weight': Setting(
            'one',
            "weight of an image's own other view in sup_con; 'sample': its clean probability",
            choices=('one', 'sample'),
        ),
        'knn_every': Setting(10, 'epochs between k-NN accuracies, which embed all images; 0: at the end', 0, 10**9),
    }


def sections(num_classes: int = 10) -> Section:
    """Every setting, with the papers' values for CIFAR-10, those of losses for `num_classes`."""
    return RUN | {
        'data': DATA,
        'noise': NOISE,
        'model': models.settings(),
        'augment': augment.settings(),
        'base': _classifier(120) | {'encoder_scale': optim.ENCODER_SCALE},
        'pretrain': _contrastive('simclr', 500, 0.5) | {'optimizer': optim.settings(learning_rate=0.03)},
        'cross_fit': _trained(20, 'standard')
        | {
            'folds': Setting(5, 'networks that each leave out a fold; as many again learn with planted errors', 2, 100),
            'mixup': Setting(0.0, f'{MIXUP}; 0: none', 0.0, MOST_MIXUP),
        },
        'classify': _headed() | {'head_loss': _HEAD_LOSS, 'optimizer': optim.settings()},
        'select': _trained(20, 'none', least=1)
        | {
            'history': Setting(5, 'last epochs whose mean loss tells clean from noisy', 1, 1000),
            'negative_entropy': Setting(False, 'add the negative entropy to the losses that are compared'),
            'neighbours': Setting(0, 'neighbours whose majority first replaces a pseudo-label; 0: none', 0, 10_000),
        },
        'contrast': _contrastive('sup_con', 100, 0.07)
        | {'min_weight': Setting(0.01, 'least weight of a pair, however noisy', 0.0, 1.0)},
        'finetune': _headed()
        | {
            'weighted': Setting(False, 'weight labels by their clean probability'),
            'optimizer': optim.settings(weight_decay=1e-5),
        },
        'head_optimizer': optim.settings(),
        'loss_settings': losses.settings(num_classes),
        **{name: section for method in METHODS.values() for name, section in method.settings.items()},
        'report': REPORT,
    }


def default(num_classes: int = 10) -> ConfigDict:
    """The config of all defaults, locked.

    A config may leave the settings of `automatic.KEYS` to the data: numbers as -1, words as 'auto', tuples as ().
    """
    return config_lib.defaults(sections(num_classes)).lock()


def validate(config: ConfigDict, unchecked: Collection[str] = ()) -> None:
    """Checks a whole config before anything is loaded or trained; keys in `unchecked` may have any value.

    Raises:
      InputError: naming the key, what was given and what is allowed.
    """
    config_lib.validate(config, sections(), renamed=RENAMED, unchecked=unchecked)
    data.check_form(config.data)
    phases = tuple(config.phases)
    if list(phases) != sorted(set(phases), key=PHASES.index) or not (phases or config.report.cross_fit):
        raise InputError(
            f'config.phases: {phases} must be some of {", ".join(PHASES)}, each once, in this order; none with '
            'report.cross_fit only'
        )
    for phase, needed in (('select', 'classify'), ('contrast', 'select'), ('finetune', 'classify')):
        if phase in phases and needed not in phases:
            raise InputError(f'config.phases: {phase!r} needs {needed!r} before it, found {phases}')
    if config.early_stop != 'none' and not config.data.valid_fraction:
        raise InputError(f'config.early_stop: {config.early_stop!r} needs data.valid_fraction above 0')
    if config.report.cross_fit == 1:
        raise InputError('config.report.cross_fit: 1 is not allowed; at least 2 folds, or 0 for none')
    if config.rounds > 1 and 'finetune' not in phases:
        raise InputError(f'config.rounds: {config.rounds} needs the phase finetune, found {phases}')


def of_all_hosts(config: ConfigDict) -> dict[str, Any]:
    """The settings by key that must be the same in all processes of a run."""
    return {key: value for key, value in config_lib.flatten(config) if key not in _OF_A_HOST}


def of_run(saved: Mapping[str, Any], workdir: str | os.PathLike) -> dict[str, Any]:
    """The settings of a run by key, from the config.json of its work directory, read as `saved`.

    A setting that was added since, as a new method has them, has its default.

    Raises:
      InputError: it has a setting that does not exist any more, or a value that none can be.
    """
    before, now = (dict(config_lib.flatten(config)) for config in (saved, default()))
    if before and not before.keys() & now.keys():
        raise InputError(f'{workdir}/config.json is not that of a run; use another --workdir')
    gone = sorted(before.keys() - now.keys())
    if gone:
        raise InputError(
            f'{workdir}: another version of noisy_jax began this run (it has the setting {gone[0]}); '
            'use another --workdir, or that version'
        )
    known = dict(config_lib.flatten(sections()))
    for key, value in before.items():
        if not known[key].accepts(value):
            found = f'{workdir}/config.json: {key}: {short(value)} is not allowed'
            raise InputError(f'{found}; allowed: {known[key].allowed}; use another --workdir')
    return now | before
