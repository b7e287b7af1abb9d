"""ELR+ on CIFAR-100 from scratch, with its authors' settings; not yet run at full size.

  noisy-jax --config=cifar100_elr_plus:noise=symmetric,rate=0.8 --config.data.path=cifar100 --workdir=runs/c100_elr_plus

Two PreAct ResNet-18s; phases=pretrained starts them from a SimCLR encoder. The data as in cifar10.py. `smoke` shrinks
network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'noise=asymmetric,rate=0.4'."""
    config, given = presets.begin(
        'cifar100_elr_plus', argument, 100, noise='symmetric', rate=0.8, phases='base', data='folder', smoke=False
    )
    config.data.update(dataset='cifar100', **presets.CIFAR100)
    presets.elr_plus(config, epochs=250, milestone=200)
    config.elr_plus.update(rampup_epochs=102, weigh_labels=True)
    return presets.smoke(config) if given['smoke'] else config
