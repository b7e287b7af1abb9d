"""What libtiff finds wrong with an image, which it would print on standard error, without the name of the file."""

import contextlib
import ctypes
import functools
import pathlib
import threading
from collections.abc import Iterator

from noisy_jax.errors import warn_once

_found = threading.local()


@contextlib.contextmanager
def faults_named(name: object) -> Iterator[None]:
    """Warns of what it finds in the image `name`, which is loaded in the block, by this thread, without an error.

    Where the system does not tell which library Pillow has loaded, it prints as before.
    """
    _listen()
    _found.faults = []
    yield
    if _found.faults:
        warn_once(f'{name}: damaged, but read as far as it can be ({_found.faults[0]})')


@functools.cache
def _listen() -> None:
    with contextlib.suppress(OSError):
        maps = pathlib.Path('/proc/self/maps').read_text(errors='surrogateescape')
        for path in {line.split(maxsplit=5)[-1] for line in maps.splitlines() if '/libtiff' in line}:
            with contextlib.suppress(AttributeError):
                ctypes.CDLL(path).TIFFSetErrorHandler(_note)


@ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
def _note(module: bytes, text: bytes, values: object) -> None:
    """libtiff's TIFFErrorHandler, https://libtiff.gitlab.io/libtiff/functions/TIFFError.html."""
    del module, values  # of each % in the text
    if hasattr(_found, 'faults') and text:
        _found.faults.append(text.decode(errors='replace').partition('%')[0].rstrip(' (:') or 'a fault')
