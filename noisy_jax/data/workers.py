"""Who decodes images: threads of this process, or processes.

Pillow releases the interpreter lock while it decodes: on two busy cores threads read 970 JPEGs of 256x256 a second, two
processes 420. Processes can be worth their start on many cores with small images, since the Python code around Pillow
does not run in parallel.
"""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator

from noisy_jax.errors import InputError, warning_line

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@functools.lru_cache(maxsize=1)
def pool_of(workers: int) -> concurrent.futures.Executor:
    """The executor that all data sets share: so many processes, which start with the first task; 0: threads."""
    if not workers:
        return concurrent.futures.ThreadPoolExecutor(thread_name_prefix='decode')
    # Processes are spawned: a fork of a process in which JAX runs threads may hang.
    context = multiprocessing.get_context('spawn')
    try:
        with _unsaid_leaks():
            pool = concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_begin_worker)
        with _no_signals():
            for _ in range(workers):  # each starts one, while none is idle yet
                pool.submit(os.getpid)
        return pool
    except OSError as error:  # semaphores are files in /dev/shm
        raise InputError(
            f'config.data.workers: {workers} processes cannot be started ({error.strerror}); 0 decodes in threads'
        ) from error


@contextlib.contextmanager
def _unsaid_leaks() -> Iterator[None]:
    """Python's resource tracker, if it starts within the block, does not warn of what a killed process leaves."""
    sys.warnoptions.append('ignore:resource_tracker:UserWarning')
    try:
        yield
    finally:
        sys.warnoptions.pop()


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    """Processes that start within it get no signals that their parent handles, from the first moment on."""
    if not hasattr(signal, 'pthread_sigmask'):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """Makes a worker leave signals to its parent, end with it even if that is killed, and warn in one line."""
    warnings.formatwarning = warning_line
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
