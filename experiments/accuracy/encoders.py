"""A pre-trained encoder in files small enough for the repository, and where cells look for it."""

import os
import pathlib
import shutil
from typing import Any

import numpy as np

from experiments import record

KEPT = record.ROOT / 'experiments' / 'encoders'
_MOST = 14 * 2**20  # bytes of a file, before it is compressed


def measured() -> dict[str, Any]:
    """The result of the run that trained the encoder of experiments/encoders."""
    return record.load(record.RESULTS / 'gpu' / 'encoder.json')['encoder']


def pack(checkpoint: pathlib.Path, folder: pathlib.Path) -> int:
    """Encoder and projection head as bfloat16 bits (uint16), small arrays as float32; returns the number of files."""
    import jax
    import ml_dtypes

    from noisy_jax.training.checkpoints import Checkpoints

    checkpoints = Checkpoints(checkpoint)
    leaves = jax.tree_util.tree_leaves_with_path(checkpoints.restore_outcome())
    checkpoints.close()
    named = {jax.tree_util.keystr(path, simple=True, separator='/'): np.asarray(leaf) for path, leaf in leaves}
    parts: list[dict[str, np.ndarray]] = [{}]
    for name in sorted(name for name in named if 'classifier' not in name):
        leaf = named[name]
        value = leaf.astype(ml_dtypes.bfloat16).view(np.uint16) if leaf.size > 4096 else leaf.astype(np.float32)
        if sum(each.nbytes for each in parts[-1].values()) + value.nbytes > _MOST:
            parts.append({})
        parts[-1][name] = value
    for number, part in enumerate(parts):
        np.savez_compressed(folder / f'cifar10_simclr_{number}.npz', **part)
    return len(parts)


def packed_encoder(folder: pathlib.Path = KEPT) -> dict[str, Any]:
    """The variables that `pack` wrote: float32, {'params': {'encoder', 'projection'}, 'batch_stats': ...}."""
    import ml_dtypes
    from flax.traverse_util import unflatten_dict

    arrays = {}
    for part in sorted(folder.glob('cifar10_simclr_*.npz')):
        with np.load(part) as file:
            arrays |= {name: file[name] for name in file.files}
    wide = {
        name: array.view(ml_dtypes.bfloat16).astype(np.float32) if array.dtype == np.uint16 else array
        for name, array in arrays.items()
    }
    return unflatten_dict(wide, sep='/')


def unpack(folder: pathlib.Path) -> None:
    """The encoder of experiments/encoders as that of a finished pre-training, in `folder`, unless that is there."""
    if folder.exists():
        return
    from noisy_jax.training.checkpoints import Checkpoints

    summary = {key: value for key, value in measured()['phases'][0].items() if key != 'name'}
    partial = folder.with_name(folder.name + '.partial')
    checkpoints = Checkpoints(partial / 'checkpoint')
    checkpoints.save_outcome(1, packed_encoder(), {'complete': True, 'arrays': [], 'summary': summary})
    checkpoints.close()
    (partial / 'labels').mkdir()
    partial.rename(folder)


def share(encoder: pathlib.Path, target: pathlib.Path) -> None:
    """Puts the pre-training of `encoder` where a cell looks for its own; several processes may do so at once."""
    if target.exists():
        return
    partial = target.with_name(f'{target.name}.{os.getpid()}')
    shutil.copytree(encoder, partial)
    try:
        partial.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(partial)
