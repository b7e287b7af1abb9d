"""The experiment on a folder of one's own: how it lays the folder out, how it scores label issues."""

import io
import json
import pathlib
import tarfile

import numpy as np
import pytest
from PIL import Image

from experiments.accuracy import own_folder

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture
def sources(tmp_path):
    """Two classes of three training images and a test image each; image 1 is labelled wrongly by people."""
    archive = tmp_path / 'images.tar'
    with tarfile.open(archive, 'w') as tar:
        for split, count in (('train', 3), ('test', 1)):
            for name in ('cat', 'dog'):
                for number in range(count):
                    content = io.BytesIO()
                    Image.new('RGB', (4, 4), (number * 40, 200 * (name == 'dog'), 0)).save(content, 'PNG')
                    member = tarfile.TarInfo(f'{split}/{name}/{number:04d}.png')
                    member.size = content.tell()
                    content.seek(0)
                    tar.addfile(member, content)
    labels = tmp_path / 'labels.npz'
    np.savez(labels, clean_label=[0, 1, 1, 0, 0, 1], worse_label=[0, 0, 1, 0, 1, 1])
    return archive, labels


def test_the_folder_is_by_given_labels_and_the_truth_beside_it(sources, tmp_path):
    out = tmp_path / 'out'
    own_folder.lay_out(*sources, out, count=5, tests=2)
    truth = json.loads((out / 'truth.json').read_text())
    assert truth == {
        'cat/00000.jpg': 'cat',
        'cat/00001.jpg': 'dog',
        'dog/00002.jpg': 'dog',
        'cat/00003.jpg': 'cat',
        'dog/00004.jpg': 'cat',
    }
    assert sorted(path.name for path in (out / 'test').rglob('*.png')) == ['0000.png', '0000.png']
    # Image 2 is the second dog, image 3 the second cat.
    assert Image.open(out / 'photos' / 'dog' / '00002.jpg').getpixel((0, 0)) == (40, 200, 0)
    assert Image.open(out / 'photos' / 'cat' / '00003.jpg').getpixel((0, 0)) == (40, 0, 0)


def test_the_quality_of_label_issues_by_hand():
    experiment = object.__new__(own_folder.Experiment)
    experiment.given, experiment.true = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    quality = experiment.quality(np.array([0, 1, 3]), probabilities)
    assert quality == {'length': 3, 'precision': pytest.approx(2 / 3), 'recall': 1.0, 'suggestion_accuracy': 0.5}


def test_the_documentation_shows_what_was_measured():
    results = json.loads(own_folder.RESULTS.read_text())
    assert own_folder.table(results) in (ROOT / 'docs' / 'label_issues.md').read_text()
