"""Your own images, whose labels you do not trust: no test set, no settings needed.

  python -m noisy_jax.main --config=configs/own_images.py --config.data.path=photos --workdir=runs/photos

`photos` is a folder of class folders (images without a label in a folder `unlabelled`), a .csv or .tsv file with the
columns path, label (an empty label is none), an .npz or a folder of .npy files (README, Data). Sizes, network, batch,
epochs and normalisation are chosen from the data and said before training; --config.KEY=VALUE takes another value.

A tenth of the images is held out, with labels as they are: when predictions on them settle, training ends. Every label
is judged by a classifier head that did not see it. The work directory gets labels.csv, report.html and the classifier.
"""

from ml_collections import ConfigDict

from noisy_jax import config as defaults


def get_config(argument: str = '') -> ConfigDict:
    """The config of an argument such as 'loss=ce,phases=pretrained,smoke'.

    Arguments: loss=ce|nfl_rce|elr|..., phases=base|pretrained|finetuned|all, smoke (a try of minutes).
    """
    usual = {'loss': 'elr', 'noise': 'none', 'rate': 0.0, 'phases': 'finetuned', 'smoke': False}
    config, given = defaults.with_argument(argument, usual)
    config.name = 'own_images'
    defaults.leave_to_data(config)
    config.data.name, config.data.valid_fraction = 'auto', 0.1
    config.early_stop = 'stable_predictions'
    config.report.cross_fit = 5 if 'pretrain' in config.phases else 0
    config.report.sort = 'suspicion'
    if given['smoke']:
        defaults.shrink(config)
        for phase in defaults.PHASES:
            config[phase].batch_size = -1
    return config
