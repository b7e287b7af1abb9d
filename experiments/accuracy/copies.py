"""What copies with one label do to the list of wrong labels, and what knowing of them does.

  python experiments/accuracy/copies.py --images cifar10_jpeg.tar.xz [--seeds 0 1 2]
  ... --table            the table from the JSON alone

Of three classes of CIFAR-10 (JPEG 75) 220 images each, a tenth of the labels wrong at random; then with copies of each
image, as augmentation, a video or filling up a class makes them. Classical features alone, as `effort=quick`.
"""

import io
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cifar10
from noisy_jax.labels import contest
from noisy_jax.labels.image_facts import ImageFacts
from noisy_jax.labels.issues import of_verdict
from noisy_jax.workdir import WorkDir

RESULTS = record.RESULTS / 'copies.json'
_CLASSES, _EACH, _WRONG, _CLIP = (0, 6, 9), 220, 0.1, 9
Change = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _jpeg(image: np.ndarray, number: int, _: Any) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'jpeg', quality=(90, 70)[number])
    return np.asarray(Image.open(buffer))


def _brightened(image: np.ndarray, number: int, _: Any) -> np.ndarray:
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance((0.7, 1.2)[number]))


def _noisy(image: np.ndarray, _: int, rng: np.random.Generator) -> np.ndarray:
    return np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8)


def _turned(image: np.ndarray, number: int, _: Any) -> np.ndarray:
    picture = Image.fromarray(np.pad(image, ((8, 8), (8, 8), (0, 0)), mode='edge'))
    return np.asarray(picture.rotate((-8, 8)[number], Image.Resampling.BILINEAR))[8:-8, 8:-8]


def _cropped(image: np.ndarray, number: int, _: Any) -> np.ndarray:
    part = (image[3:, 3:], image[2:-1, 2:-2])[number]
    return np.asarray(Image.fromarray(part).resize((32, 32), Image.Resampling.BILINEAR))


def _frame(image: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Of a camera that shakes by some pixels, with noise."""
    large = np.asarray(Image.fromarray(image).resize((40, 40), Image.Resampling.BICUBIC))
    down, right = np.clip(np.rint(4 + rng.normal(0, 0.8 * np.sqrt(number + 1), 2)), 0, 8).astype(int)
    return np.clip(large[down : down + 32, right : right + 32] + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


COPIES: dict[str, tuple[int, Change]] = {
    'none': (0, lambda image, *_: image),
    'nine equal ones': (_CLIP, lambda image, *_: image),
    'JPEG of quality 90 and 70': (2, _jpeg),
    'darker and brighter': (2, _brightened),
    'mirrored, twice': (2, lambda image, *_: image[:, ::-1]),
    'with noise, twice': (2, _noisy),
    'turned by 8 degrees both ways': (2, _turned),
    'two crops': (2, _cropped),
    'nine frames of a shaking camera': (_CLIP, _frame),
}


def listed(images: np.ndarray, given: np.ndarray, true: np.ndarray, *, known: bool, seed: int) -> dict[str, Any]:
    """The list, where it is known which are copies and where they count as other images."""
    with tempfile.TemporaryDirectory() as folder:
        facts = ImageFacts(WorkDir(folder), images, seed=seed)
        copies = facts.copies if known else np.tile(np.arange(len(images)), (2, 1))
        features = {'classical features': facts.features}
        found, _ = contest.reach(features, given, len(_CLASSES), copies, folds=5, seed=seed)
    suspect, wrong = of_verdict(found, given, true).is_suspect, given != true
    return {
        'wrong': int(wrong.sum()),
        'listed': int(suspect.sum()),
        'right': int((suspect & wrong).sum()),
        'noise_rate': float(wrong.mean()),
        'claimed': list(found.noise_rate),
    }


def measure(images: pathlib.Path, seeds: list[int], work: pathlib.Path) -> dict[str, Any]:
    folder = cifar10.unpack(images, work / 'cifar10')
    everything, labels = (np.load(folder / f'{name}.npy', mmap_mode='r') for name in ('images', 'labels'))
    result: dict[str, Any] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        rows = [rng.choice(np.flatnonzero(labels == label), _EACH, replace=False) for label in _CLASSES]
        originals, true = everything[np.concatenate(rows)], np.repeat(np.arange(len(rows)), _EACH)
        given, wrong = true.copy(), rng.permutation(len(true))[: int(_WRONG * len(true))]
        given[wrong] = (true[wrong] + rng.integers(1, len(rows), len(wrong))) % len(rows)
        for name, (count, change) in COPIES.items():
            copies = [np.stack([change(image, number, rng) for image in originals]) for number in range(count)]
            every = (np.concatenate([originals, *copies]), np.tile(given, count + 1), np.tile(true, count + 1))
            for known in (True, False):
                row = listed(*every, known=known, seed=seed)
                result.setdefault(name, {}).setdefault('known' if known else 'as others', []).append(row)
            print(seed, name, result[name]['known'][-1], result[name]['as others'][-1], flush=True)
    return {'copies': result, 'seeds': seeds, 'device': record.device(), 'versions': record.versions('scikit-learn')}


def table(result: dict[str, Any]) -> str:
    rows = []
    for name, found in result['copies'].items():
        row = [name, found['known'][0]['wrong']]
        for kind in ('known', 'as others'):
            shares = ' '.join(f'{each["right"] / each["wrong"]:.2f}' for each in found[kind])
            right = ' '.join(f'{each["right"] / max(each["listed"], 1):.2f}' for each in found[kind])
            inside = sum(each['claimed'][0] <= each['noise_rate'] <= each['claimed'][1] for each in found[kind])
            row += [shares, right, f'{inside} of {len(found[kind])}']
        rows.append(row)
    known, others = (
        ('found', 'right of the listed', 'noise rate as claimed'),
        ('found otherwise', 'right', 'as claimed'),
    )
    heads = ('copies of each image', 'wrong labels', *known, *others)
    return record.markdown(heads, rows)


def main() -> None:
    parser = record.table_parser(__doc__, 'copies')
    record.add_images(parser)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    arguments = parser.parse_args()
    if not arguments.table:
        record.save(RESULTS, measure(arguments.images, arguments.seeds, arguments.work))
    print(table(record.load(RESULTS)))


if __name__ == '__main__':
    main()
