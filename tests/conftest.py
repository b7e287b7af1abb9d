"""Where tests find the original's numbers and the real images; both are outside the project and may be absent."""

import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import numpy as np
import pytest

from noisy_jax.errors import InputError

# Many tests run the same pipeline: each program is compiled once for all of them, also in subprocesses and by the
# workers of pytest-xdist, which inherit the folder.
if 'PYTEST_XDIST_WORKER' not in os.environ:
    _CACHE = tempfile.TemporaryDirectory()
    os.environ['JAX_COMPILATION_CACHE_DIR'] = _CACHE.name
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'


def _xla_flags():
    """Options that compile faster: most of the time goes into programs that run for a few steps.

    The product compiles its steps at that level too (noisy_jax/training/compiling.py), but with XLA's fusion emitters,
    which take as long as all else together.
    """
    flags = '--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false'
    known = [sys.executable, '-c', 'import jaxlib.xla_client as xla; xla.CompileOptions()']  # aborts at an unknown flag
    taken = subprocess.run(known, env={**os.environ, 'XLA_FLAGS': flags}, capture_output=True).returncode == 0
    return f'{os.environ.get("XLA_FLAGS", "")} {flags if taken else ""}'.strip()


if 'PYTEST_XDIST_WORKER' not in os.environ:
    os.environ['XLA_FLAGS'] = _xla_flags()

_ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = pathlib.Path(os.environ.get('NOISY_JAX_DATA', _ROOT.parent / 'shared' / 'data'))
GOLDEN = DATA.parent / 'golden'

# Bounds on rounding are multiples of it, of the largest value: processors add up in different orders, and two programs
# for the same numbers may do so on one processor.
EPSILON = float(np.finfo(np.float32).eps)

# Files that take longest, in this order: they come first, so that no worker ends long after the others. The first two
# share no programs.
LONGEST = (
    'test_mesh',
    'test_resume',
    'test_estimator',
    'test_pipeline',
    'test_pair',
    'test_hosts',
    'test_momentum',
    'test_models',
    'test_automatic',
    'test_cifar10',
    'test_stopping',
    'test_steps',
)

# Files of the `cifar` fixture.
CIFAR_COUNTS = {'train/airplane': 120, 'train/automobile': 80, 'test/airplane': 30, 'test/automobile': 20}


def pytest_collection_modifyitems(items):
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONGEST)))


def environment(devices=1):
    """Variables of a subprocess that finds package and test modules, and sees so many devices."""
    return {
        **os.environ,
        'PYTHONPATH': os.pathsep.join([str(_ROOT), str(_ROOT / 'tests')]),
        'XLA_FLAGS': f'{os.environ["XLA_FLAGS"]} --xla_force_host_platform_device_count={devices}',
    }


def assert_rounded(actual, expected, roundings, message=''):
    """Checks that arrays, or trees of arrays, differ by at most so many float32 roundings of the largest value."""
    import jax  # reads the environment set above

    actual, expected = jax.tree.leaves(actual), jax.tree.leaves(expected)
    atol = roundings * EPSILON * max(np.abs(leaf).max() for leaf in expected)
    for ours, theirs in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=message)


def refused(call, *words):
    """Checks that `call` raises an InputError of one line that holds all `words`."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert '\n' not in message
    for word in words:
        assert str(word) in message


def refused_by_command(capsys, status, *words):
    """Checks that a command ended with one line that holds all `words`, and status 2."""
    assert status == 2
    message = capsys.readouterr().err
    assert message.startswith('error: ')
    assert message.count('\n') == 1, message
    for word in words:
        assert word in message


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


@pytest.fixture(scope='session')
def cifar(tmp_path_factory):
    """The first images of two classes of CIFAR-10, as files."""
    archive = DATA / 'cifar10_jpeg.tar.xz'
    if not archive.is_file():
        pytest.skip(f'no CIFAR-10 images at {archive}; set NOISY_JAX_DATA to their folder')
    root, left = tmp_path_factory.mktemp('cifar10'), dict(CIFAR_COUNTS)
    with tarfile.open(archive, 'r|xz') as members:
        for member in members:
            folder = member.name.rpartition('/')[0]
            if member.isfile() and left.get(folder):
                members.extract(member, root, filter='data')
                left[folder] -= 1
                if not any(left.values()):
                    break
    return root


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
    """Digits as PNG files in train/NAME and test/NAME, a fifth of the training labels wrong; and a run on them.

    The same file names stand in every class folder.
    """
    import digit_files

    return digit_files.make(tmp_path_factory.mktemp('photos'))
