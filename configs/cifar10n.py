"""CIFAR-10N: CIFAR-10 with labels by people (Wei 2022) and CIFAR-10's settings.

  noisy-jax --config=cifar10n:labels=worse_label --config.data.path=tfds --workdir=runs/cifar10n

The data is TFDS's cifar10_n in the folder data.path (data=tfds), of which `labels` chooses aggre_label, worse_label or
random_label1 to 3; or arrays (data=arrays) with the people's labels as `labels` and CIFAR-10's own as `true_labels`,
which serve evaluation only. `recipe` and `smoke` as in cifar10.py. `worse_label`, pre-trained for 230 epochs, 20 of the
head and 20 of all weights by ELR: 83.8 % (docs/reproducing.md, CIFAR-10 on a GPU; images: JPEG 75).
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes; noise and rate are added to the labels."""
    config, given = presets.begin('cifar10n', argument, data='tfds', labels='worse_label', recipe='ours', smoke=False)
    config.data.update(dataset='cifar10_n', label_key=given['labels'])
    presets.recipe(config, given['recipe'])
    return presets.smoke(config) if given['smoke'] else config
