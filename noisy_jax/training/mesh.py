"""The mesh of devices, the processes that drive them, and the only way from the host to the devices and back."""

import collections
import pathlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from noisy_jax.errors import InputError, first_line
from noisy_jax.training import hosts

PyTree = Any

_WORTH_SPREADING = 2**12  # elements: to send smaller arrays around costs more than their memory


def is_main() -> bool:
    """Whether this is the process that writes."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def in_any_process(flag: bool) -> bool:
    """Whether `flag` is set in one process at least; every process must call it."""
    return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.array(flag))))


def in_all(work: Callable[[], Any]) -> None:
    """Does `work` in every process, which must all call it; an InputError in one of them ends all."""
    fault = None
    try:
        work()
    except InputError as error:
        fault = error
    if in_any_process(fault is not None):
        raise fault or InputError('another process ends with an error; see its message')


def in_main(work: Callable[[], Any]) -> None:
    """Does `work` in the process that writes, as `in_all`."""
    in_all(work if is_main() else lambda: None)


def is_same(text: str) -> bool:
    """Whether all processes have the same; every process must call it."""
    number = np.array(zlib.crc32(text.encode()), np.uint32)
    return jax.process_count() == 1 or np.ptp(multihost_utils.process_allgather(number)) == 0


def check_same(values: Mapping[str, Any], field: str) -> None:
    """Checks that all processes have the same values, of the same names; every process must call it.

    Raises:
      InputError: they have not; names the first, which begins with `field`.
    """
    if jax.process_count() == 1:
        return
    sums = np.array([zlib.crc32(f'{name}={value!r}'.encode()) for name, value in values.items()], np.uint32)
    everywhere = multihost_utils.process_allgather(sums)  # [P, K]
    for place in np.flatnonzero((everywhere != everywhere[0]).any(0)):
        name, value = list(values.items())[place]
        raise InputError(
            f'{field}{name}: {value!r} here, something else in another process; run the same command on every host'
        )


def check_code() -> None:
    """InputError: another process runs other code of this package, which may not fit to that here."""
    if jax.process_count() == 1:
        return
    package = pathlib.Path(__file__).resolve().parents[1]
    paths = sorted(path for path in package.rglob('*.py') if 'configs' not in path.parts)  # where it is installed
    with hosts.meeting():
        found = is_same('\n'.join(f'{path.relative_to(package)} {zlib.crc32(path.read_bytes())}' for path in paths))
    if not found:
        raise InputError(f'{package}: another process has other code of noisy_jax; install the same on every host')


def of_main(array: np.ndarray) -> np.ndarray:
    """The array of the first process, in all of them: those that each has computed alone may differ in a last bit."""
    return array if jax.process_count() == 1 else np.asarray(multihost_utils.broadcast_one_to_all(array))


def devices() -> list[jax.Device]:
    """All devices of all processes.

    Raises:
      InputError: JAX finds none, or none of the kind that is asked of it.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        if 'gloo' in str(error) and (fault := hosts.name_fault()):
            raise InputError(fault) from error
        why = first_line(error) if str(error) else 'there are none here'  # an assertion, of CUDA
        asked = f'JAX_PLATFORMS={jax.config.jax_platforms}: ' if jax.config.jax_platforms else ''
        raise InputError(f'{asked}JAX cannot use these devices ({why})') from error


def make_mesh(num_devices: int = 0) -> Mesh:
    """A mesh with one axis `data` over the first `num_devices` devices of all processes (0: all).

    Raises:
      InputError: more devices than there are, or devices that leave a process without any or with another number.
    """
    found = devices()
    counts = collections.Counter(device.process_index for device in found)
    if len({*counts.values()}) > 1:
        raise InputError(f'the processes have {[*counts.values()]} devices; each needs the same number')
    if num_devices > len(found):
        raise InputError(f'config.devices: {num_devices} asked for, there are {len(found)}')
    if num_devices and jax.process_count() > 1 and num_devices != len(found):
        raise InputError(f'config.devices: {num_devices} asked for; several processes use all {len(found)} (0)')
    found = found[: num_devices or len(found)]
    # Auto: the compiler places collectives; the newer default (Explicit) refuses `z @ z.T` of a sharded batch.
    return jax.make_mesh((len(found),), ('data',), axis_types=(AxisType.Auto,), devices=found)


def own_rows(batch_size: int, mesh: Mesh) -> np.ndarray:
    """Which rows of a batch this process holds, in order: int [B / processes]."""
    placed = NamedSharding(mesh, PartitionSpec('data')).addressable_devices_indices_map((batch_size,))
    return np.sort(np.concatenate([np.arange(batch_size)[rows] for rows in placed.values()]))


def shard_batch(batch: PyTree, mesh: Mesh, *, axis: int = 0) -> PyTree:
    """Arrays sharded over the devices along `axis` [..., B, ...]; B must be a multiple of their number.

    With several processes, each passes only its own rows (`own_rows`).
    """
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, 'data'))
    if sharding.is_fully_addressable:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), batch)


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """A copy of every array on each device, never an alias of the host's memory (train states are donated)."""
    return jax.tree.map(lambda array: _place(array, NamedSharding(mesh, PartitionSpec())), tree)


def shard(tree: PyTree, mesh: Mesh) -> PyTree:
    """Large arrays split over the devices along the first axis that their number divides; the others are copied."""

    def split(array: Any) -> jax.Array:
        axes = [axis for axis, size in enumerate(np.shape(array)) if size and size % mesh.size == 0]
        small = np.size(array) < _WORTH_SPREADING
        parts = PartitionSpec() if small or not axes else PartitionSpec(*[None] * axes[0], 'data')
        return _place(array, NamedSharding(mesh, parts))

    return jax.tree.map(split, tree)


def _place(array: Any, sharding: NamedSharding) -> jax.Array:
    """A whole array, the same in every process."""
    if sharding.is_fully_addressable or (isinstance(array, jax.Array) and not array.is_fully_addressable):
        return jax.device_put(array, sharding, may_alias=False)
    array = np.asarray(array)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def place_like(array: Any, like: jax.Array) -> jax.Array:
    """A whole array, the same in every process, placed as `like` is."""
    return _place(array, like.sharding)


def check_batch_size(field: str, batch_size: int, images: int, mesh: Mesh) -> None:
    """Raises InputError where a batch is larger than the data or does not divide over the devices."""
    if batch_size > images:
        raise InputError(f'{field}: {batch_size} is larger than the {images} training images; at most {images}')
    if batch_size % mesh.size:
        raise InputError(f'{field}: {batch_size} is not a multiple of the {mesh.size} devices; use a multiple')


def to_host(tree: PyTree) -> PyTree:
    """Device arrays to NumPy; arrays sharded over processes are gathered, so that all processes must call it."""

    def whole(array: Any) -> Any:
        elsewhere = isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated)
        return multihost_utils.process_allgather(array, tiled=True) if elsewhere else array

    return jax.tree.map(np.asarray, jax.device_get(jax.tree.map(whole, tree)))
