"""Packs a data set once into memory-mapped uint8 arrays of one size, for data.name=arrays.

  python -m noisy_jax.data.pack --name=folder --path=photos --image_size=128 --out=packed
  python -m noisy_jax.data.pack --name=filelist --path=webvision --list=info/train_filelist_google.txt \\
      --test_list=info/val_filelist.txt --test_path=val_images_256 --max_classes=50 --image_size=128 --out=packed

Options are the settings of config.data (configs/README.md). The folder --out gets images.npy, labels.npy,
ids.npy, class_names.npy, true_labels.npy where they are known, the same of the test set as test_*.npy, and pack.json.
Labels of arrays keep their form: without class_names where these have none.
After any stop, rerun the same command to resume; a finished pack, or a folder with other files, is never written to.
"""

import os
import pathlib
import sys
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from noisy_jax import cli, data, files, json_files, layout, locks, outputs
from noisy_jax.data import array_files, output_places
from noisy_jax.data.conversion import fit_array
from noisy_jax.data.dataset import Dataset, checksums
from noisy_jax.data.settings import DATA
from noisy_jax.data.splits import check_labelled
from noisy_jax.errors import InputError, one_line, short

_STATE = 'pack.json'
_FORM = {'made_of': dict, 'done': {'images?': int, 'test_images?': int}, 'sums?': dict, 'complete': bool}
_CHUNK_BYTES = 2**25  # written between two saves of the state: what a kill costs
_OTHERS = ('memory_bytes', 'valid_fraction', 'embeddings', 'mean', 'std')  # settings that do not change what is packed
_DEFAULTS = {name: setting.default for name, setting in DATA.items() if name not in _OTHERS}


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and packs; returns the exit status (2: user error, 130 or 143: stopped)."""
    program = 'python -m noisy_jax.data.pack'
    usage = f'{program} --out=FOLDER --name=LOADER --path=PATH [--image_size=128 ...]; --help'
    parser = cli.Parser(program, usage=usage, description=(__doc__ or '').partition('\n')[0])
    parser.add_argument(
        '--out',
        required=True,
        type=os.path.expanduser,
        help='a folder that is new, empty, or of a pack that was stopped',
    )
    for name, default in _DEFAULTS.items():
        parser.add_argument(
            f'--{name}', type=type(default), default=default, choices=DATA[name].choices, help=f'config.data.{name}'
        )
    return cli.exit_status(
        lambda: pack(**vars(parser.parse_args(argv))), stopped='stopped; rerun the same command to resume'
    )


def pack(out: str | os.PathLike, **settings: Any) -> None:
    """Writes the training and test set of `settings` (as in config.data) to the folder `out`, or resumes there.

    Raises:
      InputError: data that cannot be used, or a folder that holds anything but an unfinished pack of the same data.
    """
    if others := settings.keys() - _DEFAULTS.keys():
        raise InputError(f'--{min(others)} is unknown; allowed: {", ".join(_DEFAULTS)}')
    texts = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in settings.items()}
    settings = {name: DATA[name].at_home(value) for name, value in (_DEFAULTS | texts).items()}
    for name, value in settings.items():
        if not DATA[name].accepts(value):
            raise InputError(f'--{name}: {short(value)} is not allowed; allowed: {DATA[name].allowed}')
    if not settings['path'] and settings['name'] in ('auto', 'folder', 'filelist', 'arrays'):
        raise InputError("--path: '' is not allowed; the folder, list or arrays to pack are needed")
    data.check_form(settings, '--')
    outputs.check_name(out)
    folder = pathlib.Path(out)
    _unfinished(folder)  # before anything is made there
    output_places.check(folder, settings, '--out')
    with locks.locked(folder / layout.LOCK, folder, '--out') as check_held:
        _pack(folder, settings, check_held)


def _pack(folder: pathlib.Path, settings: dict[str, Any], check_held: Callable[[], None]) -> None:
    """Writes or resumes in a folder that is locked."""

    def note(state: dict[str, Any]) -> None:
        check_held()
        files.write(folder / _STATE, files.as_json(state))

    state = _unfinished(folder)
    train, test = data.load_splits(settings | {'memory_bytes': 0})
    if test is not None:
        check_labelled(test)
    if train.levels:
        print(train.levels, file=sys.stderr)
    splits = {'': train, 'test_': test} if test is not None else {'': train}
    if len({dataset.image.shape[1:3] for dataset in splits.values()}) > 1 and not settings['image_size']:
        sizes = ' and '.join(f'{dataset.image.shape[2]}x{dataset.image.shape[1]}' for dataset in splits.values())
        raise InputError(f'--image_size: training and test images have {sizes} pixels; set one size for both')
    made_of = {name: value for name, value in settings.items() if name != 'workers'}
    made_of |= {f'{prefix}images': _fingerprint(dataset) for prefix, dataset in splits.items()}
    if state is None:
        state = {'made_of': made_of, 'done': {}, 'complete': False}
    for name in sorted(state['made_of'].keys() | made_of.keys()):
        before, now = state['made_of'].get(name), made_of.get(name)
        if before != now:
            raise InputError(
                f'--out: {folder} was begun with {name} {before!r}, now it is {now!r}; take the same or another folder'
            )
    try:
        note(state)
        for prefix, dataset in splits.items():
            _write_images(folder, f'{prefix}images', dataset, settings['image_size'], state, note)
        array_files.save_labels(folder, splits, like=settings['path'] if settings['name'] == 'arrays' else '')
        for array in folder.glob('*.npy'):
            files.sync(array)
        note(state | {'complete': True})
    except OSError as error:
        raise InputError(
            f'--out: {folder} cannot be written ({error.strerror}); rerun the same command to resume'
        ) from error
    print(
        f'{folder}: {len(train)} training images, {len(test or ())} test images; --config.data.name=arrays reads them'
    )
    for name, reason in (fault for dataset in splits.values() for fault in dataset.broken):
        print(one_line(f'left out: {name} ({reason})'))


def _unfinished(folder: pathlib.Path) -> dict[str, Any] | None:
    """The state of the pack that was stopped there; None for a new folder, others are refused."""
    files.check_free(folder, _STATE, '--out', (f'{_STATE}.part', layout.LOCK))
    if not (folder / _STATE).exists():
        return None
    state = json_files.read(folder / _STATE, _FORM, 'it is not the state of a pack: take another folder')
    if state['complete']:
        raise InputError(f'--out: {folder} is a finished pack; choose another folder, or remove it')
    return state


def _fingerprint(dataset: Dataset) -> str:
    """Identifies the data, the pixels by marks: a pack resumes with the data that it began with."""
    mark = checksums(dataset.image) if dataset.mark is None else dataset.mark
    names = '\n'.join((*dataset.class_names, *dataset.id)).encode(errors='surrogateescape')
    true = b'' if dataset.true_label is None else dataset.true_label.tobytes()
    return f'{len(dataset)} images, {zlib.crc32(names + dataset.label.tobytes() + true + mark.tobytes()):08x}'


def _write_images(
    folder: pathlib.Path,
    name: str,
    dataset: Dataset,
    size: int,
    state: dict[str, Any],
    note: Callable[[dict[str, Any]], None],
) -> None:
    """Writes `name`.npy, which gets that name when it is whole; every now and then it is to `note` what is done."""
    whole = folder / f'{name}.npy'
    part = files.partial(whole)
    height, width, channels = dataset.image.shape[1:]
    shape = (len(dataset), size or height, size or width, channels)
    done = state['done'].get(name, 0)
    chunk = max(_CHUNK_BYTES // int(np.prod(shape[1:])), 1)
    total, sums = 0, state.setdefault('sums', {})  # a checksum of what is done
    if done:
        begun = whole if done == len(dataset) and whole.exists() else part
        try:
            np.lib.format.open_memmap(begun, mode='r')  # the other would fill up what is missing
            images = np.lib.format.open_memmap(begun, mode='r+')
        except (OSError, ValueError) as error:
            raise InputError(f'{begun}: cannot be resumed ({error}); remove the folder {folder}') from error
        if images.shape != shape:
            raise InputError(
                f'{begun}: images are {images.shape}, now they would be {shape}; remove the folder {folder}'
            )
        for start in range(0, done, chunk):
            total = zlib.crc32(images[start : min(start + chunk, done)], total)
        if name in sums and sums[name] != total:
            raise InputError(f'{begun}: it is not what was written; remove the folder {folder}')
        if begun == whole:
            return
    else:
        images = np.lib.format.open_memmap(part, mode='w+', dtype=np.uint8, shape=shape)
        files.reserve(part)
    with tqdm(total=len(dataset), initial=done, desc=name, unit='image', disable=None) as bar:
        for start in range(done, len(dataset), chunk):
            stop = min(start + chunk, len(dataset))
            images[start:stop] = [fit_array(image, size) for image in dataset.image[start:stop]]
            images.flush()
            total = zlib.crc32(images[start:stop], total)
            state['done'][name], sums[name] = stop, total
            note(state)
            bar.update(stop - start)
    del images
    part.replace(whole)


if __name__ == '__main__':
    sys.exit(main())
