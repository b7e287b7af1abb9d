"""configs/README.md: complete, true to the code, and the newest."""

import pathlib
import textwrap

import pytest

from noisy_jax import reference
from noisy_jax.config import default, flatten
from noisy_jax.config.validation import RANGES

README = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'README.md'


def _rows():
    """(setting, default, allowed, meaning) of each setting."""
    for line in README.read_text().splitlines():
        if line.startswith('| `'):
            keys, values, allowed, meaning = line.strip('| ').replace('|  ', '| ').split(' | ')
            keys, values = keys.split('<br>'), values.split('<br>')
            for key, value in zip(keys, values * len(keys) if len(values) == 1 else values, strict=True):
                yield key.strip('`'), value.strip('`'), allowed, meaning


def test_it_is_the_newest():
    assert README.read_text() == reference.render(), 'python -m noisy_jax.reference > configs/README.md'


def test_every_setting_has_one_row_with_its_default_and_a_meaning():
    rows = list(_rows())
    settings = dict(flatten(default()))
    assert sorted(key for key, *_ in rows) == sorted(settings)
    for key, value, allowed, meaning in rows:
        assert value == repr(settings[key])
        assert allowed
        assert meaning, key


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('noise.rate', 'number from 0.0 to 1.0'),
        ('seed', f'whole number from 0 to {RANGES["seed"][1]}'),
        ('select.epochs', 'whole number from 1'),
        ('data.std', 'numbers of at least 1e-06'),
        ('data.path', 'text'),
        ('report.page', '`True`, `False`'),
        ('pretrain.optimizer.schedule', '`cosine`, `step`, `constant`'),
    ],
)
def test_what_is_allowed(key, words):
    assert reference.allowed(key, dict(flatten(default()))[key]) == words


def test_a_comment_is_found_behind_a_setting_around_it_and_by_its_name():
    source = """
    def optimizer():
        return {'rate': 1}  # how fast
    # Of all.
    # Even this.
    config.first = Config({'size': 0, 'inner': {'depth': 2}})  # pixels
    config.last = make(
        size=3,
        weight=1,  # how much
    )
    """
    meanings, introductions = reference.comments(textwrap.dedent(source))
    assert introductions == {'first': 'Of all. Even this.'}
    assert reference.meaning('last.weight', meanings) == 'how much'
    assert reference.meaning('other.rate', meanings) == 'how fast'
    assert reference.meaning('first.inner.depth', meanings) == 'pixels'  # the comment behind `first`
    assert reference.meaning('last.nothing', meanings) == ''
