"""A folder of one's own, end to end: CIFAR-10 (JPEG 75) by people's labels, 40 % of them wrong; what is cleaning worth?

  python experiments/accuracy/own_folder.py --images cifar10_jpeg.tar.xz --human cifar10n_labels.npz
  ... --table         the tables from the JSON alone

The first 5,000 images lie in class folders by the worst of CIFAR-10N's labels (Wei 2022). Then, as a user would:
`noisy_jax.main --config=configs/own_images.py` and `noisy_jax.clean --all-suspects --mode=relabel|drop`. The list is
compared with cleanlab's on the same cross-fitted probabilities, and on those of a plain classifier (cross-entropy, from
scratch, the same network, 20 epochs, three folds). Plain classifiers trained on the given, the cleaned and the right
labels are evaluated on the 10,000 test images. A rerun resumes.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record
from experiments.accuracy import cifar10
from noisy_jax import config as config_lib
from noisy_jax import data, pipeline
from noisy_jax.data import splits
from noisy_jax.data.dataset import Dataset
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.labels import issues as label_issues
from noisy_jax.workdir import WorkDir

RESULTS = record.RESULTS / 'own_folder.json'
COUNT = 5000  # training images
FOLDS, EPOCHS = 3, 20  # of plain classifiers
_PARTS = ('', 'valid_')  # of the labelled images: trained on, held out
PLAIN = {'phases': ('base',), 'loss': 'ce', 'base.epochs': EPOCHS, 'data.valid_fraction': 0.0, 'early_stop': 'none'}
PLAIN |= {'eval_every': 0, 'report.cross_fit': 0, 'report.page': False, 'report.tensorboard': False}


def lay_out(archive: pathlib.Path, human: pathlib.Path, folder: pathlib.Path, count: int, tests: int) -> None:
    """`photos/CLASS/00012.jpg` by people's labels, `test/CLASS/...` by right ones, truth.json: the right classes."""
    if (folder / 'truth.json').exists():
        return
    with np.load(human) as labels:
        clean, given = labels['clean_label'], labels[cifar10.HUMAN['worst']]
    places, truth, files = {}, {}, cifar10.read(archive)
    names = list(files['train'])
    # Within a class the files stand in the data set's order.
    contents = {name: iter(files['train'][name].values()) for name in names}
    for number, label in enumerate(clean[:count]):
        place = f'{names[given[number]]}/{number:05d}.jpg'
        places[f'photos/{place}'], truth[place] = next(contents[names[label]]), names[label]
    for name in names:
        chosen = list(files['test'][name].items())[: tests // len(names)]
        places |= {f'test/{name}/{file}': content for file, content in chosen}
    for place, content in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(content)
    (folder / 'truth.json').write_text(json.dumps(truth))


def command(*arguments: Any) -> None:
    """`python -m noisy_jax.X ...`, as from a terminal."""
    own = [sys.executable, '-m', *map(str, arguments)]
    subprocess.run(own, check=True, cwd=record.ROOT, env=record.environment())


class Experiment:
    """The run in `folder`, what was found about it so far, and the images with their right labels."""

    def __init__(self, folder: pathlib.Path, changes: list[str]) -> None:
        self.folder, self.results = folder, {}
        self.workdir = folder / 'run'
        self.photos = folder / 'photos'
        command(
            'noisy_jax.main',
            '--config=configs/own_images.py',
            f'--config.data.path={self.photos}',
            f'--workdir={self.workdir}',
            *changes,
        )
        work = WorkDir.of_run(self.workdir)
        self.config, self.summary = config_lib.from_json(work.load_json('config')), work.load_json('summary')
        self.labels, self.pred_probs = work.load_labels(), work.load_array('pred_probs')
        self.images = data.load_split(self.config.data, 'train')
        self.test = data.load_split({**self.config.data, 'path': str(folder / 'test')}, 'train')
        truth, names = json.loads((folder / 'truth.json').read_text()), self.images.class_names
        assert self.images.id.tolist() == self.labels['id'].tolist()
        self.true = np.array([names.index(truth[name]) for name in self.images.id], np.int32)
        self.given = self.images.label

    def plain(self, name: str, train: Dataset) -> TrainedClassifier:
        """The plain classifier on `train`: the run's network from scratch, cross-entropy, nothing held out."""
        config = self.config.copy_and_resolve_references()
        config.update_from_flattened_dict(PLAIN | {'name': name})
        workdir = self.folder / 'plain' / name
        pipeline.run(config, workdir, (train, None))
        return TrainedClassifier.of_run(workdir)

    def accuracy(self, classifier: TrainedClassifier) -> float:
        return float(np.mean(classifier.predict_proba(self.test.image).argmax(1) == self.test.label))

    def plain_probabilities(self) -> np.ndarray:
        """Of the plain classifier on the given labels, each image by one that did not see it: [N, C]."""
        found = np.zeros_like(self.pred_probs)
        parts = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(self.given, self.given)
        for number, (fitted, left_out) in enumerate(parts):
            classifier = self.plain(f'fold{number}', self.images.take(fitted))
            found[left_out] = classifier.predict_proba(self.images.image[left_out])
        return found

    def quality(self, issues: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
        """How good label issues are, a list of rows, and what probabilities suggest for those that are wrong."""
        wrong = self.given != self.true
        hits = issues[wrong[issues]]
        return {
            'length': len(issues),
            'precision': len(hits) / max(len(issues), 1),
            'recall': len(hits) / int(wrong.sum()),
            'suggestion_accuracy': float(np.sum(probabilities.argmax(1)[hits] == self.true[hits]) / max(len(hits), 1)),
        }

    def last_classifier(self) -> np.ndarray:
        """Of the run's last classifier, which has seen nine tenths of the labels: [N, C]."""
        arrays = [WorkDir.of_run(self.workdir).load_array(f'labels/finetune_{name}probabilities') for name in _PARTS]
        return splits.load(self.config).in_order(*arrays)

    def lists(self) -> dict[str, dict[str, Any]]:
        """Our list and cleanlab's on each kind of probabilities, by their own lengths, and all by that of the first."""
        from cleanlab.filter import find_label_issues
        from cleanlab.rank import get_label_quality_scores

        kinds = {
            'cross-fitted': self.pred_probs,
            'last classifier': self.last_classifier(),
            'plain classifier': self.plain_probabilities(),
        }
        length, found = int(self.labels['is_suspect'].sum()), {}
        for name, probabilities in kinds.items():
            issues = label_issues.find(probabilities, self.given, threshold=self.config.report.threshold)
            ranked = find_label_issues(self.given, probabilities, return_indices_ranked_by='self_confidence')
            by_quality = np.argsort(get_label_quality_scores(self.given, probabilities), kind='stable')
            own = {'noisy_jax': np.flatnonzero(issues.is_suspect), 'cleanlab': ranked}
            same = {'noisy_jax': issues.by_suspicion[:length], 'cleanlab': by_quality[:length]}
            for tool in own:
                at_own = self.quality(own[tool], probabilities)
                at_length = self.quality(same[tool], probabilities)
                found[f'{tool}, {name}'] = at_own | {
                    f'{key}_at_length': at_length[key] for key in ('precision', 'recall')
                }
        return found

    def cleaned(self, mode: str) -> Dataset:
        """What `noisy_jax.clean` makes of the folder."""
        out = self.folder / f'photos_{mode}'
        if not out.exists():
            command(
                'noisy_jax.clean',
                f'--workdir={self.workdir}',
                f'--out={out}',
                '--all-suspects',
                f'--mode={mode}',
                '--write',
            )
        return data.load_split({**self.config.data, 'path': str(out)}, 'train')

    def accuracies(self) -> dict[str, float]:
        """Test accuracies of plain classifiers by what they were trained on, and of the run's own classifiers."""
        sets = {
            'given labels': self.images,
            'label issues relabelled': self.cleaned('relabel'),
            'label issues dropped': self.cleaned('drop'),
            'right labels': self.images.replace(label=self.true),
        }
        found = {name: self.accuracy(self.plain(name.replace(' ', '_'), images)) for name, images in sets.items()}
        return found | {"the run's classifier": self.accuracy(TrainedClassifier.of_run(self.workdir))}


def run(arguments: argparse.Namespace, changes: list[str]) -> dict[str, Any]:
    arguments.work.mkdir(parents=True, exist_ok=True)
    lay_out(arguments.images, arguments.human, arguments.work, arguments.count, arguments.tests)
    experiment = Experiment(arguments.work, changes)
    wrong = experiment.given != experiment.true
    kept = ('seed', 'device', 'versions', 'phases', 'label_issues')
    return {
        'images': len(wrong),
        'wrong': float(wrong.mean()),
        **{name: experiment.summary[name] for name in kept},
        'lists': experiment.lists(),
        'accuracies': experiment.accuracies(),
    }


def table(results: dict[str, Any]) -> str:
    """Markdown: the label issues, then the classifiers."""
    length = next(iter(results['lists'].values()))['length']
    titles = ('label issues of', 'images', 'precision', 'recall', 'suggestions right')
    columns = ('precision', 'recall', 'suggestion_accuracy', 'precision_at_length', 'recall_at_length')
    rows = [
        (name, values['length'], *(f'{values[column]:.2f}' for column in columns))
        for name, values in results['lists'].items()
    ]
    issues = record.markdown((*titles, f'of {length}: precision', 'recall'), rows)
    accuracies = [(name, f'{100 * value:.1f}') for name, value in results['accuracies'].items()]
    return f'{issues}\n\n{record.markdown(("plain classifier trained on", "test accuracy"), accuracies)}'


def main() -> None:
    parser = record.table_parser(__doc__, 'own_folder')
    record.add_images(parser)
    parser.add_argument('--count', type=int, default=COUNT, help='training images')
    parser.add_argument('--tests', type=int, default=10_000, help='test images')
    parser.add_argument('--results', type=pathlib.Path, default=RESULTS)
    arguments, changes = parser.parse_known_args()  # --config.KEY=VALUE is for the run
    if not arguments.table:
        if not (arguments.images and arguments.human):
            parser.error('--images and --human are needed, or --table')
        record.save(arguments.results, run(arguments, changes))
    print(table(record.load(arguments.results)))


if __name__ == '__main__':
    main()
