"""configs/README.md: complete, true to the code, and the newest."""

import pathlib

import pytest

from noisy_jax import reference
from noisy_jax.config import flatten
from noisy_jax.settings import sections

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
    settings = dict(flatten(sections()))
    assert sorted(key for key, *_ in rows) == sorted(settings)
    for key, value, allowed, meaning in rows:
        assert value == repr(settings[key].default)
        assert allowed
        assert meaning == settings[key].meaning


@pytest.mark.parametrize(
    ('key', 'words'),
    [
        ('noise.rate', 'number from 0.0 to 1.0'),
        ('seed', 'whole number from 0 to 2147483647'),
        ('select.epochs', 'whole number from 1 to 100000'),
        ('data.std', 'a tuple of numbers from 1e-06 to 1000.0'),
        ('data.path', 'path'),
        ('report.page', '`True`, `False`'),
        ('pretrain.optimizer.schedule', '`cosine`, `step`, `constant`'),
    ],
)
def test_what_is_allowed(key, words):
    assert {name: allowed for name, _, allowed, _ in _rows()}[key] == words
