"""Digits as a person's own folder of images, a run on it in seconds, and work directories without a run."""

import types

import numpy as np
import tiny
from PIL import Image

from noisy_jax import pipeline
from noisy_jax.data import digits
from noisy_jax.workdir import WorkDir

NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


def make(folder):
    """`root` with class folders, `work` with a run on it that has learnt something."""
    root, work = folder / 'photos', folder / 'work'
    for split, count in (('train', 300), ('test', 50)):
        data = digits.load(split, limit=count)
        rng = np.random.default_rng(0)
        for image, label in zip(data.image, data.label, strict=True):
            wrong = split == 'train' and rng.random() < 0.2
            save(root / split / NAMES[(label + rng.integers(1, 10)) % 10 if wrong else label], image)
    config = tiny.config(
        phases=('base',),
        base__epochs=25,
        base__augment='none',  # quick to compile
        checkpoint_every=25,
        eval_every=0,
        noise__kind='none',
        data__name='folder',
        data__path=str(root),
        data__limit=0,
    )
    pipeline.run(config, work)
    return types.SimpleNamespace(root=root, work=work)


def save(folder, image):
    """The next file of the folder, 000.png, 001.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(
        folder / f'{len(list(folder.iterdir())):03}.png'
    )


def work_dir(work, train, suggested, unlabelled=0, **settings):
    """A work directory as a finished run leaves it: the labels of `train` that are not `suggested` [N] are suspects."""
    config = tiny.config(
        noise__kind='none', **{f'data__{name}': value for name, value in settings.items()}, data__limit=0
    )
    folder = WorkDir(work)
    folder.claim(config.to_dict())
    description = {'classes': list(train.class_names), 'image_shape': list(train.image.shape[1:])}
    folder.save_json('data', {**description, 'images': len(train), 'unlabelled': unlabelled})
    folder.save_json('summary', {'label_issues': {'threshold': 0.5}})
    suspect = np.asarray(suggested) != train.label
    names = np.array(train.class_names)
    columns = {
        'index': np.arange(len(train)),
        'id': train.id,
        'given_label': names[train.label],
        'suggested_label': names[np.asarray(suggested)],
        'pred_prob': np.full(len(train), 0.9),
        'clean_probability': np.where(suspect, 0.3, 0.8),
        'is_suspect': suspect,
    }
    folder.save_labels(columns, order=columns['index'])
    return work
