"""Packages that a run can do without: one that is broken costs a warning, and no run."""

import sys
import warnings

import pytest
from tiny import config

from noisy_jax import errors, optional, pipeline


@pytest.fixture
def broken(tmp_path, monkeypatch):
    """A package that is installed but cannot be imported, as where one that it needs is of another version."""
    (tmp_path / 'broken_one.py').write_text('raise TypeError("Descriptors cannot be created directly.\\nDowngrade it")')
    monkeypatch.syspath_prepend(tmp_path)
    errors.warn_anew()
    return 'broken_one'


def test_a_broken_package_is_told_in_one_line(broken):
    with pytest.warns(UserWarning, match=r'^broken_one cannot be imported \(Descriptors .*\); there are no plots$'):
        assert not optional.is_usable(broken, 'there are no plots')


def test_one_that_is_not_there_is_not_told():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert not optional.is_usable('not_there.at_all', 'nothing')
        assert optional.is_usable('json.decoder', 'nothing')


@pytest.mark.parametrize('package', ['tensorboardX', 'matplotlib'])
def test_a_run_goes_on_without(tmp_path, monkeypatch, package):
    (tmp_path / f'{package}.py').write_text('raise TypeError("of another version")')
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    errors.warn_anew()
    settings = config(phases=('base',), base__epochs=1, report__tensorboard=True, report__page=True)
    with pytest.warns(UserWarning, match=rf'{package}.* cannot be imported'):
        assert pipeline.run(settings, tmp_path / 'run', quiet=True)['complete']
    assert (tmp_path / 'run/report.html').exists()
