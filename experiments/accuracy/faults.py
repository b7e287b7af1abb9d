"""What else is wrong with a folder: how much of it is found, planted on real images.

  python experiments/accuracy/faults.py --images cifar10_jpeg.tar.xz --human cifar10n_labels.npz --features F.npz
  ... --table            the tables from the JSON alone

CIFAR-10's JPEGs (quality 75). Duplicates: changed copies of 300 of 1,500 images, and all 60,000 as they are, of which
it is known that many are alike (Barz and Denzler 2020, https://doi.org/10.3390/jimaging6060041). Outliers: a few
images of other classes, on classical features and on those from outside (`train` [50000, D] in the order of the human
labels, whose right ones are read of --human), also where there are none. Twins: a class whose images are split at
random. Labels are made wrong at random.
"""

import io
import pathlib
import sys
import time
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cifar10
from noisy_jax.labels import classical, cross_fit, duplicates, judges, outliers, overlap

RESULTS = record.RESULTS / 'faults.json'
_SEEDS, _EACH, _FOREIGN = (0, 1, 2), 300, 16
# Classes of a folder, and those that outliers are of.
_OUTLIERS = {
    'vehicles among animals': ((3, 4, 5, 7), (0, 1, 8, 9)),
    'animals among vehicles': ((0, 1, 8, 9), (3, 4, 5, 7)),
    'trucks among nine other classes': (tuple(range(9)), (9,)),
    'nothing among ten classes': (tuple(range(10)), ()),
}


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'jpeg', quality=quality)
    return np.asarray(Image.open(buffer))


def _shifted(image: np.ndarray, right: int, down: int = 0) -> np.ndarray:
    height, width = image.shape[:2]
    return np.pad(image, ((down, 0), (right, 0), (0, 0)), mode='edge')[:height, :width]


CHANGES = {
    'the same pixels': np.copy,
    'JPEG of quality 60': lambda image: _jpeg(image, 60),
    'JPEG of quality 30': lambda image: _jpeg(image, 30),
    'scaled to 22 pixels and back': lambda i: np.asarray(Image.fromarray(i).resize((22, 22)).resize((32, 32))),
    'brighter': lambda image: np.clip(image * 1.15 + 5, 0, 255).astype(np.uint8),
    'grey': lambda image: np.repeat(np.asarray(Image.fromarray(image).convert('L'))[..., None], 3, axis=2),
    'shifted by 1 of 32 pixels': lambda image: _shifted(image, 1),
    'shifted by 1 both ways': lambda image: _shifted(image, 1, 1),
    'shifted by 2 of 32 pixels': lambda image: _shifted(image, 2),
    'a border of 1 cut off': lambda image: np.asarray(Image.fromarray(image[1:-1, 1:-1]).resize((32, 32))),
    'mirrored': lambda image: image[:, ::-1],
    'mirrored, JPEG of quality 60': lambda image: _jpeg(image[:, ::-1], 60),
}


def planted(images: np.ndarray, change: str) -> dict[str, Any]:
    """Recall of changed copies of 300 of 1,500 images, and pairs found that were not planted."""
    rng = np.random.default_rng(0)
    chosen = images[np.sort(rng.choice(len(images), 1500, replace=False))]
    rows = rng.choice(1500, _EACH, replace=False)
    found = duplicates.find(chosen, np.stack([CHANGES[change](chosen[row]) for row in rows]))
    pairs = set(map(tuple, found.pairs.tolist()))
    hits = sum((row, 1500 + place) in pairs for place, row in enumerate(rows.tolist()))
    known = set(map(tuple, duplicates.find(chosen).pairs.tolist()))
    # A copy is also near what its original is near.
    original = {1500 + place: row for place, row in enumerate(rows.tolist())}
    seen = {tuple(sorted(original.get(row, row) for row in pair)) for pair in pairs}
    others = [pair for pair in seen if pair[0] != pair[1] and pair not in known]
    return {'recall': hits / _EACH, 'others': len(others), 'in_the_images': len(known)}


def everything(train: np.ndarray, test: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What is found in all images, and how long it takes."""
    start = time.process_time()
    found = duplicates.find(train, test)
    seconds, groups = time.process_time() - start, found.groups()
    between = [group for group in groups if group[0] < len(train) <= group[-1]]
    return {
        'seconds_of_a_core': round(seconds, 1),
        'pairs': {kind: int((found.kind == place).sum()) for place, kind in enumerate(duplicates.KINDS)},
        'groups': len(groups),
        'with_two_labels': sum(len(np.unique(labels[group])) > 1 for group in groups),
        'test_images_alike_a_training_image': sum(int((group >= len(train)).sum()) for group in between),
    }


def planted_outliers(features: np.ndarray, labels: np.ndarray, wrong: float, among: str, seed: int) -> dict[str, Any]:
    """Outliers found among 300 images of each class, of whose labels some are wrong."""
    (inside, outside), rng = _OUTLIERS[among], np.random.default_rng(seed)
    rows = [rng.choice(np.flatnonzero(labels == label), _EACH, replace=False) for label in inside]
    given = np.repeat(np.arange(len(inside)), _EACH)
    flipped = rng.random(len(given)) < wrong
    given[flipped] = rng.integers(0, len(inside), flipped.sum())
    foreign = [rng.choice(np.flatnonzero(labels == label), _FOREIGN // len(outside), False) for label in outside]
    chosen = np.concatenate([*rows, *foreign])
    given = np.append(given, rng.integers(0, len(inside), len(chosen) - len(given)))
    found = outliers.find({'': features[chosen]}, given)
    hits = int((found.rows >= _EACH * len(inside)).sum())
    return {'auroc': found.auroc, 'listed': len(found.rows) if found.is_believed else None, 'hits': hits}


def twins(features: np.ndarray, labels: np.ndarray, wrong: float, seed: int) -> dict[str, Any]:
    """Whether the two halves of a class are found, and how many other pairs, among 150 images of each class."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.choice(np.flatnonzero(labels == label), _EACH // 2, False) for label in range(10)])
    given = labels[rows].copy()
    flipped = rng.random(len(given)) < wrong
    given[flipped] = rng.integers(0, 10, flipped.sum())
    split = rng.integers(0, 10)
    given[(given == split) & (rng.random(len(given)) < 0.5)] = 10
    judged, _ = cross_fit.cross_fit(judges.reduce(features[rows], seed), given, 11, seed=seed, scale=False)
    names = [(pair.first, pair.second) for pair in overlap.find(judges.balanced(judged, given), given)]
    return {'found': (split, 10) in names, 'others': len(names) - ((split, 10) in names)}


def measure(images: pathlib.Path, human: pathlib.Path, features: pathlib.Path, work: pathlib.Path) -> dict[str, Any]:
    folder = cifar10.unpack(images, work / 'cifar10')
    train, test, labels = (np.load(folder / f'{name}.npy') for name in ('images', 'test_images', 'labels'))
    all_labels = np.append(labels, np.load(folder / 'test_labels.npy'))
    clean = np.load(human)['clean_label']
    outside = np.load(features)['train'].astype(np.float32)
    outside = np.concatenate([outside[clean == label] for label in range(10)])  # in the order of class folders
    kinds = {'classical': classical.describe(train), 'outside': outside}
    print('features are there', flush=True)
    result: dict[str, Any] = {
        'planted': {change: planted(train, change) for change in CHANGES},
        'everything': everything(train, test, all_labels),
        'outliers': {},
        'twins': {},
    }
    for kind, rows in kinds.items():
        for wrong in (0.0, 0.1, 0.4):
            for among in _OUTLIERS:
                found = [planted_outliers(rows, labels, wrong, among, seed) for seed in _SEEDS]
                result['outliers'][f'{kind}, {wrong:.0%} wrong, {among}'] = found
            result['twins'][f'{kind}, {wrong:.0%} wrong'] = [twins(rows, labels, wrong, seed) for seed in range(5)]
    return result | {'device': record.device(), 'versions': record.versions('scipy', 'scikit-learn')}


def table(result: dict[str, Any]) -> str:
    rows = [(change, f'{row["recall"]:.2f}', row['others']) for change, row in result['planted'].items()]
    parts = [
        record.markdown(('changed copies of 300 of 1,500', 'recall', 'other pairs'), rows),
        str(result['everything']),
    ]
    rows = []
    for name, found in result['outliers'].items():
        believed = [row for row in found if row['listed'] is not None]
        listed, hits = (sum(row[key] for row in believed) for key in ('listed', 'hits'))
        aurocs = ' '.join(f'{row["auroc"]:.2f}' for row in found)
        rows.append((name, aurocs, f'{len(believed)} of {len(found)}', listed, hits))
    parts.append(record.markdown(('images that fit no class', 'AUROC', 'looked for', 'listed', 'right'), rows))
    rows = [
        (name, f'{sum(row["found"] for row in found)} of {len(found)}', sum(row['others'] for row in found))
        for name, found in result['twins'].items()
    ]
    parts.append(record.markdown(('halves of one class', 'found', 'other pairs'), rows))
    return '\n\n'.join(parts)


def main() -> None:
    parser = record.table_parser(__doc__, 'faults')
    record.add_images(parser)
    parser.add_argument('--features', type=pathlib.Path, help='from outside, .npz')
    arguments = parser.parse_args()
    if not arguments.table:
        record.save(RESULTS, measure(arguments.images, arguments.human, arguments.features, arguments.work))
    print(table(record.load(RESULTS)))


if __name__ == '__main__':
    main()
