"""Classifies image files with the classifier of a finished run.

  python -m noisy_jax.predict --workdir=runs/photos --images=new/ --out=predictions.csv

The CSV has a row per image: path,label,probability, and with --all a column for each class (class:label for one called
label); a text that a spreadsheet would run gets an apostrophe in front. An image that cannot be read does not stop the
others: its row has no label, a warning names it, and the exit status is 1.
For arrays in Python, see TrainedClassifier in noisy_jax/inference/trained.py.
"""

import collections
import concurrent.futures
import contextlib
import functools
import io
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

import numpy as np
from PIL import Image
from tqdm import tqdm

from noisy_jax import cli, spreadsheet
from noisy_jax.data import image_files, output_places
from noisy_jax.data.decoding import TooDeep, decode, decoded_shape, warn_of_crop
from noisy_jax.data.depth import Levels
from noisy_jax.data.rows import spread
from noisy_jax.errors import InputError, one_line, shortened, warn_once
from noisy_jax.files import lines
from noisy_jax.outputs import OTHER_TABLES, new_file
from noisy_jax.workdir import WorkDir

if TYPE_CHECKING:
    from noisy_jax.inference.trained import TrainedClassifier  # which takes JAX: --help and mistakes need none

_HEADER = ('path', 'label', 'probability')
_NO_IMAGES = ('.csv', '.npz', '.npy', *OTHER_TABLES)  # suffixes
_CHUNKS_AHEAD = 2  # decoded while the network is busy
_LOOKED_AT = 256  # images whose shape is looked at
_NAMED = 10  # unreadable images, and classes in the summary, that are listed


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and predicts.

    Returns the exit status: 1 where some images could not be read, 2 after a user error, 130 or 143 if stopped.
    """
    parser = cli.of_command('predict', __doc__)
    parser.add_argument('--workdir', required=True, type=os.path.expanduser, help='work directory of the run')
    parser.add_argument(
        '--images',
        required=True,
        type=os.path.expanduser,
        help='an image, a folder (searched with all folders in it), or a .txt file of paths, one a line',
    )
    parser.add_argument(
        '--out', required=True, type=os.path.expanduser, help="the CSV, a new file; '-': standard output"
    )
    parser.add_argument('--all', action='store_true', help='also the probability of every class, a column each')

    def work() -> int:
        options = parser.parse_args(argv)
        return int(predict(options.workdir, options.images, options.out, all_classes=options.all) > 0)

    return cli.exit_status(work, stopped='stopped')


def predict(workdir: str, images: str, out: str, *, all_classes: bool = False) -> int:
    """Writes the CSV and prints a summary; returns how many images could not be read.

    Raises:
      InputError: a run, images or an output that cannot be used.
    """
    files = files_named(images)
    if (suffix := pathlib.Path(out).suffix.lower()) in OTHER_TABLES:
        raise InputError(f'--out: {out}: {suffix} is not written; a CSV is, such as {pathlib.Path(out).stem}.csv')
    if out != '-':
        output_places.check_output(out, WorkDir.of_run(workdir))
    cli.import_jax()
    from noisy_jax.inference.trained import TrainedClassifier
    from noisy_jax.training import compiling

    classifier = TrainedClassifier.of_run(workdir)
    # A folder that the run was given may be one of another machine, or of where the run began.
    cache = 'off' if classifier.config.compile_cache == 'off' else 'auto'
    place = compiling.place_of(cache)
    # Else it is in a hidden folder of the home, and the data need not be looked through.
    if place and any(map(os.environ.get, ('XDG_CACHE_HOME', 'JAX_COMPILATION_CACHE_DIR'))):
        try:
            output_places.check_of_run(place, WorkDir.of_run(workdir), 'XDG_CACHE_HOME')
        except InputError:
            cache = 'off'
    compiling.keep_compiled(cache)
    if classifier.image_shape[-1] not in (1, 3):
        raise InputError(f'{workdir}: images of {classifier.image_shape[-1]} channels; files have 1 (grey) or 3')
    _warn_of_crop(classifier, files)
    names = classifier.class_names
    every = names if all_classes else ()
    counts, broken = collections.Counter(), 0
    bar = tqdm(total=len(files), desc='predicting', unit='image', disable=None, leave=False)
    with _standard_output() if out == '-' else new_file(out) as text, bar:
        spreadsheet.write(text, [(*_HEADER, *map(_column, every))])
        for file, found in _predictions(classifier, files):
            bar.update()
            if isinstance(found, InputError):
                broken += 1
                if broken <= _NAMED:
                    tqdm.write(f'warning: {found}', file=sys.stderr)
                spreadsheet.write(text, [(file, '', '', *([''] * len(every)))])
            else:
                best = found.argmax()
                counts[names[best]] += 1
                shown = [found[best], *(found if every else ())]
                spreadsheet.write(text, [(file, names[best], *map('{:.6f}'.format, shown))])
        if not counts:
            raise InputError(f'--images: {images}: none of the {len(files)} images could be read')
    _summarise(out, counts, broken)
    return broken


def _warn_of_crop(classifier: 'TrainedClassifier', files: list[str]) -> None:
    """Warns of long images, by the headers of some files, of which the classifier sees the middle only."""
    height, width, _ = classifier.image_shape
    if height != width:  # these are taken as they are
        return
    shapes = []
    for row in spread(len(files), _LOOKED_AT):
        with contextlib.suppress(InputError):  # said when it is read
            shapes.append(decoded_shape(files[row], levels=classifier.levels or Levels(0.0, 1.0)))
    if shapes:
        warn_of_crop(np.array(shapes), source='--images: ')


@contextlib.contextmanager
def _standard_output() -> Iterator[TextIO]:
    """In the encoding of a file, which whoever reads it expects."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding='utf-8', errors='surrogateescape')
    yield sys.stdout


def _column(name: str) -> str:
    """The column of a class, which is another one than those of `_HEADER` and of other classes."""
    return f'class:{name}' if re.sub('^(class:)*', '', name) in _HEADER else name


def files_named(images: str) -> list[str]:
    """The files that --images names, relative to the current folder; those of a folder are in the order of its paths.

    Raises:
      InputError: nothing of this name, no image in it, a list that is empty or no text.
    """
    if not images:
        raise InputError("--images: '' is not allowed; an image, a folder or a .txt file of paths is needed")
    path = pathlib.Path(images)
    if path.is_dir():
        found = image_files.search(images)
        image_files.warn(images, [found.left_out])
        files, fault = [os.path.join(images, name) for name in found.images], f'no images that Pillow reads in {images}'
    elif not path.exists():
        files, fault = [], f'no such file or folder: {images}'
    elif not path.is_file():
        files, fault = [], f'{images}: no file, but a pipe or a device; write the paths in a .txt file'
    elif path.suffix.lower() in _NO_IMAGES:
        raise InputError(f'--images: {images}: an image, a folder or a .txt file of paths, one a line, is needed')
    elif path.suffix.lower() != '.txt':
        return [images]
    else:
        fault = f'{images} is empty; paths of images, one a line, are needed'
        try:
            files = list(filter(None, map(str.strip, lines(path))))
        except InputError as error:
            raise InputError(f'--images: {error}') from error
    if not files:
        raise InputError(f'--images: {fault}')
    return files


def _predictions(classifier: 'TrainedClassifier', files: list[str]) -> Iterator[tuple[str, np.ndarray | InputError]]:
    """Each file with its probabilities [C] or the error of reading it; a few batches are in memory at a time."""
    size = classifier.config.eval_batch_size
    read = functools.partial(_read, shape=classifier.image_shape, levels=classifier.levels)
    ahead: collections.deque[tuple[list[str], Iterator]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(thread_name_prefix='decode') as pool:
        try:
            for start in range(0, len(files) + _CHUNKS_AHEAD * size, size):
                chunk = files[start : start + size]
                ahead.append((chunk, pool.map(read, chunk)))
                if len(ahead) > _CHUNKS_AHEAD:
                    chunk, images = ahead.popleft()
                    yield from zip(chunk, _classified(classifier, list(images)), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)


def _classified(
    classifier: 'TrainedClassifier', images: list[np.ndarray | InputError]
) -> Iterator[np.ndarray | InputError]:
    readable = [image for image in images if not isinstance(image, InputError)]
    probabilities = iter(classifier.predict_proba(np.stack(readable)) if readable else ())
    return (image if isinstance(image, InputError) else next(probabilities) for image in images)


def _read(file: str, shape: tuple[int, int, int], levels: Levels | None = None) -> np.ndarray | InputError:
    """An image as the classifier takes it, uint8 [H, W, C], or the error of reading it."""
    height, width, channels = shape
    try:
        image = _decoded(file, height if height == width else 0, levels)
    except InputError as error:
        return error
    if image.shape[:2] != (height, width):
        found = f'{image.shape[1]}x{image.shape[0]}'
        return InputError(f'{file}: {found} pixels; this classifier was trained on images of {width}x{height}')
    if channels == 1 and image.shape[-1] == 3:
        return np.asarray(Image.fromarray(image).convert('L'))[..., None]
    return np.broadcast_to(image, shape)  # a grey one has the same value in every channel


def _decoded(file: str, size: int, levels: Levels | None) -> np.ndarray:
    try:
        image = decode(file, size)
    except TooDeep:
        return decode(file, size, levels=levels)
    if levels:
        warn_once(
            f'--images: images of 8 bits, where some of training had more, from {levels.low:g} to {levels.high:g}; '
            'are they of the same scale?'
        )
    return image


def _summarise(out: str, counts: collections.Counter, broken: int) -> None:
    text = sys.stderr if out == '-' else sys.stdout
    where = '' if out == '-' else f'{out}: '
    count = counts.total()
    print(f'{where}{count} image{"" if count == 1 else "s"} classified', file=text)
    for name, count in counts.most_common(_NAMED):
        print(f'  {one_line(shortened(name))}: {count}', file=text)
    if len(counts) > _NAMED:
        print(f'  {len(counts) - _NAMED} more classes', file=text)
    if broken:
        total = counts.total() + broken
        print(f'warning: {broken} of {total} images could not be read; their rows have no label', file=sys.stderr)
