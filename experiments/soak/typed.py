"""What people type: settings, options, config files, parameters and labels of the estimator."""

import contextlib
import pathlib
import random
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.soak.left import begun
from experiments.soak.photos import Action, command, folder, last, pixels, quick
from experiments.soak.trial import REFUSED, WORKS, Trial


def _set(*changes: str) -> Callable[[pathlib.Path], Action]:
    """A run with these settings."""
    return lambda at: quick(folder(at / 'photos'), at / 'run', *(f'--config.{change}' for change in changes))


def _config(code: str, *more: str) -> Callable[[pathlib.Path], Action]:
    """A run by a config file of this code."""

    def make(at: pathlib.Path) -> Action:
        (at / 'mine.py').write_text(textwrap.dedent(code))
        return ['main', f'--config={at / "mine.py"}', f'--workdir={at / "run"}', '--quiet', *more]

    return make


def _changed(code: str) -> str:
    """A config file that changes the defaults."""
    start = 'import ml_collections as m\nfrom noisy_jax import settings\ndef get_config():\n    c = settings.default()'
    return f'{start}\n    c.unlock()\n    {code}\n    return c'


def _main(*options: str) -> Callable[[pathlib.Path], Action]:
    return lambda at: ['main', *(option.format(at=at) for option in options)]


def _command(name: str, *options: str) -> Callable[[pathlib.Path], Action]:
    return lambda at: last(begun(at), command(name, *(option.format(at=at) for option in options)))


def _with_no_data(images: np.ndarray) -> np.ndarray:
    images = images.astype(np.float32)
    images[3, 0, 0] = -3.4e38
    return images


def _objects(images: np.ndarray) -> np.ndarray:
    found = np.empty(len(images), object)
    found[:] = list(images)
    return found


def _fit(
    labels: Callable[[np.ndarray], Any], images: Callable[[np.ndarray], Any] = lambda x: x, **parameters: Any
) -> Any:
    """The estimator fitted to 24 images."""

    def make(at: pathlib.Path) -> Action:
        def fit() -> None:
            from noisy_jax import NoisyLabelClassifier
            from noisy_jax.errors import InputError

            x, y = (array[:24] for array in pixels())
            small = {'encoder': 'cnn6', 'pretrain_epochs': 1, 'epochs': 1, 'batch_size': 4, 'rounds': 0, 'cross_fit': 2}
            try:
                estimator = NoisyLabelClassifier(**small | parameters).fit(images(x), labels(y))
            except ValueError as error:  # scikit-learn's own checks raise it too
                raise InputError(str(error)) from error
            if not np.isfinite(estimator.predict_proba(x)).all():
                raise AssertionError('NaN')

        return fit

    return make


def _refused_refit(at: pathlib.Path) -> Action:
    """A fitted estimator answers as before after a fit that is refused."""

    def fit() -> None:
        from noisy_jax import NoisyLabelClassifier

        x, y = (array[:24] for array in pixels())
        small = {'encoder': 'cnn6', 'pretrain_epochs': 1, 'epochs': 1, 'batch_size': 4, 'rounds': 0, 'cross_fit': 2}
        estimator = NoisyLabelClassifier(**small).fit(x, y)
        before = estimator.predict(x)
        with contextlib.suppress(ValueError):
            estimator.set_params(epochs=-5).fit(x, np.array(list('wxyz'))[y])
        np.testing.assert_array_equal(estimator.predict(x), before)

    return fit


def _pandas(dtype: str, missing: bool) -> Callable[[np.ndarray], Any]:
    def make(y: np.ndarray) -> Any:
        import pandas as pd

        column = pd.Series(y).astype(dtype)
        if missing:
            column.iloc[0] = pd.NA
        return column

    return make


def _pd_na() -> Any:
    import pandas as pd

    return pd.NA


def _some(value: Any) -> Callable[[np.ndarray], Any]:
    """Labels of which the first is `value`, in an array of objects."""
    return lambda y: np.array([value, *map(str, y[1:])], object)


_GOOD = """
    from configs.own_images import get_config
"""
_NUMBERS = (
    'seed=-1',
    'seed=nan',
    'seed=1e3',
    'base.epochs=-7',
    'base.epochs=0',
    'base.epochs=nan',
    'base.epochs=1e3',
    'base.batch_size=0',
    'base.batch_size=-4',
    'base.batch_size=1000000000000',
    'pretrain.batch_size=1',
    'base.optimizer.learning_rate=nan',
    'base.optimizer.learning_rate=inf',
    'base.optimizer.learning_rate=-1',
    'base.optimizer.weight_decay=nan',
    'base.optimizer.weight_decay=-1',
    'model.width=-3',
    'model.width=100000000',
    'elr.beta=nan',
    'elr.lam=-inf',
    'noise.rate=nan',
    'noise.rate=2',
    'data.image_size=-7',
    'data.image_size=1000000000',
    'data.limit=-1',
    'data.limit=3',
    'data.workers=-1',
    'data.workers=1000000',
    'data.valid_fraction=nan',
    'data.valid_fraction=1',
    'data.memory_bytes=-1',
    'data.mean=(nan,nan,nan)',
    'data.std=(0,0,0)',
    "data.mean=('a','b','c')",
    'report.cross_fit=-1',
    'report.cross_fit=1000000',
    'checkpoint_every=-1',
    'eval_batch_size=0',
    'eval_batch_size=-7',
    'simclr.temperature=0',
    'simclr.temperature=nan',
    'devices=-2',
    'devices=1000',
)
_WORDS = (
    'phases=1',
    'phases=pretrian',
    'phases=(1,2)',
    "phases=('base',('base',))",
    "phases=('base'",
    'phases={}',
    'base.method=x',
    'base.loss=',
    'data.name=x',
    'data.broken=x',
    'data.test_list=x',
    'data.labels=x',
    'data.class_names=x',
    'data.max_classes=2',
    'noise.kind=x',
    'model.encoder=x',
    'model.encoder=',
    'report.page=maybe',
    'early_stop=x',
    'effort=x',
    'no.such=1',
    'data=1',
    '=1',
    'data.path.x=1',
    'base.optimizer=1',
    'model.weights=none.safetensors',
    'noise.kind=matrix',
    'data.embeddings=none.npy',
    'base.optimizer.name=lamb',
)

TRIALS = [
    *(Trial('settings', f'config.{change}', REFUSED, _set(change)) for change in (*_NUMBERS, *_WORDS)),
    *(
        Trial('config files', name, REFUSED, _config(code))
        for name, code in {
            'empty': '',
            'no Python': 'def (',
            'raises': 'raise RuntimeError("a\\nb")',
            'exits': 'import sys; sys.exit(0)',
            'exits when called': 'def get_config():\n    import sys\n    sys.exit(0)',
            'divides by zero': 'def get_config():\n    return 1 / 0',
            'returns nothing': 'def get_config():\n    pass',
            'returns a dict': 'def get_config():\n    return {}',
            'returns an empty config': 'import ml_collections as m\ndef get_config():\n    return m.ConfigDict()',
            'never ends calling itself': 'def get_config():\n    return get_config()',
            'imports what is not there': 'import no_such_module',
            'needs an argument': 'def get_config(argument):\n    return int(argument)',
            'not a function': 'get_config = 3',
            'a placeholder': _changed('c.seed = m.config_dict.placeholder(int)'),
            'a required placeholder': _changed('c.seed = m.config_dict.required_placeholder(int)'),
            'a function as a setting': _changed('c.extra = len'),
            'a number as a name': _changed('c[3] = 4'),
            'a config in itself': _changed('c.extra = c'),
            'interrupts': 'def get_config():\n    raise KeyboardInterrupt',
        }.items()
        if name != 'interrupts'
    ),
    *(
        Trial('options', ' '.join(options), REFUSED, _main(*options))
        for options in (
            (),
            ('--config=digits',),
            ('--workdir={at}/run',),
            ('--config=none', '--workdir={at}/run'),
            ('--config=', '--workdir={at}/run'),
            ('--config=digits:loss=x', '--workdir={at}/run'),
            ('--config=digits:x=1', '--workdir={at}/run'),
            ('--config=digits', '--workdir={at}/run', '--nothing'),
            ('--config=digits', '--workdir={at}/run', 'word'),
            ('--config=digits', '--workdir={at}/run', '--workdir={at}/other'),
            ('--config=digits', '--workdir={at}/run', '--num_processes=x'),
            ('--config=digits', '--workdir={at}/run', '--quiet=3'),
            ('--config',),
            ('--config=digits', '--workdir'),
            ('--config=digits:smoke=perhaps', '--workdir={at}/run'),
        )
    ),
    *(
        Trial('options', f'{name} {" ".join(options)}', REFUSED, _command(name, *options))
        for name, options in (
            ('predict', ()),
            ('predict', ('--workdir={at}/run',)),
            ('predict', ('--workdir={at}/run', '--images={at}/none', '--out={at}/p.csv')),
            ('predict', ('--workdir={at}/run', '--images=', '--out={at}/p.csv')),
            ('predict', ('--workdir={at}/run', '--images={at}/photos', '--out={at}/p.csv', '--out={at}/q.csv')),
            ('predict', ('--nothing',)),
            ('export', ()),
            ('export', ('--x',)),
            ('clean', ()),
            ('clean', ('--workdir={at}/run', '--out={at}/o', '--mode=x')),
            ('clean', ('--workdir={at}/run', '--out={at}/o', '--all-suspects', '--threshold=x')),
            ('clean', ('--workdir={at}/run', '--out={at}/o', '--all-suspects', '--threshold=nan')),
            ('clean', ('--workdir={at}/run', '--out={at}/o', '--decisions={at}/none.csv')),
            ('clean', ('--workdir={at}/run', '--out={at}/o', '--decisions={at}/run/labels.csv')),
            ('data.pack', ()),
            ('data.pack', ('--out={at}/o', '--image_size=x')),
            ('data.pack', ('--out={at}/o', '--name=x')),
            ('data.pack', ('--out={at}/o', '--name=folder', '--path={at}/none')),
            ('data.pack', ('--out={at}/o', '--name=folder', '--path={at}/photos', '--max_classes=1')),
            ('data.pack', ('--out={at}/o', '--image_size=-1', '--path={at}/photos')),
        )
    ),
    Trial('estimator', 'pandas string, NA unlabelled', WORKS, _fit(_pandas('string', True), unlabelled=float('nan'))),
    Trial('estimator', 'pandas string, NA, nothing said', REFUSED, _fit(_pandas('string', True))),
    Trial(
        'estimator',
        'pandas Int64, NA unlabelled',
        WORKS,
        lambda at: _fit(_pandas('Int64', True), unlabelled=_pd_na())(at),
    ),
    Trial('estimator', 'pandas category', WORKS, _fit(_pandas('category', False))),
    Trial('estimator', 'pandas Int64', WORKS, _fit(_pandas('Int64', False))),
    Trial('estimator', 'masked labels', REFUSED, _fit(lambda y: np.ma.masked_array(y, y > 2))),
    Trial(
        'estimator',
        'masked labels, NaN unlabelled',
        WORKS,
        _fit(lambda y: np.ma.masked_array(y, y > 2), unlabelled=float('nan')),
    ),
    Trial('estimator', 'None among labels', REFUSED, _fit(_some(None))),
    Trial('estimator', 'NaN among labels', REFUSED, _fit(_some(float('nan')))),
    Trial('estimator', 'None among labels, NaN unlabelled', WORKS, _fit(_some(None), unlabelled=float('nan'))),
    Trial('estimator', 'labels of bool', WORKS, _fit(lambda y: y % 2 == 0)),
    Trial('estimator', 'labels -1, 0, 1', WORKS, _fit(lambda y: y % 3 - 1)),
    Trial('estimator', 'unlabelled=False, labels 0 and 1', WORKS, _fit(lambda y: y % 2, unlabelled=False)),
    Trial('estimator', 'a refused fit after another', WORKS, _refused_refit),
    Trial('estimator', 'an empty label', REFUSED, _fit(lambda y: np.array(['', 'a', 'b', 'c'])[y % 4])),
    Trial('estimator', 'half an emoji', REFUSED, _fit(lambda y: np.array(['\ud83d', 'a', 'b', 'c'])[y % 4])),
    Trial('estimator', 'times as X', REFUSED, _fit(lambda y: y, lambda x: x.astype('datetime64[s]'))),
    Trial('estimator', "Python's random", REFUSED, _fit(lambda y: y, random_state=random.Random(0))),
    Trial('estimator', 'one class', REFUSED, _fit(lambda y: y * 0)),
    Trial('estimator', 'too few labels', REFUSED, _fit(lambda y: y[:-1])),
    Trial('estimator', 'no label at all', REFUSED, _fit(lambda y: y * 0 - 1, unlabelled=-1)),
    Trial('estimator', 'NaN in X', REFUSED, _fit(lambda y: y, lambda x: x * np.nan)),
    Trial('estimator', 'channels first', REFUSED, _fit(lambda y: y, lambda x: np.repeat(x[:, None], 3, 1))),
    Trial('estimator', '13 bands first', REFUSED, _fit(lambda y: y, lambda x: np.repeat(x[:, None], 13, 1))),
    Trial('estimator', 'masked pixels', REFUSED, _fit(lambda y: y, lambda x: np.ma.masked_equal(x, x.max()))),
    Trial('estimator', "GDAL's number for no data", REFUSED, _fit(lambda y: y, _with_no_data)),
    Trial('estimator', 'names of files', REFUSED, _fit(lambda y: y, lambda x: [f'{row}.png' for row in range(len(x))])),
    Trial('estimator', 'an array of objects', REFUSED, _fit(lambda y: y, _objects)),
    Trial('estimator', 'a list of arrays', WORKS, _fit(lambda y: y.tolist(), list)),
    *(
        Trial('estimator', f'{name}={value!r}', REFUSED, _fit(lambda y: y, **{name: value}))
        for name, value in (
            ('encoder', 'x'),
            ('encoder', 3),
            ('loss', 'x'),
            ('epochs', -5),
            ('epochs', 1.5),
            ('epochs', float('nan')),
            ('epochs', 'x'),
            ('batch_size', 0),
            ('batch_size', 10**12),
            ('rounds', -1),
            ('cross_fit', -1),
            ('threshold', 2),
            ('threshold', float('nan')),
            ('image_shape', (3,)),
            ('image_shape', 'x'),
            ('image_shape', (0, 64)),
            ('config', 'none'),
            ('config', 3),
            ('random_state', 'x'),
            ('random_state', -1),
            ('workdir', ''),
            ('augment', 'x'),
        )
    ),
]
