"""Image files through the classifier of a run, from outside."""

import csv
import errno
import io
import os
import subprocess
import sys

import digit_files
import numpy as np
import pytest
from conftest import refused_by_command as refused
from PIL import Image

from noisy_jax import errors
from noisy_jax.data import digits
from noisy_jax.inference import predict as command
from noisy_jax.inference.trained import TrainedClassifier
from noisy_jax.workdir import WorkDir


def predict(work, images, out, *options):
    return command.main([f'--workdir={work}', f'--images={images}', f'--out={out}', *options])


def rows_of(file):
    with open(file, newline='') as text:
        return list(csv.DictReader(text))


def test_the_images_of_the_run(photos, tmp_path, capsys, monkeypatch):
    """Several batches, in order: what the run itself said of each."""
    monkeypatch.setattr('noisy_jax.inference.predict._CHUNKS_AHEAD', 1)
    assert predict(photos.work, photos.root / 'train', tmp_path / 'out.csv', '--all') == 0
    labels, probabilities = WorkDir.of_run(photos.work).load_labels(), np.load(photos.work / 'pred_probs.npy')
    names = TrainedClassifier.of_run(photos.work).class_names
    found = {os.path.relpath(row['path'], photos.root): row for row in rows_of(tmp_path / 'out.csv')}
    assert list(found) == sorted(labels['id'])
    for name, values in zip(labels['id'], probabilities, strict=True):
        assert found[name]['label'] == names[values.argmax()]
        every = [float(found[name][label]) for label in names]
        np.testing.assert_allclose(every, values, atol=1e-5)  # six digits are written
        assert float(found[name]['probability']) == max(every)
    said = capsys.readouterr().out
    assert '300 images classified' in said
    assert f'zero: {sum(row["label"] == "zero" for row in found.values())}' in said


@pytest.mark.parametrize('batch', [7, 100, 299])
def test_batches_of_any_size(photos, tmp_path, monkeypatch, batch):
    classifier = TrainedClassifier.of_run(photos.work)
    classifier.config.eval_batch_size = batch
    monkeypatch.setattr(TrainedClassifier, 'of_run', lambda _: classifier)
    assert predict(photos.work, photos.root / 'train', tmp_path / 'out.csv') == 0
    said = {row['path']: row['label'] for row in rows_of(tmp_path / 'out.csv')}
    names, best = classifier.class_names, np.load(photos.work / 'pred_probs.npy').argmax(1)
    ids = WorkDir.of_run(photos.work).load_labels()['id']
    assert said == {str(photos.root / name): names[label] for name, label in zip(ids, best, strict=True)}


@pytest.fixture
def new(tmp_path):
    """A grey digit, the same in colour, scaled up and with transparency; one in a folder; a broken one, others."""
    image = Image.fromarray(digits.load('test', limit=10).image[3, ..., 0])
    root = tmp_path / 'new'
    (root / 'inner').mkdir(parents=True)
    image.save(root / 'a.png')
    image.convert('RGB').save(root / 'b.PNG')
    image.convert('RGBA').save(root / 'c.webp', lossless=True)
    image.resize((80, 80), Image.Resampling.NEAREST).save(root / 'inner' / 'd.bmp')
    (root / 'notes.txt').write_text('no image')
    (root / '._a.png').write_bytes(b'of macOS')
    return root


def test_any_kind_of_file(photos, new, tmp_path):
    os.symlink(new, new / 'inner' / 'circle')
    assert predict(photos.work, new, tmp_path / 'out.csv') == 0
    rows = rows_of(tmp_path / 'out.csv')
    assert [os.path.relpath(row['path'], new) for row in rows] == ['a.png', 'b.PNG', 'c.webp', 'inner/d.bmp']
    assert len({row['label'] for row in rows}) == 1
    assert len({row['probability'] for row in rows[:3]}) == 1


@pytest.mark.parametrize('what', ['file', 'list'])
def test_one_file_and_a_list(photos, new, tmp_path, capsys, monkeypatch, what):
    monkeypatch.chdir(new)
    images = 'inner/d.bmp'
    if what == 'list':
        (tmp_path / 'list.txt').write_text('\ufeffinner/d.bmp\r\n\na.png\n')
        images = tmp_path / 'list.txt'
    assert predict(photos.work, images, '-') == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(captured.out)))
    assert [row['path'] for row in rows] == ['inner/d.bmp', 'a.png'][: len(rows)]
    assert len(rows) == (2 if what == 'list' else 1)
    assert f'{len(rows)} image{"" if len(rows) == 1 else "s"} classified\n' in captured.err


def test_a_broken_image_does_not_stop_the_others(photos, new, tmp_path, capsys):
    (new / 'b2.png').write_bytes((new / 'a.png').read_bytes()[:50])
    (new / 'inner' / 'empty.jpg').write_bytes(b'')
    assert predict(photos.work, new, tmp_path / 'out.csv', '--all') == 1
    rows = {os.path.relpath(row['path'], new): row for row in rows_of(tmp_path / 'out.csv')}
    assert len(rows) == 6
    assert [name for name, row in rows.items() if not row['label']] == ['b2.png', 'inner/empty.jpg']
    assert set(rows['b2.png'].values()) == {str(new / 'b2.png'), ''}
    captured = capsys.readouterr()
    assert '4 images classified' in captured.out
    assert captured.err.count('warning: ') == 3
    assert 'b2.png: not a whole image' in captured.err
    assert '2 of 6 images' in captured.err


def test_masks_of_0_and_1_are_warned_of(photos, tmp_path):
    errors._warn_once.cache_clear()
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / 'mask.png')
    with pytest.warns(UserWarning, match='images: all but black beside the images of training'):
        assert predict(photos.work, tmp_path / 'mask.png', tmp_path / 'out.csv') == 0


def test_long_images_of_which_the_middle_is_left_are_warned_of(photos, new, tmp_path):
    errors._warn_once.cache_clear()
    Image.open(new / 'a.png').resize((32, 8)).save(tmp_path / 'long.png')
    (tmp_path / 'list.txt').write_text(f'{tmp_path}/long.png\n{tmp_path}/long.png\n{tmp_path}/none.png\n{new}/a.png')
    with pytest.warns(UserWarning, match='--images: only the middle square of the images is .*, of 32x8 pixels 25%'):
        assert predict(photos.work, tmp_path / 'list.txt', tmp_path / 'out.csv') == 1


def test_columns_of_classes_are_apart():
    names = ['path', 'class:path', 'label', 'Label', 'class', 'class:', 'probability']
    assert list(map(command._column, names)) == [
        *('class:path', 'class:class:path', 'class:label', 'Label', 'class', 'class:', 'class:probability')
    ]


def test_a_grey_image_for_a_classifier_of_colour(photos):
    file = str(photos.root / 'test/one/000.png')
    grey, colour = (command._read(file, (8, 8, channels)) for channels in (1, 3))
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, -1))


def test_images_that_are_not_square_must_be_of_the_size_of_the_run(tmp_path):
    digit_files.save(tmp_path, np.zeros((6, 4, 3), np.uint8))
    assert command._read(str(tmp_path / '000.png'), (6, 4, 3)).shape == (6, 4, 3)
    assert '4x6 pixels' in str(command._read(str(tmp_path / '000.png'), (6, 8, 3)))


def test_mistakes(photos, new, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'there.csv').write_text('kept')
    (tmp_path / 'bare.txt').write_text('\n')
    out = tmp_path / 'out.csv'
    refused(capsys, predict(tmp_path, new, out), '--workdir', 'config.json')
    refused(capsys, predict(photos.work, tmp_path / 'nowhere', out), 'nowhere')
    refused(capsys, predict(photos.work, '', out), "--images: '' is not allowed", 'a folder')
    os.mkfifo(tmp_path / 'pipe')
    refused(capsys, predict(photos.work, tmp_path / 'pipe', out), 'pipe: no file, but a pipe or a device', '.txt')
    refused(capsys, predict(photos.work, tmp_path / 'empty', out), 'no images', 'empty')
    refused(capsys, predict(photos.work, tmp_path / 'bare.txt', out), 'bare.txt', 'empty')
    refused(capsys, predict(photos.work, new, tmp_path / 'there.csv'), 'there.csv')
    refused(capsys, predict(photos.work, new, tmp_path / 'no' / 'out.csv'), 'no folder')
    refused(capsys, predict(photos.work, new, tmp_path / 'out.xlsx'), 'out.xlsx', 'CSV', 'out.csv')
    refused(capsys, predict(photos.work, new, tmp_path / 'out.csv.gz'), 'out.csv.gz', 'CSV')
    refused(capsys, predict(photos.work, tmp_path / 'there.csv', out), 'there.csv: an image, a folder or a .txt file')
    assert (tmp_path / 'there.csv').read_text() == 'kept'
    assert not out.exists()


def test_a_folder_that_cannot_be_read_is_not_passed_over(photos, tmp_path, monkeypatch, capsys):
    closed, scandir = photos.root / 'train' / 'nine', os.scandir

    def scan(folder):
        if os.fspath(folder) == str(closed):
            raise PermissionError(errno.EACCES, 'Permission denied', str(closed))
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', scan)
    refused(capsys, predict(photos.work, photos.root, tmp_path / 'out.csv'), str(closed), 'Permission denied')


def test_where_no_image_can_be_read_nothing_is_written(photos, tmp_path, capsys):
    (tmp_path / 'a.png').write_bytes(b'none')
    assert predict(photos.work, tmp_path / 'a.png', tmp_path / 'out.csv') == 2
    assert 'none of the 1 images' in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ['a.png']


def test_ctrl_c_leaves_nothing(photos, new, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainedClassifier, 'predict_proba', interrupted)
    assert predict(photos.work, new, tmp_path / 'out.csv') == 130
    assert not list(tmp_path.glob('out.csv*'))


@pytest.mark.parametrize('name', ['predict', 'clean', 'export', 'embed'])
def test_help_is_quick(name):
    """Nothing imports JAX to say it."""
    code = f'import runpy, sys; sys.argv[1:] = ["--help"]; runpy.run_module("noisy_jax.{name}", run_name="__main__")'
    check = f'import atexit, sys\natexit.register(lambda: print("jax" in sys.modules))\n{code}'
    result = subprocess.run([sys.executable, '-c', check], capture_output=True, text=True)
    assert result.returncode == 0
    assert '--workdir' in result.stdout
    assert result.stdout.endswith('False\n')
