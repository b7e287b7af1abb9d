"""Your own images, whose labels you do not trust: no test set and no settings needed.

  noisy-jax --config=own_images --config.data.path=photos --workdir=runs/photos

`photos` is a folder of class folders (images without a label in a folder `unlabelled`), a .csv or .tsv file with the
columns path, label (an empty label is none), an .npz or a folder of .npy files (docs/data.md). Sizes, network, batch,
epochs and normalisation are chosen from the data and shown before training; --config.KEY=VALUE overrides it.

The work directory gets a first labels.csv and report.html before anything is trained, the classifier, and then the list
of the judge that finds planted errors best; none of them saw the label that it judges. --config.effort=quick trains
nothing. A tenth of the images is held out, with their labels as they are: training ends when predictions on them
settle. The encoder moves as fast as the head: on a CPU it is small and trained for minutes, and has much to learn from
labels.
"""

from ml_collections import ConfigDict

from noisy_jax.schedule import PHASES
from noisy_jax.settings import presets


def get_config(argument: str = '') -> ConfigDict:
    """The config; the argument may change what `begin` takes, e.g. 'loss=ce,phases=pretrained,smoke'."""
    config, given = presets.begin('own_images', argument, rate=0.0, smoke=False)
    presets.leave_to_data(config)
    config.data.update(name='auto', valid_fraction=0.1)
    config.early_stop = 'stable_predictions'
    config.report.cross_fit = 5
    config.cross_fit.mixup = 1.0
    if 'pretrain' in config.phases:
        config.phases = tuple(phase for phase in PHASES if phase in (*config.phases, 'cross_fit'))
    config.report.sort = 'suspicion'
    return presets.smoke(config) if given['smoke'] else config
