"""What Ctrl-C and SIGTERM do to a command that has nothing to save."""

import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it is an exception."""


_cleaning: list[bool] = []  # for every block of `cleans_up`
_undisturbed: list[bool] = []  # for every block of `undisturbed`


def cleans_up() -> contextlib.AbstractContextManager[None]:
    """Within the block Ctrl-C and SIGTERM are exceptions, so that it can remove what it has begun to write."""
    return _noted(_cleaning)


def undisturbed() -> contextlib.AbstractContextManager[None]:
    """Within the block, which takes no time, Ctrl-C and SIGTERM do nothing: people press it twice."""
    return _noted(_undisturbed)


@contextlib.contextmanager
def _noted(blocks: list[bool]) -> Iterator[None]:
    blocks.append(True)
    try:
        yield
    finally:
        blocks.pop()


@contextlib.contextmanager
def ended_by_signals(stopped: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the process at once, unless the program has other plans for them, or `cleans_up`.

    An exception would abort the import of a native library; in a garbage collection JAX would ignore it.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        if _undisturbed:
            return
        if not _cleaning:
            with contextlib.suppress(OSError, ValueError):
                os.write(sys.stderr.fileno(), f'{stopped}\n'.encode())
            os._exit(128 + number)
        if frame and any(frame.f_code is getattr(callback, '__code__', None) for callback in gc.callbacks):
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()  # ask again
            return
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    numbers = []
    if threading.current_thread() is threading.main_thread():
        numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) == signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in numbers:
            if signal.getsignal(number) is interrupt:
                signal.signal(number, signal.SIG_DFL)
