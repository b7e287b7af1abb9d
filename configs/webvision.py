"""Mini-WebVision (the first 50 classes of WebVision 1.0's Google subset), labels as the web gave them.

  python -m noisy_jax.main --config=configs/webvision.py \
      --config.data.path=webvision --workdir=runs/webvision

The folder is as the archives unpack: info/train_filelist_google.txt, info/val_filelist.txt, google/q0001/..., and
val_images_256/. Images are scaled and cropped to 128 pixels, the size the original trained at. Packed once they are
read faster:

  python -m noisy_jax.data.pack --name=filelist --path=webvision --list=info/train_filelist_google.txt \
      --test_list=info/val_filelist.txt --test_path=val_images_256 --max_classes=50 --image_size=128 --out=packed
  python -m noisy_jax.main --config=configs/webvision.py:data=arrays --config.data.path=packed --workdir=runs/webvision

`smoke` shrinks network, images and epochs to try the whole run on a CPU.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=nfl_rce,phases=pretrained,data=filelist,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., noise=none|symmetric|..., rate=0..1, phases=base|pretrained|finetuned|all,
    data=filelist|folder|arrays, smoke.
    """
    config, given = defaults.with_data(argument, 'webvision', 50, data='filelist')
    config.data.list, config.data.test_list = 'info/train_filelist_google.txt', 'info/val_filelist.txt'
    config.data.test_path = 'val_images_256'
    config.data.max_classes = 50
    config.data.image_size = 128
    config.data.mean, config.data.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    config.augment.simclr.blur_probability = 0.5
    defaults.set_rates(config, contrastive=0.1, head=(0.04, 3e-6), whole=(0.4, 3e-5), finetune=(0.04, 3e-6))
    if given['smoke']:
        defaults.shrink(config)
    return config
