"""How much work each stage is, and how long the rest is said to take; numbers by hand."""

import pytest
from tiny import config

from noisy_jax import phases
from noisy_jax.training.time_left import TimeLeft, Work


def test_the_work_of_each_stage():
    plan = phases.work_plan(config(), images=100, pool=150)
    assert plan == {
        'base': {'all': Work(3, 300)},  # a pass with gradient counts 3
        'pretrain': {'encoder': Work(3, 900)},  # of two views, also of images without a label
        'classify': {'head': Work(2, 100), 'all': Work(2, 300)},
        'select': {'head': Work(2, 100)},
        'contrast': {'encoder': Work(2, 600)},
        'finetune': {'head': Work(2, 100), 'all': Work(2, 300)},
    }


def test_the_work_of_other_methods():
    changes = {'pretrain__method': 'sup_moco', 'base__mixup': 1.0, 'finetune__head_epochs': 0}
    changes |= {'classify__method': 'dividemix', 'dividemix__warmup_epochs': 4, 'finetune__method': 'bootstrap'}
    plan = phases.work_plan(config(bootstrap__warmup_epochs=5, rounds=2, **changes), images=100, pool=150)
    assert plan['base'] == {'all': Work(3, 400)}  # labels are predicted before they are mixed
    assert plan['pretrain'] == {'encoder': Work(3, 400)}  # the momentum encoder has no gradient; labels are needed
    # Two networks; one says something to the other; in the end two views, and the losses of the next split.
    assert plan['classify'] == {'head': Work(2, 400), 'warmup': Work(4, 800), 'all': Work(2, 1800)}
    assert plan['finetune'] == {'warmup': Work(5, 400), 'all': Work(2, 500)}  # a stage of no epochs is none
    ssr = phases.work_plan(config(classify__method='ssr', finetune__method='ssr'), images=100, pool=100)
    assert ssr['classify'] == {'head': Work(2, 100), 'all': Work(2, 1100)}  # two mixed views, a pair, the selection
    assert list(plan)[-3:] == ['select_2', 'contrast_2', 'finetune_2']


def test_time_left_by_hand():
    left = TimeLeft({'base': {'all': Work(4, 10)}, 'classify': {'head': Work(2, 10), 'all': Work(3, 30)}})
    left.begin('base', 'all', Work(4, 10), 0)
    assert not left.is_known
    left.trained(1, seconds=5, besides=2)  # 0.5 s for each unit of work
    # 3 epochs, then 20 + 90 units, then the beginnings of two stages.
    assert left.seconds() == (pytest.approx(15), pytest.approx(15 + 55 + 4))
    left.trained(2, seconds=3)  # 0.4 s now
    assert left.seconds() == (pytest.approx(8), pytest.approx(8 + 44 + 4))
    assert left.epochs() == (2, 4)
    assert left.share_done(more=0.5) == pytest.approx(2.5 / 4)
    left.finish('base')  # two epochs early
    left.begin('classify', 'head', Work(2, 10), 0)
    assert left.seconds()[0] == pytest.approx(44)  # at the pace of all until its own is known
    left.trained(1, seconds=1, besides=4)  # 0.1 s for this phase; one stage to come, of 3 s besides
    assert left.seconds() == (pytest.approx(10), pytest.approx(10 + 3))
    left.begin('classify', 'all', Work(3, 30), 0)  # the head's second epoch is not to come any more
    assert left.epochs() == (2, 5)
    assert left.seconds() == (pytest.approx(9), pytest.approx(9))
    assert left.share_done() == pytest.approx(20 / 110)


def test_a_resumed_run_counts_what_is_left():
    left = TimeLeft({'base': {'all': Work(4, 10)}, 'classify': {'all': Work(10, 10)}, 'select': {'head': Work(1, 10)}})
    left.finish('base')  # by an earlier run
    left.begin('classify', 'all', Work(10, 10), 6.5)
    left.trained(7, seconds=2, besides=1)  # half an epoch
    assert left.seconds() == (pytest.approx(12), pytest.approx(12 + 4 + 1))


def test_what_no_plan_knows():
    left = TimeLeft({})
    left.begin('probe', 'all', Work(3, 7), 0)
    left.trained(1, seconds=2, besides=1)
    assert left.seconds() == (pytest.approx(4), pytest.approx(4))
