"""Stopping on Ctrl-C or SIGTERM (a preempted machine): between two steps, so that nothing is lost, or at once."""

import contextlib
import os
import select
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE = 8.0  # seconds in which the main thread can end by itself: most of 10, to finish what is being saved


class Stopped(Exception):
    """The run was asked to stop and has saved where it stands; `number` is the signal that asked."""

    def __init__(self, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = number


class StopSignal:
    """Within `with`, the first SIGINT or SIGTERM sets `requested`; while `saves`, it does nothing else.

    A second one, and the first while there is nothing to save, do what they did before.
    """

    _current: 'StopSignal | None' = None  # the one within its `with`

    def __init__(self) -> None:
        self.requested = False
        self.number = int(signal.SIGINT)  # the one that came; on several hosts it may have come to another
        self.saves = False  # whether steps may be in no checkpoint: who trained them saves them and ends
        self._old: dict[int, Any] = {}

    def __enter__(self) -> 'StopSignal':
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._old[number] = signal.signal(number, self._handle)
        self._outer, StopSignal._current = StopSignal._current, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        StopSignal._current = self._outer
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested, self.number = True, number
        self._restore()
        if not self.saves:
            return signal.raise_signal(number)
        return _say('stopping after this step, saving ... (Ctrl-C again: at once)')

    def _restore(self) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


_LAST_WORD = threading.RLock()  # the main thread and the one below may both come to say it
_said = False


def say_at_the_end(message: str) -> None:
    """Says why this process ends, unless that was said."""
    global _said
    with _LAST_WORD:
        if not _said:
            _said = True
            _say(message)


def end_at_signal(message: str) -> None:
    """From now on SIGINT and SIGTERM end this process with `message` and status 130 or 143, without a traceback.

    While the main thread is in compiled code it does not see a signal: there the process ends a few seconds later,
    unless there is something to save, and at a second signal.
    """

    def end(number: int, *_: object) -> None:
        say_at_the_end(message)
        os._exit(128 + number)

    def next_one() -> int:
        while (number := os.read(seen, 1)[0]) not in _SIGNALS:  # another one of the program's own
            pass
        return number

    def watch() -> None:
        number = next_one()
        if not select.select([seen], [], [], _PATIENCE)[0]:
            if not (StopSignal._current and StopSignal._current.saves):
                end(number)
            _say('waiting for this step, or the program that is being compiled, to save (Ctrl-C again: at once)')
        end(next_one())

    for number in _SIGNALS:
        signal.signal(number, end)
    seen, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup)
    threading.Thread(target=watch, daemon=True).start()


def _say(message: str) -> None:
    """Past the buffer of `sys.stderr`, which the signal may have interrupted; to nobody where its reader has gone."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f'\n{message}\n'.encode())
