"""Lists of wrong labels on folders like those of users: real images, errors of real annotators, unequal classes.

  python experiments/accuracy/lists.py --images cifar10_jpeg.tar.xz --human cifar10n_labels.npz
  ... --features F.npz   features from outside too: `train` [50000, D] in the order of cifar10n_labels.npz
  ... --normal           runs with training too, minutes per folder
  ... --table            the tables from the JSON alone

Folders of CIFAR-10's JPEGs (quality 75) with labels of CIFAR-10N, laid out as class folders. On each, as a user would,
`noisy_jax.main --config=configs/own_images.py`, by effort=quick and on features from outside, and cleanlab: on the
same cross-fitted probabilities, and on a plain logistic regression on classical features or on those from outside.
What a list claims stands beside what is true, and what `noisy_jax.clean --all-suspects` would make of the folder.
The seeds are not those by which the estimates were developed.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cifar10
from noisy_jax.labels import classical, judges
from noisy_jax.labels.features import Features
from noisy_jax.labels.verdict import Verdict
from noisy_jax.workdir import WorkDir

RESULTS = record.RESULTS / 'lists.json'


@dataclasses.dataclass(frozen=True)
class Kind:
    """Folders that differ in a seed.

    Attributes:
      human: whose labels, a column of cifar10n_labels.npz.
      count: random images of all classes, unless
      classes: gives (images, wrong ones among them) by name of the given class, as of folders that were searched for by
        name, or
      sizes: gives images by name of their true class, as of photographs that people sorted.
      seeds: of the folders.
    """

    human: str
    count: int = 0
    classes: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (11, 12)


_ALL = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
FOLDERS = {
    '3 classes of 600, 5 %': Kind(
        'random_label1', classes={'dog': (400, 20), 'cat': (150, 7), 'horse': (50, 3)}, seeds=(11, 12, 13)
    ),
    '5 classes of 1,500, 5 %': Kind(
        'random_label2',
        classes={'airplane': (600, 30), 'ship': (400, 20), 'truck': (250, 13), 'bird': (150, 8), 'frog': (100, 4)},
    ),
    '3 classes of 600, sorted': Kind('random_label1', sizes={'dog': 400, 'cat': 150, 'horse': 50}, seeds=(11, 12, 13)),
    '5 classes of 1,500, sorted': Kind(
        'random_label2', sizes={'airplane': 600, 'ship': 400, 'truck': 250, 'bird': 150, 'frog': 100}
    ),
    '10 classes of 1,500, 9 %': Kind('aggre_label', 1500, seeds=(11, 12, 13)),
    '10 classes of 5,000, 9 %': Kind('aggre_label', 5000, seeds=(11,)),
    '10 classes of 1,500, 18 %': Kind('random_label1', 1500),
    '10 classes of 1,500, 40 %': Kind('worse_label', 1500),
    '10 classes of 5,000, 40 %': Kind('worse_label', 5000, seeds=(11,)),
    '10 classes of 300, 1 %': Kind(
        'random_label1', classes={n: (30, int(n in _ALL[3:6])) for n in _ALL}, seeds=(11, 12, 13)
    ),
    '10 classes of 1,500, 0.3 %': Kind('random_label1', classes={n: (150, int(n in _ALL[3:8])) for n in _ALL}),
}


def choose(kind: Kind, seed: int, true: np.ndarray, said: np.ndarray, names: list[str]) -> np.ndarray:
    """The rows of a folder, in random order."""
    rng = np.random.default_rng(seed)
    if kind.count:
        return rng.choice(len(true), kind.count, replace=False)
    if kind.sizes:
        wanted = np.isin(said, [names.index(name) for name in kind.sizes])
        of_each = [
            rng.choice(np.flatnonzero((true == names.index(n)) & wanted), size, replace=False)
            for n, size in kind.sizes.items()
        ]
        return rng.permutation(np.concatenate(of_each))
    wanted, rows = [names.index(name) for name in kind.classes], []
    for label, (count, wrong) in zip(wanted, kind.classes.values(), strict=True):
        bad = np.flatnonzero((said == label) & (true != label) & np.isin(true, wanted))
        good = np.flatnonzero((said == label) & (true == label))
        rows += [*rng.choice(bad, wrong, replace=False), *rng.choice(good, count - wrong, replace=False)]
    return rng.permutation(rows)


class Source:
    """The images in the order of cifar10n_labels.npz."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        folder = cifar10.unpack(arguments.images, arguments.work / 'cifar10')
        with np.load(arguments.human) as labels:
            self.labels = {name: labels[name].astype(int) for name in labels.files}
        self.true = self.labels['clean_label']
        by_class = np.argsort(self.true, kind='stable')  # within a class both orders agree
        self.place = by_class.argsort()
        self.pixels = np.load(folder / 'images.npy', mmap_mode='r')
        self.names = np.load(folder / 'class_names.npy').tolist()
        self.features = np.load(arguments.features)['train'] if arguments.features else None

    def lay_out(self, kind: Kind, seed: int, folder: pathlib.Path) -> None:
        """photos/CLASS/IMG_1000.png by given labels; true.npy and features.npy in the order of the files' names."""
        if (folder / 'true.npy').exists():
            return
        said = self.labels[kind.human]
        rows = choose(kind, seed, self.true, said, self.names)
        files = {}
        for number, row in enumerate(rows):
            place = f'{self.names[said[row]]}/IMG_{10000 + number}.png'
            files[place] = row
            path = folder / 'photos' / place
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(self.pixels[self.place[row]]).save(path)
        rows = np.array([files[place] for place in sorted(files)])
        if self.features is not None:
            np.save(folder / 'features.npy', self.features[rows].astype(np.float32))
        np.save(folder / 'true.npy', np.array(self.names)[self.true[rows]])


def command(*arguments: Any, may_refuse: bool = False) -> str:
    """What `python -m noisy_jax.X ...` prints."""
    own = [sys.executable, '-m', *map(str, arguments)]
    done = subprocess.run(own, cwd=record.ROOT, env=record.environment(), capture_output=True, text=True, check=False)
    if done.returncode not in ((0, 2) if may_refuse else (0,)):
        raise RuntimeError(done.stderr)
    return done.stdout + done.stderr


# What the list of own_images waits for.
_TO_THE_LIST = ("--config.phases=('pretrain', 'cross_fit')",)


def ours(folder: pathlib.Path, name: str, *changes: str) -> dict[str, Any]:
    """A run of own_images on the folder: how good its list is, what it claims, what cleaning by it would do."""
    workdir = folder / name
    command(
        'noisy_jax.main', '--config=configs/own_images.py', f'--config.data.path={folder / "photos"}',
        f'--workdir={workdir}', '--config.report.page=False', *changes,
    )  # fmt: skip
    work, true = WorkDir.of_run(workdir), np.load(folder / 'true.npy')
    labels, summary = work.load_labels(), work.load_json('summary')
    wrong, listed, found = labels['given_label'] != true, labels['is_suspect'], summary['label_issues']
    result = order(wrong, 1 - labels['clean_probability']) | {'noise': float(wrong.mean())}
    result |= {'listed': int(listed.sum()), 'precision': float(wrong[listed].mean()) if listed.any() else None}
    result['recall'] = float(wrong[listed].sum() / wrong.sum())
    claims = ('expected_precision', 'precision_interval', 'estimated_noise_rate', 'noise_rate_interval')
    result |= {key: found[key] for key in (*claims, 'judge', 'trusted')}
    result['sizes_even'] = sizes_even(work, wrong)
    result['seconds'] = sum(phase['seconds'] for phase in summary['phases'])
    out = folder / f'{name}_clean.csv'
    command('noisy_jax.clean', f'--workdir={workdir}', f'--out={out}', '--all-suspects', '--write', may_refuse=True)
    result |= {'wrong_before': int(wrong.sum()), 'cleaned': out.exists()}
    after = (
        np.where(listed, labels['suggested_label'], labels['given_label']) if out.exists() else labels['given_label']
    )
    result['wrong_after'] = int(np.sum(after != true))
    out.unlink(missing_ok=True)
    return result


def sizes_even(work: WorkDir, wrong: np.ndarray) -> dict[str, float]:
    """The order by the same judge, were a small class as suspect as a large one."""
    verdict, given = Verdict.load(work), work.load_array('labels/given')
    return order(wrong, judges.suspicion(judges.balanced(verdict.probabilities, given, verdict.size), given))


def order(wrong: np.ndarray, suspicion: np.ndarray) -> dict[str, float]:
    """How well suspicions [N] order the labels."""
    at_number = np.argsort(-suspicion, kind='stable')[: wrong.sum()]
    return {
        'auroc': float(roc_auc_score(wrong, suspicion)),
        'average_precision': float(average_precision_score(wrong, suspicion)),
        'precision_at_number': float(wrong[at_number].mean()),
    }


def with_cleanlab(probabilities: np.ndarray, given: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    """cleanlab's order and list by class probabilities [N, C] that have not seen the label."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    listed = find_label_issues(given, probabilities)
    result = order(wrong, 1 - get_label_quality_scores(given, probabilities))
    precision = float(wrong[listed].mean()) if listed.any() else None
    return result | {'listed': int(listed.sum()), 'precision': precision, 'claimed_noise': float(listed.mean())}


def usual(features: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Out-of-fold probabilities [N, C] as most people compute them."""
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return cross_val_predict(head, features, given, cv=5, method='predict_proba')


def evaluate(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """All lists on a folder that need no training, by name."""
    found = {'ours, quick': ours(folder, 'quick', '--config.effort=quick')}
    paths = sorted((folder / 'photos').rglob('*.png'), key=lambda path: path.relative_to(folder).as_posix())
    names = sorted({path.parent.name for path in paths})
    given = np.array([names.index(path.parent.name) for path in paths])
    wrong = np.array(names)[given] != np.load(folder / 'true.npy')
    kinds = {'classical': classical.describe(np.stack([np.asarray(Image.open(path)) for path in paths]))}
    if (folder / 'features.npy').exists():
        path = folder / 'features.npy'
        kinds['outside'] = np.load(path)
        found['ours, outside'] = ours(folder, 'outside', '--config.effort=quick', f'--config.data.embeddings={path}')
    for kind, features in kinds.items():
        same = judges.all_judges({kind: Features(features, 0)}, len(names), folds=5)
        probabilities = same[f'{kind}, logistic regression'](given, 0)
        found[f'cleanlab, {kind}, our probabilities'] = with_cleanlab(probabilities, given, wrong)
        found[f'cleanlab, {kind}'] = with_cleanlab(usual(features, given), given, wrong)
    return found


_LISTS = {
    'classical': ('ours, quick', 'cleanlab, classical, our probabilities', 'cleanlab, classical'),
    'outside': ('ours, outside', 'cleanlab, outside, our probabilities', 'cleanlab, outside'),
}


def table(results: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Orders, means over the folders of a kind, and every claim beside the truth."""
    heads = ' | '.join(f'{features}: ours | cleanlab, our probabilities | cleanlab' for features in _LISTS)
    lines = [f'| average precision (AUROC) | {heads} |', f'|{"---|" * 7}']
    for kind in FOLDERS:
        of_kind = [found for name, found in results.items() if name.rpartition(' #')[0] == kind]
        cells = [_mean([found[name] for found in of_kind]) for names in _LISTS.values() for name in names]
        lines.append(f'| {kind} | {" | ".join(cells)} |')
    head = 'wrong | listed | precision: claimed | true'
    lines += ['', f'| claimed and true | classical: {head} | outside: {head} | wrong in truth |', f'|{"---|" * 10}']
    for name, found in results.items():
        cells = [_claims(found[names[0]]) for names in _LISTS.values()]
        lines.append(f'| {name} | {" | ".join(cells)} | {found["ours, quick"]["noise"]:.3f} |')
    lines += [
        '',
        '| average precision (AUROC) | classical | were sizes even | outside | were sizes even |',
        f'|{"---|" * 5}',
    ]
    for kind in (name for name, each in FOLDERS.items() if not each.count):
        of_kind = [found for name, found in results.items() if name.rpartition(' #')[0] == kind]
        ours_ = [[found[names[0]] for found in of_kind] for names in _LISTS.values()]
        cells = [_mean(rows) for lists in ours_ for rows in (lists, [row['sizes_even'] for row in lists])]
        lines.append(f'| {kind} | {" | ".join(cells)} |')
    trained = [(name, found) for name, found in results.items() if 'ours, normal' in found]
    lines += ['', '| average precision (AUROC) | quick | normal | judge | minutes of training |', f'|{"---|" * 5}']
    for name, found in trained:
        normal, quick = found['ours, normal'], found['ours, quick']
        lines.append(
            f'| {name} | {_mean([quick])} | {_mean([normal])} | {normal["judge"]} | {normal["seconds"] / 60:.0f} |'
        )
    return '\n'.join([*lines, '', *_summary(results)])


def _mean(rows: list[dict[str, Any]]) -> str:
    precision, auroc = (np.mean([row[key] for row in rows]) for key in ('average_precision', 'auroc'))
    return f'{precision:.3f} ({auroc:.3f})'


def _claims(row: dict[str, Any]) -> str:
    def between(interval: list[float] | None) -> str:
        return '-' if interval is None else f'{interval[0]:.2f} to {interval[1]:.2f}'

    if not row['trusted']:
        return 'not trusted | - | - | -'
    precision = '-' if row['precision'] is None else f'{row["precision"]:.2f}'
    interval = between(row['precision_interval'])
    return f'{between(row["noise_rate_interval"])} | {row["listed"]} | {interval} | {precision}'


def _summary(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    rows = [
        row for found in results.values() for name, row in found.items() if name.startswith('ours') and row['trusted']
    ]
    within = [row['noise_rate_interval'][0] <= row['noise'] <= row['noise_rate_interval'][1] for row in rows]
    listed = [row for row in rows if row['listed']]
    precise = [row['precision_interval'][0] <= row['precision'] <= row['precision_interval'][1] for row in listed]
    over = [row['expected_precision'] > 2 * row['precision'] for row in listed]
    worse = [row['wrong_after'] > row['wrong_before'] for row in rows]
    return [
        f'Of {len(rows)} lists that are trusted, the share of wrong labels lies within the interval in {sum(within)}, '
        f'and of {len(listed)} that list any the precision in {sum(precise)}; the estimate is over twice the truth in '
        f'{sum(over)}. Cleaning without looking leaves more wrong labels than before in {sum(worse)}.'
    ]


def main() -> None:
    parser = record.table_parser(__doc__, 'lists')
    parser.add_argument('--smoke', action='store_true', help='one folder; the numbers mean little')
    record.add_images(parser)
    parser.add_argument('--features', type=pathlib.Path, help='from outside, .npz')
    parser.add_argument('--normal', action='store_true', help='runs with training too')
    parser.add_argument('--only', nargs='*', choices=tuple(FOLDERS), help='kinds of folders')
    arguments = parser.parse_args()
    results = record.load(RESULTS, {})
    if not arguments.table:
        source = Source(arguments)
        for kind in arguments.only or FOLDERS:
            for seed in FOLDERS[kind].seeds[: 1 if arguments.smoke else None]:
                name, folder = f'{kind} #{seed}', arguments.work / f'{list(FOLDERS).index(kind)}_{seed}'
                source.lay_out(FOLDERS[kind], seed, folder)
                results[name] = results.get(name) or evaluate(folder)
                if arguments.normal and 'ours, normal' not in results[name]:
                    results[name]['ours, normal'] = ours(folder, 'normal', *_TO_THE_LIST)
                if arguments.smoke:
                    print(json.dumps(results[name], indent=1))
                    return
                record.save(RESULTS, results)
                print(name, json.dumps(results[name]['ours, quick']), flush=True)
    print(table(results))


if __name__ == '__main__':
    main()
