"""Tiny-ImageNet (200 classes, 64x64) with the original's settings; not yet run at full size.

  python -m noisy_jax.main --config=configs/tiny_imagenet.py:loss=elr,rate=0.4 \
      --config.data.path=tiny-imagenet-200 --workdir=runs/tiny_imagenet

The data is a folder of class folders, or data=arrays|tfds|filelist. In the archive of tiny-imagenet-200 the validation
images lie in one folder and their labels in a file whose first two columns make the list of data=filelist
(cut -f1,2 val/val_annotations.txt > val.tsv, then data.test_list=val.tsv, data.test_path=val/images).

The head's learning rate of 30 is the original's, who has no settings of NFL+RCE and ELR for 200 classes: they are
those of 10 here. `smoke` shrinks network, images and epochs to
try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=ce,noise=symmetric,rate=0.4,phases=pretrained,data=folder,smoke'.

    Arguments: loss=ce|nfl_rce|elr, noise=none|symmetric|asymmetric, rate=0..1, phases=base|pretrained|finetuned|all,
    data=folder|filelist|arrays|tfds, smoke.
    """
    config, given = defaults.with_data(argument, 'tiny_imagenet', 200, noise='symmetric')
    config.data.dataset = 'tiny_imagenet'
    config.data.image_size = 64
    defaults.set_rates(config, contrastive=0.1, head=(30, 0), whole=(0.1, 1e-4), finetune=(0.1, 1e-4))
    if given['smoke']:
        defaults.shrink(config)
    return config
