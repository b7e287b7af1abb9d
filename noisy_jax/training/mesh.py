"""The mesh of devices and the only way from the host to it."""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from noisy_jax.errors import InputError

PyTree = Any


def make_mesh(num_devices: int = 0) -> Mesh:
    """A mesh with one axis `data` over the first `num_devices` devices (0: all).

    Raises:
      InputError: more devices than there are.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise InputError(f'devices: {num_devices} asked for, this machine has {len(devices)}')
    devices = devices[: num_devices or len(devices)]
    # Auto: the compiler places collectives; the newer default (Explicit) refuses `z @ z.T` of a sharded batch.
    return jax.make_mesh((len(devices),), ('data',), axis_types=(AxisType.Auto,), devices=devices)


def shard_batch(batch: PyTree, mesh: Mesh) -> PyTree:
    """Arrays [B, ...] spread over the devices by rows; B must be a multiple of their number."""
    return jax.device_put(batch, NamedSharding(mesh, PartitionSpec('data')))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """A copy of every array on each device, never an alias of the host's memory (train states are donated)."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()), may_alias=False)


def check_batch_size(field: str, batch_size: int, images: int, mesh: Mesh) -> None:
    """Raises InputError where a batch is larger than the data or does not divide over the devices."""
    if batch_size > images:
        raise InputError(f'{field}: {batch_size} is larger than the {images} training images; at most {images}')
    if batch_size % mesh.size:
        raise InputError(f'{field}: {batch_size} is not a multiple of the {mesh.size} devices; take one that is')


def to_host(tree: PyTree) -> PyTree:
    """Device arrays to NumPy."""
    return jax.tree.map(np.asarray, jax.device_get(tree))
