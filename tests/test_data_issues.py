"""What else is wrong with a folder: duplicates, images of one colour, outliers, classes hardly told apart."""

import csv
import io

import numpy as np
import pytest
from conftest import refused
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits
from test_automatic import own_images

from noisy_jax import pipeline
from noisy_jax.labels import data_issues, duplicates, outliers, overlap
from noisy_jax.labels.features import Features
from noisy_jax.report import tables
from noisy_jax.report.data_issues import section
from noisy_jax.workdir import WorkDir

CLASSES = ('cat', 'dog', 'eel')


def pictures(count, seed=0, side=48):
    """Unlike pictures with structure of all sizes, uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(seed)
    waves = sum(
        size * gaussian_filter(rng.normal(size=(count, side, side, 3)), (0, size, size, 0)) for size in (1, 3, 8)
    )
    return np.clip(128 + 60 * waves / waves.std(), 0, 255).astype(np.uint8)


def _jpeg(image, quality=60):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'jpeg', quality=quality)
    return np.asarray(Image.open(buffer))


SAME = {
    'the same pixels': (np.copy, 'exact'),
    'JPEG of quality 60': (_jpeg, 'near'),
    'shifted': (lambda image: np.roll(image, 1, axis=1), 'near'),
    'brighter': (lambda image: np.minimum(image * 1.1 + 8, 255).astype(np.uint8), 'near'),
    'smaller and back': (lambda i: np.asarray(Image.fromarray(i).resize((36, 36)).resize((48, 48))), 'near'),
    'mirrored': (lambda image: image[:, ::-1], 'mirrored'),
    'mirrored JPEG': (lambda image: _jpeg(image[:, ::-1]), 'mirrored'),
}


@pytest.mark.parametrize('channels', [3, 1])
def test_changed_pictures_are_found_and_nothing_else(channels):
    images, others = pictures(40)[..., :channels], pictures(3, seed=1)[..., :channels]
    changed = [alter(images[row].squeeze()).reshape(images[row].shape) for row, (alter, _) in enumerate(SAME.values())]
    found = duplicates.find(images, np.stack([*changed, *others]))
    kinds = {row: duplicates.KINDS[kind] for (row, _), kind in zip(found.pairs.tolist(), found.kind, strict=True)}
    assert sorted(found.pairs.tolist()) == [[row, 40 + row] for row in range(len(SAME))]
    assert {name: kinds[row] for row, name in enumerate(SAME)} == {name: kind for name, (_, kind) in SAME.items()}
    assert (found.similarity > 0.5).all()


def test_pairs_make_groups():
    images = pictures(5)
    found = duplicates.find(np.stack([*images, images[3], _jpeg(images[3]), images[0, :, ::-1]]))
    assert [group.tolist() for group in found.groups()] == [[0, 7], [3, 5, 6]]
    assert duplicates.find(images).groups() == []


def test_images_of_one_colour_are_no_duplicates():
    rng = np.random.default_rng(0)
    flat = np.stack([np.full((48, 48, 3), colour) for colour in (0, 0, 90, 91)] + [rng.integers(90, 93, (48, 48, 3))])
    found = duplicates.find(np.concatenate([pictures(4), flat.astype(np.uint8)]))
    assert found.flat.tolist() == [4, 5, 6, 7, 8]
    assert not len(found.pairs)


def test_soft_pictures_without_contrast_do_not_all_match():
    """Skies: the same gradient and hardly anything on it."""
    sky = np.linspace(150, 200, 48)[:, None, None] + np.zeros((40, 48, 48, 3))
    skies = np.clip(sky + np.random.default_rng(0).normal(0, 2, sky.shape), 0, 255).astype(np.uint8)
    assert not len(duplicates.find(skies).pairs)


def test_photographs_of_one_part_are_no_duplicates_unless_they_are_nearer_than_usual():
    part = pictures(1, side=32)[0].astype(float)
    spots = np.random.default_rng(0).normal(0, 6, (80, 32, 32, 3))
    images = np.clip(part + spots, 0, 255).astype(np.uint8)
    copy = np.clip(images[5].astype(int) + 1, 0, 255).astype(np.uint8)
    pairs = duplicates.find(np.stack([*images, copy])).pairs
    assert [5, 80] in pairs.tolist()
    assert len(pairs) < 3


def test_drawings_of_one_class_are_no_duplicates():
    """Digits of 8x8 pixels, scaled up: all zeros are alike, and no two are the same; one is there once more."""
    drawn = [Image.fromarray((16 * image).clip(0, 255).astype(np.uint8)) for image in load_digits().images[:500]]
    images = np.stack([np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)) for image in drawn])[..., None]
    copy = np.minimum(images[7].astype(int) + 1, 255).astype(np.uint8)
    assert duplicates.find(np.stack([*images, copy])).pairs.tolist() == [[7, 500]]


def test_tiny_images_are_duplicates_only_if_they_are_equal():
    images = pictures(6, side=8)
    near = np.clip(images[2].astype(int) + 1, 0, 255).astype(np.uint8)
    assert duplicates.find(np.stack([*images, images[0], near])).pairs.tolist() == [[0, 6]]


def _clusters(classes, each, spread, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, 24))
    labels = np.repeat(np.arange(classes), each)
    return centres[labels] + spread * rng.normal(size=(len(labels), 24)), labels, rng


@pytest.mark.filterwarnings('error')
def test_outliers_are_far_from_every_class():
    features, labels, rng = _clusters(5, 60, 0.5)
    alien = np.append(rng.normal(0, 0.5, (6, 24)), rng.normal(0, 4, (6, 24)), axis=1)
    rows = np.concatenate([np.pad(features, ((0, 0), (0, 24))), alien])
    given = np.append(labels, rng.integers(0, 5, 6))
    noise = rng.normal(size=rows.shape)
    found = outliers.find({'noise': noise, 'good': rows}, given)
    assert found.features == 'good'
    assert found.auroc > 0.95
    assert set(found.rows[:3]) <= set(range(300, 306)), 'the farthest are aliens'
    assert len(set(found.rows) & set(range(300, 306))) >= 4
    assert len(found.rows) < 12
    assert (np.diff(found.distance) <= 0).all()
    assert found.distance.min() > 1
    large = (rows * 2.0**120).astype(np.float32)  # squares overflow
    np.testing.assert_array_equal(outliers.find({'good': large}, given).rows, found.rows)
    assert np.isfinite(Features(large, 0).components).all()


def test_features_that_cannot_tell_classes_list_no_outlier():
    features, labels, rng = _clusters(5, 60, 0.5)
    found = outliers.find({'noise': rng.normal(size=features.shape)}, labels)
    assert 0.4 < found.auroc < 0.6
    assert not found.is_believed
    assert not len(found.rows)


def test_two_halves_of_one_class_are_hardly_told_apart():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    logits = rng.normal(size=(400, 4))
    logits[np.arange(400), labels] += 3
    twins = labels >= 2
    logits[twins, 2:] = 3 + rng.normal(size=(twins.sum(), 2))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    (found,) = overlap.find(probabilities, labels)
    assert (found.first, found.second) == (2, 3)
    third, own = probabilities[labels == 2], probabilities[labels == 2, 2]
    assert found.first_share == pytest.approx((third[:, 3] > own).mean())
    assert 0.35 < found.second_share < 0.65
    lesser = probabilities[:, 2:].min(1) * twins
    assert found.rows.tolist() == np.argsort(-lesser, kind='stable')[:4].tolist()
    few = np.concatenate([np.flatnonzero(labels != 3), np.flatnonzero(labels == 3)[:9]])
    assert overlap.find(probabilities[few], labels[few]) == [], 'nine images say too little'


def _save(folder, images):
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        Image.fromarray(image).save(folder / f'{len(list(folder.iterdir())):02}.png')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A quick run on a folder with one of each fault; its work directory and what it returned."""
    root = tmp_path_factory.mktemp('faults')
    for number, name in enumerate(CLASSES):
        _save(root / 'photos' / 'train' / name, pictures(14, seed=number, side=32) // 2 + 60 * number)
        _save(root / 'photos' / 'test' / name, pictures(2, seed=10 + number, side=32))
    images = pictures(14, seed=0, side=32) // 2
    _save(root / 'photos' / 'train' / 'dog', [images[3]])  # 14: a cat
    _save(root / 'photos' / 'test' / 'cat', [images[5, :, ::-1]])  # 02
    _save(root / 'photos' / 'train' / 'eel', [np.full((32, 32, 3), 40, np.uint8)])  # 14
    whole = (root / 'photos' / 'train' / 'eel' / '00.png').read_bytes()
    (root / 'photos' / 'train' / 'eel' / 'torn.png').write_bytes(whole[: len(whole) // 2])
    (root / 'photos' / 'test' / 'eel' / 'text.png').write_bytes(b'no image')
    config = own_images(effort='quick', data__path=str(root / 'photos'), data__broken='leave_out')
    return root / 'work', pipeline.run(config, root / 'work')


def test_a_run_lists_what_is_wrong_the_worst_first(run):
    work, summary = run
    with (work / 'data_issues.csv').open(newline='') as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == data_issues.HEADER
    found = [(row[0], row[3], row[4], row[6], row[9]) for row in rows if row[0] != data_issues.OVERLAP]
    cat, dog, mirror = 'train/cat/03.png', 'train/dog/14.png', 'test/cat/02.png'
    assert found[2:7] == [
        ('exact duplicate', cat, 'cat', dog, 'two labels'),
        ('exact duplicate', dog, 'dog', cat, 'two labels'),
        ('mirrored duplicate', 'train/cat/05.png', 'cat', mirror, 'in training and test set'),
        ('mirrored duplicate', mirror, 'cat', 'train/cat/05.png', 'in training and test set'),
        ('one colour', 'train/eel/14.png', 'eel', '', ''),
    ]
    assert [row[:2] for row in found[:2]] == [('broken', 'train/eel/torn.png'), ('broken', 'test/eel/text.png')]
    assert all(row[4] for row in found[:2]), 'each says why'
    numbers = summary['data_issues']
    assert numbers['broken'] == 2
    assert numbers['one_colour'] == 1
    twice = {'images': 4, 'groups': 2, 'with_two_labels': 1, 'in_training_and_test_set': 1}
    assert numbers['duplicates'] == twice
    assert 'train/eel/torn.png' not in WorkDir.of_run(work).load_labels()['id']


def test_page_and_table_show_each_of_them(run):
    work, summary = run
    page = (work / 'report.html').read_text(encoding='utf-8')
    shown = page[page.index('<section id="data-issues">') :].split('</section>')[0]
    for title in ('Duplicates with two labels', 'Duplicates in training and test set', 'Images of one colour'):
        assert f'<h3>{title}</h3>' in shown
    assert 'Other duplicates' not in shown, 'what is empty is not shown'
    counts = '4 images in 2 groups of duplicates (1 with two labels, 1 in both sets)'
    assert counts in shown
    assert counts in tables.render(summary)
    assert 'torn.png' in shown
    assert shown.count('data-file="train/cat/03.png"') == 1


def test_names_cannot_break_out_of_the_section_and_much_is_cut(tmp_path):
    name, folder, images = '"><b>&', WorkDir(tmp_path), pictures(70)
    ids = np.array([f'{name}{row}' for row in range(140)])
    part = data_issues.Part('train', ids, np.arange(140) // 70)
    pixels = np.concatenate([images, images])
    folder.claim({'data': {'name': 'folder'}})
    found = data_issues.save(
        folder, data_issues.find(part.labels, duplicates.find(pixels), {}, None), [part], (name, 'dog')
    )
    folder.save_json('summary', {'data_issues': found})
    folder.save_json('data', {'classes': ['a', 'b'], 'image_shape': list(images.shape[1:])})
    assert found['duplicates']['with_two_labels'] == 70
    shown = section(folder, {'train': (ids, pixels)}, thumbnail=16)
    assert '<b>' not in shown
    assert shown.count('class="look"') == 2 * 24
    assert '46 more are in data_issues.csv only' in shown
    assert 'only equal ones' not in shown
    folder.save_json('data', {'classes': ['a', 'b'], 'image_shape': [31, 40, 3]})
    shown = section(folder, {'train': (ids, pixels)}, thumbnail=16)
    assert 'Of images below 32 pixels, only equal ones were looked for' in shown
    table = tmp_path / 'data_issues.csv'
    whole = table.read_text()
    for content, word in (
        (whole.replace('&0"', '&x"'), '&x is no image of the train set'),
        (whole[3:], 'no column issue'),
    ):
        table.write_text(content)
        refused(lambda: section(folder, {'train': (ids, pixels)}, thumbnail=16), 'data_issues.csv', word)
