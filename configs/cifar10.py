"""CIFAR-10 with the paper's settings: ResNet-18, SimCLR, ELR or NFL+RCE or CE.

  python -m noisy_jax.main --config=configs/cifar10.py:loss=elr,rate=0.8 --config.data.path=cifar10 --workdir=runs/c10

The data is a folder of class folders (cifar10/train/airplane/*.png ..., cifar10/test/...), an .npz (data=arrays) or a
prepared TFDS data set (data=tfds). `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=elr,noise=symmetric,rate=0.8,phases=finetuned,data=folder,smoke'.

    Arguments: loss=ce|nfl_rce|elr, noise=none|symmetric|asymmetric|pair|instance|... (noisy_jax/data/noise.py, KINDS),
    rate=0..1, phases=base|pretrained|finetuned|all, data=folder|arrays|tfds, smoke.
    """
    config, given = defaults.with_argument(
        argument,
        {
            'loss': 'elr',
            'noise': 'symmetric',
            'rate': 0.4,
            'phases': 'finetuned',
            'data': 'folder',
            'smoke': False,
        },
    )
    config.name = 'cifar10'
    config.data.name = given['data']
    if given['smoke']:
        _shrink(config)
    return config


def _shrink(config: ConfigDict) -> None:
    """A run of minutes on two CPU cores; its accuracies mean nothing."""
    config.name = 'cifar10_smoke'
    config.model.encoder = 'resnet_tiny'
    config.data.limit, config.data.test_limit = 1000, 500
    config.pretrain.epochs, config.contrast.epochs = 5, 2
    config.base.epochs, config.select.epochs = 5, 5
    for phase in (config.classify, config.finetune):
        phase.head_epochs, phase.epochs = 2, 3
    for phase in defaults.PHASES:
        config[phase].batch_size = 128
    config.checkpoint_every = 2
