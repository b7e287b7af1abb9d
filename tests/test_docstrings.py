"""Every public loss has an example in its docstring, and it prints what it says."""

import doctest
import importlib

import jax
import numpy as np
import pytest

from noisy_jax import losses

MODULES = sorted({getattr(losses, name).__module__ for name in losses.__all__ if callable(getattr(losses, name))})


@pytest.mark.skipif(jax.config.jax_enable_x64, reason='the examples print float32')
@pytest.mark.parametrize('name', MODULES)
def test_examples_print_what_they_say(name):
    module = importlib.import_module(name)
    shared = dict(vars(module))
    setup = doctest.DocTestParser().get_doctest(module.__doc__, shared, name, module.__file__, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    with np.printoptions(precision=3, suppress=True):
        runner.run(setup, clear_globs=False)
        for example in doctest.DocTestFinder(exclude_empty=True).find(module, name, extraglobs=setup.globs):
            runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize('name', [name for name in losses.__all__ if name not in ('CRITERIA', 'Criterion', 'settings')])
def test_every_public_loss_has_an_example(name):
    assert '>>> ' in getattr(losses, name).__doc__
