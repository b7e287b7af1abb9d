"""XLA's options by platform, and the folder of compiled programs."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from conftest import refused

from noisy_jax.training import compiling

HERE = pathlib.Path(__file__).resolve().parent
OURS = 'xla_cpu_experimental_ynn_fusion_type'


def test_options_of_the_platform_are_ones_that_xla_takes():
    options = compiling.compiler_options()
    assert options == compiling.OPTIONS['cpu']
    assert jax.jit(lambda x: x + 1, compiler_options=options)(jnp.ones(3)).sum() == 6


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setitem(compiling.OPTIONS, 'cpu', {'xla_of_the_future': True, 'xla_cpu_enable_fast_math': False})
    assert compiling.compiler_options() == {'xla_cpu_enable_fast_math': False}


def test_own_options_win():
    text = f'xla_cpu_enable_fast_math=true,{OURS}=LIBRARY_FUSION_TYPE_DOT'
    given = {'xla_cpu_enable_fast_math': True, OURS: 'LIBRARY_FUSION_TYPE_DOT'}
    assert compiling.compiler_options(text) == compiling.OPTIONS['cpu'] | given
    assert compiling.compiler_options('none') == {}


def test_a_value_may_be_a_list():
    text = f'xla_gpu_enable_command_buffer=FUSION,CUBLAS,{OURS}=LIBRARY_FUSION_TYPE_DOT'
    given = {'xla_gpu_enable_command_buffer': 'FUSION,CUBLAS', OURS: 'LIBRARY_FUSION_TYPE_DOT'}
    assert compiling.compiler_options(text) == compiling.OPTIONS['cpu'] | given


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('fast', ('config.xla_options', "'fast'", 'name=value')),
        ('xla_nope=1', ('config.xla_options', 'xla_nope=1', 'No such compile option')),
        ('\udcff=1', ('config.xla_options', 'refused by XLA')),
        ('xla_cpu_enable_fast_math=perhaps', ('config.xla_options', 'perhaps', 'not a valid bool')),
    ],
)
def test_options_that_cannot_be_taken(text, words):
    refused(lambda: compiling.compiler_options(text), *words)


_CODE = """
import jax
from noisy_jax.training import compiling
compiling.keep_compiled({folder!r})
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.jit(lambda x: x * 2 + 1)(1.0)
"""


def _kept(folder, home, **environment):
    """Runs a program that compiles, and tells the files under `home`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith('JAX_')}
    environment = {**inherited, 'PYTHONPATH': str(HERE.parent), 'XDG_CACHE_HOME': str(home), **environment}
    code = _CODE.format(folder=str(folder))
    result = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [path for path in home.rglob('*') if path.is_file()]


def test_programs_are_kept_in_the_users_cache_folder(tmp_path):
    files = _kept('auto', tmp_path)
    assert files
    assert all(path.is_relative_to(tmp_path / 'noisy_jax' / 'xla') for path in files)


def test_the_folder_can_be_moved_or_left_out(tmp_path):
    assert not _kept(tmp_path / 'elsewhere', tmp_path / 'home')
    assert list((tmp_path / 'elsewhere').iterdir())
    assert not _kept('off', tmp_path / 'home')
    assert not _kept('auto', tmp_path / 'home', JAX_COMPILATION_CACHE_DIR=str(tmp_path / 'of_jax'))
    assert list((tmp_path / 'of_jax').iterdir())


@pytest.mark.parametrize('variable', ['XDG_CACHE_HOME', 'JAX_COMPILATION_CACHE_DIR'])
def test_nothing_is_kept_where_jax_knows_no_name(tmp_path, variable):
    assert not _kept('auto', tmp_path, **{variable: f'{tmp_path}/h\udcff'})
    words = ('config.compile_cache', 'not UTF-8')
    refused(lambda: compiling.keep_compiled(f'{tmp_path}/h\udcff'), *words)


def test_nothing_is_kept_of_a_user_without_a_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compiling.os.path, 'expanduser', lambda name: name)  # as where nobody knows who it is
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    before = jax.config.jax_compilation_cache_dir
    jax.config.update('jax_compilation_cache_dir', None)
    try:
        compiling.keep_compiled()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update('jax_compilation_cache_dir', before)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').write_text('')
    refused(lambda: compiling.keep_compiled(str(tmp_path / 'file' / 'cache')), 'config.compile_cache', 'file')
