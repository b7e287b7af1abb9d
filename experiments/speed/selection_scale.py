"""Selection at scale: the mixture on millions of losses, k-NN in a bank of a million embeddings.

  python experiments/speed/selection_scale.py    writes results/selection_scale.json, prints two tables
  ... --smoke                                    tiny sizes, seconds
  ... --knn-queries=2000                         a part of the 50,000 queries

Ours is compared with scikit-learn's mixture fitted on all samples: seconds, peak of allocated memory, and the share of
samples on the same side of a clean probability of 0.5. Took 17 minutes on two cores, most of it the k-NN.
"""

import pathlib
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.mixture import GaussianMixture

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from noisy_jax.labels import selection
from noisy_jax.training import knn

SEED, REPEATS = 0, 3
SAMPLES = (1_000_000, 10_000_000)
DIMENSIONS, CLASSES, K, BLOCK, TILE = 128, 100, 200, 1024, 2**26
MIB = 2**20

# Losses of right and of wrong labels, and the share of wrong ones.
Draw = Callable[[np.random.Generator, int], np.ndarray]
KINDS: dict[str, tuple[float, Draw, Draw]] = {
    'two apart': (0.4, lambda rng, n: rng.normal(0.2, 0.05, n), lambda rng, n: rng.normal(2.0, 0.3, n)),
    'two overlapping': (0.5, lambda rng, n: rng.normal(0.5, 0.3, n), lambda rng, n: rng.normal(0.9, 0.4, n)),
    'long tail': (0.2, lambda rng, n: rng.exponential(0.1, n), lambda rng, n: rng.gamma(4.0, 0.7, n)),
    'long tail, most wrong': (0.8, lambda rng, n: rng.exponential(0.5, n), lambda rng, n: rng.gamma(4.0, 0.7, n)),
    # Cross-entropy log(1 + exp(-margin)).
    'cross-entropy': (
        0.6,
        lambda rng, n: np.logaddexp(0, rng.normal(-1.8, 1.5, n)),
        lambda rng, n: np.logaddexp(0, rng.normal(2.2, 1.5, n)),
    ),
}


def losses(kind: str, samples: int, epochs: int) -> np.ndarray:
    """Losses float32 [epochs, samples], the wrong labels spread among the right ones."""
    rng = np.random.default_rng(SEED)
    rate, right, wrong = KINDS[kind]
    is_wrong = rng.random(samples) < rate
    rows = [np.where(is_wrong, wrong(rng, samples), right(rng, samples)).astype(np.float32) for _ in range(epochs)]
    return np.stack(rows)


def _fit_on_all(recorded: np.ndarray) -> np.ndarray:
    scaled = selection.scaled_mean(recorded)[:, None]
    mixture = GaussianMixture(n_components=2, max_iter=100, reg_covar=5e-4, random_state=SEED).fit(scaled)
    return mixture.predict_proba(scaled)[:, mixture.means_[:, 0].argmin()]


def _measure(function: Callable[[], np.ndarray], repeats: int = 1) -> tuple[np.ndarray, float]:
    """The result and the least of the seconds."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - started)
    return result, min(seconds)


def _peak_mib(function: Callable[[], np.ndarray]) -> int:
    """The most NumPy memory allocated at a time."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(peak / MIB)


def measure_selection(sizes: tuple[int, ...]) -> Iterator[dict]:
    """A row for each number of samples and kind of losses, of one epoch; of the last kind also of five epochs."""
    cells = [(kind, 1) for kind in KINDS] + [(list(KINDS)[-1], 5)]
    for samples in sizes:
        for kind, epochs in cells:
            recorded = losses(kind, samples, epochs)
            clean, seconds = _measure(lambda recorded=recorded: selection.clean_probability(recorded), REPEATS)
            expected, sklearn_seconds = _measure(lambda recorded=recorded: _fit_on_all(recorded))
            yield {
                'samples': samples,
                'losses': kind,
                'epochs': epochs,
                'seconds': round(seconds, 3),
                'sklearn_seconds': round(sklearn_seconds, 2),
                'peak_mib': _peak_mib(lambda recorded=recorded: selection.clean_probability(recorded)),
                'clean': float(np.mean(clean > 0.5)),
                'equal_splits': float(np.mean((clean > 0.5) == (expected > 0.5))),
            }


def measure_knn(size: int, queries: int, tile: int = TILE) -> dict:
    """Seconds of `queries` in a bank of `size` embeddings; the first 64 are checked by NumPy, all at once."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(CLASSES, DIMENSIONS)).astype(np.float32)
    labels = rng.integers(CLASSES, size=size, dtype=np.int32)
    bank = centres[labels] + 3 * rng.standard_normal((size, DIMENSIONS), np.float32)
    asked = centres[rng.integers(CLASSES, size=queries)] + 3 * rng.standard_normal((queries, DIMENSIONS), np.float32)

    def scores(asked: np.ndarray) -> np.ndarray:
        return np.asarray(knn.predict(bank, labels, asked, k=K, num_classes=CLASSES, block=BLOCK, tile=tile))

    scores(asked[:BLOCK])  # compiles
    found, seconds = _measure(lambda: scores(asked))

    few = asked[:64] / np.linalg.norm(asked[:64], axis=1, keepdims=True)
    similarity = few @ (bank / np.linalg.norm(bank, axis=1, keepdims=True)).T
    nearest = np.argpartition(-similarity, K, axis=1)[:, :K]
    votes = np.exp(np.take_along_axis(similarity, nearest, axis=1) / 0.1)
    expected = [np.bincount(labels[row], vote, CLASSES).argmax() for row, vote in zip(nearest, votes, strict=True)]
    return {
        'bank': size,
        'queries': queries,
        'dimensions': DIMENSIONS,
        'k': K,
        'seconds': round(seconds, 2),
        'tile_bytes': 4 * min(tile, size * queries),
        'matrix_bytes': 4 * size * queries,
        'bank_bytes': bank.nbytes,
        'equal_predictions_of_first': float(np.mean(found[: len(few)].argmax(1) == expected)),
    }


def table(result: dict) -> str:
    """Markdown: a table of the mixtures, one of the k-NN."""
    rows = [
        (
            *(f'{row["samples"]:,}', row['losses'], row['epochs'], f'{row["seconds"]:.2f}'),
            *(f'{row["sklearn_seconds"]:.1f}', row['peak_mib'], f'{row["clean"]:.1%}', f'{row["equal_splits"]:.4%}'),
        )
        for row in result['selection']
    ]
    titles = 'samples,losses,epochs,seconds,scikit-learn on all,peak MiB,clean,equal selections'
    mixtures, row = record.markdown(titles.split(','), rows), result['knn']
    sizes = [f'{row[key]:,}' for key in ('bank', 'queries', 'dimensions')]
    memory = [f'{row[key] / MIB:,.0f}' for key in ('tile_bytes', 'matrix_bytes')]
    titles = 'bank,queries,dimensions,seconds,tile MiB,whole matrix MiB,as NumPy'
    cells = (*sizes, row['seconds'], *memory, f'{row["equal_predictions_of_first"]:.0%}')
    return f'{mixtures}\n\n{record.markdown(titles.split(","), [cells])}'


def main() -> None:
    parser = record.parser(__doc__, record.RESULTS / 'selection_scale.json')
    parser.add_argument(
        '--samples', type=int, nargs='+', help='losses to select from; scikit-learn takes minutes for 10 M'
    )
    parser.add_argument('--knn-bank', type=int)
    parser.add_argument('--knn-queries', type=int)
    arguments = parser.parse_args()
    smoke = arguments.smoke
    bank = arguments.knn_bank or (3_000 if smoke else 1_000_000)
    queries = arguments.knn_queries or (100 if smoke else 50_000)
    result = {
        'device': record.device(),
        'versions': record.versions('scikit-learn'),
        'seed': SEED,
        'knn': measure_knn(bank, queries, 2**16 if smoke else TILE),
        'selection': list(measure_selection(arguments.samples or ((70_000, 100_000) if smoke else SAMPLES))),
    }
    print(table(result))
    record.save(record.destination(arguments), result)


if __name__ == '__main__':
    main()
