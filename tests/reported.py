"""Work directories as finished runs leave them, and their reports, without any training."""

import dataclasses
import json
import pathlib

import numpy as np
from PIL import Image
from tiny import config

from noisy_jax.labels import contest, data_issues, duplicates
from noisy_jax.labels import issues as label_issues
from noisy_jax.report import evidence, page
from noisy_jax.report.data_issues import section
from noisy_jax.report.findings import Findings
from noisy_jax.workdir import WorkDir

JUDGE = 'features <b>of & about</b> it'
HOSTILE = ('</script><b>bold', '"><img src=x onerror=alert(1)>', 'O\'Neill & "Söhne", GmbH', '=1+1$x$')


def judge(classes, images, *, noise, certainty, seed=0):
    """Probabilities [N, C] of a classifier that is right where it is certain, given and true labels [N]."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, images)
    given = np.where(rng.random(images) < noise, (true + rng.integers(1, classes, images)) % classes, true)
    logits = rng.normal(size=(images, classes)) * (1 if certainty else 0.01)
    logits[np.arange(images), true] += certainty
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), given, true


def verdict_of(probabilities, given, fault=''):
    """What a judge with these probabilities says, who found more planted errors than one who guesses."""
    guesses = np.random.default_rng(0).dirichlet(np.ones(probabilities.shape[1]), len(given)).astype(np.float32)
    compared = {JUDGE: lambda *_: probabilities, 'guesses': lambda *_: guesses}
    return dataclasses.replace(contest.compete(compared, given, probabilities.shape[1]), fault=fault)


def nearest(probabilities):
    """The six images of the most similar probabilities to each, int32 [N, 6]."""
    similarity = probabilities @ probabilities.T
    np.fill_diagonal(similarity, -1)
    return np.argsort(-similarity, 1)[:, : evidence.SIMILAR].astype(np.int32)


def run_of(
    path,
    *,
    names=HOSTILE,
    images=400,
    noise=0.3,
    certainty=3.5,
    threshold=0.5,
    true=True,
    gallery=300,
    shape=(8, 8, 3),
    data=('digits', 'photos'),
    prefix='train/',
    judged=False,
    fault='',
    first=False,
):
    """Writes the files of a run and its report.html; returns the folder.

    The list is that of a mixture or, `judged`, that of a judge (with a `fault`); the `first` before any training.

    Args:
      data: its loader and path.
      prefix: how ids begin.
    """
    probabilities, given, truth = judge(len(names), images, noise=noise, certainty=certainty)
    truth = truth if true else None
    issues = label_issues.find(probabilities, given, truth, threshold=threshold)
    if judged:
        verdict = verdict_of(probabilities, given, fault)
        issues = label_issues.of_verdict(verdict, given, truth, threshold=threshold)
    folder, rows = WorkDir(path), np.arange(images)
    folder.claim(config('noise=none', data__name=data[0], data__path=str(data[1])).to_dict())
    folder.save_json('data', {'classes': names, 'image_shape': shape, 'images': images, 'held_out': 0, 'unlabelled': 0})
    folder.save_array('labels/given', given)
    if true:
        folder.save_array('labels/true', truth)
    if judged:
        verdict.save(folder)
        folder.save_array(evidence.NEAREST, nearest(probabilities))
    issues.save(folder, np.array([f'{prefix}{row:05d} "&ä\'.jpg' for row in rows]), names, sort='suspicion')
    phases = [{'name': 'classify', 'seconds': 1.5, 'test_accuracy_last': 0.9, 'test_accuracy_best': 0.95}]
    folder.save_json(
        'summary',
        {
            'config': 'made',
            'seed': 0,
            'device': 'none',
            'versions': {'python': '3'},
            'noise': {'kind': 'none'},
            'phases': [] if first else phases,
            'label_issues': issues.numbers | {'cross_fit': 5 if judged else 0} | ({'first': True} if first else {}),
        },
    )
    lines = [{'phase': 'classify', 'stage': s, 'epoch': 1, 'loss': 1.0, 'test_accuracy': 0.9} for s in ('head', 'all')]
    folder.metrics.write_text('' if first else ''.join(json.dumps(line) + '\n' for line in lines))
    if not first:
        folder.save_array('labels/map', probabilities[:, :2])
        folder.save_array('labels/map_rows', rows.astype(np.int32))
    pixels = np.random.default_rng(0).integers(0, 256, (images, *shape), np.uint8)
    page.write(folder, Findings.load(folder), pixels, gallery=gallery, thumbnail=96)
    return pathlib.Path(path)


def with_data_issues(path, root):
    """The report of `run_of` with a section on the data: 20 pairs of equal images; the files of all are in `root`.

    Returns:
      The folder, and the ids of the images, str [40].
    """
    folder = WorkDir(path)
    ids, given = folder.load_labels()['id'], folder.load_array('labels/given')
    pixels = np.random.default_rng(0).integers(0, 256, (len(ids), 8, 8, 3), np.uint8)
    pixels[20:40] = pixels[:20]
    for name, image in zip(ids, pixels, strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((32, 32)).save(root / name, 'png')
    names = folder.load_json('data')['classes']
    part = data_issues.Part('train', ids, given)
    numbers = data_issues.save(folder, data_issues.find(given, duplicates.find(pixels), {}, None), [part], names)
    folder.save_json('summary', folder.load_json('summary') | {'data_issues': numbers})
    shown = section(folder, {'train': (ids, pixels)}, thumbnail=96)
    page.write(folder, Findings.load(folder), pixels, gallery=60, thumbnail=96, data_issues=shown)
    rows = [row['id'] for row in folder.load_table(data_issues.NAME, data_issues.HEADER)]
    return path, rows


def read_data(folder):
    """The JSON of a report."""
    source = (folder / 'report.html').read_text(encoding='utf-8')
    return json.loads(source.split('<script type="application/json" id="data">')[1].split('</script>')[0])
