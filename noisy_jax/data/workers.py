"""Who decodes images: threads of this process, or processes.

Pillow releases the interpreter lock while it decodes: on two busy cores threads read 970 JPEGs of 256x256 a second, two
processes 420. Processes can be worth their start on many cores with small images, since the Python code around Pillow
does not run in parallel.
"""

import concurrent.futures
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import warnings

from noisy_jax.errors import warning_line


@functools.lru_cache(maxsize=1)
def pool_of(workers: int) -> concurrent.futures.Executor:
    """The executor that all data sets share: so many processes, which start with the first task; 0: threads."""
    if not workers:
        return concurrent.futures.ThreadPoolExecutor(thread_name_prefix='decode')
    # Processes are spawned: a fork of a process in which JAX runs threads may hang.
    context = multiprocessing.get_context('spawn')
    return concurrent.futures.ProcessPoolExecutor(workers, context, initializer=_begin_worker)


def _begin_worker() -> None:
    """Makes a worker ignore signals, which its parent handles, end with it even if that is killed, warn in one line."""
    warnings.formatwarning = warning_line
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
