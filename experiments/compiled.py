"""Compiled programs and autotuning results that one visit to a GPU hands on to the next, as one file."""

import pathlib
import shutil
import zipfile

NAME, MOST = 'compiled.zip', 15 * 2**20  # bytes


def unpack(source: pathlib.Path | None, folder: pathlib.Path) -> None:
    """Fills JAX's compilation cache `folder` with what `pack` wrote in `source`, if it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if source and (source / NAME).exists():
        with zipfile.ZipFile(source / NAME) as archive:
            archive.extractall(folder)


def pack(folder: pathlib.Path, out: pathlib.Path, most: int = MOST) -> list[str]:
    """Writes OUT/compiled.zip of at most `most` bytes: training steps first, the small before the large.

    JAX compresses programs itself, so that the archive does not. Programs serve one kind of GPU, one version of JAX and
    one path of `folder`, which is part of their keys.

    Returns:
      The names of the files left out.
    """
    files = [path for path in folder.rglob('*') if path.is_file()]
    files.sort(key=lambda path: ('jit_run' not in path.name, path.stat().st_size, path.name))
    written, left = folder.with_name(NAME + '.partial'), []
    with zipfile.ZipFile(written, 'w') as archive:
        room = most
        for path in files:
            room -= path.stat().st_size + 512  # of its two headers
            if room < 0:
                left.append(path.name)
            else:
                archive.write(path, path.relative_to(folder))
    shutil.move(written, out / NAME)
    return left
