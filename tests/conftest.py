"""Where tests find the original's numbers and the real images; both are outside the project and may be absent."""

import os
import pathlib

import numpy as np
import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = pathlib.Path(os.environ.get('NOISY_JAX_DATA', _ROOT.parent / 'shared' / 'data'))
GOLDEN = DATA.parent / 'golden'


@pytest.fixture(scope='session')
def golden():
    """Returns load(name) -> dict of arrays, each file read once."""
    if not GOLDEN.is_dir():
        pytest.skip(f'no golden vectors at {GOLDEN}; set NOISY_JAX_DATA to the data folder beside them')
    cache = {}

    def load(name):
        if name not in cache:
            with np.load(GOLDEN / name) as archive:
                cache[name] = {key: archive[key] for key in archive.files}
        return cache[name]

    return load
