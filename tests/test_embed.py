"""python -m noisy_jax.embed: each training image gets its row, stops change nothing, what cannot be used is refused.

A stand-in for the network needs no PyTorch: its features are the mean colour and the size of an image. The last tests
take a small network of timm, where that is installed.
"""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import environment, refused, refused_by_command
from PIL import Image
from stand_in import MADE_OF, Network, vector

from noisy_jax import data, locks, settings
from noisy_jax.data import decoding, embeddings, splits
from noisy_jax.data.dataset import NO_LABEL
from noisy_jax.embed import __main__ as command
from noisy_jax.embed import prefetch, table
from noisy_jax.embed.backbone import Backbone


def save(file, number, mode='RGB'):
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (*rng.integers(4, 9, 2), 3), dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(file)


def folder(root):
    """Class folders of images of several sizes, some grey, some without a label."""
    for place, (name, count) in enumerate({'train/cat': 7, 'train/eel': 4, 'unlabelled': 3, 'train/dog': 5}.items()):
        for i in range(count):
            save(root / name / f'{i}.{"png" if i % 2 else "bmp"}', 100 * place + i, 'L' if i == 3 else 'RGB')
    return str(root)


def filelist(root):
    """A list in no order, with empty labels."""
    lines = ['path,label']
    for i in np.random.default_rng(0).permutation(19):
        save(root / f'd{i % 4}' / f'{i}.png', i)
        lines.append(f'd{i % 4}/{i}.png,{"" if i % 5 == 0 else i % 4}')
    (root / 'list.csv').write_text('\n'.join(lines))
    return str(root / 'list.csv')


def arrays(root):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (19, 6, 7, 3), dtype=np.uint8)
    np.savez(root / 'a.npz', images=images, labels=np.arange(19) % 3, ids=rng.permutation(19).astype(str))
    return str(root / 'a.npz')


def expected(path, ids):
    """The features by id, straight from the files."""
    if path.endswith('.npz'):
        with np.load(path) as archive:
            pairs = zip(archive['ids'], archive['images'], strict=True)
            pictures = {str(name): Image.fromarray(image) for name, image in pairs}
    else:
        root = path if os.path.isdir(path) else os.path.dirname(path)
        pictures = {name: Image.open(os.path.join(root, name)).convert('RGB') for name in ids}
    return np.stack([vector(pictures[name]) for name in ids])


@pytest.mark.parametrize('limit', [0, 9])
@pytest.mark.parametrize('make', [folder, filelist, arrays])
def test_a_run_gets_the_features_of_its_own_images(tmp_path, capsys, make, limit):
    (tmp_path / 'photos').mkdir()
    path, out = make(tmp_path / 'photos'), tmp_path / 'features.npy'
    command.embed(path, str(out), Network(), batch=4)
    assert np.load(out).dtype == np.float32
    assert '19 images' in capsys.readouterr().err
    config = settings.default()
    config.data.update(name=data.kind_of(path), path=path, image_size=4, limit=limit, embeddings=str(out))
    config.noise.kind = 'none'
    loaded = splits.load(config)
    np.testing.assert_array_equal(loaded.embeddings, expected(path, loaded.labelled.id))
    everything = data.load_unread(path)
    assert (limit == 0) == (len(loaded.labelled) == np.sum(everything.label != NO_LABEL))


def test_images_are_read_upright_and_on_white(tmp_path):
    """As the rest of the package sees them, not as Pillow opens them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, image in (('turned', Image.new('RGB', (4, 9))), ('clear', Image.new('RGBA', (5, 5), (0, 0, 0, 0)))):
        (tmp_path / 'photos' / name).mkdir(parents=True)
        image.save(tmp_path / 'photos' / name / 'a.png', exif=exif if name == 'turned' else None)
    command.embed(str(tmp_path / 'photos'), str(tmp_path / 'f.npy'), Network())
    np.testing.assert_array_equal(np.load(tmp_path / 'f.npy'), [[255, 255, 255, 5, 5], [0, 0, 0, 9, 4]])


class Killed(BaseException):
    pass


def kill():
    raise Killed


@pytest.mark.parametrize('after', [0, 1, 4])
@pytest.mark.parametrize('cut', [0, 30])
def test_a_stopped_command_resumes_with_the_same_bytes(tmp_path, capsys, after, cut):
    """`cut`: bytes of the next batch that a kill left."""
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    command.embed(path, str(tmp_path / 'whole.npy'), Network(), batch=4)
    with pytest.raises(Killed):
        command.embed(path, str(out), Network(after, kill), batch=4)
    assert not out.exists()
    with (tmp_path / 'features.npy.part').open('ab') as part:
        part.write(b'x' * cut)
    capsys.readouterr()
    network = Network()
    command.embed(path, str(out), network, batch=4)
    assert network.sizes == [4, 4, 4, 4, 3][after:]
    assert (f'resumed after {4 * after}' in capsys.readouterr().err) == bool(after)
    assert out.read_bytes() == (tmp_path / 'whole.npy').read_bytes()
    assert sorted(file.name for file in tmp_path.glob('features*')) == ['features.npy', 'features.npy.json']


def test_a_batch_of_which_the_disk_has_the_length_alone_is_made_anew(tmp_path):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    command.embed(path, str(tmp_path / 'whole.npy'), Network(), batch=4)
    with pytest.raises(Killed):
        command.embed(path, str(out), Network(3, kill), batch=4)
    with (tmp_path / 'features.npy.part').open('r+b') as part:
        part.seek(-2 * 5 * 4, os.SEEK_END)
        part.write(bytes(2 * 5 * 4))
    network = Network()
    command.embed(path, str(out), network, batch=4)
    assert network.sizes == [4, 4, 3]
    assert out.read_bytes() == (tmp_path / 'whole.npy').read_bytes()


def test_a_process_that_is_killed(tmp_path):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    code = (
        'import os, signal, sys\n'
        'from noisy_jax.embed.__main__ import embed\n'
        'from stand_in import Network\n'
        'embed(*sys.argv[1:], Network(2, lambda: os.kill(os.getpid(), signal.SIGKILL)), batch=4)'
    )
    done = subprocess.run([sys.executable, '-c', code, path, str(out)], env=environment(), timeout=60)
    assert done.returncode == -signal.SIGKILL
    network = Network()
    command.embed(path, str(out), network, batch=4)
    assert network.sizes == [4, 4, 3]
    ids = data.load_unread(path).id
    np.testing.assert_array_equal(np.load(out), expected(path, ids))


def test_a_stop_before_the_file_gets_its_name(tmp_path, monkeypatch):
    path, out, network = folder(tmp_path / 'photos'), tmp_path / 'features.npy', Network()
    with monkeypatch.context() as patch:
        patch.setattr(table.Table, 'finish', lambda _: kill())
        with pytest.raises(Killed):
            command.embed(path, str(out), network, batch=19)
    command.embed(path, str(out), network, batch=19)
    assert network.sizes == [19]
    np.testing.assert_array_equal(np.load(out), expected(path, data.load_unread(path).id))


def broken(path, *names):
    for name in names:
        file = pathlib.Path(path, name)
        file.write_bytes(file.read_bytes()[:60])


def test_broken_images_are_named_at_once_and_what_was_done_stays(tmp_path, monkeypatch):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    ids = data.load_unread(path).id.tolist()
    bad = [ids[5], ids[6], ids[17]]
    broken(path, *bad)
    network = Network()
    refused(lambda: command.embed(path, str(out), network, batch=4), '3 images', *bad)
    assert network.sizes == [4]
    monkeypatch.setattr(prefetch.encoded, 'NAMED', 2)
    refused(lambda: command.embed(path, str(out), network, batch=4), bad[0], bad[1], 'and 1 more')
    for name in bad[1:]:
        pathlib.Path(path, name).unlink()
    refused(lambda: command.embed(path, str(out), network, batch=4), bad[0], 'not a whole image')
    pathlib.Path(path, bad[0]).unlink()
    command.embed(path, str(out), network, batch=4)
    assert network.sizes == [4] * 4  # the first batch once
    kept = data.load_unread(path).id
    assert len(kept) == len(ids) - 3
    np.testing.assert_array_equal(np.load(out), expected(path, kept))
    assert embeddings.reader(str(out))(data.load_unread(path)).shape == (16, 5)


def test_rows_of_images_that_changed_their_place_are_made_anew(tmp_path):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    with pytest.raises(Killed):
        command.embed(path, str(out), Network(4, kill), batch=4)
    save(tmp_path / 'photos/train/cat/50.png', 999)  # row 5 or so: rows after it move
    command.embed(path, str(out), Network(), batch=4)
    np.testing.assert_array_equal(np.load(out), expected(path, data.load_unread(path).id))


def test_rows_of_images_that_were_replaced_are_made_anew(tmp_path):
    """By a better scan of the same name."""
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    with pytest.raises(Killed):
        command.embed(path, str(out), Network(4, kill), batch=4)
    ids = data.load_unread(path).id
    Image.fromarray(np.full((20, 20, 3), 70, np.uint8)).save(pathlib.Path(path, ids[5]))
    network = Network()
    command.embed(path, str(out), network, batch=4)
    assert sum(network.sizes) == len(ids) - 4, 'the first batch is kept'
    np.testing.assert_array_equal(np.load(out), expected(path, ids))


def test_a_stopped_command_of_other_features_is_refused(tmp_path):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    with pytest.raises(Killed):
        command.embed(path, str(out), Network(1, kill), batch=4)
    before = (tmp_path / 'features.npy.part').read_bytes()
    refused(lambda: command.embed(path, str(out), Network(weights='new')), '--out', "'none'", "'new'", '.part')
    refused(lambda: command.embed(path, str(out), Network(size=(1, 3))), 'size', '[1, 2]', '[1, 3]')
    assert (tmp_path / 'features.npy.part').read_bytes() == before
    (tmp_path / 'features.npy.json').unlink()
    refused(lambda: command.embed(path, str(out), Network()), 'features.npy.part', 'without features.npy.json')


@pytest.mark.parametrize('part', [b'notes of a user', b'notes of a user, longer than the header of a file' * 9, None])
def test_a_part_that_is_another_file_is_refused(tmp_path, part):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    with pytest.raises(Killed):
        command.embed(path, str(out), Network(2, kill), batch=4)
    unfinished = tmp_path / 'features.npy.part'
    mine = tmp_path / 'mine.dat'
    mine.write_bytes(part or unfinished.read_bytes())
    unfinished.unlink()
    if part:
        mine.rename(unfinished)
    else:
        unfinished.symlink_to(mine)
    content = unfinished.read_bytes()
    refused(lambda: command.embed(path, str(out), Network(), batch=4), unfinished, 'no unfinished file of features')
    assert unfinished.read_bytes() == content


def test_two_at_once(tmp_path):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    with locks.locked(tmp_path / 'features.npy.lock', out, '--out'):
        refused(lambda: command.embed(path, str(out), Network()), '--out', out, 'is in use')
        assert not list(tmp_path.glob('features.npy.[pj]*'))
        command.embed(path, str(tmp_path / 'other.npy'), Network())
    assert not (tmp_path / 'features.npy.lock').exists()


def test_a_folder_that_is_moved_while_it_is_written(tmp_path):
    """Another, which has its name now, gets no rows of these images."""
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features/all.npy'
    out.parent.mkdir()

    def move():
        out.parent.rename(tmp_path / 'moved')
        out.parent.mkdir()

    refused(lambda: command.embed(path, str(out), Network(2, move), batch=4), '--out', out, 'was moved or removed')
    assert not list(out.parent.iterdir())


def test_files_of_others_stay(tmp_path):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    for text in ('{"mine": 1}', 'no JSON', '[1]'):
        (tmp_path / 'features.npy.json').write_text(text)
        refused(lambda: command.embed(path, str(out), Network()), 'features.npy.json', 'choose another name')
        assert (tmp_path / 'features.npy.json').read_text() == text
    (tmp_path / 'features.npy.json').write_text('{"ids": ["of/another.png"], "features": 4}')
    refused(lambda: command.embed(path, str(out), Network()), 'features.npy.json is there already', 'other features')
    assert 'of/another.png' in (tmp_path / 'features.npy.json').read_text()
    (tmp_path / 'features.npy.json').unlink()
    out.write_text('kept')
    refused(lambda: command.embed(path, str(out), Network()), '--out', out, 'already exists')
    assert out.read_text() == 'kept'


def test_a_snapshot_by_hard_links_is_not_written_through(tmp_path, monkeypatch):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    with monkeypatch.context() as patch:
        patch.setattr(table.Table, 'finish', lambda _: None)
        command.embed(path, str(out), Network())
    (tmp_path / 'snapshot').mkdir()
    for name in ('features.npy.part', 'features.npy.json'):
        os.link(tmp_path / name, tmp_path / 'snapshot' / name)
    content = (tmp_path / 'features.npy.part').read_bytes()
    os.truncate(tmp_path / 'features.npy.part', len(content) - 9)  # of both, as if stopped
    cut = (tmp_path / 'features.npy.part').read_bytes()
    command.embed(path, str(tmp_path / 'snapshot/features.npy'), Network())
    assert (tmp_path / 'features.npy.part').read_bytes() == cut
    assert (tmp_path / 'snapshot/features.npy').read_bytes() == content


def test_a_kill_between_the_two_files(tmp_path):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'
    command.embed(path, str(out), Network())
    out.unlink()
    command.embed(path, str(out), Network())
    assert len(np.load(out)) == 19


def test_a_full_disk(tmp_path, monkeypatch):
    path, out = folder(tmp_path / 'photos'), tmp_path / 'features.npy'

    def full(_):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(table.os, 'fsync', full)
        refused(lambda: command.embed(path, str(out), Network()), '--out', out, 'No space left')
    command.embed(path, str(out), Network())
    assert len(np.load(out)) == 19


def test_the_header_has_one_length_for_any_number_of_rows():
    """A resumed file with fewer or more images gets its new header in place."""
    for width in (1, 384, 4096):
        assert len({len(table._header(rows, width)) for rows in (1, 99, 1000, 10**6, 10**12)}) == 1
    content = table._header(2, 3) + np.arange(6, dtype='<f4').tobytes()
    np.testing.assert_array_equal(np.load(io.BytesIO(content)), [[0, 1, 2], [3, 4, 5]])


def test_features_that_are_not_finite(tmp_path):
    path = folder(tmp_path / 'photos')

    def load():
        return Backbone(MADE_OF, 1, 'paper', lambda image: np.float32([np.nan]), np.stack)

    refused(lambda: command.embed(path, str(tmp_path / 'f.npy'), load), '--model', 'train/cat/0.bmp', 'not finite')


def test_mistakes(tmp_path, capsys, monkeypatch):
    path, out = folder(tmp_path / 'photos'), str(tmp_path / 'features.npy')
    monkeypatch.setitem(sys.modules, 'timm', None)  # as where it is not installed

    def main(images=path, out=out, *more):
        return command.main([f'--images={images}', '--model=resnet50', f'--out={out}', *more])

    refused_by_command(capsys, main(), 'timm', "pip install 'noisy_jax[embed]'")
    refused_by_command(capsys, main(path, out, '--weights=none.pth'), '--weights', 'none.pth')
    refused_by_command(capsys, main(path, out, '--batch=0'), '--batch', '0')
    refused_by_command(capsys, main(tmp_path / 'nowhere'), '--images', 'nowhere')
    refused_by_command(capsys, main(path, tmp_path / 'features'), '--out', '.npy')
    refused_by_command(capsys, main(path, tmp_path / 'no' / 'f.npy'), '--out', 'no folder')
    (tmp_path / 'empty').mkdir()
    refused_by_command(capsys, main(tmp_path / 'empty'), 'empty', 'class folders')
    np.savez(tmp_path / 'a.npz', images=np.zeros((2, 4, 4, 2), np.uint8), labels=np.arange(2))
    refused_by_command(capsys, main(tmp_path / 'a.npz'), 'a.npz', '2 channels')
    assert not list(tmp_path.glob('features*'))


def test_ctrl_c_says_how_to_resume(tmp_path, capsys, monkeypatch):
    def stop():
        raise KeyboardInterrupt

    path = folder(tmp_path / 'photos')
    monkeypatch.setattr(command.backbone, 'load', lambda *_: Network(1, stop)())
    assert command.main([f'--images={path}', '--model=x', f'--out={tmp_path / "f.npy"}', '--batch=4']) == 130
    assert 'rerun the same command to resume' in capsys.readouterr().err
    assert (tmp_path / 'f.npy.part').exists()


TIMM_MODEL = 'test_resnet'  # 0.5 million weights


@pytest.fixture
def random_weights(tmp_path):
    """A network of timm, and the file of its weights."""
    timm, torch = pytest.importorskip('timm'), pytest.importorskip('torch')
    torch.manual_seed(0)
    model = timm.create_model(TIMM_MODEL).eval()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    return model, tmp_path / 'weights.pth'


def test_features_of_timm(tmp_path, random_weights):
    import safetensors.torch
    import timm
    import torch

    model, _ = random_weights
    path = folder(tmp_path / 'photos')
    safetensors.torch.save_file(model.state_dict(), tmp_path / 'weights.safetensors')
    headless = {name: value for name, value in model.state_dict().items() if not name.startswith('fc.')}
    assert len(headless) == len(model.state_dict()) - 2
    others = {'fc.weight': torch.zeros(3, model.num_features), 'fc.bias': torch.zeros(3)}  # of a fine-tuned one
    torch.save(headless, tmp_path / 'headless.pth')
    torch.save({'state_dict': headless | others}, tmp_path / 'tuned.pth')
    found = []
    for name in ('weights.pth', 'weights.safetensors', 'headless.pth', 'tuned.pth'):
        out, file = tmp_path / f'{name}.npy', tmp_path / name
        arguments = [f'--images={path}', f'--model={TIMM_MODEL}', f'--weights={file}', f'--out={out}', '--batch=7']
        assert command.main(arguments) == 0
        found.append(np.load(out))
        np.testing.assert_array_equal(found[-1], found[0])
    made_of = json.loads((tmp_path / 'tuned.pth.npy.json').read_text())
    config = timm.data.resolve_model_data_config(model)
    assert made_of['preprocessing'] == json.loads(json.dumps(config))
    prepare = timm.data.create_transform(**config, is_training=False)
    files = [pathlib.Path(path, name) for name in made_of['ids']]
    images = [Image.fromarray(decoding.decode(file).squeeze()).convert('RGB') for file in files]
    with torch.inference_mode():
        features = model.forward_head(model.forward_features(torch.stack(list(map(prepare, images)))), pre_logits=True)
    # Batches of another size may add up in another order.
    np.testing.assert_allclose(found[0], features.numpy(), rtol=0, atol=1e-5 * float(features.abs().max()))
    assert found[0].std(0).max() > 0


class Planted:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return pathlib.Path.touch, (self.file,)


def test_weights_and_names_that_timm_cannot_use(tmp_path, random_weights):
    import torch

    model, weights = random_weights

    def load(name=TIMM_MODEL, **changes):
        state = {key: value for key, value in (model.state_dict() | changes).items() if value is not None}
        torch.save(state, weights)
        return command.backbone.load(name, str(weights))

    assert load().width == model.num_features
    refused(lambda: load('resnet5'), '--model', 'resnet5', 'resnet50')
    refused(lambda: load('resnet50.nothing'), '--model', 'resnet50.nothing')
    refused(lambda: load('hf-hub:someone/resnet50'), '--model', 'hf-hub:someone/resnet50')
    refused(lambda: load('resnet18'), '--weights', weights, 'does not fit resnet18')
    refused(lambda: load(**{'bn1.weight': None}), 'does not fit', 'bn1.weight')
    refused(lambda: load(other=torch.zeros(1)), 'does not fit', 'other')
    refused(lambda: load(other=Planted(tmp_path / 'trace')), '--weights', 'cannot be read', 'run code')
    assert not (tmp_path / 'trace').exists()
    torch.load(weights, weights_only=False)  # the trap works
    assert (tmp_path / 'trace').exists()
    weights.with_suffix('.safetensors').write_bytes(b'junk')
    refused(lambda: command.backbone.load(TIMM_MODEL, str(weights.with_suffix('.safetensors'))), 'cannot be read')


def test_a_hub_out_of_reach(monkeypatch):
    timm = pytest.importorskip('timm')

    def fail(*_, **__):
        raise ConnectionError('no route\nto host')

    monkeypatch.setattr(timm, 'create_model', fail)
    refused(lambda: command.backbone.load('resnet18'), '--model', 'resnet18', 'no route to host', '--weights')
