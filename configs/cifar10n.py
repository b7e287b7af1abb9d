"""CIFAR-10N: CIFAR-10 with labels by people (Wei 2022) and CIFAR-10's settings; not yet run at full size.

  noisy-jax --config=cifar10n:labels=worse_label --config.data.path=tfds --workdir=runs/cifar10n

The data is TFDS's cifar10_n in the folder data.path (data=tfds), of which `labels` chooses aggre_label, worse_label or
random_label1 to 3; or arrays (data=arrays) with the people's labels as `labels` and CIFAR-10's own as `true_labels`,
which serve evaluation only. `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes; noise and rate are added to the labels."""
    config, given = presets.begin('cifar10n', argument, data='tfds', labels='worse_label', smoke=False)
    config.data.update(dataset='cifar10_n', label_key=given['labels'])
    config.classify.optimizer.encoder_scale = config.finetune.optimizer.encoder_scale = 0.1  # as in cifar10.py
    return presets.smoke(config) if given['smoke'] else config
