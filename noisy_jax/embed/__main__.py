"""Embeds images by a network that was trained elsewhere: features for config.data.embeddings.

  python -m noisy_jax.embed --images=photos --model=resnet50 --out=features.npy
  python -m noisy_jax.main --config=own_images --config.data.path=photos --config.data.embeddings=features.npy \\
      --workdir=runs/photos

The images are read as they are and prepared as the model wants them; its features before the classifier become float32
[N, D], one row per training image. features.npy.json beside the file says of which image and model the rows are, so
that a run refuses features of other images. After any stop, rerun the same command to resume. Needs timm and PyTorch:
pip install 'noisy_jax[embed]'.
"""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np
from tqdm import tqdm

from noisy_jax import cli, data, locks
from noisy_jax.data import lazy, output_places
from noisy_jax.data.dataset import Dataset
from noisy_jax.embed import backbone, prefetch
from noisy_jax.embed.backbone import Backbone
from noisy_jax.embed.table import Table
from noisy_jax.errors import InputError
from noisy_jax.outputs import check_new


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and embeds; returns the exit status (2: user error, 130 or 143: stopped)."""
    parser = cli.of_command('embed', __doc__)
    parser.add_argument(
        '--images',
        required=True,
        type=os.path.expanduser,
        help='as config.data.path: class folders, a list of paths and labels, or arrays',
    )
    parser.add_argument('--model', required=True, help='a name of timm, such as resnet50 or vit_small_patch14_dinov2')
    parser.add_argument('--out', required=True, type=os.path.expanduser, help='a new .npy file')
    parser.add_argument(
        '--weights',
        default='',
        type=os.path.expanduser,
        help='.safetensors file or PyTorch state dict (default: from the hub)',
    )
    parser.add_argument('--batch', type=int, default=32, help='images per pass (default: 32)')

    def work() -> None:
        options = parser.parse_args(argv)
        embed(options.images, options.out, lambda: backbone.load(options.model, options.weights), options.batch)

    return cli.exit_status(work, stopped='stopped; rerun the same command to resume')


def embed(images: str, out: str, load: Callable[[], Backbone], batch: int = 32) -> None:
    """Writes the features of all training images to the .npy file `out`, or resumes there.

    Args:
      images: as config.data.path of own images.
      out: the file; NAME.part until it is whole.
      load: makes the network, after all that can be said without it.
      batch: images at a time.

    Raises:
      InputError: images, an output or a network that cannot be used.
    """
    if batch < 1:
        raise InputError(f'--batch: {batch} is not allowed; at least 1')
    if pathlib.Path(out).suffix != '.npy' or out.endswith(os.sep):
        raise InputError(f'--out: {out} is not the name of an .npy file')
    check_new(out, resumes=True)
    output_places.check(out, {'name': 'auto', 'path': images}, '--out')
    if not os.path.exists(images):
        raise InputError(f'--images: no such file or folder: {images}')
    dataset = data.load_unread(images)
    if dataset.image.shape[-1] not in (1, 3):
        raise InputError(f'--images: {images} has {dataset.image.shape[-1]} channels; 1 (grey) or 3 are needed')
    with locks.locked(pathlib.Path(f'{out}.lock'), pathlib.Path(out), '--out') as check_held:
        _embed(dataset, out, load(), batch, check_held)


def _embed(dataset: Dataset, out: str, network: Backbone, batch: int, check_held: Callable[[], None]) -> None:
    pixels, made_of, sizes = dataset.image, network.made_of, []
    if isinstance(pixels, lazy.Files):
        sizes = [_size(pixels.name(row)) for row in range(len(pixels))]
        pixels, levels = pixels.with_levels()
        if levels:
            print(levels, file=sys.stderr)
            made_of = made_of | {'levels': levels}
    ids = dataset.id.tolist()
    check_held()
    table = Table(pathlib.Path(out), ids, made_of, network.width, batch, sizes)
    resumed = f', resumed after {table.done}' if table.done else ''
    print(f'{len(ids)} images, {network.width} features each, on {network.device}{resumed}', file=sys.stderr)
    batches = [np.arange(start, min(start + batch, len(ids))) for start in range(table.done, len(ids), batch)]
    ready = prefetch.prepared(pixels, network.prepare, batches)
    with tqdm(total=len(ids), initial=table.done, desc='embedding', unit='image', disable=None, leave=False) as bar:
        for rows, inputs in zip(batches, ready, strict=True):
            features = network.embed(inputs)
            for row in np.flatnonzero(~np.isfinite(features).all(1)):
                raise InputError(f'--model: its features of {ids[rows[row]]} are not finite; take other weights')
            check_held()
            table.append(features)
            bar.update(len(rows))
    check_held()
    table.finish()
    print(f'{out}: float32 [{len(ids)}, {network.width}]; --config.data.embeddings={out} takes it')


def _size(file: str) -> int:
    """Bytes of a file; 0 of one that is not there, which is told when it is read."""
    try:
        return os.path.getsize(file)
    except OSError:
        return 0


if __name__ == '__main__':
    sys.exit(main())
