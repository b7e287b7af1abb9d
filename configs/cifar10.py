"""CIFAR-10 with the paper's settings: ResNet-18, SimCLR, ELR or NFL+RCE or CE.

  python -m noisy_jax.main --config=configs/cifar10.py:loss=elr,rate=0.8 --config.data.path=cifar10 --workdir=runs/c10

The data is a folder of class folders (cifar10/train/airplane/*.png ..., cifar10/test/...), an .npz (data=arrays) or a
prepared TFDS data set (data=tfds). `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=elr,noise=symmetric,rate=0.8,phases=finetuned,data=folder,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., noise=none|symmetric|asymmetric|pair|instance|... (KINDS in
    noisy_jax/data/noise.py), rate=0..1, phases=base|pretrained|finetuned|all, data=folder|filelist|arrays|tfds, smoke.
    """
    config, given = defaults.with_data(argument, 'cifar10', noise='symmetric')
    config.data.dataset = 'cifar10'
    if given['smoke']:
        defaults.shrink(config)
    return config
