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
MACHINE = ('devices', 'checkpoint_every', 'resident_bytes', 'compile_cache', 'xla_options')

PHASES = ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')
REPEATED = ('select', 'contrast', 'finetune')  # once for each of config.rounds
# The columns of the paper's tables.
PHASE_LISTS = {
    'base': ('base',),
    'pretrained': ('pretrain', 'classify'),
    'finetuned': ('pretrain', 'classify', 'select', 'contrast', 'finetune'),
    'all': PHASES,
}
LOSSES = ('ce', 'nfl_rce', 'elr')


def loss_settings(loss: str, num_classes: int = 10) -> dict[str, float]:
    """The paper's parameters of a loss, by the number of classes (10: CIFAR-10, 100: CIFAR-100, 50: WebVision)."""
    if loss == 'nfl_rce':
        alpha, beta = {100: (10.0, 0.1), 50: (50.0, 0.1)}.get(num_classes, (1.0, 1.0))
        return {'alpha': alpha, 'beta': beta, 'gamma': 0.5}
    if loss == 'elr':
        beta, lam = {100: (0.9, 7.0)}.get(num_classes, (0.7, 3.0))
        return {'beta': beta, 'lam': lam}
    return {}


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
    config.resident_bytes = 2**31  # training images up to this size stay on the device
    config.shard_state = False  # the optimiser's state and ELR's memory spread over the devices instead of copied
    config.compile_cache = 'auto'  # a folder; 'auto': the user's cache folder; 'off'
    config.xla_options = ''  # 'name=value,...' beside noisy_jax's own for the platform; 'none': no options at all

    config.data = ConfigDict(
        {
            'name': 'folder',  # digits, arrays, folder, tfds
            'path': '',  # of arrays and folder; the data_dir of tfds
            'dataset': 'cifar10',  # of tfds
            'image_size': 0,  # 0: as they are
            'limit': 0,  # training images, balanced over the classes; 0: all
            'test_limit': 0,
            'valid_fraction': 0.0,  # of the training set, held out with its noisy labels
            'mean': (0.4914, 0.4822, 0.4465),
            'std': (0.2023, 0.1994, 0.2010),
        }
    )
    config.noise = ConfigDict({'kind': 'symmetric', 'rate': 0.4})
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
    config.augment = ConfigDict(
        {
            'standard': {'padding': 4, 'flip': True},
            'simclr': {
                'min_scale': 0.2,
                'flip': True,
                'jitter': 1.0,
                'jitter_probability': 0.8,
                'gray_probability': 0.2,
            },
            'handwriting': {'degrees': 15.0, 'scale': 0.2, 'shift': 1.0, 'brightness': 0.3, 'noise': 0.1},
        }
    )
    config.loss = 'elr'
    config.loss_settings = ConfigDict({name: loss_settings(name) for name in LOSSES})

    def classifier(**changes: Any) -> ConfigDict:
        return ConfigDict({'epochs': 100, 'batch_size': 256, 'augment': 'standard', **changes})

    # knn_every: epochs between k-NN accuracies, each of which embeds the whole training set; 0: only at the end.
    def contrastive(**changes: Any) -> ConfigDict:
        rate = optimizer(learning_rate=0.03)
        return ConfigDict({'batch_size': 256, 'augment': 'simclr', 'optimizer': rate, 'knn_every': 10, **changes})

    # average: decay of a moving average of the weights, which becomes the classifier; 0: none.
    config.base = classifier(epochs=120, optimizer=optimizer(), average=0.0)
    config.pretrain = contrastive(epochs=500, temperature=0.5)
    config.classify = classifier(head_epochs=20, head_optimizer=optimizer(), optimizer=optimizer(), average=0.0)
    config.select = classifier(
        epochs=20,
        augment='none',
        optimizer=optimizer(),
        history=5,
        negative_entropy=False,
        neighbours=0,  # whose majority replaces an image's pseudo-label first; 0: as the classifier says
    )
    config.contrast = contrastive(epochs=100, temperature=0.07, own_view_weight='one', min_weight=0.01)
    config.finetune = classifier(
        head_epochs=20,
        head_optimizer=optimizer(),
        optimizer=optimizer(weight_decay=1e-5),
        average=0.0,
        weighted=False,  # by clean probability
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
    'data.image_size': (0, None),
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
    'select.neighbours': (0, None),
    'augment.*.*probability': (0.0, 1.0),
    'augment.*.min_scale': (1e-3, 1.0),
    'loss_settings.elr.beta': (0.0, 1.0),
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
