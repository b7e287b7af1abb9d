"""Stopping on Ctrl-C or SIGTERM (a preempted machine): between two steps, so that nothing is lost, or at once."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run was asked to stop and has saved where it stands."""


class StopSignal:
    """Within `with`, the first SIGINT or SIGTERM sets `requested`; a second one does what it did before."""

    def __init__(self) -> None:
        self.requested = False
        self._old: dict[int, Any] = {}

    def __enter__(self) -> 'StopSignal':
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        _say('stopping after this step, saving ... (Ctrl-C again: at once)')

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


def end_at_signal(status: int, message: str) -> None:
    """From now on SIGINT and SIGTERM end this process with `status` and `message`, without a traceback.

    While the main thread is in compiled code it does not see a signal: there a second one ends the process.
    """
    ending = threading.Lock()

    def end(*_: object) -> None:
        if ending.acquire(blocking=False):  # the main thread and the one below may both come here
            _say(message)
            os._exit(status)

    def watch() -> None:
        os.read(seen, 1)
        os.read(seen, 1)
        end()

    for number in _SIGNALS:
        signal.signal(number, end)
    seen, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    threading.Thread(target=watch, daemon=True).start()


def _say(message: str) -> None:
    """Past `sys.stderr`, which the signal may have interrupted."""
    os.write(2, f'\n{message}\n'.encode())
