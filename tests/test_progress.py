"""What is said of a run, by a clock that the test turns."""

import re

import pytest

from noisy_jax.training import progress
from noisy_jax.training.progress import Progress, _duration
from noisy_jax.training.time_left import Work

PLAN = {'pretrain': {'encoder': Work(2, 60)}, 'classify': {'head': Work(1, 10), 'all': Work(2, 30)}}


class _Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = _Clock()
    monkeypatch.setattr(progress, 'time', clock)
    return clock


def _run(clock, shown):
    """Two phases: 2 s to compile, 5 s a step of 50 images, two steps an epoch, 1 s after each."""

    def stage(phase, stage, epochs, **values):
        shown.begin(phase, stage, epochs, steps_per_epoch=2, batch_size=50, first=0)
        for epoch in range(1, epochs + 1):
            waits = (2, 10) if epoch == 1 else (5, 5)
            for wait in waits:
                clock.now += wait
                shown.step()
            clock.now += 1
            shown.epoch(epoch, {'loss': 1.25, **values}, sum(waits))

    with shown:
        stage('pretrain', 'encoder', 2, knn_accuracy=None)
        shown.finish('pretrain', {'seconds': 24.0, 'images_per_second': 10.0, 'knn_accuracy': 0.5}, trained=True)
        stage('classify', 'head', 1, accuracy=0.9, test_accuracy=0.4)
        stage('classify', 'all', 2, accuracy=0.9, test_accuracy=0.6)
        record = {'seconds': 36.04, 'images_per_second': None, 'test_accuracy_last': 0.75}
        shown.finish('classify', record, trained=True)


def test_a_log_has_a_line_now_and_then_and_one_for_each_phase(clock, capfd):
    _run(clock, Progress(PLAN))
    lines = capfd.readouterr().err.splitlines()
    # After the first epoch: 10 s for 60 units, so that one more takes 10 s and the 70 to come 11.7 s, and each of the
    # two stages 3 s more. The others come 20 s and more after the one before: in the second of two steps of an epoch,
    # 10 s after it began, when 70 units were expected to take 12 s; and when the last 30 were to take 15 s.
    assert lines == [
        'pretrain    epoch 1/2  loss 1.250, 10 images/s, 10 s left, about 28 s for all phases',
        'pretrain    24.0 s, 10 images/s, k-NN 50.0%',
        'classify    epoch 1/3  2 s left, about 5 s for all phases',
        'classify    epoch 3/3  loss 1.250, test 60.0%, 10 images/s, 5 s left, about 5 s for all phases',
        'classify    36.0 s, test 75.0%',
    ]


def test_stages_that_may_end_early(clock, capfd):
    _run(clock, Progress(PLAN, at_most=True))
    assert 'at most 28 s for all phases' in capfd.readouterr().err.splitlines()[0]


def test_without_a_plan_nothing_is_said_of_all_phases(clock, capfd):
    _run(clock, Progress())
    error = capfd.readouterr().err
    assert '10 s left' in error
    assert 'all phases' not in error


def test_a_phase_of_an_earlier_run_is_not_said_again(clock, capfd):
    Progress(PLAN).finish('pretrain', {'seconds': 24.0, 'images_per_second': 10.0}, trained=False)
    assert not capfd.readouterr().err


@pytest.mark.parametrize('settings', [{'quiet': True}, {}])
def test_who_is_silent(clock, capfd, monkeypatch, settings):
    if not settings:
        monkeypatch.setattr(progress, 'is_main', lambda: False)
    _run(clock, Progress(PLAN, **settings))
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(('columns', 'loss'), [(80, False), (160, True)])
def test_a_bar_fits_its_terminal(clock, capfd, monkeypatch, columns, loss):
    monkeypatch.setattr(progress.sys.stderr, 'isatty', lambda: True, raising=False)
    monkeypatch.setenv('COLUMNS', str(columns))
    monkeypatch.setattr(progress.tqdm, '__init__', _with_columns(progress.tqdm.__init__, columns))
    _run(clock, Progress(PLAN))
    pictures = re.split(r'[\r\n]+', capfd.readouterr().err)
    assert max(map(len, pictures)) <= columns
    assert 'about 28 s for all phases' in [picture.strip() for picture in pictures]
    last = [picture for picture in pictures if picture.startswith('classify 3/3 |')][-1]
    assert 'test 60.0% 10 images/s left: 0 s, all ~0 s' in last
    assert ('loss 1.250' in last) == loss
    assert 'pretrain    24.0 s, 10 images/s, k-NN 50.0%' in pictures


def _with_columns(original, columns):
    """A pipe has no width of its own."""

    def init(self, *args, **kwargs):
        original(self, *args, **{**kwargs, 'dynamic_ncols': False, 'ncols': columns})

    return init


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(0, '0 s'), (89, '89 s'), (95, '2 min'), (3600, '60 min'), (9000, '2.5 h'), (200_000, '2.3 days')],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text
