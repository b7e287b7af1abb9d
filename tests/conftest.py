"""Where tests find the original's numbers and the real images; both are outside the project and may be absent."""

import os
import pathlib
import tempfile

import numpy as np
import pytest

# Many tests run the same pipeline: each program is compiled once for all of them, also in subprocesses.
_CACHE = tempfile.TemporaryDirectory()
os.environ['JAX_COMPILATION_CACHE_DIR'] = _CACHE.name
os.environ['JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_COMPILATION_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

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
