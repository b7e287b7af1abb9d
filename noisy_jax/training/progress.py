"""What a person sees of a stage: a bar on a terminal, a line now and then in a log."""

import sys
import time

from tqdm import tqdm

from noisy_jax.training.mesh import is_main

_LOG_EVERY = 20.0  # seconds between two lines where there is no terminal


class Progress:
    """Phase, epoch, loss, accuracy, images/s and time left of one stage."""

    def __init__(self, title: str, epochs: int, steps_per_epoch: int, done: int) -> None:
        self._title, self._epochs, self._steps_per_epoch = title, epochs, steps_per_epoch
        self._total = epochs * steps_per_epoch
        self._first = self._done = done
        self._start = self._said = time.monotonic()
        self._silent = not is_main()
        self._terminal = sys.stderr.isatty() and not self._silent
        self._bar = tqdm(
            total=self._total,
            initial=done,
            desc=title,
            disable=not self._terminal,
            bar_format='{percentage:3.0f}%|{bar:20}| {desc} [{elapsed}, {remaining} left]',
        )

    def step(self) -> None:
        self._done += 1
        self._bar.update()

    def epoch(self, epoch: int, values: dict[str, float]) -> None:
        """After an epoch (counted from 1): the newest metrics."""
        text = f'epoch {epoch}/{self._epochs} ' + ' '.join(_short(name, value) for name, value in values.items())
        if self._terminal:
            self._bar.set_description_str(f'{self._title}, {text}', refresh=False)
            return
        now = time.monotonic()
        if not self._silent and (epoch == self._epochs or now - self._said > _LOG_EVERY):
            left = (now - self._start) / max(self._done - self._first, 1) * (self._total - self._done)
            print(f'{self._title:<16} {text} {left:.0f} s left', file=sys.stderr, flush=True)
            self._said = now

    def close(self) -> None:
        self._bar.close()


def _short(name: str, value: float | None) -> str:
    return f'{name.replace("accuracy", "acc")} {value:.3f}' if value is not None else ''
