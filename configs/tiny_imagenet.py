"""Tiny-ImageNet (200 classes, 64x64) with the original's settings; not yet run at full size.

  noisy-jax --config=tiny_imagenet:loss=elr,rate=0.4 \
      --config.data.path=tiny-imagenet-200 --workdir=runs/tiny_imagenet

The folder is as the archive unpacks, with two lists made in it (names of classes are its WordNet ids):

  cd tiny-imagenet-200
  find train -name '*.JPEG' | sort | awk -F/ '{print $0, $2}' > train.txt
  cut -f1,2 val/val_annotations.txt > val.tsv

The original has a learning rate of 30 for the head, and no settings of NFL+RCE and ELR for 200 classes. Here the head
has that of all weights, and the losses the settings for 100 classes (tests/test_many_classes.py says why); the encoder
is slow (presets.protect). `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'loss=ce,rate=0.2,smoke'."""
    config, given = presets.begin('tiny_imagenet', argument, 200, noise='symmetric', data='filelist', smoke=False)
    config.data.image_size = 64
    if config.data.name == 'filelist':
        config.data.update(list='train.txt', test_list='val.tsv', test_path='val/images')
    config.augment.simclr.blur_probability = 0.5
    config.pretrain.optimizer.learning_rate = 0.1
    config.head_optimizer.update(learning_rate=0.1, weight_decay=0.0)
    config.classify.optimizer.update(learning_rate=0.1, weight_decay=1e-4)
    config.finetune.optimizer.update(learning_rate=0.1, weight_decay=1e-4)
    presets.protect(config)
    return presets.smoke(config) if given['smoke'] else config
