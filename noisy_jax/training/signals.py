"""Stopping between two steps on Ctrl-C or SIGTERM (a preempted machine), so that nothing is lost."""

import signal
import sys
import threading
from types import FrameType, TracebackType


class Stopped(Exception):
    """The run was asked to stop and has saved where it stands."""


class StopSignal:
    """Within `with`, the first SIGINT or SIGTERM sets `requested`; a second one interrupts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._old: dict[int, object] = {}

    def __enter__(self) -> 'StopSignal':
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print('\nstopping after this step, saving ...', file=sys.stderr)
