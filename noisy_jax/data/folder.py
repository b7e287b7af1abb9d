"""Class folders of images: PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg, or PATH/CLASS/*.jpg without a test set."""

import concurrent.futures
import functools
import pathlib
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from noisy_jax.data.dataset import Dataset
from noisy_jax.errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
_TEST_NAMES = ('test', 'val', 'validation')


def load(split: str, path: str, image_size: int = 0, limit: int = 0) -> Dataset | None:
    """Decodes the images of a split, by class, then by file name.

    Args:
      split: 'train' or 'test'.
      path: the folder.
      image_size: pixels of a side; other images are scaled by their shorter side and cropped in the middle. 0: all
        images have the same size.
      limit: at most so many images, the first of every class; only they are decoded. 0: all.

    Returns:
      The data set, grey where all images are; None for the test set of a folder without one.

    Raises:
      InputError: a folder that is missing or empty, an image that cannot be decoded or has another size.
    """
    root = pathlib.Path(path)
    if not path or not root.is_dir():
        raise InputError(f'data.path: {path!r} is no folder; class folders of images are needed')
    train_root = root / 'train' if (root / 'train').is_dir() else root
    names = _class_names(train_root)
    if split == 'train':
        folder = train_root
    else:
        found = [root / name for name in _TEST_NAMES if (root / name).is_dir()] if train_root != root else []
        if not found:
            return None
        folder = found[0]
        unknown = set(_class_names(folder)) - set(names)
        if unknown:
            raise InputError(f'{folder / min(unknown)}: no such class in {train_root}; classes: {", ".join(names)}')
    files, labels = [], []
    for label, name in enumerate(names):
        chosen = _images(folder / name) if (folder / name).is_dir() else []
        chosen = chosen[: max(limit // len(names), 1)] if limit else chosen
        files += chosen
        labels += [label] * len(chosen)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        images = list(pool.map(functools.partial(decode, size=image_size), files))
    label = np.asarray(labels, np.int32)
    ids = np.array([file.relative_to(root).as_posix() for file in files])
    return Dataset(stack(images, files), label, names, id=ids)


def decode(file: pathlib.Path | BinaryIO, size: int = 0, name: str = '') -> np.ndarray:
    """One image file as uint8 [H, W, 3], or [H, W, 1] where it is grey; transparency over white, upright by EXIF.

    Errors call it `name`, where that is given.

    Raises:
      InputError: not a whole image.
    """
    try:
        with Image.open(file) as image:
            image.load()
            array = np.asarray(_flatten(ImageOps.exif_transpose(image)))
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f'{name or file}: not a whole image ({error}); repair or remove it') from error
    return fit_array(array if array.ndim == 3 else array[..., None], size)


def fit_array(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 [H, W, C] scaled by the shorter side and cropped in the middle to [size, size, C]; 0: as it is."""
    if not size or image.shape[:2] == (size, size):
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    array = np.asarray(ImageOps.fit(picture, (size, size), Image.Resampling.BILINEAR))
    return array.reshape(size, size, -1)


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode to 'L' or 'RGB'."""
    if image.mode in ('L', 'RGB') and 'transparency' not in image.info:
        return image
    if image.mode.startswith('I') or image.mode == 'F':  # 16 bits and more: Pillow's own conversion would clip
        values = np.asarray(image, np.float64)
        return Image.fromarray(np.round(values * (255 / max(values.max(), 65535))).astype(np.uint8))
    if 'A' in image.getbands() or 'transparency' in image.info:
        image = image.convert('RGBA')
        return Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image).convert('RGB')
    return image.convert('L' if image.mode in ('1', 'LA') else 'RGB')


def _class_names(folder: pathlib.Path) -> tuple[str, ...]:
    names = tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and child.name[0] != '.'))
    if not names:
        raise InputError(f'{folder}: no class folders in it; one folder of images per class is needed')
    for name in names:
        if not _images(folder / name):
            raise InputError(f'{folder / name}: no images in it ({", ".join(SUFFIXES)}); fill or remove the folder')
    return names


def _images(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(child for child in folder.iterdir() if _is_image(child))


def _is_image(file: pathlib.Path) -> bool:
    """Hidden files are left out: macOS puts `._name.jpg` beside `name.jpg`."""
    return file.suffix.lower() in SUFFIXES and not file.name.startswith('.') and file.is_file()


def stack(images: Sequence[np.ndarray], files: Sequence[object]) -> np.ndarray:
    """Images of one size as [N, H, W, C], grey ones among coloured ones in three channels; `files` name them."""
    channels = max(image.shape[-1] for image in images)
    first = images[0].shape[:2]
    for image, file in zip(images, files, strict=True):
        if image.shape[:2] != first:
            raise InputError(
                f'{file}: {image.shape[1]}x{image.shape[0]} pixels, {files[0]} has {first[1]}x{first[0]}; '
                'set config.data.image_size'
            )
    return np.stack([np.broadcast_to(image, (*first, channels)) for image in images])
