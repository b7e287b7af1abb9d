"""Tiny-ImageNet (200 classes, 64x64) with the original's settings; not yet run at full size.

  python -m noisy_jax.main --config=configs/tiny_imagenet.py:loss=elr,rate=0.4 \
      --config.data.path=tiny-imagenet-200 --workdir=runs/tiny_imagenet

The folder is as the archive unpacks, with two lists made in it (names of classes are its WordNet ids):

  cd tiny-imagenet-200
  find train -name '*.JPEG' | sort | awk -F/ '{print $0, $2}' > train.txt
  cut -f1,2 val/val_annotations.txt > val.tsv

The head's learning rate of 30 is the original's, who has no settings of NFL+RCE and ELR for 200 classes: they are
those of 10 here. `smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=ce,noise=symmetric,rate=0.4,phases=pretrained,data=filelist,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., noise=none|symmetric|..., rate=0..1, phases=base|pretrained|finetuned|all,
    data=filelist|folder|arrays, smoke.
    """
    config, given = defaults.with_data(argument, 'tiny_imagenet', 200, noise='symmetric', data='filelist')
    config.data.list, config.data.test_list, config.data.test_path = 'train.txt', 'val.tsv', 'val/images'
    config.data.image_size = 64
    config.augment.simclr.blur_probability = 0.5
    defaults.set_rates(config, contrastive=0.1, head=(30, 0), whole=(0.1, 1e-4), finetune=(0.1, 1e-4))
    if given['smoke']:
        defaults.shrink(config)
    return config
