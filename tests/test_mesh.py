"""One device, eight devices: the same loss, gradients, statistics; a whole run on eight."""

import json
import pathlib
import subprocess
import sys
import zlib
from unittest import mock

import numpy as np
import pytest
from conftest import EPSILON, environment, refused

from noisy_jax.errors import InputError
from noisy_jax.training import mesh

HERE = pathlib.Path(__file__).resolve().parent

_STEPS = """
import functools, json
import jax, numpy as np, optax
from noisy_jax import losses, models
from noisy_jax.data import augment, digits
from noisy_jax.methods.classification import classification_step
from noisy_jax.methods.simclr import contrastive_step
from noisy_jax.training import mesh as mesh_lib, optim, state, steps

data = digits.load('train', limit=160).replace(weight=np.linspace(0.1, 1, 160))
network = models.create({'encoder': 'cnn_small'}, num_classes=10)
variables = mesh_lib.to_host(jax.jit(network.init)(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32)))
normalise = steps.normaliser((0.3,), (0.4,))
optimizer = optax.sgd(1.0)  # the change of the parameters is the gradient
views = augment.policy('handwriting')

def learner(trained):
    return steps.Learner(network, optimizer, views, normalise, trained)

def contrastive(loss):
    return contrastive_step(learner(optim.REPRESENTATION), loss)

elr = losses.criterion('elr', beta=0.7, lam=3.0)
cases = {
    'nt_xent': (contrastive(lambda a, b, batch: losses.nt_xent(a, b)), optim.REPRESENTATION, {}),
    'sup_con': (contrastive(lambda a, b, batch: losses.sup_con(a, b, batch['label'], batch['weight'])),
                optim.REPRESENTATION, {}),
    'elr': (classification_step(learner(optim.CLASSIFIER), elr),
            optim.CLASSIFIER, elr.init(len(data), 10)),
}
batch = next(data.batches(0, 0, batch_size=128))
worst = {}
for name, (step, trained, extra) in cases.items():
    results = []
    for devices in (1, 8):
        mesh = mesh_lib.make_mesh(devices)
        start = mesh_lib.replicate(state.create(variables, optimizer, trained, extra), mesh)
        new, metrics = jax.jit(step)(start, mesh_lib.shard_batch(batch, mesh), jax.random.key(1))
        assert len(jax.tree.leaves(mesh_lib.shard_batch(batch, mesh))[0].sharding.device_set) == devices
        gradient = jax.tree.map(lambda a, b: a - b, mesh_lib.to_host(start.params), mesh_lib.to_host(new.params))
        results.append(mesh_lib.to_host((metrics, gradient, new.batch_stats, new.extra)))
    one, eight = results
    norm = float(optax.global_norm(one[1]))
    assert norm > 0.01, norm
    worst[name] = {
        part: max(float(np.abs(a - b).max()) for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y)))
        / max(float(np.abs(a).max()) for a in jax.tree.leaves(x))
        for part, x, y in zip(('metrics', 'gradient', 'statistics', 'extra'), one, eight) if jax.tree.leaves(x)
    }
print(json.dumps(worst))
"""


def test_eight_devices_learn_what_one_learns():
    result = subprocess.run([sys.executable, '-c', _STEPS], env=environment(8), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    worst = json.loads(result.stdout.splitlines()[-1])
    assert worst.keys() == {'nt_xent', 'sup_con', 'elr'}
    for name, parts in worst.items():
        # Of the largest value of each part: sums over 256 rows, forwards and backwards through a few layers. A gradient
        # that is summed instead of averaged, or statistics of an eighth of the batch, differ by more than 0.01.
        assert all(difference < 256 * EPSILON for difference in parts.values()), (name, parts)


_PROGRAMS = """
import json
from experiments.speed import scaling
found = {}
for name in ('nt_xent', 'nt_xent:64', 'sup_con', 'elr', 'elr sharded'):
    program, sizes = scaling.compiled_step(name.split()[0], 'cnn_small', 16, name.endswith('sharded'))
    found[name] = scaling.communication(program), sizes
print(json.dumps(found))
"""


@pytest.fixture(scope='module')
def programs():
    """What each step sends, and its sizes: compiled in one process for all tests."""
    command = [sys.executable, '-c', _PROGRAMS]
    result = subprocess.run(command, env=environment(8), cwd=HERE.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize('name', ['nt_xent', 'nt_xent:64', 'sup_con', 'elr'])
def test_a_step_sends_gradients_once_and_features_once(programs, name):
    collectives, sizes = programs[name]
    batch = 16 * 8
    gradient, feature = sizes['gradient_bytes'], sizes['feature_bytes']
    left = sum(size for _, _, size in collectives) - gradient
    # One all-reduce holds nearly all gradients; those of BatchNorm's vectors are its backward sums.
    largest = max(collectives, key=lambda entry: entry[2])
    assert largest[0] == 'all-reduce'
    assert 0.99 * gradient < largest[2] <= gradient + 16
    if feature:
        # Every device gets all embeddings; without blocks it also sends their gradients back, with labels the sums of
        # each label's.
        forward = [size for kind, _, size in collectives if kind == 'all-gather' and size >= feature / 2]
        assert forward == [feature]
        back = {'nt_xent': feature, 'nt_xent:64': 0, 'sup_con': 1.5 * feature}[name]
        left -= feature + back
    # Sums of BatchNorm, forwards and backwards, and some numbers per image.
    numbers = 4 * batch * (10 + 1 if name == 'elr' else 2 + 2)
    scalars = 4 * 8  # the loss, the sum of the weights, metrics
    assert 0 <= left <= sizes['statistics_bytes'] + numbers + scalars, collectives
    assert {kind for kind, *_ in collectives} <= {'all-reduce', 'all-gather'}


def test_spread_state_takes_less_memory_and_sends_parameters_once_more(programs):
    _, copied = programs['elr']
    collectives, spread = programs['elr sharded']
    # The momenta and ELR's memory are a little over half of the state.
    assert spread['state_bytes_per_device'] < 0.62 * copied['state_bytes_per_device']
    assert sum(size for _, _, size in collectives) < 2.1 * copied['gradient_bytes']


@pytest.mark.slow  # tests/test_hosts.py runs four devices
def test_a_whole_run_on_eight_devices(tmp_path):
    code = f"""
from tiny import config
from noisy_jax import pipeline
assert pipeline.run(config(), {str(tmp_path)!r})['device'].startswith('8 x')
"""
    result = subprocess.run([sys.executable, '-c', code], env=environment(8), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / 'summary.json').read_text())['complete']


@pytest.mark.parametrize('main', [True, False])
def test_an_error_of_one_process_ends_all(monkeypatch, main):
    monkeypatch.setattr(mesh, 'is_main', lambda: main)
    monkeypatch.setattr(mesh, 'in_any_process', lambda flag: flag or not main)  # as the first process says

    def work():
        done.append(1)
        raise InputError('the folder is in use')

    done = []
    refused(lambda: mesh.in_main(work), 'in use' if main else 'another process')
    assert len(done) == main


def test_what_does_not_fit_the_devices_is_said(tmp_path):
    code = f"""
from conftest import refused
from tiny import config
from noisy_jax import pipeline
def refuse(message, **change):
    refused(lambda: pipeline.run(config(**change), {str(tmp_path)!r}), message)
refuse('devices: 9 asked for', devices=9)
refuse('base.batch_size: 60 is not a multiple of the 8', base__batch_size=60)
"""
    result = subprocess.run([sys.executable, '-c', code], env=environment(8), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_processes_that_differ(monkeypatch):
    mesh.check_same({'seed': 1}, 'config.')  # one process is as it is
    monkeypatch.setattr(mesh.jax, 'process_count', lambda: 2)
    other = [zlib.crc32(text) for text in (b'seed=1', b"name='b'")]
    monkeypatch.setattr(mesh.multihost_utils, 'process_allgather', lambda ours: np.array([ours, other], np.uint32))
    mesh.check_same({'seed': 1, 'name': 'b'}, 'config.')
    refused(lambda: mesh.check_same({'seed': 1, 'name': 'a'}, 'config.'), "config.name: 'a' here", 'another process')


def test_processes_of_unlike_numbers_of_devices(monkeypatch):
    monkeypatch.setattr(mesh.jax, 'process_count', lambda: 2)
    monkeypatch.setattr(mesh.jax, 'devices', lambda: [mock.Mock(process_index=index) for index in (0, 1, 1)])
    refused(mesh.make_mesh, '[1, 2] devices', 'the same number')


@pytest.mark.parametrize(('other', 'same'), [('process 7 on a', True), ('', False)])
def test_processes_that_see_other_folders(monkeypatch, other, same):
    assert mesh.is_same('process 7 on a')
    monkeypatch.setattr(mesh.jax, 'process_count', lambda: 2)
    number = zlib.crc32(other.encode())
    monkeypatch.setattr(mesh.multihost_utils, 'process_allgather', lambda ours: np.array([ours, number]))
    assert mesh.is_same('process 7 on a') == same


@pytest.mark.parametrize(
    ('error', 'why'),
    [
        (RuntimeError("Unable to initialize backend 'x': none\nmore"), "backend 'x': none)"),
        (AssertionError(), 'none here'),
    ],
)
def test_devices_that_are_not_there(monkeypatch, error, why):
    def devices():
        raise error

    monkeypatch.setattr(mesh.jax, 'devices', devices)
    refused(mesh.make_mesh, 'JAX cannot use these devices', why)
