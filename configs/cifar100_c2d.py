"""C2D on CIFAR-100: SimCLR, then DivideMix on two networks, with its authors' settings; not yet run at full size.

  noisy-jax --config=cifar100_c2d:noise=symmetric,rate=0.9 --config.data.path=cifar100 --workdir=runs/c100_c2d

The weight of labels that are not trusted and the threshold of trust depend on the noise that the argument names;
--config.noise.rate leaves them. The data as in cifar10.py. `smoke` shrinks network, images and epochs to try the whole
run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'noise=asymmetric,rate=0.4'."""
    config, given = presets.begin(
        'cifar100_c2d', argument, 100, noise='symmetric', rate=0.8, phases='pretrained', data='folder', smoke=False
    )
    config.data.update(dataset='cifar100', **presets.CIFAR100)
    presets.c2d(config)
    rate = given['rate']
    config.dividemix.unlabelled_weight = 25.0 if rate <= 0.2 else 150.0 if rate <= 0.5 else 500.0
    config.dividemix.threshold = 0.03 if rate >= 0.8 else 0.5
    return presets.smoke(config) if given['smoke'] else config
