"""What the list finds and claims where errors go one way: to one other class, from one class, or between two.

  python experiments/accuracy/one_way.py [--seeds 0 1 2 3]     half a minute, no data needed
  ... --table                                                  the table from the JSON alone

Random 1,000 of scikit-learn's digits, whose classes classical features tell apart, as `effort=quick` judges them.
"""

import pathlib
import sys
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from noisy_jax.data import noise
from noisy_jax.labels import classical, contest, judges
from noisy_jax.labels.features import Features

RESULTS = record.RESULTS / 'one_way.json'
_COUNT, _CLASSES = 1000, 10
_NEXT = noise.blocks(_CLASSES, _CLASSES)
# The share of wrong labels of each class, and what each is called then; None: any other.
ERRORS: dict[str, tuple[float, dict[int, int] | None]] = {
    'none': (0.0, None),
    '5 % called any other digit': (0.05, None),
    '5 % called the next digit': (0.05, _NEXT),
    '10 % called the next digit': (0.1, _NEXT),
    '20 % called the next digit': (0.2, _NEXT),
    '25 % called the next digit': (0.25, _NEXT),
    '30 % of the threes called five': (0.3, {3: 5}),
    '20 % of zeros and ones exchanged': (0.2, {0: 1, 1: 0}),
}


def measure(seeds: list[int]) -> dict[str, Any]:
    digits, result = load_digits(), {}
    for name, (rate, mapping) in ERRORS.items():
        for seed in seeds:
            rng = np.random.default_rng(seed)
            rows = rng.permutation(len(digits.target))[:_COUNT]
            true = digits.target[rows]
            of_all = (true, rate, _CLASSES, rng)
            given = noise.symmetric(*of_all) if mapping is None else noise.asymmetric(*of_all, mapping)
            images = (digits.images[rows, ..., None] / 16 * 255).astype(np.uint8)
            found = judges.all_judges({'classical': Features(classical.describe(images), seed)}, _CLASSES, folds=5)
            verdict, wrong = contest.compete(found, given, _CLASSES, seed=seed), given != true
            suspect = verdict.wrong[1] > 0.5
            row = {'wrong': int(wrong.sum()), 'listed': int(suspect.sum()), 'right': int((suspect & wrong).sum())}
            row |= {'noise_rate': float(wrong.mean()), 'claimed': list(verdict.noise_rate)}
            row['average_precision'] = float(average_precision_score(wrong, verdict.wrong[1])) if wrong.any() else None
            result.setdefault(name, []).append(row)
        print(name, result[name][-1], flush=True)
    return {'errors': result, 'seeds': seeds, 'device': record.device(), 'versions': record.versions('scikit-learn')}


def table(result: dict[str, Any]) -> str:
    rows = []
    for name, found in result['errors'].items():
        counts = [' '.join(str(each[key]) for each in found) for key in ('wrong', 'listed', 'right')]
        claims = ', '.join('{:.2f} to {:.2f}'.format(*each['claimed']) for each in found)
        orders = ' '.join(f'{each["average_precision"]:.2f}' for each in found if each['average_precision'] is not None)
        rows.append([name, *counts, claims, orders or '-'])
    return record.markdown(('errors', 'wrong', 'listed', 'right', 'claimed to be wrong', 'average precision'), rows)


def main() -> None:
    parser = record.table_parser(__doc__, 'one_way')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3])
    arguments = parser.parse_args()
    if not arguments.table:
        record.save(RESULTS, measure(arguments.seeds))
    print(table(record.load(RESULTS)))


if __name__ == '__main__':
    main()
