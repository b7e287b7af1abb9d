"""Two processes of two devices, as two hosts would be: a whole run learns what one process learns."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
from unittest import mock

import jax
import numpy as np
import pytest
from conftest import EPSILON, environment, refused
from PIL import Image

from noisy_jax.data import digits
from noisy_jax.labels import classical, contest, cross_fit, judges
from noisy_jax.labels.features import Features
from noisy_jax.training import hosts, mesh
from noisy_jax.training.signals import Stopped
from noisy_jax.workdir import WorkDir

HERE = pathlib.Path(__file__).resolve().parent

_RUN = """
import sys
from tiny import config
from noisy_jax import pipeline
from noisy_jax.training import hosts, mesh

workdir, changes, *place = sys.argv[1:]
if place:
    hosts.join(place[0], 2, int(place[1]))
mesh._WORTH_SPREADING = 1  # small as they are, states are spread where the config says so
pipeline.run(config(**eval(changes)), workdir)
"""


def _free_port():
    with socket.socket() as probe:
        probe.bind(('localhost', 0))
        return probe.getsockname()[1]


def _start(workdirs, devices, changes, code=_RUN):
    """One process of `devices` devices for each work directory; several know each other."""
    coordinator = f'localhost:{_free_port()}'
    places = [[coordinator, str(i)] for i in range(len(workdirs))] if len(workdirs) > 1 else [[]]
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', code, str(workdir), repr(changes), *place],
            env=environment(devices) | {'http_proxy': 'http://localhost:9'},  # as clusters have one
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for workdir, place in zip(workdirs, places, strict=True)
    ]
    outputs = [process.communicate(timeout=300) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def _raise(error):
    raise error


def _metrics(workdir):
    return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize('resident_bytes', [2**31, 0], ids=['resident', 'streamed'])
def test_two_processes_learn_what_one_learns(tmp_path, resident_bytes):
    changes = {'resident_bytes': resident_bytes, 'phases': ('base',), 'report__page': not resident_bytes}
    if resident_bytes:
        changes |= {'phases': ('pretrain', 'classify', 'select'), 'shard_state': True}
        changes |= {'classify__average': 0.9, 'classify__head_epochs': 0}
    one, two = tmp_path / 'one', tmp_path / 'two'
    assert _start([one], 1, changes)[0][0] == 0
    results = _start([two, two], 2, changes)
    assert [code for code, *_ in results] == [0, 0], results
    # One process writes and speaks.
    assert 'test acc.' in results[0][1]
    assert 'test acc.' not in results[1][1]
    assert 'epoch' not in results[1][2]
    summary = json.loads((two / 'summary.json').read_text())
    assert summary['complete']
    assert summary['device'].startswith('4 x')
    assert summary['processes'] == 2
    for ours, theirs in zip(_metrics(one), _metrics(two), strict=True):
        assert ours.keys() == theirs.keys()
        # AdamW divides a gradient by its own size: one that is little more than rounding moves its weight as far as any
        # other, by 0.002 a step, and what it moved the next phase starts from; a pseudo-label may even be another. A
        # bias before BatchNorm has no gradient but rounding: the running mean follows it late, and a frozen encoder
        # sees the difference. Other images or another augmentation show in the first epoch, by more than 0.01.
        tolerance = {'base': 1e-3, 'pretrain': 1e-3, 'classify': 5e-3, 'select': 2e-2}[ours['phase']]
        if ours['phase'] in ('base', 'pretrain') and ours['epoch'] == 1:
            tolerance = 256 * EPSILON * ours['loss']
        assert ours['loss'] == pytest.approx(theirs['loss'], abs=tolerance)
    np.testing.assert_allclose(np.load(one / 'pred_probs.npy'), np.load(two / 'pred_probs.npy'), atol=5e-3)
    assert (two / 'report.html').exists() == (not resident_bytes)


def test_two_processes_have_one_first_list_and_one_verdict(tmp_path):
    """The process that writes judges: with classical features as one process alone."""
    changes = {'phases': ('pretrain',), 'pretrain__epochs': 1, 'report__cross_fit': 2, 'data__limit': 128}
    changes['report__page'] = True
    results = _start([tmp_path / 'work'] * 2, 1, changes)
    assert [code for code, *_ in results] == [0, 0], results
    said = [errors.count('first list') for *_, errors in results]
    assert said == [1, 0]
    folder, images = WorkDir.of_run(tmp_path / 'work'), digits.load('train', limit=128).image
    found = folder.load_json('summary')['label_issues']
    features = {'classical features': Features(classical.describe(images), 0)}
    given, (equal, copies) = folder.load_array('labels/given'), folder.load_array('labels/copies')
    np.testing.assert_array_equal(equal, np.arange(len(given)))
    compared = judges.all_judges(features, 10, folds=2, original=cross_fit.originals(copies, given, 2))
    alone = contest.compete(compared, given, 10, seed=0)
    assert len(found['judges']) == 7
    for name, auroc in alone.aurocs.items():
        assert found['judges'][name] == pytest.approx(
            auroc, abs=1e-3
        )  # sums in another order may swap a pair of 10,000
    assert len(folder.load_labels()['index']) == len(images)


def test_a_folder_that_is_not_shared_is_said(tmp_path):
    for code, _, said in _start([tmp_path / 'a', tmp_path / 'b'], 1, {'phases': ('base',)}):
        assert code != 0
        assert 'is not the same folder for all processes' in said


@pytest.mark.slow
def test_a_process_with_another_config_ends_all_before_training(tmp_path):
    wide = 'import jax; jax.config.update("jax_enable_x64", place[1] == "1")'
    for code, name, values in (
        (_RUN.replace('**eval(changes)', '**eval(changes), seed=int(place[1])'), 'config.seed', (0, 1)),
        (_RUN.replace('pipeline.run(', f'{wide}; pipeline.run('), 'jax_enable_x64', (False, True)),
    ):
        results = _start([tmp_path / 'work'] * 2, 1, {'phases': ('base',)}, code)
        assert all(status for status, *_ in results)
        for value, (_, _, said) in zip(values, results, strict=True):
            assert f'{name}: {value} here, something else in another process' in said
    assert not (tmp_path / 'work' / 'metrics.jsonl').exists()


def test_what_is_waited_for_is_said(monkeypatch, capsys):
    """As in a job of Slurm of several tasks, of which one alone was started."""
    said = threading.Event()
    monkeypatch.setattr(hosts, '_SILENCE', 0)
    monkeypatch.setattr(hosts, '_say_what_is_waited_for', lambda say=hosts._say_what_is_waited_for: (say(), said.set()))
    monkeypatch.setattr('jax.distributed.initialize', lambda *_, **__: said.wait(60) and _raise(ValueError('alone')))
    hosts.join()
    assert capsys.readouterr().err.startswith('waiting for the other processes that the cluster announces')
    why = hosts._refusal('DEADLINE_EXCEEDED: late', None, None, None)
    assert 'that the cluster announces' in why
    assert 'None' not in why


@pytest.mark.parametrize('name', ['SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE'])
def test_one_process_of_a_cluster_is_alone(monkeypatch, name):
    monkeypatch.setenv(name, '1')
    monkeypatch.setattr('jax.distributed.initialize', lambda *_, **__: pytest.fail('another run may have its port'))
    hosts.join()
    joined = []
    monkeypatch.setattr('jax.distributed.initialize', lambda *_, **__: joined.append(True))
    for other in {'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE'} - {name}:
        monkeypatch.setenv(other, '2')  # mpirun in a job of one task
    hosts.join()
    assert joined


def test_a_host_of_which_no_address_is_known(monkeypatch):
    monkeypatch.setattr(socket, 'gethostname', lambda: 'node 17')
    unknown = mock.Mock(side_effect=socket.gaierror(-2, 'Name or service not known'))
    monkeypatch.setattr(socket, 'getaddrinfo', unknown)
    gloo = RuntimeError(
        "Unable to initialize backend 'cpu': [enforce fail at external/gloo/gloo/transport/tcp/device.cc"
    )
    monkeypatch.setattr(jax, 'devices', mock.Mock(side_effect=gloo))
    refused(mesh.devices, "no address is known for 'node 17'", 'Name or service not known', '/etc/hosts')
    stale = (socket.AF_INET, socket.SOCK_STREAM, 6, '', ('192.0.2.1', 0))  # of no host (RFC 5737)
    monkeypatch.setattr(socket, 'getaddrinfo', mock.Mock(return_value=[stale]))
    refused(mesh.devices, "192.0.2.1 is no address of this host, but that of its name 'node 17'", '/etc/hosts')


@pytest.mark.parametrize(
    ('address', 'have_met', 'told'),
    [
        ('127.0.1.1', False, "the name of this host, 'node17', has the address 127.0.1.1"),  # Debian's /etc/hosts
        ('::1', False, "the name of this host, 'node17', has the address ::1"),
        ('192.0.2.1', False, 'all ports, not only to that of the coordinator'),
        ('127.0.1.1', True, 'to resume'),
    ],
)
def test_processes_that_have_no_way_to_each_other(monkeypatch, address, have_met, told):
    ends = _alone_of_two(monkeypatch)
    monkeypatch.setattr(socket, 'gethostname', lambda: 'node17')
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *_: [(0, 0, 0, '', (address, 0))])
    if have_met:
        with hosts.meeting():
            pass
    with pytest.raises(SystemExit), hosts.together():
        raise RuntimeError('Gloo context initialization failed: timed out connecting')
    status, message = ends.call_args.args
    assert status == 2
    assert told in message
    assert 'rerun the same command on every host' in message


def test_a_first_exchange_that_does_not_end_is_ended(monkeypatch):
    """As behind a firewall, where Gloo would wait for minutes."""
    ends, ended = _alone_of_two(monkeypatch), threading.Event()
    ends.side_effect = lambda *_: ended.set()
    monkeypatch.setattr(hosts, '_PATIENCE', 0.01)
    with hosts.meeting():
        assert ended.wait(60)
    assert ends.call_args.args[0] == 2
    assert 'no connection within 0.01 seconds' in ends.call_args.args[1]


def _alone_of_two(monkeypatch):
    """Makes this process one of two, which have not met; returns a mock of what ends it."""
    monkeypatch.setattr(hosts, '_have_met', threading.Event())
    monkeypatch.setattr(jax, 'process_count', lambda: 2)
    monkeypatch.setattr(jax.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(hosts, '_end', ends := mock.Mock(side_effect=SystemExit))
    return ends


@pytest.mark.parametrize('is_same', [True, False])
def test_other_code_in_another_process_is_told(monkeypatch, is_same):
    sent = []
    monkeypatch.setattr(mesh, 'is_same', lambda text: sent.append(text) or is_same)
    _alone_of_two(monkeypatch)
    if is_same:
        mesh.check_code()
    else:
        refused(mesh.check_code, 'another process has other code of noisy_jax', 'every host')
    assert 'training/mesh.py ' in sent[0]
    assert hosts._have_met.is_set()


def test_steps_of_one_job_have_ports_of_their_own(monkeypatch):
    """JAX has that of the job; a process of one step would join another."""
    for name, value in {'JOB_ID': '1234', 'PROCID': '0', 'NTASKS': '2'}.items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    ports = []
    start = 'jax.distributed.initialize'
    monkeypatch.setattr(start, lambda *_, **__: ports.append(os.environ['JAX_COORDINATOR_PORT']))
    for step in ('0', '1', '0'):
        monkeypatch.setenv('SLURM_STEP_ID', step)
        monkeypatch.delenv('JAX_COORDINATOR_PORT', raising=False)
        hosts.join()
    assert ports[0] == ports[2] != ports[1]
    monkeypatch.delenv('JAX_COORDINATOR_PORT')
    with socket.create_server(('', int(ports[0]))):
        refused(hosts.join, 'JAX_COORDINATOR_PORT', ports[0], 'cannot be used')


def test_a_stop_is_no_fault_of_several_processes(monkeypatch):
    monkeypatch.setattr('jax.distributed.is_initialized', lambda: True)
    monkeypatch.setattr(hosts, '_end', lambda *_: pytest.fail('ended'))
    with pytest.raises(Stopped), hosts.together():
        raise Stopped('stopped in base')


@pytest.mark.slow
def test_one_process_stops_all(tmp_path):
    code = _RUN.replace(
        'pipeline.run',
        """
import os, signal
from noisy_jax.training import loop
from noisy_jax.training.signals import Stopped
loop._AGREE_EVERY = 2
asked = loop._stop_asked
def ask(session, step):
    if step == 1 and place[1] == '1':
        os.kill(os.getpid(), signal.SIGTERM)
    return asked(session, step)
loop._stop_asked = ask
try:
    pipeline.run""",
    ).replace('workdir)\n', 'workdir)\nexcept Stopped:\n    sys.exit(130)\n')
    results = _start([tmp_path] * 2, 1, {'phases': ('base',)}, code)
    assert [status for status, *_ in results] == [130, 130], results
    assert not (tmp_path / 'summary.json').exists()
    resumed = _start([tmp_path] * 2, 1, {'phases': ('base',)})
    assert [status for status, *_ in resumed] == [0, 0], resumed


def _command(workdir, coordinator, process_id):
    changes = {'data.limit': 200, 'data.test_limit': 50, 'base.batch_size': 64, 'base.epochs': 100_000}
    command = [sys.executable, '-m', 'noisy_jax.main', '--config=digits:phases=base', f'--workdir={workdir}']
    command += [f'--config.{key}={value}' for key, value in changes.items()]
    command += [f'--coordinator={coordinator}', '--num_processes=2', f'--process_id={process_id}']
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _one_line(process, word):
    """It ends within a minute by an error of one line, after what it said of its work so far."""
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2, said
    errors = [line for line in said.splitlines() if not line.startswith(('test set: ', 'base '))]
    assert len(errors) == 1, said
    assert errors[0].startswith('error: ')
    assert word in errors[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('lost', 'number'),
    [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGSTOP)],
    ids=['first', 'other', 'silent'],
)
def test_a_lost_process_ends_the_other_with_one_line(tmp_path, lost, number):
    coordinator = f'localhost:{_free_port()}'
    processes = [_command(tmp_path, coordinator, process_id) for process_id in (0, 1)]
    try:
        for line in processes[0].stderr:
            if 'for all phases' in line:  # it trains
                break
        processes[lost].send_signal(number)
        _one_line(processes[1 - lost], 'another process of this run')
    finally:
        for process in processes:
            process.kill()


_LAST_FILES = """
import sys, threading
from noisy_jax import cli
from noisy_jax.training import hosts, mesh

coordinator, process_id, busy = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def work():
    hosts.join(coordinator, 2, process_id)
    with hosts.together():
        mesh.wait_for_all('start')
        print('together', flush=True)
        if process_id == busy:
            threading.Event().wait()

cli.end_process(cli.exit_status(work))
"""


@pytest.mark.slow
@pytest.mark.parametrize('busy', [0, 1])
def test_a_process_that_is_lost_at_the_end(busy):
    """While the first one writes the other ends by a line; once all is written, a loss is none of the run."""
    coordinator = f'localhost:{_free_port()}'
    pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True, 'env': environment()}
    command = [sys.executable, '-c', _LAST_FILES, coordinator]
    processes = [subprocess.Popen([*command, str(number), str(busy)], **pipes) for number in (0, 1)]
    try:
        for process in processes:
            assert 'together\n' in iter(process.stdout.readline, '')
        processes[busy].kill()
        if busy == 0:
            _one_line(processes[1], 'another process of this run')
        else:
            assert processes[0].communicate(timeout=60)[1] == ''
            assert processes[0].returncode == 0
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(('process_id', 'word'), [(0, 'not all 2 processes'), (1, 'no answer')])
def test_the_others_do_not_come(tmp_path, process_id, word):
    _one_line(_command(tmp_path, f'localhost:{_free_port()}', process_id), word)


@pytest.mark.slow
def test_two_processes_have_one_number(tmp_path):
    coordinator = f'localhost:{_free_port()}'
    first, second, third = (_command(tmp_path, coordinator, process_id) for process_id in (0, 1, 1))
    _one_line(first, 'two processes have one --process_id')
    for process in (second, third):
        process.communicate(timeout=60)
        assert process.returncode == 2


@pytest.mark.slow
def test_a_process_with_other_data_is_told_by_its_number(tmp_path):
    """In folders of one name that hold other images, as disks of several machines may."""
    for number in range(2):
        for row in range(8):
            place = tmp_path / str(number) / 'photos' / 'ab'[row % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.new('L', (4, 4), 9 * row + number).save(place / f'{row}.png')
    changes = {'phases': ('base',), 'data__name': 'folder', 'data__path': 'photos'}
    changes |= {'data__image_size': 0, 'noise__kind': 'none', 'base__batch_size': 4}
    code = _RUN.replace('pipeline.run(', f'import os; os.chdir({str(tmp_path)!r} + "/" + place[1]); pipeline.run(')
    results = _start([tmp_path / 'work'] * 2, 1, changes, code)
    assert all(status for status, *_ in results)
    assert 'process 1 has other settings or data than process 0' in results[1][2]
    assert 'image 0, a/0.png, is another one; every host needs the same' in results[1][2]
    assert not (tmp_path / 'work' / 'metrics.jsonl').exists()
