"""What each augmentation makes of a few real images: results/augmentations.png, a row per policy.

python experiments/accuracy/contact_sheet.py --images cifar10_jpeg.tar.xz    or a folder of arrays, as tables.py makes
"""

import argparse
import pathlib
import sys

import jax
import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cifar10
from noisy_jax.data import arrays, augment, digits
from noisy_jax.data.augment import operations

PICTURE = record.RESULTS / 'augmentations.png'
CLASSES = (0, 7, 9)  # airplane, horse, truck
DRAWS, SIDE, GAP, TITLE = 5, 64, 4, 150  # views of an image; pixels

RANGES = list(operations.OPERATIONS.values())
STRONG_WHERE_LOW = ('solarize', 'posterize', 'color', 'contrast', 'brightness', 'sharpness')

# Title: policy and settings beside its defaults.
ROWS = {
    'none': ('none', {}),
    'standard': ('standard', {}),
    'standard, degrees=20': ('standard', {'degrees': 20.0}),
    'simclr': ('simclr', {}),
    'moco': ('moco', {}),
    'mopro': ('mopro', {}),
    'mopro_strong': ('mopro_strong', {}),
    'scan': ('scan', {}),
    'autoaugment': ('autoaugment', {}),
}


def views(name: str, settings: dict, images: np.ndarray) -> np.ndarray:
    """DRAWS views of each image one after the other, uint8 [len(images) * DRAWS, H, W, C]."""
    policy = augment.policy(name, **settings)
    repeated = np.repeat(images, DRAWS, axis=0)
    drawn = jax.jit(lambda key: augment.apply(policy, key, repeated))(jax.random.key(0))
    return np.asarray(np.round(drawn * 255), np.uint8)


def each_operation(image: np.ndarray) -> np.ndarray:
    """The operations of `scan` near the strong end of their ranges, uint8 [14, H, W, C]."""
    shares = [0.1 if name in STRONG_WHERE_LOW else 0.9 for name in operations.OPERATIONS]
    amounts = [low + share * (high - low) for share, (low, high) in zip(shares, RANGES, strict=True)]
    make = jax.jit(jax.vmap(operations.operation, in_axes=(None, 0, 0)))
    made = make(image / np.float32(255), np.arange(len(amounts)), np.array(amounts, np.float32))
    return np.asarray(np.round(made * 255), np.uint8)


def sheet(images: np.ndarray) -> Image.Image:
    """The contact sheet of three images uint8 [3, H, W, 3]."""
    rows = {title: views(*row, images) for title, row in ROWS.items()}
    rows['the 14 operations'] = each_operation(images[1])
    rows['handwriting'] = views('handwriting', {}, digits.load('train', limit=30).image[[3, 7, 20]])
    width, height = TITLE + len(images) * DRAWS * (SIDE + GAP), len(rows) * (SIDE + GAP)
    picture = Image.new('RGB', (width, height), 'white')
    draw = ImageDraw.Draw(picture)
    for number, (title, tiles) in enumerate(rows.items()):
        top = number * (SIDE + GAP)
        draw.text((4, top + SIDE // 2 - 6), title, fill='black')
        for column, tile in enumerate(tiles):
            enlarged = Image.fromarray(np.squeeze(tile)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            picture.paste(enlarged.convert('RGB'), (TITLE + column * (SIDE + GAP), top))
    return picture.quantize(256)


def real_images(source: pathlib.Path, work: pathlib.Path) -> np.ndarray:
    """The first training image of each of CLASSES."""
    folder = source if source.is_dir() else cifar10.unpack(source, work)
    data = arrays.load('train', str(folder))
    return data.image[[int(np.flatnonzero(data.label == label)[0]) for label in CLASSES]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=pathlib.Path, required=True, help='a tar of class folders, or its arrays')
    parser.add_argument('--work', type=pathlib.Path, default=pathlib.Path('runs/tables/data/cifar10'))
    parser.add_argument('--picture', type=pathlib.Path, default=PICTURE)
    arguments = parser.parse_args()
    with record.user_errors():
        images = real_images(arguments.images, arguments.work)
    sheet(images).save(arguments.picture, optimize=True)
    print(f'{arguments.picture}: {arguments.picture.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
