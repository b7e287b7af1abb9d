"""Features from outside: every labelled image gets its own row, whatever the loaders leave out, and what is refused.

Each vector follows from the pixels of its image alone, so that a mix-up of rows shows.
"""

import json
import pathlib
import pickle

import numpy as np
import pytest
import tiny
from conftest import refused
from PIL import Image

from noisy_jax import data, pipeline, settings
from noisy_jax.data import embeddings, splits
from noisy_jax.data.dataset import NO_LABEL, Dataset

COUNT, WIDTH = 24, 3
TABLE = np.arange(COUNT * WIDTH, dtype=np.float32).reshape(COUNT, WIDTH)


def _pixels(number):
    return np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)


def _write(file, number):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_pixels(number)).save(file)


def _folder(root):
    """Class folders, 11 unlabelled images among them in two places; some names are in several folders."""
    sizes = {'train/cat': 9, 'train/eel': 4, 'train/dog': 7, 'unlabelled': 6, 'train/unlabelled': 5}
    for place, (name, count) in enumerate(sizes.items()):
        for i in range(count):
            _write(root / name / f'{i}.{"png" if i % 2 else "bmp"}', 100 * place + i)
    return {'name': 'folder', 'path': str(root)}


def _filelist(root):
    """A list in no order of names or labels, with empty labels, and images of a class that max_classes leaves out."""
    lines = []
    for i in np.random.default_rng(0).permutation(30):
        _write(root / f'd{i % 4}' / f'{i}.png', i)
        lines.append(f'd{i % 4}/{i}.png,{"" if i % 5 == 0 else i % 4}')
    (root / 'list.csv').write_text('\n'.join(lines))
    return {'name': 'filelist', 'path': str(root), 'list': 'list.csv', 'max_classes': 3}


def _arrays(root):
    """Images with ids of their own; this form cannot say that an image has no label."""
    label = np.random.default_rng(1).integers(0, 3, 30)
    ids = np.array([f'some/where/{i}.jpg' for i in range(30)])[::-1]
    np.savez(root / 'a.npz', images=np.stack(list(map(_pixels, range(30)))), labels=label, ids=ids)
    return {'name': 'arrays', 'path': str(root / 'a.npz')}


def _digits(_):
    return {'name': 'digits'}


def _vectors(images):
    """What the embeddings of these images are, float64 [N, 3]: sums of their pixels in whole numbers, thus exact."""
    pixels = images[:].reshape(len(images), -1).astype(np.int64)
    return (pixels @ np.random.default_rng(0).integers(1, 100, (pixels.shape[1], WIDTH))).astype(np.float64)


def _saved(place, form, everything):
    """The embeddings of all images of a data set, labelled or not, as a file or as a folder by id."""
    vectors = _vectors(everything.image)
    assert len(np.unique(vectors, axis=0)) == len(vectors)  # each tells its image
    if form == 'file':
        np.save(place / 'features.npy', vectors)
        return str(place / 'features.npy')
    for name, vector in zip(everything.id, vectors, strict=True):
        file = (place / 'vectors' / name).with_suffix('.npy')
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, vector)
    return str(place / 'vectors')


def _config(**changes):
    config = settings.default()
    config.data.update(mean=(0.5,) * 3, std=(0.5,) * 3)
    config.data.update(changes)
    config.noise.kind = 'none'
    if changes.get('name') == 'digits':
        config.data.update(mean=(0.5,), std=(0.5,))
    return config


@pytest.mark.parametrize('form', ['file', 'folder'])
@pytest.mark.parametrize('limit', [0, 12])
@pytest.mark.parametrize('memory_bytes', [0, 2**30])
@pytest.mark.parametrize('prepare', [_folder, _filelist, _arrays, _digits])
def test_each_labelled_image_gets_its_own_vector(tmp_path, prepare, memory_bytes, limit, form):
    (tmp_path / 'data').mkdir()
    found = prepare(tmp_path / 'data')
    everything = data.load_split(_config(**found).data, 'train')
    few = 2 * limit if prepare is _digits else limit  # two images of each of ten classes
    config = _config(**found, limit=few, memory_bytes=memory_bytes, valid_fraction=0.3)
    config.data.embeddings = _saved(tmp_path, form, everything)
    loaded = splits.load(config)
    assert loaded.embeddings.dtype == np.float32
    np.testing.assert_array_equal(loaded.embeddings, _vectors(loaded.labelled.image).astype(np.float32))
    for rows, part in ((loaded.train_rows, loaded.train), (loaded.valid_rows, loaded.valid)):
        np.testing.assert_array_equal(loaded.embeddings[rows], _vectors(part.image).astype(np.float32))
    # The cases are what they are meant to be.
    assert len(loaded.valid_rows)
    assert (len(loaded.labelled) < np.sum(everything.label != NO_LABEL)) == bool(limit)
    assert (len(loaded.pool) > len(loaded.train)) == (found['name'] in ('folder', 'filelist'))


def test_rows_of_the_loaders_count_all_images_without_the_limit(tmp_path):
    for prepare in (_folder, _filelist, _arrays, _digits):
        place = tmp_path / prepare.__name__
        place.mkdir()
        found = prepare(place)
        everything, few = (data.load_split(_config(**found, limit=limit).data, 'train') for limit in (0, 12))
        np.testing.assert_array_equal(everything.row, np.arange(len(everything)))
        assert everything.available == few.available == len(everything) > len(few)
        np.testing.assert_array_equal(few.id, everything.id[few.row])


def test_embeddings_of_images_that_are_given(tmp_path):
    """As the estimator passes them; noise does not change the order."""
    label = np.arange(COUNT) % 3
    label[::5] = NO_LABEL
    images = Dataset(np.stack(list(map(_pixels, range(COUNT)))), label, ('a', 'b', 'c'))
    np.save(tmp_path / 'features.npy', TABLE)
    config = _config(embeddings=str(tmp_path / 'features.npy'))
    config.noise.update(kind='symmetric', rate=0.5)
    loaded = splits.load(config, (images, None))
    np.testing.assert_array_equal(loaded.embeddings, TABLE[label != NO_LABEL])
    assert (loaded.labelled.label != label[label != NO_LABEL]).any()


def test_there_are_none_without_the_setting():
    assert splits.load(_config(name='digits', limit=20)).embeddings is None


IMAGES = Dataset(np.zeros((COUNT, 2, 2, 1), np.uint8), np.arange(COUNT) % 2, ('a', 'b'))
FEW = IMAGES.take(np.array([3, 5, 20]))


def _read(place, content, images=IMAGES):
    if content is not None:
        np.save(place, content)
    return embeddings.reader(str(place))(images)


@pytest.mark.parametrize('dtype', [np.float16, np.float64, '>f4', np.int64, np.uint8])
@pytest.mark.parametrize('order', ['C', 'F'])
def test_numbers_of_other_types_become_float32(tmp_path, dtype, order):
    found = _read(tmp_path / 'features.npy', np.asarray(TABLE, dtype, order=order), FEW)
    assert found.dtype == np.float32
    assert type(found) is np.ndarray  # in memory, not a file that may change
    np.testing.assert_array_equal(found, TABLE[[3, 5, 20]])


def test_a_file_that_cannot_be_used_is_refused_before_images_are_read(tmp_path):
    file = tmp_path / 'features.npy'

    def refuse(content, *words):
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            np.save(file, content)
        refused(lambda: embeddings.reader(str(file)), 'data.embeddings', file, '[N, D]', *words)

    refuse(b'', 'cannot be read')
    refuse(b'not an array at all', 'cannot be read')
    np.save(file, TABLE)
    refuse(file.read_bytes()[:-4], 'cannot be read')
    refuse(TABLE[0], f'({WIDTH},)')
    refuse(TABLE[None], f'(1, {COUNT}, {WIDTH})')
    refuse(np.float32(1), '()')
    refuse(TABLE[:, :0], f'({COUNT}, 0)')
    refuse(TABLE.astype(str), '<U')
    refuse(TABLE > 3, 'bool')
    refuse(TABLE.astype(complex), 'complex')
    none = str(tmp_path / 'none.npy')
    refused(lambda: embeddings.reader(none), 'data.embeddings', 'none.npy', 'neither a file nor a folder')
    np.savez(tmp_path / 'features.npz', TABLE)
    refused(lambda: embeddings.reader(str(tmp_path / 'features.npz')), 'features.npz', 'cannot be read as .npy')


class _Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)


def test_nothing_is_unpickled(tmp_path):
    trace, file = tmp_path / 'trace', tmp_path / 'features.npy'
    np.save(file, np.array([[_Planted(trace)]]), allow_pickle=True)
    refused(lambda: embeddings.reader(str(file)), file, 'cannot be read')
    refused(lambda: embeddings.reader(str(tmp_path))(_named('features.jpg')), file, 'cannot be read')
    file.write_bytes(pickle.dumps(_Planted(trace)))
    refused(lambda: embeddings.reader(str(file)), file, 'cannot be read')
    assert not trace.exists()
    np.load(file, allow_pickle=True)  # the trap works
    assert trace.exists()


@pytest.mark.parametrize('count', [0, COUNT - 1, COUNT + 1])
def test_another_number_of_rows(tmp_path, count):
    rows = np.ones((count, WIDTH))
    for images in (IMAGES, FEW):  # those of a part count all, too
        refused(
            lambda images=images: _read(tmp_path / 'f.npy', rows, images), f'has {count} rows', f'{COUNT} are needed'
        )
    if count == COUNT - 1:
        refused(lambda: _read(tmp_path / 'f.npy', TABLE[[3, 5, 20]], FEW), 'has 3 rows', f'{COUNT} are needed')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite(tmp_path, value):
    table = TABLE.astype(np.float64)
    table[[7, 20], 1] = value
    refused(lambda: _read(tmp_path / 'f.npy', table), 'row 7 of', 'f.npy', 'NaN')
    refused(lambda: _read(tmp_path / 'f.npy', table, FEW), 'row 20 of')  # as the file counts them
    np.testing.assert_array_equal(_read(tmp_path / 'f.npy', table, IMAGES.take(np.array([3, 5]))), TABLE[[3, 5]])


def _with_ids(file, ids, table=TABLE):
    np.save(file, table)
    embeddings.origin(file).write_text(json.dumps({'ids': list(ids)}))


def test_ids_beside_a_file_are_those_of_the_images(tmp_path):
    file, names = tmp_path / 'features.npy', [f'cat/{i}.jpg' for i in range(COUNT)]
    images = IMAGES.replace(id=np.array(names))
    _with_ids(file, names)
    for some in (images, images.take(np.array([20, 3]))):
        np.testing.assert_array_equal(embeddings.reader(str(file))(some), TABLE[some.row])
    _with_ids(file, [*names[:7], 'dog/7.jpg', *names[8:]])  # moved
    read = embeddings.reader(str(file))
    refused(lambda: read(images), 'data.embeddings', file, 'row 7', 'dog/7.jpg', 'cat/7.jpg', 'anew')
    np.testing.assert_array_equal(read(images.take(np.array([6, 8]))), TABLE[[6, 8]])
    _with_ids(file, [*names[1:], 'cat/a.jpg'])  # one removed, one added: as many rows, but shifted
    refused(lambda: embeddings.reader(str(file))(images), 'row 0', 'cat/1.jpg', 'cat/0.jpg')


def test_ids_that_cannot_be_used(tmp_path):
    file = tmp_path / 'features.npy'
    for text in ('', '[]', '{}', '{"ids": 3}', 'null'):
        np.save(file, TABLE)
        embeddings.origin(file).write_text(text)
        refused(lambda: embeddings.reader(str(file)), 'data.embeddings', 'features.npy.json', 'anew')
    _with_ids(file, ['0', '1'])
    refused(lambda: embeddings.reader(str(file))(IMAGES), 'features.npy.json', '2 ids', f'{COUNT} rows')


def _named(*ids):
    count = len(ids)
    return Dataset(np.zeros((count, 2, 2, 1), np.uint8), np.arange(count) % 2, ('a', 'b'), id=np.array(ids))


def _vectors_at(folder, **vectors):
    for name, vector in vectors.items():
        (folder / 'a').mkdir(exist_ok=True)
        np.save(folder / 'a' / f'{name}.npy', vector)


def test_a_folder_of_vectors_that_cannot_be_used(tmp_path):
    images = _named('a/x.jpg', 'a/y.tar.png', 'a/z')
    read = embeddings.reader(str(tmp_path))
    refused(lambda: read(images), 'data.embeddings', tmp_path / 'a/x.npy', '3 of 3', 'missing')
    good = {'x': np.arange(4), 'y.tar': np.ones(4), 'z': np.zeros(4)}
    _vectors_at(tmp_path, x=good['x'], z=good['z'])
    refused(lambda: read(images), tmp_path / 'a/y.tar.npy', '1 of 3')
    for bad, words in (
        (np.ones(5), ('length 5', 'a/x.npy has 4')),
        (np.ones((1, 4)), ('(1, 4)', '[D]')),
        (np.ones(0), ('(0,)',)),
        (np.full(4, np.nan), ('NaN',)),
        (np.array(['a'] * 4), ('<U1',)),
    ):
        _vectors_at(tmp_path, **good | {'y.tar': bad})
        refused(lambda: read(images), tmp_path / 'a/y.tar.npy', *words)
    _vectors_at(tmp_path, **good)
    np.testing.assert_array_equal(read(images), np.stack(list(good.values())))
    refused(lambda: read(_named('a/x.jpg', 'a/x.png')), 'a/x.npy', 'a/x.jpg', 'a/x.png')  # which of them is it?


@pytest.mark.filterwarnings('ignore:clean probability')  # so short a run tells nothing
def test_a_run_refuses_them_before_it_trains_and_may_get_others_when_it_is_resumed(tmp_path):
    available = data.load('digits', split='train').available
    table = np.random.default_rng(0).normal(size=(available, 4))
    np.save(tmp_path / 'one.npy', table)
    np.save(tmp_path / 'two.npy', table[:, ::-1])
    np.save(tmp_path / 'wrong.npy', table[1:])
    small = {'data__limit': 60, 'classify__epochs': 1, 'classify__head_epochs': 0, 'classify__batch_size': 20}

    def config(name):
        return tiny.config(data__embeddings=str(tmp_path / name), phases=('classify',), **small)

    refused(lambda: pipeline.run(config('wrong.npy'), tmp_path / 'run', quiet=True), f'{available - 1} rows')
    assert not (tmp_path / 'run').exists()
    first = pipeline.run(config('one.npy'), tmp_path / 'run', quiet=True)
    before = (tmp_path / 'run' / 'metrics.jsonl').read_bytes()
    again = pipeline.run(config('two.npy'), tmp_path / 'run', quiet=True)
    assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == before  # nothing is trained again
    assert first['phases'] == again['phases']
