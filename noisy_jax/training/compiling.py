"""How steps are compiled: XLA's options by platform, and the folder that keeps compiled programs."""

import os
import pathlib
import re

import jax

from noisy_jax.errors import InputError, is_utf8, warn_once

Options = dict[str, str | bool]

# By platform, only what was measured to help (docs/reproducing.md). Where XLA does not know one, it is left out.
OPTIONS: dict[str, Options] = {
    # XLA's newer CPU library takes 3 times as long as Eigen for the weight gradient of a convolution; its reductions
    # (BatchNorm) stay. LLVM's level 1 compiles small programs in a third of the time; a step of ResNet-18 (batch 64)
    # takes 1.79 s, by the default level 1.75 s. Level 0 gives wrong gradients.
    'cpu': {
        'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE',
        'xla_backend_optimization_level': '1',
    },
}


def compiler_options(text: str = '') -> Options:
    """The options of `jax.jit(..., compiler_options=)` on the platform in use.

    Args:
      text: 'name=value,name=value' changes or adds options, and a value may be a list, 'name=a,b'; 'none' leaves XLA as
        it is.

    Raises:
      InputError: text of another form, or an option or a value that XLA does not take.
    """
    if text == 'none':
        return {}
    own = OPTIONS.get(jax.default_backend(), {})
    options = {name: value for name, value in own.items() if not _refusal({name: value})}
    for item in filter(None, re.split(r',(?=\w+=)|,$', text)):
        name, equals, value = item.partition('=')
        if not equals:
            raise InputError(f"config.xla_options: {item!r} is not of the form name=value; or 'none' for no options")
        value = {'true': True, 'false': False}.get(value.lower(), value)
        refusal = _refusal({name: value})
        if refusal:
            raise InputError(f'config.xla_options: {item!r} is refused by XLA ({refusal})')
        options[name] = value
    return options


def _refusal(options: Options) -> str:
    """Why XLA does not take these options; empty where it does."""
    try:
        jax.jit(lambda x: x, compiler_options=options).lower(0).compile()
    except (jax.errors.JaxRuntimeError, TypeError) as error:  # the latter of what is no text
        return str(error).splitlines()[0].removeprefix('INVALID_ARGUMENT: ')
    return ''


def place_of(folder: str) -> pathlib.Path | None:
    """Where `keep_compiled` keeps programs; None: nowhere, as of a user without a home."""
    if folder != 'auto':
        return None if folder == 'off' else pathlib.Path(folder)
    if of_jax := jax.config.jax_compilation_cache_dir:
        return pathlib.Path(of_jax)
    caches = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(caches, 'noisy_jax', 'xla') if os.path.isabs(caches) else None


def keep_compiled(folder: str = 'auto') -> None:
    """Keeps compiled programs on disk, so that the next run with the same shapes starts at once.

    Args:
      folder: where; 'auto': the user's cache folder, unless JAX has been given one (JAX_COMPILATION_CACHE_DIR) or the
        user has no home; 'off': nowhere.

    Raises:
      InputError: a folder that cannot be written.
    """
    if folder == 'off':
        jax.config.update('jax_enable_compilation_cache', False)
        return
    of_jax = jax.config.jax_compilation_cache_dir
    if folder == 'auto' and of_jax:
        if not is_utf8(of_jax):
            jax.config.update('jax_compilation_cache_dir', None)
            warn_once(f'{of_jax}: compiled programs are not kept (its name is not UTF-8, as JAX needs it)')
        return
    path = place_of(folder)
    if path is None:
        return
    try:
        if not is_utf8(str(path)):
            raise OSError(None, 'its name is not UTF-8, as JAX needs it')
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(None, 'no permission to write')
    except OSError as error:
        if folder == 'auto':
            return warn_once(f'{path}: compiled programs are not kept ({error.strerror})')
        raise InputError(f'config.compile_cache: {folder!r} cannot be used ({error.strerror})') from error
    jax.config.update('jax_enable_compilation_cache', True)
    jax.config.update('jax_compilation_cache_dir', str(path))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
    return None
