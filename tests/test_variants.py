"""The table of variants: that none is missing, that all learn, and that docs/reproducing.md shows what was measured."""

import pytest

from experiments import record
from experiments.accuracy import digits, two_networks, variants
from noisy_jax import models
from noisy_jax.data import augment, noise
from noisy_jax.losses import CRITERIA
from noisy_jax.methods import CLASSIFIERS, REPRESENTATIONS

NAMES = {(part, name) for data in variants.DATA for part, name in variants.variants_of(data)}
AS_CONFIGURED = {'elr', 'single', 'simclr', 'sup_con', 'linear', 'mlp', 'symmetric'}
AS_CONFIGURED |= {'cnn_small', 'handwriting', 'cnn6', 'standard'}  # of digits, of CIFAR-10


@pytest.mark.parametrize(
    ('part', 'known'),
    [
        ('loss', CRITERIA),
        ('classifier', CLASSIFIERS),
        ('(a1)', REPRESENTATIONS),
        ('(b2)', REPRESENTATIONS),
        ('encoder', models.ENCODERS),
        ('head', models.CLASSIFIERS),
        ('projection', models.PROJECTIONS),
        ('noise', set(noise.KINDS) - {'none'}),
        ('views', augment.POLICIES),
    ],
)
def test_every_choice_is_a_variant(part, known):
    shown = {name for place, name in NAMES if place.startswith(part)}
    assert set(known) - shown <= AS_CONFIGURED


@pytest.mark.parametrize('data', variants.DATA)
def test_all_variants_were_run_and_learn(data):
    runs = variants.load()[data]
    assert runs.keys() == variants.variants_of(data).keys()
    # The standard error of chance on 360 digits is 1.6 points, on 1,000 images 0.9.
    assert min(run['finetuned'] for run in runs.values()) > 2 * variants.CHANCE


@pytest.mark.parametrize('name', ['digits', 'two_networks', 'variants'])
def test_the_page_shows_what_was_measured(name):
    page = (record.ROOT / 'docs' / 'reproducing.md').read_text()
    if name == 'variants':
        assert variants.table(variants.load()) in page
    else:
        module = {'digits': digits, 'two_networks': two_networks}[name]
        assert module.table(record.load(module.RESULTS)) in page


def test_a_table_of_one_data_set_marks_what_is_missing():
    run = {'part': 'loss', 'variant': 'ce', 'pretrained': 0.5, 'finetuned': 0.25}
    other = {'part': 'noise', 'variant': 'human', 'pretrained': 0.4, 'finetuned': 0.3}
    text = variants.table({'digits': {('loss', 'ce'): run}, 'cifar10': {('noise', 'human'): other}})
    assert '| loss | ce | 50.0 | 25.0 | - | - |' in text
    assert '| noise | human | - | - | 40.0 | 30.0 |' in text
    assert 'The least of 1 on digits is 25.0 % (ce), 2.5 times chance.' in text
