"""Settings: the defaults (the paper's, for CIFAR-10), string arguments of config files, validation."""

import ast
import difflib
import fnmatch
import pathlib
import runpy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from noisy_jax.errors import InputError

# What may change between a run and its continuation: where it computes, not what.
MACHINE = (
    'devices',
    'checkpoint_every',
    'resident_bytes',
    'compile_cache',
    'xla_options',
    'data.memory_bytes',
    'data.workers',
)

PHASES = ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')
REPEATED = ('select', 'contrast', 'finetune')  # once for each of config.rounds
# The columns of the paper's tables.
PHASE_LISTS = {
    'base': ('base',),
    'pretrained': ('pretrain', 'classify'),
    'finetuned': ('pretrain', 'classify', 'select', 'contrast', 'finetune'),
    'all': PHASES,
}
# Every loss with its settings, the papers' for CIFAR-10.
_ACTIVE_PASSIVE = {'alpha': 1.0, 'beta': 1.0}
LOSSES = {
    'ce': {},
    'label_smoothing': {'smoothing': 0.1},
    'focal': {'gamma': 2.0},
    'nce': {},
    'nfl': {'gamma': 0.5},
    'rce': {},
    'mae': {},
    'gce': {'q': 0.7},
    'sce': {'alpha': 0.1, 'beta': 1.0},
    'nfl_rce': {**_ACTIVE_PASSIVE, 'gamma': 0.5},
    'nce_rce': _ACTIVE_PASSIVE,
    'nce_mae': _ACTIVE_PASSIVE,
    'elr': {'beta': 0.7, 'lam': 3.0},
}
# What differs for other numbers of classes (100: CIFAR-100, 50: WebVision).
_LOSSES_OF_CLASSES = {
    100: {
        'sce': {'alpha': 6.0, 'beta': 0.1},
        'elr': {'beta': 0.9, 'lam': 7.0},
        **{name: {'alpha': 10.0, 'beta': 0.1} for name in ('nfl_rce', 'nce_rce', 'nce_mae')},
    },
    50: {name: {'alpha': 50.0, 'beta': 0.1} for name in ('nfl_rce', 'nce_rce', 'nce_mae')},
}


def loss_settings(loss: str, num_classes: int = 10) -> dict[str, float]:
    """The papers' parameters of a loss, by the number of classes."""
    return LOSSES[loss] | _LOSSES_OF_CLASSES.get(num_classes, {}).get(loss, {})


def optimizer(**changes: Any) -> ConfigDict:
    """Optimiser settings; SGD's learning rate is for a batch of 256 and scales with the batch."""
    return ConfigDict(
        {
            'name': 'sgd',
            'learning_rate': 0.01,
            'weight_decay': 1e-4,
            'momentum': 0.9,
            'nesterov': False,
            'schedule': 'cosine',
            'warmup_epochs': 0,
            'milestones': (),
            'encoder_scale': 1.0,
            **changes,
        }
    )


def default() -> ConfigDict:
    """Everything that can be set, with the paper's values for CIFAR-10."""
    config = ConfigDict()
    config.name = 'unnamed'
    config.seed = 0
    config.phases = PHASES
    config.rounds = 1  # of select, contrast and finetune; each starts from the labels of the classifier before
    config.devices = 0  # 0: all
    config.checkpoint_every = 10  # epochs
    config.eval_every = 1  # epochs of a classifier between accuracies on held-out data; 0: only at its end
    config.eval_batch_size = 512
    config.early_stop = 'none'  # or 'stable_predictions': a classifier's stage ends when few predictions still change
    config.early_stop_below = 0.01  # of the predictions on the validation split, mean of five epochs
    config.linear_probe = False  # judge embeddings also by a linear classifier, fitted to the end
    config.resident_bytes = 2**31  # training images up to this size stay on the device
    config.shard_state = False  # the optimiser's state and ELR's memory spread over the devices instead of copied
    config.compile_cache = 'auto'  # a folder; 'auto': the user's cache folder; 'off'
    config.xla_options = ''  # 'name=value,...' beside noisy_jax's own for the platform; 'none': no options at all

    config.data = ConfigDict(
        {
            'name': 'folder',  # digits, arrays, folder, filelist, tfds
            'path': '',  # of arrays, folder and filelist; the data_dir of tfds
            'dataset': 'cifar10',  # of tfds
            'label_key': 'label',  # of tfds: the feature to train on, 'label' is then the true one
            'list': '',  # of filelist: lines of path and label
            'test_list': '',
            'test_path': '',  # that the paths of test_list are in, where it is not `path`
            'labels': '',  # lines of path and label for a `list` of paths alone
            'test_labels': '',
            'class_names': '',  # a file, a name a line
            'max_classes': 0,  # the first so many alone; 0: all
            'image_size': 0,  # 0: as they are
            'memory_bytes': 2**33,  # decoded images up to this size are kept in memory, others decoded for every batch
            'workers': 0,  # processes that decode; 0: threads
            'limit': 0,  # training images, balanced over the classes; 0: all
            'test_limit': 0,
            'valid_fraction': 0.0,  # of the training set, held out with its noisy labels
            'mean': (0.4914, 0.4822, 0.4465),
            'std': (0.2023, 0.1994, 0.2010),
        }
    )
    config.noise = ConfigDict(
        {
            'kind': 'symmetric',
            'rate': 0.4,
            'matrix': '',  # of matrix: .npy or .csv [C, C], a row per true class
            'labels': '',  # of human: .npy or .npz of labels in the order of the images
            'key': '',  # of an .npz of labels, e.g. 'worse_label'
        }
    )
    config.model = ConfigDict(
        {
            'encoder': 'resnet18',
            'width': 0,
            'stem': 'auto',  # of a ResNet: 'small' (3x3), 'large' (7x7 and pooling); 'auto': large above 64 pixels
            'classifier': 'linear',
            'projection': 'mlp',  # 'linear'; 'none': the embeddings themselves are contrasted
            'projection_dim': 128,
            # Parts of a batch that the encoder normalises each by itself. Samples are dealt out to the splits in turn;
            # blocks are neighbours, as on one device. 0 or 1: the whole batch, also over devices.
            'batch_norm_splits': 1,
            'batch_norm_blocks': 1,
            'dtype': 'float32',
        }
    )
    views = {'min_scale': 0.2, 'flip': True, 'jitter': 1.0, 'jitter_probability': 0.8, 'gray_probability': 0.2}
    config.augment = ConfigDict(
        {
            'standard': {'padding': 4, 'flip': True, 'degrees': 0.0},  # rotation; the original's code has 20
            'simclr': {**views, 'blur_probability': 0.0},  # more for images of more than 32 pixels
            'moco': {**views, 'blur_probability': 0.5},
            'mopro': {'min_scale': 0.2, 'flip': True},
            'mopro_strong': {**views, 'blur_probability': 0.5},
            'scan': {'padding': 4, 'flip': True, 'operations': 4, 'cutout': 16},  # cutout: pixels
            'handwriting': {'degrees': 15.0, 'scale': 0.2, 'shift': 1.0, 'brightness': 0.3, 'noise': 0.1},
        }
    )
    config.loss = 'elr'
    config.loss_settings = ConfigDict({name: loss_settings(name) for name in LOSSES})

    def classifier(**changes: Any) -> ConfigDict:
        return ConfigDict({'epochs': 100, 'batch_size': 256, 'augment': 'standard', **changes})

    # method: simclr, moco (no labels), sup_con, sup_moco or mopro (labels); knn_every: epochs between k-NN accuracies,
    # each of which embeds the whole training set, 0: only at the end.
    def contrastive(**changes: Any) -> ConfigDict:
        rate = optimizer(learning_rate=0.03)
        common = {'batch_size': 256, 'augment': 'simclr', 'optimizer': rate, 'knn_every': 10, 'own_view_weight': 'one'}
        return ConfigDict({**common, **changes})

    # method: single, bootstrap, elr_plus or dividemix; average: decay of a moving average of the weights, which becomes
    # the classifier, 0: none; mixup: alpha of the shares, 0: none.
    how = {'method': 'single', 'average': 0.0, 'mixup': 0.0}
    config.base = classifier(epochs=120, optimizer=optimizer(), **how)
    config.pretrain = contrastive(method='simclr', epochs=500, temperature=0.5)
    config.classify = classifier(head_epochs=20, head_optimizer=optimizer(), optimizer=optimizer(), **how)
    config.select = classifier(
        epochs=20,
        augment='none',
        optimizer=optimizer(),
        history=5,
        negative_entropy=False,
        neighbours=0,  # whose majority replaces an image's pseudo-label first; 0: as the classifier says
    )
    config.contrast = contrastive(method='sup_con', epochs=100, temperature=0.07, min_weight=0.01)
    config.finetune = classifier(
        head_epochs=20,
        head_optimizer=optimizer(),
        optimizer=optimizer(weight_decay=1e-5),
        weighted=False,  # by clean probability
        **how,
    )
    # What the methods of an encoder with a momentum encoder need beside that (the original's).
    config.moco = ConfigDict({'queue': 8192, 'momentum': 0.999})
    config.mopro = ConfigDict(
        {
            'strong_augment': 'mopro_strong',  # of the keys
            'prototype_momentum': 0.999,
            'alpha': 0.5,  # the classifier's share in a corrected label
            'threshold': 0.8,  # from which on it is believed
            'start_epoch': 11,  # until then labels are as given
        }
    )
    # What the methods of a classifier need beside that, as in their papers for CIFAR-10.
    config.elr_plus = ConfigDict({'average': 0.997, 'mixup': 1.0})
    config.bootstrap = ConfigDict({'warmup_epochs': 10, 'mixup': 32.0})
    config.dividemix = ConfigDict(
        {
            'warmup_epochs': 10,
            'threshold': 0.5,  # clean probability of a label that is trusted
            'temperature': 0.5,  # of the sharpening
            'mixup': 4.0,
            'unlabelled_weight': 25.0,
            'rampup_epochs': 16,  # over which that weight rises
        }
    )
    return config.lock()


def with_argument(argument: str, defaults: Mapping[str, Any]) -> tuple[ConfigDict, dict[str, Any]]:
    """`default()` changed by what every config takes (loss, noise, rate, phases), and all values of the argument.

    Raises:
      InputError: as `parse_argument` and `phase_list`.
    """
    given = parse_argument(argument, defaults)
    config = default()
    config.phases = phase_list(given['phases'])
    config.loss = given['loss']
    config.noise.kind, config.noise.rate = given['noise'], given['rate']
    return config, given


def with_data(argument: str, name: str, num_classes: int = 10, **defaults: Any) -> tuple[ConfigDict, dict[str, Any]]:
    """As `with_argument` for a config `name` of photographs: its argument also takes data=LOADER and smoke.

    `defaults` change or add to what the argument takes. The losses get the paper's settings for `num_classes`. The
    config calls `shrink` at its end where `smoke` was given.
    """
    usual = {'loss': 'elr', 'noise': 'none', 'rate': 0.4, 'phases': 'finetuned', 'data': 'folder', 'smoke': False}
    config, given = with_argument(argument, usual | defaults)
    config.name, config.data.name = name, given['data']
    with config.unlocked():
        config.loss_settings = ConfigDict({loss: loss_settings(loss, num_classes) for loss in LOSSES})
    return config, given


def set_rates(
    config: ConfigDict,
    contrastive: float,
    head: tuple[float, float],
    whole: tuple[float, float],
    finetune: tuple[float, float],
) -> None:
    """Learning rates for a batch of 256, each classifier's with its weight decay: of a head alone, and all weights."""
    config.pretrain.optimizer.learning_rate = config.contrast.optimizer.learning_rate = contrastive
    heads = [config.classify.head_optimizer, config.finetune.head_optimizer, config.select.optimizer]
    wholes = [config.base.optimizer, config.classify.optimizer]
    pairs = [(optimizers, head) for optimizers in heads] + [(optimizers, whole) for optimizers in wholes]
    for settings, (rate, decay) in [*pairs, (config.finetune.optimizer, finetune)]:
        settings.learning_rate, settings.weight_decay = float(rate), float(decay)


def shrink(config: ConfigDict) -> None:
    """A run of minutes on two CPU cores; its accuracies mean nothing."""
    config.name += '_smoke'
    config.model.encoder = 'resnet_tiny'
    config.data.limit, config.data.test_limit = 1000, 500
    config.data.image_size = min(config.data.image_size, 32)
    config.pretrain.epochs, config.contrast.epochs = 5, 2
    config.base.epochs, config.select.epochs = 5, 5
    for phase in (config.classify, config.finetune):
        phase.head_epochs, phase.epochs = 2, 3
    for phase in PHASES:
        config[phase].batch_size = 128
    config.checkpoint_every = 2


def parse_argument(argument: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Reads the text behind `--config=file.py:`, e.g. 'loss=elr,rate=0.8,smoke', into the types of `defaults`.

    Raises:
      InputError: an unknown name or a value of another type.
    """
    values = dict(defaults)
    for item in filter(None, argument.split(',')):
        name, _, text = item.partition('=')
        if name not in defaults:
            raise InputError(
                f'config argument {name!r} is unknown{_nearest(name, defaults)}; allowed: {", ".join(defaults)}'
            )
        kind = type(defaults[name])
        try:
            values[name] = _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (KeyError, ValueError):
            raise InputError(f'config argument {name}={text!r} is not a {kind.__name__}') from None
    return values


def phase_list(name: str) -> tuple[str, ...]:
    """The phases of one of the paper's columns, or 'all'.

    Raises:
      InputError: an unknown name.
    """
    if name not in PHASE_LISTS:
        raise InputError(f'phases={name!r} is unknown; allowed: {", ".join(PHASE_LISTS)}')
    return PHASE_LISTS[name]


_BOOLEANS = {'': True, 'true': True, '1': True, 'false': False, '0': False}


def load(path_and_argument: str) -> ConfigDict:
    """The config of `path/to/file.py` or `path/to/file.py:argument`, as the command line names it.

    Raises:
      InputError: no such file, no `get_config` in it, or an argument that it does not take.
    """
    path, _, argument = path_and_argument.partition(':')
    if not pathlib.Path(path).is_file():
        raise InputError(f'--config: no file {path!r}; choose one of configs/*.py')
    try:
        module = runpy.run_path(path)
        return module['get_config'](*([argument] if argument else []))
    except KeyError as error:
        raise InputError(f'--config: {path} has no {error}') from error
    except (SyntaxError, ImportError, AttributeError, TypeError) as error:
        raise InputError(f'--config: {path} cannot be loaded ({" ".join(str(error).split())})') from error


def check_override(config: ConfigDict, key: str, text: str) -> None:
    """Whether `--config.key=text` can be taken.

    Raises:
      InputError: an unknown key, or text that is not of the type of the value there.
    """
    values = dict(flatten(config))
    if key not in values:
        raise InputError(f'config.{key} is unknown{_nearest(key, values)}')
    kind = type(values[key])
    convert = {bool: lambda t: _BOOLEANS[t.lower()], tuple: ast.literal_eval}.get(kind, kind)
    try:
        convert(text)
    except (KeyError, ValueError, SyntaxError):
        raise InputError(f'config.{key}: {text!r} is not of type {kind.__name__}, as {values[key]!r} is') from None


# Keys (with wildcards) and the closed range of their values; None is open.
_RANGES = {
    'noise.rate': (0.0, 1.0),
    'data.valid_fraction': (0.0, 0.9),
    'early_stop_below': (0.0, 1.0),
    'data.image_size': (0, None),
    'data.max_classes': (0, None),
    'data.memory_bytes': (0, None),
    'data.workers': (0, 256),
    'data.limit': (0, None),
    'data.test_limit': (0, None),
    'devices': (0, None),
    'seed': (0, 2**31 - 1),
    'rounds': (1, 100),
    'checkpoint_every': (1, None),
    'eval_every': (0, None),
    'eval_batch_size': (1, None),
    '*epochs': (0, None),
    'select.epochs': (1, None),
    '*.knn_every': (0, None),
    '*.batch_size': (1, None),
    '*.temperature': (1e-3, None),
    '*.learning_rate': (0.0, None),
    '*.weight_decay': (0.0, None),
    '*.momentum': (0.0, 1.0),
    '*.history': (1, None),
    '*.min_weight': (0.0, 1.0),
    '*.average': (0.0, 0.99999),
    'moco.queue': (1, None),
    'mopro.prototype_momentum': (0.0, 1.0),
    'mopro.alpha': (0.0, 1.0),
    'mopro.threshold': (0.0, 1.0),
    'mopro.start_epoch': (0, None),
    '*.mixup': (0.0, None),
    'elr_plus.mixup': (1e-3, None),
    'bootstrap.mixup': (1e-3, None),
    'dividemix.mixup': (1e-3, None),
    'dividemix.threshold': (0.0, 1.0),
    'dividemix.unlabelled_weight': (0.0, None),
    'select.neighbours': (0, None),
    'augment.*.*probability': (0.0, 1.0),
    'augment.*.min_scale': (1e-3, 1.0),
    'augment.*.degrees': (0.0, 180.0),
    'augment.*.operations': (0, 16),
    'augment.*.cutout': (0, None),
    'loss_settings.elr.beta': (0.0, 1.0),
    'loss_settings.gce.q': (1e-6, 1.0),
    'loss_settings.label_smoothing.smoothing': (0.0, 1.0),
    'loss_settings.*.gamma': (0.0, None),
    'model.width': (0, None),
    'model.projection_dim': (1, None),
    'model.batch_norm_*': (0, None),
}


def flatten(config: ConfigDict, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """All leaves as ('pretrain.optimizer.name', 'sgd')."""
    for name in config:
        value = config[name]
        if isinstance(value, ConfigDict):
            yield from flatten(value, f'{prefix}{name}.')
        else:
            yield f'{prefix}{name}', value


def validate(config: ConfigDict, choices: Mapping[str, Iterable[str]]) -> None:
    """Checks every value before anything is loaded or trained.

    Args:
      config: a full config.
      choices: the allowed words by key (with wildcards), from those who implement them.

    Raises:
      InputError: naming the key, what was given and what is allowed.
    """
    expected = dict(flatten(default()))
    given = dict(flatten(config))
    for key in given.keys() ^ expected.keys():
        what = 'is unknown' if key in given else 'is missing'
        raise InputError(f'config.{key} {what}{_nearest(key, expected)}')
    for key, value in given.items():
        for pattern, allowed in choices.items():
            if fnmatch.fnmatchcase(key, pattern) and value not in allowed:
                raise InputError(f'config.{key}: {value!r} is not allowed; choose one of {", ".join(allowed)}')
        for pattern, (low, high) in _RANGES.items():
            if fnmatch.fnmatchcase(key, pattern) and not _within(value, low, high):
                limits = f'at least {low}' if high is None else f'from {low} to {high}'
                raise InputError(f'config.{key}: {value!r} is not allowed; a number {limits}')
    _check_phases(tuple(config.phases))
    if config.early_stop != 'none' and not config.data.valid_fraction:
        raise InputError(f'config.early_stop: {config.early_stop!r} needs data.valid_fraction above 0')
    if config.rounds > 1 and 'finetune' not in config.phases:
        raise InputError(f'config.rounds: {config.rounds} needs the phase finetune, found {tuple(config.phases)}')


def _check_phases(phases: tuple[str, ...]) -> None:
    for phase in phases:
        if phase not in PHASES:
            raise InputError(f'config.phases: {phase!r} is unknown; choose from {", ".join(PHASES)}')
    if not phases or list(phases) != sorted(set(phases), key=PHASES.index):
        raise InputError(f'config.phases: {phases} must be some of {", ".join(PHASES)}, each once, in this order')
    for phase, needed in (('select', 'classify'), ('contrast', 'select'), ('finetune', 'classify')):
        if phase in phases and needed not in phases:
            raise InputError(f'config.phases: {phase!r} needs {needed!r} before it, found {phases}')


def _within(value: Any, low: float, high: float | None) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value >= low and (high is None or value <= high)


def _nearest(key: str, keys: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(keys), n=1)
    return f'; did you mean {close[0]!r}?' if close else ''
