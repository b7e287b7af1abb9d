"""What a config leaves to the data is chosen from it, said, and kept."""

import errno
import os
import pathlib
import runpy
import warnings

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from noisy_jax import data, errors, pipeline, settings
from noisy_jax.data import digits
from noisy_jax.data.dataset import Dataset
from noisy_jax.labels import cross_fit
from noisy_jax.settings import automatic
from noisy_jax.settings.choices import Facts, choices

CONFIG = pathlib.Path(__file__).resolve().parents[1] / 'configs' / 'own_images.py'


def own_images(argument='', **changes):
    config = runpy.run_path(str(CONFIG))['get_config'](argument)
    config.update_from_flattened_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return config


def _pictures(root, sizes, mode='RGB'):
    """Two classes of noise images of these (width, height), and one without a label."""
    rng = np.random.default_rng(0)
    for name in ('cat', 'dog', 'unlabelled'):
        (root / name).mkdir(parents=True)
        for row, (width, height) in enumerate(sizes[:1] if name == 'unlabelled' else sizes):
            pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / name / f'{row}.png')
    return root


def test_choices_go_by_size_number_and_machine():
    of = {key: value for key, (value, _) in choices(Facts(5000, 0, 10, 32, True, 3)).items()}
    assert (of['data.image_size'], of['model.encoder'], of['pretrain.batch_size']) == (0, 'cnn6', 128)
    assert of['pretrain.epochs'] == 20  # 100,000 images
    thorough = choices(Facts(5000, 0, 10, 32, True, 3, effort='thorough'))
    assert thorough['pretrain.epochs'][0] == 100
    few = {effort: choices(Facts(150, 50, 10, 32, True, 3, effort=effort)) for effort in ('normal', 'thorough')}
    assert [found['pretrain.epochs'][0] for found in few.values()] == [200, 500]
    large = choices(Facts(900, 100, 120, 600, False, 3, devices=4, accelerator=True))
    of = {key: value for key, (value, _) in large.items()}
    assert (of['data.image_size'], of['model.encoder'], of['pretrain.epochs']) == (128, 'resnet18', 500)
    assert of['augment.simclr.blur_probability'] == 0.5
    assert of['pretrain.batch_size'] == 32
    assert of['loss_settings.elr.lam'] == 7.0
    tiny = choices(Facts(40, 0, 2, 8, True, 1, devices=3))
    assert tiny['base.batch_size'][0] == 30
    assert tiny['pretrain.augment'][0] == 'handwriting'
    assert tiny['model.encoder'][0] == 'cnn_small'


@pytest.mark.parametrize('devices', [1, 3, 8])
@pytest.mark.parametrize('images', [8, 100, 10**6])
def test_every_choice_passes_validation(images, devices):
    for side, channels, accelerator in ((4, 1, False), (28, 1, True), (500, 3, True), (500, 3, False)):
        facts = Facts(images, images // 2, 7, side, False, channels, devices, accelerator)
        config = settings.default()
        config.update_from_flattened_dict({key: value for key, (value, _) in choices(facts).items()})
        settings.validate(config)
        assert config.pretrain.batch_size % devices == 0


@pytest.mark.parametrize('images', [2, 3, 9, 10, 19, 39, 40, 77])
@pytest.mark.parametrize('folds', [2, 5])
def test_no_batch_is_larger_than_what_is_left_of_the_images(images, folds):
    """Of cross-fitted networks, that is without the largest fold."""
    if folds <= images:
        found = choices(Facts(images, 0, 2, 32, True, 3, folds=folds))
        fitted = [len(fitted) for fitted, _ in cross_fit.split(np.arange(images) % 2, folds, 0)]
        assert found['cross_fit.batch_size'][0] <= min(fitted) == cross_fit.fewest_fitted(images, folds)
        assert found['classify.batch_size'][0] <= images * 0.9


@pytest.mark.parametrize('labelled', [0, 1, 2])
def test_images_of_which_hardly_one_has_a_label_have_choices_too(labelled):
    """They are refused by what loads them."""
    config = settings.default()
    found = choices(Facts(labelled, 40, 2, 32, True, 3))
    config.update_from_flattened_dict({key: value for key, (value, _) in found.items()})
    settings.validate(config)


def test_a_folder_of_photographs(tmp_path):
    root = _pictures(tmp_path / 'photos', [(60, 40), (40, 60), (50, 44)])
    config = own_images(data__path=str(root))
    chosen, table = automatic.choose(config)
    assert chosen.data.name == 'folder'
    assert chosen.data.image_size == 32
    assert len(chosen.data.mean) == len(chosen.data.std) == 3
    assert np.allclose(chosen.data.mean, 0.5, atol=0.02), 'the mean of uniform noise'
    assert not automatic.open_settings(chosen)
    assert table.splitlines()[0] == f'{root}: 6 images of 2 classes (cat 3, dog 3), 1 without a label'
    assert 'data.image_size' in table
    assert automatic.open_settings(config), 'the given config is as it was'
    config.data.limit = 4
    title = automatic.choose(config)[1].splitlines()[0]
    assert title.endswith('; data.limit leaves out 2 of 7'), 'nothing is left out silently'


def test_names_of_classes_cannot_steer_the_terminal():
    images = Dataset(np.zeros((3, 8, 8, 1), np.uint8), np.array([0, 0, 1]), ('\x1b[2J', 'x' * 500))
    title = automatic.choose(own_images(), None, (images, None))[1].splitlines()[0]
    assert title == rf'3 images of 2 classes (\x1b[2J 2, {"x" * 39}…{"x" * 40} 1)'


@pytest.mark.parametrize(('shape', 'words'), [((32, 128), '128x32 pixels 25%'), ((48, 64), ''), ((8, 32), '')])
def test_long_images_of_which_the_middle_is_left_are_warned_of(shape, words):
    errors._warn_once.cache_clear()
    images = Dataset(np.zeros((3, *shape, 1), np.uint8), np.array([0, 0, 1]), ('cat', 'dog'))
    changes = {'data__image_size': 0} if shape == (8, 32) else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        automatic.choose(own_images(**changes), None, (images, None))
    assert [words in str(each.message) for each in caught] == [True] * bool(words)


def test_quick_trains_nothing(tmp_path):
    root = _pictures(tmp_path / 'photos', [(60, 40)] * 3)
    chosen, table = automatic.choose(own_images(data__path=str(root), effort='quick'))
    assert chosen.phases == ()
    shown = {line.split()[0] for line in table.splitlines()[2:]}
    assert shown == {'data.name', 'data.mean', 'data.std', 'data.image_size'}, 'nothing that it does not use'


def test_grey_images_have_one_mean(tmp_path):
    chosen, _ = automatic.choose(own_images(data__path=str(_pictures(tmp_path / 'p', [(20, 20)] * 3, 'L'))))
    assert len(chosen.data.mean) == 1
    assert chosen.data.image_size == 0, 'small squares stay as they are'


def test_what_is_given_is_not_chosen(tmp_path):
    root = _pictures(tmp_path / 'photos', [(60, 40)] * 3)
    given = {'data__image_size': 24, 'model__encoder': 'resnet_tiny', 'pretrain__epochs': 7, 'data__mean': (0.1,) * 3}
    chosen, table = automatic.choose(own_images(data__path=str(root), **given))
    assert (chosen.data.image_size, chosen.model.encoder, chosen.pretrain.epochs) == (24, 'resnet_tiny', 7)
    assert chosen.data.mean == (0.1,) * 3
    assert 'model.encoder' not in table
    assert 'data.std' in table


@pytest.mark.parametrize(
    ('path', 'listed', 'kind'),
    [('', 'train.csv', 'filelist'), ('a.csv', '', 'filelist'), ('a.npz', '', 'arrays'), ('.', '', 'folder')],
)
def test_the_loader_is_chosen_by_the_path(tmp_path, monkeypatch, path, listed, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.csv').touch()
    assert data.kind_of(path, listed) == kind
    np.save(tmp_path / 'images.npy', np.zeros(1))
    assert data.kind_of('.', '') == 'arrays'


def test_a_folder_that_may_be_listed_and_not_entered_is_no_array(tmp_path, monkeypatch):
    stat = os.stat

    def denied(path, **options):
        if os.fspath(path).endswith('images.npy'):
            raise PermissionError(errno.EACCES, 'Permission denied', path)
        return stat(path, **options)

    monkeypatch.setattr(os, 'stat', denied)
    assert data.kind_of(str(tmp_path), '') == 'folder'  # whose loader names the folder


def test_a_config_that_leaves_nothing_open_stays_as_it_is():
    config = settings.default()
    assert automatic.choose(config) == (config, '')
    config.effort = 'quick'
    refused(lambda: automatic.choose(config), 'config.effort', "'quick'")


def test_mistakes_are_said_before_the_data_is_read():
    refused(lambda: pipeline.run(own_images(data__path='nowhere', loss='ecl'), 'unused'), 'config.loss', "'ecl'")
    refused(lambda: pipeline.run(own_images(data__path='nowhere'), 'unused'), 'data.path', "'nowhere'")
    assert not pathlib.Path('unused').exists()


@pytest.mark.slow
def test_a_run_on_given_images_keeps_what_was_chosen(tmp_path, capfd):
    """Images without a label join the pre-training, held-out ones are judged too; a second call chooses nothing."""
    images = digits.load('train', limit=150)
    label = np.where(np.arange(len(images)) % 10 == 0, -1, images.label)
    train = Dataset(images.image, label, images.class_names)
    epochs = {f'{phase}__epochs': 2 for phase in ('pretrain', 'classify', 'select', 'contrast', 'finetune')}
    config = own_images(**epochs, cross_fit__epochs=0)
    summary = pipeline.run(config, tmp_path / 'work', (train, None))
    said = capfd.readouterr().err
    assert 'cnn_small' in said
    assert '15 without a label' in said
    folder = pipeline.WorkDir.of_run(tmp_path / 'work')
    saved = folder.load_json('config')
    assert saved['model']['encoder'] == 'cnn_small'
    described = folder.load_json('data')
    labelled = int(np.sum(label >= 0))
    assert (described['images'], described['unlabelled']) == (labelled, 15)
    assert len(folder.load_labels()['index']) == labelled
    assert described['held_out'] > 0
    assert np.load(tmp_path / 'work' / 'pred_probs.npy').shape == (labelled, 10)
    kinds = {f'{kind}, both' for kind in ('classical features', 'own encoder')}
    assert kinds < summary['label_issues']['judges'].keys()
    lines = [line['step'] for line in map(__import__('json').loads, folder.metrics.read_text().splitlines())]
    batch = saved['pretrain']['batch_size']
    assert lines[0] == (len(images) - described['held_out']) // batch, 'an epoch of all images, with a label or not'
    refused(lambda: pipeline.run(config, tmp_path / 'work', (train.take(np.arange(99)), None)), 'data has changed')
    assert capfd.readouterr().err == ''  # what is chosen is not shown where the run is refused
    assert pipeline.run(config, tmp_path / 'work', (train, None)) == summary
    assert 'chosen before' in capfd.readouterr().err
