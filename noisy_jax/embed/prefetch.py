"""The images of a data set in their own size, read and prepared ahead of the network by threads."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from noisy_jax.data import encoded, lazy
from noisy_jax.errors import InputError, some

_AHEAD = 2  # batches that are ready while the network is busy


def prepared(
    images: lazy.Images, prepare: Callable[[Image.Image], Any], batches: Sequence[np.ndarray]
) -> Iterator[list[Any]]:
    """Yields what `prepare` makes of the RGB images of each batch of rows.

    Raises:
      InputError: an image is broken; names all from its batch on that are, so that they can be repaired at once.
    """

    def ready(image: np.ndarray) -> Any:
        return prepare(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert('RGB'))

    ahead: collections.deque[Iterator[Any]] = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(thread_name_prefix='decode') as pool:
        try:
            for done in range(len(batches)):
                for rows in batches[done + len(ahead) : done + 1 + _AHEAD]:
                    ahead.append(pool.map(lambda row: lazy.original(images, row, ready), rows))
                try:
                    batch = list(ahead.popleft())
                except InputError as error:
                    raise _all_broken(images, np.concatenate(batches[done:]), pool) from error
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)


def _all_broken(images: lazy.Files, rows: np.ndarray, pool: concurrent.futures.Executor) -> InputError:
    """The error about all broken images among these rows, of which there is one at least."""

    def fault(row: int) -> InputError | None:
        try:
            lazy.original(images, row, np.shape)
        except InputError as error:
            return error
        return None

    found = tqdm(pool.map(fault, rows), 'broken images', len(rows), unit='image', disable=None, leave=False)
    broken = [(images.name(row), error) for row, error in zip(rows, found, strict=True) if error]
    if len(broken) == 1:
        return broken[0][1]
    names = some([name for name, _ in broken], encoded.NAMED)
    return InputError(f'{len(broken)} images are not whole: {names}; repair or remove them, then rerun to resume')
