"""How batches reach the step: from images that stay on the devices, or streamed ahead of it."""

import collections
import concurrent.futures
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import Mesh

from noisy_jax.data.dataset import Dataset
from noisy_jax.training.mesh import own_rows, replicate, shard_batch

Arrays = dict[str, jax.Array]

_AHEAD = 2  # streamed batches that are read and on their way while a step runs


class Feed:
    """The batches of one data set; `of_epoch` runs on the host, `assemble` inside the jitted step.

    Images up to `resident_bytes` stay on every device as uint8: an epoch then sends its order [S, B] once, and a step
    gathers its batch. Larger ones are streamed; each process reads its own rows only.
    """

    def __init__(self, dataset: Dataset, mesh: Mesh, batch_size: int, resident_bytes: int) -> None:
        self._dataset, self._mesh, self._batch_size = dataset, mesh, batch_size
        self.resident: Arrays = {}
        if dataset.image.nbytes <= resident_bytes:
            arrays = {'image': np.asarray(dataset.image), 'label': dataset.label, 'weight': dataset.weight}
            self.resident = replicate(arrays, mesh)

    def of_epoch(self, seed: int, epoch: int, skip: int = 0, *, weights: np.ndarray | None = None) -> Iterator[Arrays]:
        """What each step of an epoch gets, from step `skip` on; with weights [N] also images drawn by them."""
        rows, size = own_rows(self._batch_size, self._mesh), self._batch_size
        if not self.resident:
            batches = self._dataset.batches(seed, epoch, batch_size=size, skip=skip, rows=rows, weights=weights)
            return self._streamed(batches)
        order = self._dataset.order(seed, epoch, batch_size=size)  # [S, B]
        orders = {'order': order[:, rows]}
        if weights is not None:
            orders['drawn'] = self._dataset.drawn(seed, epoch, batch_size=size, weights=weights)[:, rows]
        given = shard_batch(orders, self._mesh, axis=1)
        return iter([given] * (len(order) - skip))

    def _streamed(self, batches: Iterator[dict[str, np.ndarray]]) -> Iterator[Arrays]:
        placed = (shard_batch(batch, self._mesh) for batch in batches)
        with concurrent.futures.ThreadPoolExecutor(1, 'feed') as reader:
            coming = collections.deque(reader.submit(next, placed, None) for _ in range(_AHEAD))
            while (batch := coming.popleft().result()) is not None:
                coming.append(reader.submit(next, placed, None))
                yield batch

    @staticmethod
    def assemble(resident: Arrays, given: Arrays, step: jax.Array) -> Arrays:
        """The batch of a step: {image, label, weight, index}, and if images are drawn {drawn_image, drawn_index}."""
        if not resident:
            return given
        rows = {name: order[step % len(order)] for name, order in given.items()}  # [B] each
        batch = {**{name: array[rows['order']] for name, array in resident.items()}, 'index': rows['order']}
        if 'drawn' in rows:
            batch |= {'drawn_image': resident['image'][rows['drawn']], 'drawn_index': rows['drawn']}
        return batch
