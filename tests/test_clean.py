"""A corrected copy of a data set: loads again as it should, and never touches the originals."""

import csv
import errno
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import types
import zipfile

import digit_files
import numpy as np
import pytest
from conftest import refused as refused_call
from conftest import refused_by_command as refused
from PIL import Image

from noisy_jax import data
from noisy_jax.clean import __main__ as command
from noisy_jax.clean import copies, estimate, readback
from noisy_jax.clean.changes import Changes, decide, unchanged
from noisy_jax.data import arrays, folder, identity
from noisy_jax.data.dataset import NO_LABEL
from noisy_jax.errors import InputError
from noisy_jax.settings import default
from noisy_jax.workdir import WorkDir


def clean(work, out, *options):
    return command.main([f'--workdir={work}', f'--out={out}', *map(str, options)])


def clean_all(work, out, *options):
    """Cleans as the run suggests."""
    return clean(work, out, '--all-suspects', *options)


def work_dir(work, train, suggested, **settings):
    """As `digit_files.work_dir`, with the probabilities, .9 of the suggested class, which its `pred_prob` says."""
    digit_files.work_dir(work, train, suggested, **settings)
    probabilities = np.full((len(train), train.num_classes), 0.1 / max(train.num_classes - 1, 1), np.float32)
    probabilities[np.arange(len(train)), suggested] = 0.9
    WorkDir(work).save_array('pred_probs', probabilities)
    return work


def decisions_file(path, *rows):
    path.write_text('\n'.join(['index,id,given_label,decision,label', *rows]))
    return f'--decisions={path}'


def by_pixels(dataset):
    """{image as bytes: name of its class}."""
    rows = zip(dataset.image, dataset.label, strict=True)
    return {image.tobytes(): dataset.class_names[label] for image, label in rows}


def tree(root):
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob('*') if file.is_file()}


def load_as_told(text, name, work, split='train'):
    """The data set, loaded with the settings that the command says to train with: the same with those of the run."""
    settings, run = default().data.to_dict(), WorkDir.of_run(work).load_json('config')['data']
    told = {}
    line = next(line for line in text.splitlines() if line.startswith('to train on it: '))
    for option in shlex.split(line.removeprefix('to train on it: ')):
        key, _, value = option.removeprefix('--config.data.').partition('=')
        told[key] = value
    assert (run | told)['name'] == name == data.kind_of(told['path'], told.get('list', ''))
    found = data.load_split(settings | run | told, split)
    alone = data.load_split(settings | {'name': name, 'image_size': run.get('image_size', 0)} | told, split)
    if found is not None:
        assert by_pixels(alone) == by_pixels(found)
    return found


def expected(labels, dropped=False):
    """{id: new label} of labels.csv; '' where a suspect is dropped."""
    new = np.where(labels['is_suspect'], '' if dropped else labels['suggested_label'], labels['given_label'])
    return dict(zip(labels['id'], new, strict=True))


@pytest.mark.parametrize('mode', ['relabel', 'drop'])
def test_a_run_on_class_folders(photos, tmp_path, capsys, mode):
    before, out = tree(photos.root), tmp_path / 'clean'
    labels = WorkDir.of_run(photos.work).load_labels()
    wanted = expected(labels, dropped=mode == 'drop')
    assert 20 < labels['is_suspect'].sum() < 200
    assert clean_all(photos.work, out, f'--mode={mode}') == 0
    dry = capsys.readouterr().out
    assert not out.exists()
    assert f'--out={out} --all-suspects --mode={mode} --write' in dry
    assert clean_all(photos.work, out, f'--mode={mode}', '--write') == 0
    said = capsys.readouterr().out
    assert tree(photos.root) == before
    found = load_as_told(said, 'folder', photos.work)
    original = folder.load('train', str(photos.root))
    pixels = dict(zip(original.id, original.image, strict=True))
    assert by_pixels(found) == {pixels[i].tobytes(): label for i, label in wanted.items() if label}
    assert len(found) == sum(map(bool, wanted.values()))
    assert by_pixels(load_as_told(said, 'folder', photos.work, 'test')) == by_pixels(
        folder.load('test', str(photos.root))
    )
    with (out / 'changes.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert {row['id']: row['new_label'] for row in rows} == {
        i: new for (i, new), given in zip(wanted.items(), labels['given_label'], strict=True) if new != given
    }
    assert {row['reason'] for row in rows} == {'suspect'}
    row = next(line for line in dry.splitlines() if line.startswith('all '))
    counts = [300, 300 - len(rows), len(rows), 0, 300] if mode == 'relabel' else [300, 300 - len(rows), 0, len(rows)]
    assert list(map(int, row.split()[1:]))[: len(counts)] == counts


def test_nothing_suspect_changes_nothing(photos, tmp_path):
    """Also of a set that has been cleaned: it is the same again."""
    assert clean_all(photos.work, tmp_path / 'once', '--write') == 0
    once = folder.load('train', str(tmp_path / 'once'))
    work = work_dir(tmp_path / 'work', once, once.label, name='folder', path=str(tmp_path / 'once'), image_size=0)
    assert clean_all(work, tmp_path / 'twice', '--write') == 0
    first, second = tree(tmp_path / 'once'), tree(tmp_path / 'twice')
    assert first.pop('changes.csv') != second.pop('changes.csv')
    assert first == second


def test_the_threshold_moves(photos, tmp_path, capsys):
    clean_probability = WorkDir.of_run(photos.work).load_labels()['clean_probability']
    assert clean_all(photos.work, tmp_path / 'new', '--mode=drop', '--threshold=0.9') == 0
    all_row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('all '))
    assert int(all_row.split()[4]) == (clean_probability < 0.9).sum()


@pytest.fixture
def pets(tmp_path):
    """PATH/CLASS/file without a test set; the first of each class is in the wrong one, both have the same name."""
    rng, root = np.random.default_rng(0), tmp_path / 'pets'
    for name in ('cat', 'dog'):
        for _ in range(4):
            digit_files.save(root / name, rng.integers(0, 255, (6, 5, 3), np.uint8))
    train = folder.load('train', str(root))
    wrong = np.isin(train.id, ('cat/000.png', 'dog/000.png', 'dog/001.png'))
    settings = {'name': 'folder', 'path': str(root)}
    return root, work_dir(tmp_path / 'work', train, np.where(wrong, 1 - train.label, train.label), **settings)


def test_images_of_one_name_do_not_overwrite_each_other(pets, tmp_path):
    root, work = pets
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    new, old = tree(tmp_path / 'new'), tree(root)
    assert new.pop('changes.csv')
    stay = [f'cat/00{i}.png' for i in (1, 2, 3)] + [f'dog/00{i}.png' for i in (2, 3)]
    moved = {'cat/000.png': 'dog/000.png', 'dog/000.png': 'cat/000.png', 'dog/001.png': 'cat/001_from_dog.png'}
    assert new == {name: old[name] for name in stay} | {target: old[source] for source, target in moved.items()}


@pytest.mark.parametrize(('options', 'same'), [((), True), (('--copy',), False)], ids=['links', 'copies'])
def test_links_and_copies(pets, tmp_path, options, same):
    root, work = pets
    assert clean_all(work, tmp_path / 'new', '--write', *options) == 0
    assert os.path.samefile(root / 'cat/003.png', tmp_path / 'new/cat/003.png') == same


def test_files_are_copied_where_the_disk_has_no_links(pets, tmp_path, monkeypatch, capsys):
    root, work = pets

    def link(*_):
        raise OSError(errno.EXDEV, 'Invalid cross-device link')

    monkeypatch.setattr(os, 'link', link)
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    assert 'hard links' not in capsys.readouterr().out
    assert (tmp_path / 'new/cat/003.png').read_bytes() == (root / 'cat/003.png').read_bytes()


def test_linked_originals_are_followed(pets, tmp_path):
    root, work = pets
    (root / 'cat/003.png').rename(tmp_path / 'elsewhere.png')
    (root / 'cat/003.png').symlink_to(os.path.relpath(tmp_path / 'elsewhere.png', root / 'cat'))
    assert clean_all(work, tmp_path / 'deep', '--write') == 0
    assert (tmp_path / 'deep/cat/003.png').read_bytes() == (tmp_path / 'elsewhere.png').read_bytes()


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()], ids=str)
def test_no_half_a_data_set(pets, tmp_path, monkeypatch, capsys, error):
    copied = []

    def copy(source, target):
        if len(copied) == 3:
            raise error
        copied.append(target)

    monkeypatch.setattr(copies.shutil, 'copy2', copy)
    before = set(tmp_path.iterdir())
    status = clean_all(pets[1], tmp_path / 'new', '--write', '--copy')
    assert len(copied) == 3
    assert set(tmp_path.iterdir()) == before
    if isinstance(error, OSError):
        refused(capsys, status, 'new', 'No space left')
    else:
        assert status == 130


def test_images_that_the_run_has_not_judged_are_left_out(pets, tmp_path, capsys):
    root, work = pets
    digit_files.save(root / 'dog', np.zeros((9, 9, 3), np.uint8))  # of another size, after the run
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    assert 'left out: 1 images' in capsys.readouterr().out
    assert len(folder.load('train', str(tmp_path / 'new'))) == 8


def test_an_original_that_cannot_be_read_is_named_without_the_advice_of_a_run(pets, tmp_path, capsys):
    root, work = pets
    (root / 'cat/000.png').write_bytes(b'no image')
    refused(capsys, clean_all(work, tmp_path / 'new'), 'cat/000.png', 'put the original back')


def test_an_original_that_cannot_be_read_any_more_is_not_called_missing(tmp_path, capsys):
    root, rng = tmp_path / 'pets', np.random.default_rng(0)
    for name in ('cat', 'dog'):
        digit_files.save(root / name, rng.integers(0, 255, (6, 5, 3), np.uint8))
        digit_files.save(root / name, rng.integers(0, 255, (6, 5, 3), np.uint8))
    train = folder.load('train', str(root))
    work = work_dir(tmp_path / 'work', train, train.label, name='folder', path=str(root), broken='leave_out')
    (root / 'cat/000.png').write_bytes(b'no image')
    refused(capsys, clean_all(work, tmp_path / 'new'), 'cat/000.png of labels.csv cannot be read any more (')


def test_broken_images_of_the_test_set_are_left_out_and_counted(tmp_path, capsys):
    root, rng = tmp_path / 'pets', np.random.default_rng(0)
    for place in ('train/cat', 'train/dog', 'test/cat', 'test/dog'):
        digit_files.save(root / place, rng.integers(0, 255, (6, 5, 3), np.uint8))
    (root / 'test' / 'cat' / 'broken.png').write_bytes(b'no image')
    train = folder.load('train', str(root))
    work = work_dir(tmp_path / 'work', train, train.label, name='folder', path=str(root), broken='leave_out')
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    assert '2 of the test set\nleft out: 1 broken images of the test set' in capsys.readouterr().out
    assert not (tmp_path / 'new' / 'test' / 'cat' / 'broken.png').exists()


def test_suggestions_may_not_take_all_images_of_a_class(pets, tmp_path, capsys):
    train = folder.load('train', str(pets[0]))
    work = work_dir(tmp_path / 'bad', train, np.zeros(8, int), name='folder', path=str(pets[0]))
    refused(capsys, clean_all(work, tmp_path / 'new', '--write'), 'left of dog', '--threshold')
    assert not (tmp_path / 'new').exists()


def test_decisions_may_and_its_test_images_stay_behind(photos, tmp_path):
    labels = WorkDir.of_run(photos.work).load_labels()
    rows = [f'{i},{labels["id"][i]},one,drop,' for i in np.flatnonzero(labels['given_label'] == 'one')]
    decisions = decisions_file(tmp_path / 'd.csv', *rows)
    assert clean(photos.work, tmp_path / 'new', decisions, '--write') == 0
    for split in ('train', 'test'):
        found, original = (folder.load(split, str(root)) for root in (tmp_path / 'new', photos.root))
        assert by_pixels(found) == {image: name for image, name in by_pixels(original).items() if name != 'one'}


@pytest.fixture
def tested(tmp_path):
    """By form: settings of a training set and a test set of two images of each of three classes."""
    rng = np.random.default_rng(0)
    for split in ('train', 'test'):
        for name in 'abc':
            for _ in range(2):
                digit_files.save(tmp_path / 'in' / split / name, rng.integers(0, 255, (4, 4, 3), np.uint8))
        rows = [f'{split}/{name}/00{i}.png,{name}\n' for name in 'abc' for i in range(2)]
        (tmp_path / 'in' / f'{split}.csv').write_text('path,label\n' + ''.join(rows))
    read = {split: folder.load(split, str(tmp_path / 'in')) for split in ('train', 'test')}
    content = {'images': read['train'].image, 'test_images': read['test'].image, 'class_names': list('abc')}
    labels = {'labels': read['train'].label, 'true_labels': read['train'].label, 'test_labels': read['test'].label}
    np.savez(tmp_path / 'in.npz', **content, **labels)
    return {
        'folder': {'path': str(tmp_path / 'in')},
        'filelist': {'path': str(tmp_path / 'in'), 'list': 'train.csv', 'test_list': 'test.csv'},
        'arrays': {'path': str(tmp_path / 'in.npz')},
    }


def dropped(tmp_path, form, tested, *names):
    """A work directory, and decisions that leave out all images of these classes."""
    settings = {'name': form, 'image_size': 0} | tested[form]
    train = data.load_split(default().data.to_dict() | settings, 'train')
    rows = [f'{i},{train.id[i]},{"abc"[k]},drop,' for i, k in enumerate(train.label) if 'abc'[k] in names]
    work = work_dir(tmp_path / 'work', train, train.label, **settings)
    return work, decisions_file(tmp_path / 'd.csv', *rows)


@pytest.mark.parametrize('form', ['folder', 'filelist', 'arrays'])
def test_test_images_of_a_class_that_is_left_out(tmp_path, capsys, tested, form):
    work, decisions = dropped(tmp_path, form, tested, 'b')
    assert clean(work, tmp_path / 'new', decisions, '--write') == 0
    said = capsys.readouterr().out
    assert 'included as they are: 4 of the test set\n' in said
    assert (
        said.count('left out: 2 images of the test set, of classes that no training image has any more: b (2)\n') == 2
    )
    for split in ('train', 'test'):
        found, original = load_as_told(said, form, work, split), folder.load(split, str(tmp_path / 'in'))
        # The names of arrays stay, as labels are their rows.
        assert found.class_names == (('a', 'b', 'c') if form == 'arrays' else ('a', 'c'))
        assert found.true_label is None or found.true_label.tolist() == found.label.tolist()
        assert by_pixels(found) == {image: name for image, name in by_pixels(original).items() if name != 'b'}


def test_a_list_of_fewer_classes_than_the_test_list(tmp_path, capsys, tested):
    work, decisions = dropped(tmp_path, 'filelist', tested, 'b')
    assert clean(work, tmp_path / 'new.csv', decisions, '--write') == 0
    said = capsys.readouterr().out
    assert said.count('b (2); a copy keeps the others') == 2
    assert load_as_told(said, 'filelist', work).class_names == ('a', 'c')
    assert load_as_told(said, 'filelist', work, 'test') is None


@pytest.mark.parametrize(('out', 'count'), [('new', 0), ('new.csv', 2)])
def test_a_list_of_class_folders_has_no_test_set(tmp_path, capsys, tested, out, count):
    """Which is said with the plan and at the end."""
    work, decisions = dropped(tmp_path, 'folder', tested, 'b')
    note(tmp_path / 'in', work)
    assert clean(work, tmp_path / out, decisions, '--write') == 0
    assert capsys.readouterr().out.count('left out: the test set, as a list of class folders') == count


@pytest.mark.parametrize('out', ['new', 'new.csv'])
def test_decisions_that_leave_nothing(tmp_path, capsys, tested, out):
    work, decisions = dropped(tmp_path, 'folder', tested, *'abc')
    refused(capsys, clean(work, tmp_path / out, decisions, '--write'), 'none of the 6 images', 'would be left')
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize('form', ['folder', 'filelist', 'arrays'])
def test_decisions_that_leave_one_class(tmp_path, capsys, tested, form):
    """A person may want just that, to add to it."""
    work, decisions = dropped(tmp_path, form, tested, *'ac')
    assert clean(work, tmp_path / 'new', decisions, '--write') == 0
    said = capsys.readouterr().out
    assert said.count('all labels are b: to train on it, images of another class are needed') == 2
    assert 'to train on it: ' not in said
    found = data.load(form, split='train', path=str(tmp_path / 'new'), list='labels.csv' * (form == 'filelist'))
    assert set(by_pixels(found).values()) == {'b'}


# Rows of `pets`: 0 to 3 are cats, 4 to 7 dogs; 0, 4 and 5 are suspects.
DECISIONS = ('4,dog/000.png,dog,keep,dog', '1,cat/001.png,cat,relabel,dog', '7,dog/003.png,dog,drop,')


@pytest.mark.parametrize(
    ('options', 'counts', 'by_suspicion', 'estimate'),
    # Of the suspects nobody decided on cat/000 and dog/001.
    [
        ((), {'cat': 3, 'dog': 4}, {}, 'about 2 of 7 (28.6 %) after'),
        (
            ('--all-suspects',),
            {'cat': 3, 'dog': 4},
            {'cat/000.png': 'dog', 'dog/001.png': 'cat'},
            'about 1.2 of 7 (17.1 %) after',
        ),
        (
            ('--all-suspects', '--mode=drop'),
            {'cat': 2, 'dog': 3},
            {'cat/000.png': '', 'dog/001.png': ''},
            'about 0.6 of 5 (12.0 %) after',
        ),
        (('--all-suspects', '--threshold=0.1'), {'cat': 3, 'dog': 4}, {}, 'about 2 of 7 (28.6 %) after'),
    ],
    ids=['alone', 'relabel', 'drop', 'threshold'],
)
def test_decisions_win(pets, tmp_path, capsys, options, counts, by_suspicion, estimate):
    root, work = pets
    decisions = decisions_file(tmp_path / 'd.csv', *DECISIONS)
    (tmp_path / 'd.csv').write_text('\ufeff' + (tmp_path / 'd.csv').read_text())  # as Excel saves it
    assert clean(work, tmp_path / 'new', decisions, '--write', *options) == 0
    said = capsys.readouterr().out
    assert '3 images become what was decided' in said
    assert said.count(f'{estimate}, taking what was decided as right\n') == 2  # in the plan and after writing
    new, old = by_pixels(folder.load('train', str(tmp_path / 'new'))), folder.load('train', str(root))
    assert {name: list(new.values()).count(name) for name in ('cat', 'dog')} == counts
    assert new[old.image[4].tobytes()] == 'dog'
    assert new[old.image[1].tobytes()] == 'dog'
    assert old.image[7].tobytes() not in new
    with (tmp_path / 'new/changes.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert {row['id']: row['new_label'] for row in rows if row['reason'] == 'suspect'} == by_suspicion
    assert {row['id']: row['new_label'] for row in rows if row['reason'] == 'decision'} == {
        'cat/001.png': 'dog',
        'dog/003.png': '',
    }


@pytest.mark.parametrize(
    'saved',
    [
        lambda text: text.replace(',', ';') + ';;;;\n',
        lambda text: 'sep=,\n' + text,
        lambda text: 'sep=;\n' + text.replace(',', ';'),
        lambda text: text.replace('\n', '\r\n,,,,\r\n'),
        lambda text: text.replace(',\n', '\n'),
        lambda text: text.replace(',\n', ',NA\n').replace(',keep,dog', ',keep,nan'),
    ],
    ids=['semicolons', 'sep=,', 'sep=;', 'empty rows', 'no separator at the end', 'NA'],
)
def test_decisions_that_a_spreadsheet_saved(pets, tmp_path, saved):
    decisions = decisions_file(tmp_path / 'd.csv', *DECISIONS, '')
    assert clean(pets[1], tmp_path / 'new.csv', decisions, '--write') == 0
    (tmp_path / 'd.csv').write_text(saved((tmp_path / 'd.csv').read_text()))
    assert clean(pets[1], tmp_path / 'again.csv', decisions, '--write') == 0
    assert (tmp_path / 'again.csv').read_text() == (tmp_path / 'new.csv').read_text()


def test_decisions_on_a_class_called_na(tmp_path, capsys):
    """It is a name then, no empty cell."""
    _, work = listed_work(tmp_path, [('a.png', 'NA'), ('b.png', 'cat')])
    decisions = decisions_file(tmp_path / 'd.csv', '0,a.png,NA,keep,NA', '1,b.png,cat,relabel,NA')
    assert clean(work, tmp_path / 'new.csv', decisions, '--write') == 0
    assert (tmp_path / 'new.csv').read_text() == 'path,label\na.png,NA\nb.png,NA\n'
    capsys.readouterr()
    decisions = decisions_file(tmp_path / 'd.csv', '1,b.png,cat,keep,NA')
    refused(capsys, clean(work, tmp_path / 'other.csv', decisions), "'NA'", "'cat' is to be kept")
    decisions = decisions_file(tmp_path / 'd.csv', '1,b.png,cat,drop,NA')  # a forgotten column
    refused(capsys, clean(work, tmp_path / 'other.csv', decisions), "'NA'", 'to be dropped; relabel changes it')


@pytest.mark.parametrize(
    ('encoding', 'row', 'words'),
    [
        ('utf-16', DECISIONS[0], ['UTF-16', 'from Excel as CSV UTF-8']),
        ('cp1252', '4,dög/000.png,dog,keep,dog', ['line 2', 'not saved as CSV UTF-8']),
    ],
)
def test_decisions_in_another_encoding(pets, tmp_path, capsys, encoding, row, words):
    decisions = decisions_file(tmp_path / 'd.csv', row)
    (tmp_path / 'd.csv').write_bytes((tmp_path / 'd.csv').read_text().encode(encoding))
    refused(capsys, clean(pets[1], tmp_path / 'new', decisions), *words)


def test_decisions_saved_as_a_workbook(pets, tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / 'd.xlsx', 'w') as book:
        book.writestr('[Content_Types].xml', '<Types "')
    status = clean(pets[1], tmp_path / 'new', f'--decisions={tmp_path / "d.xlsx"}')
    refused(capsys, status, 'd.xlsx', 'a workbook', 'as CSV UTF-8')


@pytest.mark.parametrize(
    ('name', 'saved', 'words'),
    [
        ('K\udce4se', 'Käse', ["'Käse' is not", "'K\\xe4se'; these decisions", 'this name is not in UTF-8']),
        ('Käse', 'KÃ¤se', ["'KÃ¤se' is not", "'Käse'; these decisions", 'not saved as CSV UTF-8']),
        ('Käse', 'K?se', ["'K?se' is not", "'Käse'; these decisions", 'not saved as CSV UTF-8']),
    ],
    ids=['list in ANSI', 'read as ANSI', 'no such letter'],
)
def test_names_in_another_encoding(tmp_path, capsys, name, saved, words):
    given = unchanged({'id': np.array(['a.png']), 'given_label': np.array([name])}, (name,))
    with pytest.raises(InputError) as refusal:
        decide(given, decisions_file(tmp_path / 'd.csv', f'0,a.png,{saved},keep,').removeprefix('--decisions='))
    assert all(word in str(refusal.value) for word in words)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ((), ['--decisions', '--all-suspects']),
        (('--decisions', '--threshold=0.4'), ['--threshold', '--all-suspects only']),
        (('--decisions', '--mode=drop'), ['--mode=drop', '--all-suspects only']),
    ],
    ids=['neither', 'threshold', 'drop'],
)
def test_what_is_to_change_must_be_said(pets, tmp_path, capsys, options, words):
    decisions = decisions_file(tmp_path / 'd.csv', *DECISIONS)
    options = [decisions if option == '--decisions' else option for option in options]
    refused(capsys, clean(pets[1], tmp_path / 'new', '--write', *options), *words)
    assert not (tmp_path / 'new').exists()


def test_a_list_that_is_not_to_be_trusted(pets, tmp_path, capsys):
    work, decisions = pets[1], decisions_file(tmp_path / 'd.csv', *DECISIONS)
    label_issues(work, trusted=False, why='planted errors\nare not found')
    for options in ((), (decisions,), ('--mode=drop',)):
        status = clean_all(work, tmp_path / 'new', '--write', *options)
        refused(capsys, status, '--all-suspects', 'planted errors are not found', '--decisions')
    assert not (tmp_path / 'new').exists()
    assert clean(work, tmp_path / 'new', decisions, '--write') == 0
    assert capsys.readouterr().out.count('not to be trusted: planted errors are not found') == 2
    assert (tmp_path / 'new').is_dir()


def test_a_list_that_says_it_can_be_trusted(pets, tmp_path):
    label_issues(pets[1], trusted=True)
    assert clean_all(pets[1], tmp_path / 'new') == 0


def label_issues(work, **values):
    """Sets values of `label_issues` in summary.json."""
    run = WorkDir(work)
    summary = run.load_json('summary')
    run.save_json('summary', summary | {'label_issues': summary['label_issues'] | values})


@pytest.mark.parametrize(('mode', 'after'), [('relabel', 'about 2.2 of 8 (27.5 %)'), ('drop', 'about 1 of 5 (20.0 %)')])
def test_estimated_numbers(pets, tmp_path, capsys, mode, after):
    """Three suspects of .6 and five others of .2; with two classes, a suggestion is right where the label is wrong."""
    edit(pets[1], lambda row: row | ({'clean_probability': '0.4'} if row['is_suspect'] == '1' else {}))
    label_issues(pets[1], estimated_noise_rate=0.35, noise_rate_interval=[0.125, 0.5])
    assert clean_all(pets[1], tmp_path / 'new', f'--mode={mode}') == 0
    line = f'estimated wrong labels: about 2.8 of 8 (35.0 %, between 1 and 4) before, {after} after\n'
    assert capsys.readouterr().out.count(line) == 1
    assert clean_all(pets[1], tmp_path / 'new', f'--mode={mode}', '--write') == 0
    assert capsys.readouterr().out.count(line) == 2


@pytest.mark.parametrize('values', [{'estimated_noise_rate': 1.5}, {'noise_rate_interval': [0.1, 3]}], ids=str)
def test_a_rate_that_is_none(pets, tmp_path, capsys, values):
    label_issues(pets[1], **values)
    refused(capsys, clean_all(pets[1], tmp_path / 'new'), 'summary.json', 'from 0 to 1')


@pytest.fixture
def trio(tmp_path):
    """Two images of each of three classes; returns work(clean probabilities [6], probabilities [6, 3])."""
    for value, name in enumerate('abc'):
        for _ in range(2):
            digit_files.save(tmp_path / 'trio' / name, np.full((4, 4, 3), value, np.uint8))
    train = folder.load('train', str(tmp_path / 'trio'))

    def work(clean_probability, probabilities):
        path, probabilities = tmp_path / 'work', np.array(probabilities, np.float32)
        suggested = probabilities.argmax(1)
        digit_files.work_dir(path, train, suggested, name='folder', path=str(tmp_path / 'trio'))
        WorkDir(path).save_array('pred_probs', probabilities)
        labels = WorkDir(path).load_labels()
        labels['clean_probability'] = np.array(clean_probability)
        WorkDir(path).save_labels(labels, order=labels['index'][::-1])
        return path

    return work


SURE = [[0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0.9, 0.1], [0, 0, 1], [0, 0, 1]]


def test_the_classifier_may_suggest_a_wrong_label(trio, tmp_path, capsys):
    """The label is wrong by .7; if so, it is b by .5 / (1 - .3)."""
    work = trio([0.3, 1, 1, 1, 1, 1], [[0.3, 0.5, 0.2], *SURE])
    assert clean_all(work, tmp_path / 'new') == 0
    assert 'about 0.7 of 6 (11.7 %) before, about 0.5 of 6 (8.3 %) after' in capsys.readouterr().out


@pytest.mark.parametrize('write', [(), ('--write',)], ids=['plan', 'write'])
def test_suggestions_that_make_more_labels_wrong(trio, tmp_path, capsys, write):
    """The label is wrong by .55, b by 1 - .55 * .4 / .7."""
    work = trio([0.45, 1, 1, 1, 1, 1], [[0.3, 0.4, 0.3], *SURE])
    for out, mode in (('new', 'relabel'), ('new.csv', 'csv')):
        status = clean_all(work, tmp_path / out, f'--mode={mode}', *write)
        words = ['about 0.7 of 6 (11.4 %)', 'about 0.6 of 6 (9.2 %)', '--mode=drop', 'about 0 of 5 (0.0 %)']
        refused(capsys, status, '--all-suspects', *words)
        assert not (tmp_path / out).exists()
    assert clean_all(work, tmp_path / 'new', '--mode=drop', *write) == 0


def test_the_rate_of_the_run_counts(pets, tmp_path, capsys):
    """A run that knows of few wrong labels does not relabel the many that its mixture suspects."""
    label_issues(pets[1], estimated_noise_rate=0.05)
    words = ['about 2.9 of 8 (35.7 %)', 'about 0.4 of 8 (5.0 %)', 'about 0.1 of 5 (2.6 %)']
    refused(capsys, clean_all(pets[1], tmp_path / 'new', '--write'), *words)
    label_issues(pets[1], estimated_noise_rate=0.6)
    assert clean_all(pets[1], tmp_path / 'new') == 0
    # Clean probabilities .3 and .8 times .4 / .6125.
    assert 'about 4.8 of 8 (60.0 %) before, about 3 of 8 (37.2 %) after' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('sharpness', 'share'), [(1, 0.2 / 0.5), (2, 0.04 / (0.04 + 2 * 0.0225)), (16, 1 / (1 + 2 * 0.01))]
)
def test_a_suggestion_is_right_as_often_as_its_sharpened_probability_says(sharpness, share):
    names = np.array(['a', 'b'], object)
    changes = Changes(np.arange(2), names, names[::-1], np.zeros(2, bool), np.ones(2, bool), ('a', 'b', 'c', 'd'))
    probabilities = np.float32([[0.5, 0.2, 0.15, 0.15], [0.2, 0.5, 0.15, 0.15]])
    found = estimate.after(np.array([1.0, 0.5]), changes, probabilities, sharpness)
    assert found.wrong == pytest.approx(2 - 1.5 * share, abs=1e-2 if sharpness == 16 else 1e-6)


def test_what_dropping_leaves(pets, tmp_path, capsys):
    """Suspects of an edited list, which are the least suspicious: those left are wrong more often."""
    edit(pets[1], lambda row: row | {'is_suspect': str(1 - int(row['is_suspect']))})
    decisions = decisions_file(tmp_path / 'd.csv', '1,cat/001.png,cat,keep,', '7,dog/003.png,dog,keep,')
    status = clean_all(pets[1], tmp_path / 'new', '--mode=drop', decisions, '--write')
    refused(capsys, status, '--all-suspects', 'about 2.1 of 5 (42.0 %)', 'about 2.7 of 8 (33.8 %)')


def test_an_edited_list_is_refused_by_the_cell_that_cannot_be_read(pets, tmp_path, capsys):
    edit(pets[1], lambda row: row | {'is_suspect': ['FALSE', 'TRUE'][int(row['is_suspect'])]})
    words = ['labels.csv', 'is_suspect: found', '0 or 1 is needed', 'a finished run writes it']
    refused(capsys, clean_all(pets[1], tmp_path / 'new'), *words)


def edit(work, change):
    """Changes rows of labels.csv, as a person does."""
    with (work / 'labels.csv').open(newline='') as file:
        rows = [change(row) for row in csv.DictReader(file)]
    with (work / 'labels.csv').open('w', newline='') as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize('option', ['--all-suspects', '--decisions'])
@pytest.mark.parametrize(
    ('column', 'value'),
    [
        ('suggested_label', '../escaped'),
        ('suggested_label', '{root}/cat'),
        ('suggested_label', 'horse'),
        ('given_label', 'horse'),
        ('clean_probability', 'nan'),
        ('clean_probability', '1.5'),
    ],
)
def test_labels_that_the_run_cannot_have_written(pets, tmp_path, capsys, column, value, option):
    root, work = pets
    value, before = value.format(root=root), tree(tmp_path)
    option = option if option == '--all-suspects' else decisions_file(tmp_path / 'd.csv', *DECISIONS)
    edit(work, lambda row: row | ({column: value} if row['id'] == 'dog/001.png' else {}))
    edited = tree(tmp_path)
    status = clean(work, tmp_path / 'new', option, '--write')
    refused(capsys, status, 'labels.csv, line 7', column, value, 'from 0 to 1' if 'prob' in column else 'cat, dog')
    assert tree(tmp_path) == edited
    assert tree(root) == {name.removeprefix('pets/'): file for name, file in before.items() if 'pets/' in name}


def test_probabilities_of_another_run(pets, tmp_path, capsys):
    WorkDir(pets[1]).save_array('pred_probs', np.full((7, 2), 0.5))
    refused(capsys, clean_all(pets[1], tmp_path / 'new'), 'pred_probs.npy', '(7, 2)', '[8, 2]')
    assert clean(pets[1], tmp_path / 'new', decisions_file(tmp_path / 'd.csv', *DECISIONS)) == 0


def test_a_suggestion_that_is_not_of_the_probabilities(pets, tmp_path, capsys):
    edit(pets[1], lambda row: row | ({'suggested_label': 'cat'} if row['id'] == 'dog/003.png' else {}))
    refused(capsys, clean_all(pets[1], tmp_path / 'new', '--write'), 'pred_probs.npy', 'labels.csv')


@pytest.fixture
def noted(pets):
    """The same as a run leaves it that notes what it begins with."""
    root, work = pets
    note(root, work)
    return root, work


def note(root, work, **settings):
    """Notes the images as a run does: those of class folders, or as `settings` say."""
    settings = default().data.to_dict() | {'name': 'folder', 'path': str(root), 'image_size': 0} | settings
    train, test = (data.load_split(settings, split) for split in ('train', 'test'))
    labelled = train.take(np.flatnonzero(train.label != NO_LABEL))
    identity.check(WorkDir(work), types.SimpleNamespace(labelled=labelled, pool=train, test=test))
    WorkDir(work).save_array('labels/given', labelled.label)


def test_the_images_that_the_run_began_with_are_cleaned(noted, tmp_path):
    assert clean_all(noted[1], tmp_path / 'new', '--write') == 0
    assert clean_all(noted[1], tmp_path / 'list.csv', '--mode=csv', '--write') == 0


def test_a_copy_does_not_go_among_the_images_of_the_run(noted, tmp_path, capsys):
    """Although it is made of a backup of them."""
    root, work = noted
    shutil.copytree(root, tmp_path / 'backup')
    status = clean_all(work, root / 'fixed', f'--data={tmp_path / "backup"}', '--write')
    refused(capsys, status, '--out', f'{root / "fixed"} lies in {root}')
    assert not (root / 'fixed').exists()


def test_a_relative_path_is_seen_from_where_the_run_began(noted, tmp_path, monkeypatch):
    root, work = noted
    folder = WorkDir(work)
    config, described = folder.load_json('config'), folder.load_json('data')
    config['data']['path'] = '.'
    folder.save_json('config', config)
    folder.save_json('data', described | {'place': str(root)})
    monkeypatch.chdir(tmp_path)
    assert clean_all(work, 'new', '--write') == 0
    assert (tmp_path / 'new/cat').is_dir()


def test_a_file_that_is_another_since_is_refused(noted, tmp_path, capsys):
    file = noted[0] / 'cat' / '002.png'
    file.write_bytes(file.read_bytes() + b'more')
    status = clean_all(noted[1], tmp_path / 'new', '--write')
    refused(capsys, status, 'the data has changed since this run began', 'cat/002.png is another image')
    assert not (tmp_path / 'new').exists()


TEST, UNLABELLED = 'test/b/001.png', 'unlabelled/001.png'


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda root: shutil.rmtree(root / 'test'), 'test image test/a/000.png is not there (6 of 6 are missing)'),
        (lambda root: (root / TEST).unlink(), f'test image {TEST} is not there (1 of 6 are missing)'),
        (lambda root: shutil.copy(root / 'train/c/000.png', root / TEST), f'test image {TEST} is another one'),
        (lambda root: (root / UNLABELLED).unlink(), f'unlabelled image {UNLABELLED} is not there (1 of 2 are missing)'),
        (lambda root: shutil.copy(root / TEST, root / UNLABELLED), f'unlabelled image {UNLABELLED} is another one'),
    ],
)
def test_images_beside_the_list_that_have_changed(tmp_path, capsys, tested, change, words):
    work, decisions = dropped(tmp_path, 'folder', tested, 'b')
    root, image = tmp_path / 'in', np.full((4, 4, 3), 99, np.uint8)
    for _ in range(2):
        digit_files.save(root / 'unlabelled', image)
    note(root, work)
    digit_files.save(root / 'test' / 'c', image)  # one more does no harm
    assert clean(work, tmp_path / 'new', decisions) == 0
    capsys.readouterr()
    change(root)
    for out in ('new', 'new.csv'):
        refused(capsys, clean(work, tmp_path / out, decisions), 'the data has changed', words)


def test_another_label_of_a_test_image(tmp_path, capsys, tested):
    work, decisions = dropped(tmp_path, 'filelist', tested, 'b')
    root = tmp_path / 'in'
    note(root, work, **tested['filelist'], name='filelist')
    assert clean(work, tmp_path / 'new', decisions) == 0
    capsys.readouterr()
    (root / 'test.csv').write_text((root / 'test.csv').read_text().replace('c/000.png,c', 'c/000.png,a'))
    words = 'the label of test image test/c/000.png is another, a'
    refused(capsys, clean(work, tmp_path / 'new', decisions), 'the data has changed', words)


@pytest.mark.parametrize(
    ('column', 'value'), [('given_label', 'dog'), ('id', 'cat/002.png')], ids=['another class', 'another image']
)
def test_rows_that_are_not_those_of_the_run(noted, tmp_path, capsys, column, value):
    edit(noted[1], lambda row: row | ({column: value} if row['id'] == 'cat/001.png' else {}))
    refused(capsys, clean_all(noted[1], tmp_path / 'new', '--write'), 'labels.csv, line 3', column, value)


def test_a_torn_list_is_refused(noted, tmp_path, capsys):
    lines = (noted[1] / 'labels.csv').read_text().splitlines(True)
    (noted[1] / 'labels.csv').write_text(''.join(lines[:-1]))
    refused(capsys, clean_all(noted[1], tmp_path / 'new', '--write'), 'labels.csv', 'rows are missing')


def test_a_run_without_label_issues(pets, tmp_path, capsys):
    WorkDir(pets[1]).save_json('summary', {'complete': False})
    refused(capsys, clean_all(pets[1], tmp_path / 'new'), 'no label issues')


@pytest.mark.parametrize(
    ('row', 'words'),
    [
        ('99,cat/000.png,cat,drop,', ['line 3', "'99'", '0 to 7']),
        ('x,cat/000.png,cat,drop,', ['line 3', "'x'"]),
        ('0,cat/009.png,cat,drop,', ['line 3', "id 'cat/009.png' is not that of this run, 'cat/000.png';"]),
        ('0,cat/000.png,dog,drop,', ['line 3', 'given_label', "'dog'"]),
        ('0,cat/000.png,cat,remove,', ['line 3', "'remove'", 'drop']),
        ('0,cat/000.png,cat,relabel,horse', ['line 3', "'horse'", 'cat, dog']),
        ('0,cat/000.png,cat,keep,dog', ['line 3', "'dog'", 'kept']),
        ('0,cat/000.png,cat', ['line 3', '3 values']),
        ('2,cat/002.png,cat,drop,', ['line 3', 'line 2']),
    ],
)
def test_decisions_of_another_run(pets, tmp_path, capsys, row, words):
    file = tmp_path / 'decisions.csv'
    file.write_text(f'index,id,given_label,decision,label\n2,cat/002.png,cat,keep,\n{row}\n')
    refused(capsys, clean(pets[1], tmp_path / 'new', f'--decisions={file}'), 'decisions.csv', *words)


@pytest.mark.parametrize(
    ('content', 'words'), [(None, ['there is no', 'button']), ('a,b\n', ['line 1', 'given_label']), ('', ['line 1'])]
)
def test_no_decisions(pets, tmp_path, capsys, content, words):
    file = tmp_path / 'decisions.csv'
    if content is not None:
        file.write_text(content)
    refused(capsys, clean(pets[1], tmp_path / 'new', f'--decisions={file}'), 'decisions.csv', *words)
    refused(capsys, clean(pets[1], tmp_path / 'new', '--decisions='), "--decisions: there is no ''; the report")


@pytest.fixture
def listed(tmp_path):
    """A list of files in folders, with a test list; the first two images have each other's label."""
    rng, root = np.random.default_rng(0), tmp_path / 'shop'
    for part in ('a b', 'c', 'held'):
        for _ in range(3):
            digit_files.save(root / part, rng.integers(0, 255, (6, 6, 3), np.uint8))
    rows = [(f'{part}/00{i}.png', label) for part in ('a b', 'c') for i, label in enumerate(('top', 'hat', 'top'))]
    (root / 'train.csv').write_text('path,label\n' + ''.join(f'{path},{label}\n' for path, label in rows))
    (root / 'test.txt').write_text('000.png hat\n002.png top\n')
    (root / 'names').write_text('top\nhat\nshoe\n')
    settings = {'name': 'filelist', 'path': str(root), 'list': 'train.csv', 'test_list': 'test.txt'}
    settings |= {'test_path': 'held', 'class_names': 'names', 'image_size': 0}
    train = data.load_split(default().data.to_dict() | settings, 'train')
    wrong = np.array([1, 0, 0, 1, 1, 0])  # as suggested
    return root, work_dir(tmp_path / 'work', train, wrong, **settings)


@pytest.mark.parametrize('beside', [(), ('labels.csv', 'class_names.txt', 'test.csv')])
def test_a_list_of_files(listed, tmp_path, capsys, monkeypatch, beside):
    """Also where the current folder has files of the names in the copy, such as the list before."""
    root, work = listed
    monkeypatch.chdir(tmp_path)
    for name in beside:
        (tmp_path / name).write_text('a.png,cat')
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    said = capsys.readouterr().out
    found = load_as_told(said, 'filelist', work)
    assert found.class_names == ('top', 'hat', 'shoe')
    np.testing.assert_array_equal(found.label, [1, 0, 0, 1, 1, 0])
    np.testing.assert_array_equal(found.id, [f'{part}/00{i}.png' for part in ('a b', 'c') for i in range(3)])
    test = load_as_told(said, 'filelist', work, 'test')
    np.testing.assert_array_equal(test.label, [1, 0])
    assert (tmp_path / 'new/held/002.png').read_bytes() == (root / 'held/002.png').read_bytes()
    assert not (tmp_path / 'new/held/001.png').exists()


def test_a_copy_of_a_list_is_not_read_by_its_folders(listed, tmp_path):
    """They are the classes before, or none."""
    new = tmp_path / 'new'
    assert clean_all(listed[1], new, '--write') == 0
    told = f'data.path={new}, data.list=labels.csv, data.class_names=class_names.txt, data.test_list=test.csv'
    for place in (new, new / 'held'):
        refused_call(lambda place=place: folder.load('train', str(place)), place, told)
    assert len(data.load_unread(str(new))) == 8  # for `embed`, which reads no labels


@pytest.mark.parametrize('level', ['', 'train'])
def test_images_in_folders_of_a_class_folder(tmp_path, level):
    for number, place in enumerate(('cat/a.png', 'cat/2021/b.png', 'cat/dog/c.png', 'dog/cat/d.png', 'dog/2021/b.png')):
        file = tmp_path / 'in' / level / place
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4), (number, 0, 0)).save(file)
    train = folder.load('train', str(tmp_path / 'in'))
    suggested = np.where(np.char.endswith(train.id, '2021/b.png'), 1 - train.label, train.label)
    work = work_dir(tmp_path / 'work', train, suggested, name='folder', path=str(tmp_path / 'in'))
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    found = folder.load('train', str(tmp_path / 'new'))
    names = ('cat/2021/b.png', 'cat/a.png', 'cat/dog/c.png', 'dog/2021/b.png', 'dog/cat/d.png')
    assert found.id.tolist() == [f'{level}/{name}'.removeprefix('/') for name in names]
    assert by_pixels(found) == by_pixels(train.replace(label=suggested))


def folder_work(root, work, *places):
    """Class folders of images, and a work directory that suspects nothing."""
    for number, place in enumerate(places):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4), (number, 0, 0)).save(root / place)
    train = folder.load('train', str(root))
    return work_dir(work, train, train.label, name='folder', path=str(root))


@pytest.mark.parametrize('name', ['dog ', ' dog', 'do\ng'])
def test_a_list_that_would_read_back_otherwise(tmp_path, capsys, name):
    work = folder_work(tmp_path / 'in', tmp_path / 'work', 'cat/a.png', 'dog/a.png', f'{name}/a.png')
    refused(capsys, clean_all(work, tmp_path / 'new.csv', '--mode=csv', '--write'), 'a list cannot hold', '--out')
    assert not (tmp_path / 'new.csv').exists()
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    assert tree(tmp_path / 'new').keys() == {'cat/a.png', 'dog/a.png', f'{name}/a.png', 'changes.csv'}


def test_numbers_that_a_list_would_not_be_read_with(tmp_path, capsys):
    work = folder_work(tmp_path / 'in', tmp_path / 'work', '-1/a.png', '0/a.png', '1/a.png')
    decisions = decisions_file(tmp_path / 'd.csv', '0,-1/a.png,-1,keep,')
    refused(capsys, clean(work, tmp_path / 'new.csv', decisions), "class '-1'", 'take a new folder')
    assert clean(work, tmp_path / 'new', decisions, '--write') == 0
    assert folder.load('train', str(tmp_path / 'new')).class_names == ('-1', '0', '1')
    decisions = decisions_file(tmp_path / 'd.csv', '0,-1/a.png,-1,drop,')
    assert clean(work, tmp_path / 'new.csv', decisions, '--write') == 0


@pytest.mark.parametrize('folds', [False, True])
def test_classes_that_differ_in_case(tmp_path, folds):
    (tmp_path / 'new').mkdir()
    if folds:  # as a disk that does not tell them apart shows it
        (tmp_path / 'NEW').mkdir(exist_ok=True)
    files = copies.CopyFolder(tmp_path / 'new', copy=False)
    (tmp_path / 'a.png').touch()
    for name in ('Cat', 'cat'):
        files.place(str(tmp_path / 'a.png'), files.free(name, '1.png', 'from_dog'))
    made = {str(path.relative_to(tmp_path / 'new')) for path in (tmp_path / 'new').glob('*/*')}
    assert made == {'Cat/1.png', 'cat/1_from_dog.png' if folds else 'cat/1.png'}


def test_a_file_that_has_the_name_of_a_folder_gets_another(tmp_path):
    (tmp_path / 'new').mkdir()
    (tmp_path / 'a.png').touch()
    files = copies.CopyFolder(tmp_path / 'new', copy=False)
    files.place(str(tmp_path / 'a.png'), 'cat/scan.png/1.png')
    assert files.free('cat', 'scan.png', 'from_dog') == 'cat/scan_from_dog.png'
    files.check_all_there()


def test_names_that_are_too_long_are_cut(tmp_path):
    (tmp_path / 'new').mkdir()
    (tmp_path / 'a.png').touch()
    files, name, mark = copies.CopyFolder(tmp_path / 'new', copy=False), 'ä' * 125 + '.png', 'from_' + 'dog ' * 60
    for _ in range(3):
        files.place(str(tmp_path / 'a.png'), files.free('cat', name, mark))
    made = [path.name for path in (tmp_path / 'new/cat').iterdir()]
    assert len(made) == 3
    assert all(each.startswith('ää') and each.endswith('.png') for each in made)
    assert sum('_from_dog dog' in each for each in made) == 2


def test_a_list_that_leaves_its_folder(listed, tmp_path, capsys):
    root, work = listed
    labels = (work / 'labels.csv').read_text()
    (work / 'labels.csv').write_text(labels.replace('c/000.png', '../shop/c/000.png'))
    (root / 'train.csv').write_text((root / 'train.csv').read_text().replace('c/000.png', '../shop/c/000.png'))
    refused(capsys, clean_all(work, tmp_path / 'new', '--write'), '../shop/c/000.png', '--mode csv')
    assert not (tmp_path / 'new').exists()
    assert clean_all(work, tmp_path / 'new.csv', '--mode=csv', '--write') == 0


def exchange(work, other, *ids):
    """Decisions: images get the `other` label of the one they have; of some `ids`, or all."""
    labels = WorkDir.of_run(work).load_labels()
    rows = enumerate(zip(labels['id'], labels['given_label'], strict=True))
    rows = [f'{i},{name},{given},relabel,{other[given]}' for i, (name, given) in rows if not ids or name in ids]
    return decisions_file(work.parent / 'd.csv', *rows)


def by_id(dataset):
    """{id: name of its class}."""
    return {name: dataset.class_names[label] for name, label in zip(dataset.id, dataset.label, strict=True)}


@pytest.mark.parametrize(
    ('name', 'words'),
    [('train', ['train/2021 would be read as 2021', 'can be a set']), ('Test', ['Test: a test set, as it'])],
)
def test_a_class_whose_folder_would_become_a_set(tmp_path, capsys, name, words):
    """Where only images in folders within the other class get its label."""
    work = folder_work(tmp_path / 'in', tmp_path / 'work', f'{name}/0.png', 'bus/2021/0.png')
    decisions = exchange(work, {name: 'bus', 'bus': name})
    for options in ((), ('--write',)):
        refused(capsys, clean(work, tmp_path / 'new', decisions, *options), *words, '--out=NAME.csv')
    assert {path.name for path in tmp_path.iterdir()} == {'in', 'work', 'd.csv'}
    assert clean(work, tmp_path / 'new.csv', decisions, '--write') == 0
    found = load_as_told(capsys.readouterr().out, 'filelist', work)
    assert by_id(found) == {f'{name}/0.png': 'bus', 'bus/2021/0.png': name}


def test_a_class_that_stays_one(tmp_path):
    work = folder_work(tmp_path / 'in', tmp_path / 'work', 'train/0.png', 'train/bus/1.png', 'bus/2/0.png', 'bus/3.png')
    decisions = exchange(work, {'train': 'bus', 'bus': 'train'}, 'train/bus/1.png', 'bus/2/0.png')
    assert clean(work, tmp_path / 'new', decisions, '--write') == 0
    wanted = {'bus/3.png': 'bus', 'bus/bus/1.png': 'bus', 'train/0.png': 'train', 'train/2/0.png': 'train'}
    assert by_id(folder.load('train', str(tmp_path / 'new'))) == wanted


def test_a_disk_that_makes_one_folder_of_two(tmp_path):
    (tmp_path / 'new.part/Cat').mkdir(parents=True)
    (tmp_path / 'new.part/Cat/0.png').touch()
    with pytest.raises(InputError, match='images in cat would be left out, since the disk'):
        readback.check_written(tmp_path / 'new.part', 'new', {'train': {'Cat': 'Cat', 'cat': 'cat'}})


def listed_work(tmp_path, rows, **settings):
    """A list of images `rows` [(path, label)] of one folder, and a work directory that suspects nothing."""
    root = tmp_path / 'shop'
    for number, (path, _) in enumerate(rows):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4), (number, 0, 0)).save(root / path, 'PNG')
    (root / 'train.csv').write_text('path,label\n' + ''.join(f'{path},{label}\n' for path, label in rows))
    settings = {'name': 'filelist', 'path': str(root), 'list': 'train.csv', 'image_size': 0} | settings
    train = data.load_split(default().data.to_dict() | settings, 'train')
    return root, work_dir(tmp_path / 'work', train, train.label, **settings)


@pytest.mark.parametrize('name', ['labels.csv', 'class_names.txt', 'changes.csv', './changes.csv'])
def test_an_image_is_not_written_over(tmp_path, capsys, name):
    """Its link in the copy is the original."""
    root, work = listed_work(tmp_path, [('a.png', 'top'), (name, 'hat')])
    before = tree(root)
    refused(capsys, clean_all(work, tmp_path / 'new', '--write'), name.removeprefix('./'), 'two files', '--mode csv')
    assert tree(root) == before
    assert not (tmp_path / 'new').exists()
    assert clean_all(work, tmp_path / 'new.csv', '--mode=csv', '--write') == 0


@pytest.mark.parametrize('where', ['in the data', 'beside it', 'relative'])
def test_lists_are_found_again_with_their_images(tmp_path, capsys, monkeypatch, where):
    """That moved, or, relative to where the run began, are seen from elsewhere."""
    (tmp_path / 'old').mkdir()
    monkeypatch.chdir(tmp_path / 'old')
    root, work = listed_work(tmp_path / 'old', [('a.png', 'top'), ('b.png', 'hat')])
    listed = root / 'train.csv'
    if where != 'in the data':
        listed = listed.rename(tmp_path / 'old/train.csv')
    config = WorkDir(work).load_config()
    config.data.list = 'train.csv' if where == 'relative' else str(listed)
    config.data.path = 'shop' if where == 'relative' else str(root)
    WorkDir(work).save_json('config', config.to_dict())
    WorkDir(work).save_json('data', WorkDir(work).load_json('data') | {'place': str(root)})
    options = ['--write']
    if where != 'relative':
        (tmp_path / 'old').rename(tmp_path / 'new')
        options.append(f'--data={tmp_path / "new/shop"}')
    work = pathlib.Path(str(work).replace('old', 'new')) if where != 'relative' else work
    monkeypatch.chdir(tmp_path)
    assert clean_all(work, tmp_path / 'copy', *options) == 0, capsys.readouterr().err
    assert (tmp_path / 'copy/a.png').exists()


def test_an_image_in_two_lists(tmp_path, capsys):
    (tmp_path / 'test.csv').write_text('./a.png,top\n')
    root, work = listed_work(tmp_path, [('a.png', 'top'), ('b.png', 'hat')], test_list=str(tmp_path / 'test.csv'))
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    test = load_as_told(capsys.readouterr().out, 'filelist', work, 'test')
    np.testing.assert_array_equal(test.image[:], np.array(Image.open(root / 'a.png'))[None])


@pytest.mark.parametrize('names', ['1\n2', 'top\nhat'])
def test_a_list_of_names_does_not_meet_a_test_list_of_numbers(tmp_path, capsys, names):
    """Numerals as names: the numbers of the test list would be read as other classes."""
    (tmp_path / 'names.txt').write_text(names)
    (tmp_path / 'test.csv').write_text('b.png,1\n')
    settings = {'test_list': str(tmp_path / 'test.csv'), 'class_names': str(tmp_path / 'names.txt')}
    _, work = listed_work(tmp_path, [('a.png', '0'), ('b.png', '1')], **settings)
    assert clean_all(work, tmp_path / 'new.csv', '--mode=csv', '--write') == 0
    said = capsys.readouterr().out
    assert said.endswith('--config.data.test_list=\n')
    assert 'left out: the test set' in said
    assert clean_all(work, tmp_path / 'new', '--write') == 0
    test = load_as_told(capsys.readouterr().out, 'filelist', work, 'test')
    assert [test.class_names[label] for label in test.label] == names.splitlines()[1:]


@pytest.mark.parametrize('kind', ['pets', 'listed'])
def test_only_a_list(kind, tmp_path, capsys, monkeypatch, request):
    """Also of the name of the list in the folder of the data."""
    _, work = request.getfixturevalue(kind)
    monkeypatch.chdir(tmp_path)
    assert clean_all(work, 'train.csv', '--mode=csv', '--write') == 0
    found = load_as_told(capsys.readouterr().out, 'filelist', work)
    labels = WorkDir.of_run(work).load_labels()
    assert dict(zip(found.id, (found.class_names[i] for i in found.label), strict=True)) == expected(labels)


@pytest.mark.parametrize('name', ['new.csv', 'new.CSV'])
def test_a_list_without_suspects(pets, tmp_path, name):
    assert clean_all(pets[1], tmp_path / name, '--mode=drop', '--write') == 0
    assert (tmp_path / name).read_text().splitlines() == [
        'path,label',
        *(f'cat/00{i}.png,cat' for i in (1, 2, 3)),
        *(f'dog/00{i}.png,dog' for i in (2, 3)),
    ]


def _saved_arrays(root, form, content):
    """Arrays in the `form` of a folder or an .npz file."""
    path = root / ('in' if form == 'folder' else 'in.npz')
    if form == 'folder':
        path.mkdir()
        for name, array in content.items():
            np.save(path / f'{name}.npy', array)
    else:
        np.savez(path, **content)
    return path


@pytest.mark.parametrize('form', ['folder', 'npz'])
def test_arrays(tmp_path, capsys, form):
    rng = np.random.default_rng(0)
    content = {
        'images': rng.integers(0, 255, (6, 4, 4, 3), np.uint8),
        'labels': np.array([0, 0, 1, 1, 2, 2]),
        'true_labels': np.array([0, 1, 1, 1, 2, 0]),
        'ids': np.array([f'image {i}' for i in range(6)]),
        'class_names': np.array(['x', 'y', 'z']),
        'test_images': rng.integers(0, 255, (2, 4, 4, 3), np.uint8),
        'test_labels': np.array([2, 1]),
    }
    path = _saved_arrays(tmp_path, form, content)
    train = arrays.load('train', str(path))
    work = work_dir(tmp_path / 'work', train, [0, 1, 1, 1, 2, 0], name='arrays', path=str(path))
    (tmp_path / 'd.csv').write_text('index,id,given_label,decision,label\n3,image 3,y,drop,\n')
    assert clean_all(work, tmp_path / 'new', '--write', f'--decisions={tmp_path / "d.csv"}') == 0
    said = capsys.readouterr().out
    found, test = (load_as_told(said, 'arrays', work, split) for split in ('train', 'test'))
    rows = [0, 1, 2, 4, 5]
    np.testing.assert_array_equal(found.image[:], content['images'][rows])
    np.testing.assert_array_equal(found.label, [0, 1, 1, 2, 0])
    np.testing.assert_array_equal(found.true_label, content['true_labels'][rows])
    np.testing.assert_array_equal(found.id, content['ids'][rows])
    assert found.class_names == ('x', 'y', 'z')
    np.testing.assert_array_equal(test.image[:], content['test_images'])
    np.testing.assert_array_equal(test.label, [2, 1])


def array_work(tmp_path, **more):
    """A work directory of the arrays in.npz: `more` and random images; those after the sixth have no label."""
    images = np.random.default_rng(0).integers(0, 255, (len(more['labels']), 4, 4, 3), np.uint8)
    np.savez(tmp_path / 'in.npz', images=images, **more)
    train = arrays.load('train', str(tmp_path / 'in.npz')).take(np.arange(6))
    return work_dir(tmp_path / 'work', train, train.label, name='arrays', path=str(tmp_path / 'in.npz'), image_size=0)


@pytest.mark.parametrize(
    ('values', 'named'),
    [([5, 7, 9, NO_LABEL], {}), (['c d', 'e', '07'], {}), ([0, 1, 2, NO_LABEL], {'class_names': ['1', '2', '3']})],
    ids=['numbers', 'text', 'rows of names'],
)
def test_arrays_keep_the_form_of_their_labels(tmp_path, values, named):
    """Scripts of others read them too; no image is left of the second class."""
    labels = [values[row] for row in (0, 0, 1, 2, 2, 2)] + values[3:]
    tests = {'test_images': np.zeros((3, 4, 4, 3), np.uint8), 'test_labels': values[:3]}
    work = array_work(tmp_path, labels=labels, **tests, **named)
    a, b, c = named.get('class_names', map(str, values[:3]))
    decisions = decisions_file(tmp_path / 'd.csv', f'0,0,{a},relabel,{c}', f'2,2,{b},drop,')
    assert clean(work, tmp_path / 'new', decisions, '--write') == 0
    written = {file.stem: np.load(file).tolist() for file in (tmp_path / 'new').glob('*.npy')}
    assert written['labels'] == [values[row] for row in (2, 0, 2, 2, 2)] + values[3:]
    assert written['test_labels'] == [values[0], values[2]]
    assert written.get('class_names') == named.get('class_names')
    found = arrays.load('train', str(tmp_path / 'new'))
    assert [found.class_names[row] for row in found.label[:5]] == [c, a, c, c, c]


def test_true_labels_of_a_class_that_is_left_out_need_its_name(tmp_path, capsys):
    work = array_work(tmp_path, labels=[1, 1, 2, 3, 3, 3], true_labels=[1, 2, 2, 3, 3, 3])
    assert clean(work, tmp_path / 'new', decisions_file(tmp_path / 'd.csv', '2,2,2,drop,'), '--write') == 0
    said = capsys.readouterr().out
    assert 'class_names.npy is new' in said
    found = load_as_told(said, 'arrays', work)
    assert [found.class_names[row] for row in found.label] == list('11333')
    assert [found.class_names[row] for row in found.true_label] == list('12333')


@pytest.mark.parametrize('form', ['folder', 'npz'])
def test_arrays_keep_the_form_of_images_and_ids(tmp_path, capsys, form):
    """Floats alone become bytes, as in a run, which is said."""
    grey = np.linspace(0, 1, 6 * 64, dtype=np.float32).reshape(6, 8, 8)
    content = {'images': grey, 'labels': [0, 0, 0, 1, 1, 1], 'ids': np.arange(10, 16, dtype=np.int16)}
    content |= {'test_images': np.zeros((2, 8, 8, 1), np.uint8), 'test_labels': [0, 1], 'test_ids': ['a', 'b']}
    path = _saved_arrays(tmp_path, form, content)
    train = arrays.load('train', str(path))
    work = work_dir(tmp_path / 'work', train, train.label, name='arrays', path=str(path), image_size=0)
    assert clean(work, tmp_path / 'new', decisions_file(tmp_path / 'd.csv', '1,11,0,drop,'), '--write') == 0
    said = capsys.readouterr().out
    assert said.count('images are written as whole numbers from 0 to 255') == 1
    written = {file.stem: np.load(file) for file in (tmp_path / 'new').glob('*.npy')}
    np.testing.assert_array_equal(written['images'], np.round(grey[[0, 2, 3, 4, 5]] * 255).astype(np.uint8))
    np.testing.assert_array_equal(written['ids'], content['ids'][[0, 2, 3, 4, 5]], strict=True)
    assert written['test_images'].shape == (2, 8, 8, 1)
    assert written['test_ids'].tolist() == ['a', 'b']
    assert load_as_told(said, 'arrays', work).id.tolist() == ['10', '12', '13', '14', '15']


def test_a_class_that_is_not_there_any_more(tmp_path, capsys):
    labels = [0, 0, 0, 1, 1, 1]
    work = array_work(tmp_path, labels=labels, class_names=['a', 'b', 'c'])
    images = np.load(tmp_path / 'in.npz')['images']
    np.savez(tmp_path / 'in.npz', images=images, labels=labels, class_names=['a', 'b', 'd'])
    decisions = decisions_file(tmp_path / 'd.csv', '0,0,a,relabel,c')
    refused(capsys, clean(work, tmp_path / 'new', decisions), 'the data has changed', 'there is no class c')


@pytest.mark.parametrize('kind', ['folder', 'filelist'])
def test_images_without_a_label_come_along(tmp_path, capsys, kind):
    """Also where the list itself is data.path."""
    rng, root = np.random.default_rng(0), tmp_path / 'in'
    for name in ('cat', 'dog', 'unlabelled'):
        for _ in range(3):
            digit_files.save(root / name, rng.integers(0, 255, (6, 6, 3), np.uint8))
    settings = {'name': kind, 'path': str(root), 'image_size': 0}
    if kind == 'filelist':
        rows = [f'{name}/00{i}.png,{name}' for i in range(3) for name in ('cat', 'unlabelled', 'dog')]
        (root / 'list.csv').write_text('\n'.join(rows).replace(',unlabelled', ','))
        settings['path'] = str(root / 'list.csv')
    everything = data.load_split(default().data.to_dict() | settings, 'train')
    train = everything.take(np.flatnonzero(everything.label != NO_LABEL))
    work = work_dir(tmp_path / 'work', train, [0, 1, 0, 1, 0, 1], unlabelled=3, **settings)
    wanted = dict(zip(train.id, [0, 1, 0, 1, 0, 1], strict=True)) | {
        f'unlabelled/00{i}.png': NO_LABEL for i in range(3)
    }
    label = {everything.image[row].tobytes(): wanted[name] for row, name in enumerate(everything.id)}
    for out in ('new', 'new.csv'):
        assert clean_all(work, tmp_path / out, '--write') == 0
        said = capsys.readouterr().out
        assert '3 without a label' in said
        found = load_as_told(said, kind if out == 'new' else 'filelist', work)
        assert {image.tobytes(): label for image, label in zip(found.image, found.label, strict=True)} == label


def test_digits_give_only_a_list(tmp_path, capsys):
    train = data.load('digits', split='train', limit=20)
    work = work_dir(tmp_path / 'work', train, train.label, name='digits')
    refused(capsys, clean_all(work, tmp_path / 'new'), 'digits', '--mode csv')
    assert clean_all(work, tmp_path / 'new.csv', '--mode=csv', '--write') == 0
    assert (tmp_path / 'new.csv').read_text().startswith('path,label\n')


def test_images_of_an_estimator_give_only_a_list(tmp_path, capsys):
    """Also with some that have no label."""
    train = data.load('digits', split='train', limit=20)
    work = work_dir(tmp_path / 'work', train, train.label, unlabelled=3, name='folder', path='')
    for options in ((), (f'--data={tmp_path}',)):
        refused(capsys, clean_all(work, tmp_path / 'new', *options), 'in memory', 'estimator', '--out=NAME.csv')
    assert clean_all(work, tmp_path / 'new.csv', '--write') == 0
    assert 'to train on it' not in capsys.readouterr().out
    rows = [f'{i},{name}' for i, name in zip(train.id, np.array(train.class_names)[train.label], strict=True)]
    assert (tmp_path / 'new.csv').read_text().splitlines() == ['path,label', *rows]


@pytest.mark.parametrize(
    ('out', 'options', 'words'),
    [
        ('work', [], ['work', 'already exists']),
        ('pets', [], ['pets', 'already exists']),
        ('pets/new', [], ['pets/new', 'inside the data']),
        ('', [], ["''", 'not allowed']),
        ('/', [], ["'/'", 'not allowed']),
        ('..', [], ["'..'", 'not allowed']),
        ('pets/cat/000.png/new', [], ['000.png', 'not a folder']),
        ('n' * 300, [], ['too long']),
        ('new', ['--mode=csv'], ['.csv']),
        ('new.TSV', [], ['new.TSV', 'NAME.csv']),
        ('new.npz', [], ['new.npz', 'NAME.csv']),
        ('.csv', [], ['.csv', 'NAME.csv']),
        ('new.csv/', [], ['new.csv/', 'NAME.csv']),
        ('new', ['--threshold=2'], ['--threshold', '2.0', '0 to 1']),
        ('new', ['--data=nowhere'], ['nowhere', '--data']),
        ('new', ['--data=.'], ['data.path', 'class folders']),
    ],
)
def test_mistakes(pets, tmp_path, capsys, monkeypatch, out, options, words):
    (tmp_path / 'empty').mkdir()
    monkeypatch.chdir(tmp_path / 'empty')
    words = ['no class folders'] if options == ['--data=.'] else words
    out = out if out in ('', '/', '..') else f'{tmp_path}/{out}'
    refused(capsys, clean_all(pets[1], out, *options), *words)


def test_folders_above_are_made(pets, tmp_path, monkeypatch, capsys):
    assert clean_all(pets[1], tmp_path / 'a/b/new') == 0
    assert not (tmp_path / 'a').exists()  # not yet
    assert clean_all(pets[1], tmp_path / 'a/b/new', '--write') == 0
    assert clean_all(pets[1], tmp_path / 'c/d/new.csv', '--write') == 0
    assert len(folder.load('train', str(tmp_path / 'a/b/new'))) == 8
    assert len((tmp_path / 'c/d/new.csv').read_text().splitlines()) == 9

    def copy(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(copies.shutil, 'copy2', copy)
    before = tree(tmp_path)
    capsys.readouterr()
    refused(capsys, clean_all(pets[1], tmp_path / 'a/x/y/new', '--write', '--copy'), 'No space left')
    assert tree(tmp_path) == before
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['b']


def test_a_folder_above_that_cannot_be_made(pets, tmp_path, monkeypatch, capsys):
    mkdir = pathlib.Path.mkdir

    def make(path, **options):
        if path == tmp_path / 'a':
            raise PermissionError(errno.EACCES, 'Permission denied')
        mkdir(path, **options)

    monkeypatch.setattr(pathlib.Path, 'mkdir', make)
    refused(capsys, clean_all(pets[1], tmp_path / 'a/new', '--write'), 'a cannot be made', 'Permission denied')


def test_originals_that_have_moved(pets, tmp_path, capsys):
    root, work = pets
    root.rename(tmp_path / 'moved')
    refused(capsys, clean_all(work, tmp_path / 'new'), str(root), '--data')
    assert clean_all(work, tmp_path / 'new', f'--data={tmp_path / "moved"}', '--write') == 0
    (tmp_path / 'moved/cat/002.png').unlink()
    refused(capsys, clean_all(work, tmp_path / 'again', f'--data={tmp_path / "moved"}'), 'cat/002.png', '1 of 8')


def test_a_list_that_is_not_in_its_place(tmp_path, capsys):
    """Where data.path is a list: it has another name, or is in another folder with its images."""
    rows, path = [('a.png', 'top'), ('b.png', 'hat')], tmp_path / 'shop/train.csv'
    root, work = listed_work(tmp_path, rows, path=str(path), list='')
    path.rename(root / 'old.csv')
    assert clean_all(work, tmp_path / 'renamed.csv', '--write') == 0
    assert len(load_as_told(capsys.readouterr().out, 'filelist', work)) == 2
    words = ['--data', 'no list train.csv', f'--data={root}/NAME.csv']
    refused(capsys, clean_all(work, tmp_path / 'new', f'--data={root}'), *words)
    (root / 'old.csv').rename(path)
    root.rename(tmp_path / 'moved')
    assert clean_all(work, tmp_path / 'moved.csv', '--write') == 0
    said = capsys.readouterr().out
    assert f'there is no {root} any more' in said
    assert '--config.data.path=FOLDER' in said
    for out in ('new', 'new.csv'):
        assert clean_all(work, tmp_path / out, '--write', f'--data={tmp_path / "moved"}') == 0
        assert len(load_as_told(capsys.readouterr().out, 'filelist', work)) == 2


def test_class_names_that_are_numbers(tmp_path, capsys):
    for name in ('02', '10'):
        digit_files.save(tmp_path / 'in' / name, np.full((4, 4, 3), int(name), np.uint8))
    train = folder.load('train', str(tmp_path / 'in'))
    work = work_dir(tmp_path / 'work', train, train.label, name='folder', path=str(tmp_path / 'in'))
    assert clean_all(work, tmp_path / 'new.csv', '--mode=csv', '--write') == 0
    found = load_as_told(capsys.readouterr().out, 'filelist', work)
    assert by_pixels(found) == by_pixels(train)


def test_files_that_are_removed_while_a_copy_is_written(pets, tmp_path, capsys, monkeypatch):
    def link(source, target, link=os.link):
        link(source, target)
        if target.name == '002.png':
            target.unlink()

    monkeypatch.setattr(os, 'link', link)
    status = clean_all(pets[1], tmp_path / 'new', '--write')
    refused(capsys, status, '--out', 'files of the copy were removed')
    assert not (tmp_path / 'new').exists()


def test_a_part_that_is_removed_while_it_is_written(pets, tmp_path, capsys, monkeypatch):
    """As another command advises, which finds it."""

    def link(source, target, link=os.link):
        link(source, target)
        if len(list(target.parent.iterdir())) == 3:
            shutil.rmtree(tmp_path / 'new.part')

    monkeypatch.setattr(os, 'link', link)
    status = clean_all(pets[1], tmp_path / 'new', '--write')
    refused(capsys, status, '--out', 'new.part was moved or removed')
    assert not (tmp_path / 'new').exists()
    assert not (tmp_path / 'new.part').exists()


@pytest.mark.parametrize('options', [(), ('-u',)], ids=['buffered', 'unbuffered'])
def test_a_reader_who_goes(pets, tmp_path, options):
    """As `| head` does: the copy is written all the same."""
    _, work = pets
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [f'--workdir={work}', f'--out={tmp_path / "new"}', '--all-suspects', '--write']
    call = [sys.executable, *options, '-m', 'noisy_jax.clean', *arguments]
    result = subprocess.run(call, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, '')
    assert clean_all(work, tmp_path / 'other', '--write') == 0
    assert tree(tmp_path / 'new') == tree(tmp_path / 'other')


def test_from_a_terminal(tmp_path):
    result = subprocess.run(
        [sys.executable, '-m', 'noisy_jax.clean', f'--workdir={tmp_path}', '--out=new'], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.startswith('error: --workdir')
    assert result.stderr.count('\n') == 1


def test_a_folder_that_a_killed_command_left(pets, tmp_path, capsys):
    (tmp_path / 'new.part').mkdir()
    refused(capsys, clean_all(pets[1], tmp_path / 'new'), 'new.part', 'remove it')


def test_the_image_is_not_read(pets, tmp_path):
    """Files are linked as they are: a JPEG is not encoded again."""
    root, work = pets
    with Image.open(root / 'cat/003.png') as image:
        image.save(root / 'cat/003.png', compress_level=0)
    assert clean_all(work, tmp_path / 'new', '--write', '--copy') == 0
    assert (tmp_path / 'new/cat/003.png').read_bytes() == (root / 'cat/003.png').read_bytes()
