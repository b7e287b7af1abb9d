"""What TensorBoard shows of a run: the metrics, and a few pictures and histograms. Needs the extra `tensorboard`."""

import contextlib
import functools
import pathlib
import threading
from typing import Any

import numpy as np

from noisy_jax.data.dataset import Dataset
from noisy_jax.data.pixels import visible
from noisy_jax.errors import first_line, one_line, shortened, warn_once

_FLUSH_SECONDS = 20
_COLUMNS, _ROWS = 8, 3  # of the images with label issues that are shown


@functools.cache
def _go_on_without(folder: pathlib.Path) -> None:
    """A full disk ends the thread that writes, which would print a traceback, but not the run."""
    before = threading.excepthook

    def ended(found: Any) -> None:
        if not type(found.thread).__module__.startswith('tensorboardX'):
            return before(found)
        reason = getattr(found.exc_value, 'strerror', None) or first_line(found.exc_value)
        warn_once(f'{folder} cannot be written ({reason}); TensorBoard shows what was before')
        # In the thread that ends: who puts more in its queue than that holds would wait for ever.
        while type(found.thread._queue.get()) is not object:  # which asks it to end
            pass

    threading.excepthook = ended


class Board:
    """The folder tensorboard/ of a work directory, rewritten by every process that resumes the run.

    So no point appears twice; metrics.jsonl is the source.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        from tensorboardX import SummaryWriter  # writes in a thread of its own

        _go_on_without(folder)
        for written in folder.glob('events.out.tfevents.*'):
            written.unlink()
        self._writer = SummaryWriter(str(folder), flush_secs=_FLUSH_SECONDS)
        self._epochs: dict[str, int] = {}

    def scalars(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl, in order: `phase/name` over the epochs of the phase, whatever their stage."""
        phase = line['phase']
        self._epochs[phase] = self._epochs.get(phase, 0) + 1
        for name, value in line.items():
            if name not in ('phase', 'stage', 'epoch', 'step') and value is not None:
                self._writer.add_scalar(f'{phase}/{name}', value, self._epochs[phase])

    def views(self, images: np.ndarray, views: np.ndarray) -> None:
        """Images uint8 [N, H, W, C], a column each, above two views float32 [N, 2, H, W, C] of it."""
        views = (255 * np.clip(views, 0, 1)).round().astype(np.uint8)
        self._image('pretrain/views', np.concatenate([images[None], views.swapaxes(0, 1)]))

    def histogram(self, tag: str, values: np.ndarray) -> None:
        finite = values[np.isfinite(values)]
        if len(finite):
            self._writer.add_histogram(tag, finite, 0)

    def suspects(
        self, labelled: Dataset, order: np.ndarray, suggested: np.ndarray, clean_probability: np.ndarray
    ) -> None:
        """The first images of `order` [N], and what they are called; `suggested` and `clean_probability` [N]."""
        rows = order[: min(_COLUMNS * _ROWS, len(order))]
        images = np.zeros((_ROWS * _COLUMNS, *labelled.image.shape[1:]), np.uint8)
        images[: len(rows)] = labelled.image[rows]
        self._image('labels/suspects', images.reshape(_ROWS, _COLUMNS, *images.shape[1:]))
        lines = ['row, column | given → suggested | clean probability | image', '---|---|---|---']
        for place, row in enumerate(rows):
            names = (labelled.class_names[label] for label in (labelled.label[row], suggested[row]))
            given, new, name = (one_line(shortened(text)).replace('|', r'\|') for text in (*names, labelled.id[row]))
            where = f'{place // _COLUMNS + 1}, {place % _COLUMNS + 1}'
            lines.append(f'{where} | {given} → {new} | {clean_probability[row]:.3f} | {name}')
        self._writer.add_text('labels/suspects', '\n'.join(lines), 0)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, which a warning has told
            self._writer.close()

    def _image(self, tag: str, grid: np.ndarray) -> None:
        """uint8 [rows, columns, H, W, C]."""
        rows, columns, height, width, channels = grid.shape
        picture = grid.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
        self._writer.add_image(tag, visible(picture), 0, dataformats='HWC')
