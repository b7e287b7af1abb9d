"""CIFAR-10 with the paper's settings but a slow encoder: ResNet-18, SimCLR, then ELR, NFL+RCE or cross-entropy.

  noisy-jax --config=cifar10:loss=elr,rate=0.8 --config.data.path=cifar10 --workdir=runs/c10

The data is a folder of class folders (cifar10/train/airplane/*.png ..., cifar10/test/...), an .npz (data=arrays) or a
prepared TFDS data set (data=tfds). `smoke` shrinks network, images and epochs to try the whole run on a CPU.

Pre-trained, ELR at 80 % symmetric noise ends at 74.9 % with the encoder at a tenth of the head's learning rate, and at
21.6 % with one rate for both, as the paper has it (docs/reproducing.md, CIFAR-10 on a GPU; images: JPEG 75).
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'loss=ce,rate=0.2,smoke'."""
    config, given = presets.begin(
        'cifar10', argument, loss='elr', noise='symmetric', rate=0.4, phases='finetuned', data='folder', smoke=False
    )
    config.data.dataset = 'cifar10'
    config.model.encoder = 'resnet18'
    config.head_optimizer.learning_rate = config.classify.optimizer.learning_rate = 0.01
    config.base.epochs = 120  # as many as head and network have in `classify`

    # A pre-trained encoder moves slowly; at the head's rate (1.0, the paper's) it memorises the noise.
    config.classify.optimizer.encoder_scale = config.finetune.optimizer.encoder_scale = 0.1

    # (a) Representation and first classifier, whose predictions are the pseudo-labels.
    config.pretrain.update(method='simclr', epochs=500, temperature=0.5)
    config.pretrain.optimizer.learning_rate = 0.03
    config.classify.update(head_epochs=20, epochs=100)

    # (b) Selection by the losses of a new head, contrast weighted by it, second classifier.
    config.select.update(epochs=20, history=5)
    config.contrast.update(method='sup_con', epochs=100, temperature=0.07)
    config.finetune.update(head_epochs=20, epochs=100)
    config.finetune.optimizer.update(learning_rate=0.01, weight_decay=1e-5)
    return presets.smoke(config) if given['smoke'] else config
