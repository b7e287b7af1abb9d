"""Progress of a run: a bar per phase on a terminal, an occasional line in a log."""

import math
import shutil
import sys
import time
from typing import Any

from tqdm import tqdm

from noisy_jax.training.mesh import is_main
from noisy_jax.training.time_left import TimeLeft, Work, WorkPlan

_LOG_EVERY = 20.0  # seconds between two lines of a log; in a long run a 50th of the time so far
_DRAW_EVERY = 0.2  # seconds between two pictures of a bar
_NARROW = 100  # columns; the loss has room in more

# The accuracy that is shown is the first of these that is known.
_ACCURACIES = {
    'test_accuracy': 'test',
    'knn_accuracy': 'k-NN',
    'valid_accuracy': 'valid',
    'knn_agreement': 'k-NN',
    'accuracy': 'train',
}


class Progress:
    """Reports progress and remaining time on stderr, in process 0 only."""

    def __init__(self, plan: WorkPlan | None = None, *, quiet: bool = False, at_most: bool = False) -> None:
        """Without a `plan` later phases are left out; `at_most`: stages may end early."""
        self._time_left, self._whole = TimeLeft(plan or {}), bool(plan)
        self._about = 'at most' if at_most else 'about'
        self._speaks = not quiet and is_main()
        self._terminal = self._speaks and sys.stderr.isatty()
        self._bar: tqdm | None = None
        self._phase, self._images_per_second = '', 0.0
        self._values: dict[str, float] = {}  # the newest of each metric
        self._start = self._epoch_end = self._shown = time.monotonic()
        self._since: float | None = None  # when the epoch began, a stage's first when it was compiled

    def __enter__(self) -> 'Progress':
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def begin(self, phase: str, stage: str, epochs: int, steps_per_epoch: int, batch_size: int, first: int) -> None:
        """Starts a stage of so many epochs, or resumes it at step `first`."""
        if phase != self._phase:
            self._close()
            self._phase, self._values, self._images_per_second = phase, {}, 0.0
        self._steps_per_epoch, self._batch_size = steps_per_epoch, batch_size
        self._time_left.begin(
            phase, stage, Work(epochs, float(steps_per_epoch * batch_size)), done=first / steps_per_epoch
        )
        self._fresh, self._steps, self._since = True, 0, None
        if self._terminal:
            self._draw()
        self._begun = time.monotonic()

    def step(self) -> None:
        self._steps += 1
        now = time.monotonic()
        self._since = self._since or now
        if self._terminal and now - self._shown > _DRAW_EVERY:
            self._draw()
        elif not self._terminal and now - self._shown > max(_LOG_EVERY, (now - self._start) / 50):
            self._log()

    def epoch(self, epoch: int, values: dict[str, float | None], seconds: float) -> None:
        """After an epoch (counted from 1): the newest metrics, and how long its steps took."""
        now, begins = time.monotonic(), not self._time_left.is_known
        took, besides = now - self._epoch_end, None
        if self._fresh:
            # The first step and the first evaluation of a stage include compilation.
            seconds = max(seconds - (self._since - self._begun), 1e-3) if self._steps > 1 else seconds
            took, besides = seconds, took - seconds
        self._time_left.trained(epoch, took, besides)
        self._images_per_second = self._steps * self._batch_size / seconds
        self._values |= {name: value for name, value in values.items() if value is not None}
        self._epoch_end = self._since = now
        self._fresh, self._steps = False, 0
        if self._terminal and begins and self._whole:
            self._say(self._for_all_phases())
        if self._terminal:
            self._draw()
        elif begins:
            self._log()

    def finish(self, phase: str, record: dict[str, Any], *, trained: bool) -> None:
        """Ends a phase; `record` as in the summary; `trained`: in this run, not in an earlier one."""
        self._time_left.finish(phase)
        self._close()
        if trained:
            rate = record['images_per_second']
            parts = [f'{record["seconds"]:.1f} s', f'{rate:.0f} images/s' if rate else '', _accuracy(record)]
            self._say(f'{phase:<11} {", ".join(filter(None, parts))}')

    def note(self, phase: str, text: str) -> None:
        """Says what a reader has to know about a phase."""
        self._say(f'{phase:<11} {text}')

    def _log(self) -> None:
        self._shown = time.monotonic()
        parts = [self._loss(), _accuracy(self._values), self._rate()]
        if self._time_left.is_known:
            parts += [f'{_duration(self._seconds_left()[0])} left', self._for_all_phases() if self._whole else '']
        text = ', '.join(filter(None, parts))
        self._say(f'{self._phase:<11} epoch {self._epochs()}  {text}'.rstrip())

    def _draw(self) -> None:
        """Fits 80 columns."""
        self._shown = time.monotonic()
        left = 'starting'
        if self._time_left.is_known:
            of_phase, of_all = map(_duration, self._seconds_left())
            sign = '<' if self._about == 'at most' else '~'
            left = f'left: {of_phase}' + (f', all {sign}{of_all}' if self._whole else '')
        wide = shutil.get_terminal_size().columns >= _NARROW
        parts = [self._loss() if wide else '', _accuracy(self._values), self._rate(), left]
        picture = f'{self._phase} {self._epochs()} |{{bar}}| {" ".join(filter(None, parts))}'
        done = self._time_left.share_done(more=self._steps / self._steps_per_epoch)
        if self._bar is None:
            self._bar = tqdm(total=1.0, initial=done, bar_format=picture, leave=False, dynamic_ncols=True)
            return
        self._bar.n, self._bar.bar_format = done, picture
        self._bar.refresh()

    def _epochs(self) -> str:
        """Epoch of the phase and their number."""
        done, total = self._time_left.epochs()
        return f'{math.ceil(done + self._steps / self._steps_per_epoch)}/{total}'

    def _seconds_left(self) -> tuple[float, float]:
        """Seconds left of the phase and of the run, counted from the end of the last epoch."""
        passed = time.monotonic() - self._since if self._since else 0.0
        of_phase, of_all = (max(seconds - passed, 0.0) for seconds in self._time_left.seconds())
        return of_phase, of_all

    def _for_all_phases(self) -> str:
        return f'{self._about} {_duration(self._seconds_left()[1])} for all phases'

    def _loss(self) -> str:
        return f'loss {self._values["loss"]:.3f}' if self._values else ''

    def _rate(self) -> str:
        return f'{self._images_per_second:.0f} images/s' if self._images_per_second else ''

    def _say(self, text: str) -> None:
        if self._speaks:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()

    def _close(self) -> None:
        if self._bar:
            self._bar.close()
            self._bar = None


def _accuracy(values: dict[str, Any]) -> str:
    """'test 98.1%', of metrics or of a record."""
    for name, title in _ACCURACIES.items():
        value = values.get(f'{name}_last', values.get(name))
        if value is not None:
            return f'{title} {100 * value:.1f}%'
    return ''


def _duration(seconds: float) -> str:
    """Rounded: '40 s', '12 min', '3.5 h', '2.1 days'."""
    for limit, unit, name, digits in ((90, 1, 's', 0), (5400, 60, 'min', 0), (172_800, 3600, 'h', 1)):
        if seconds < limit:
            return f'{seconds / unit:.{digits}f} {name}'
    return f'{seconds / 86_400:.1f} days'
