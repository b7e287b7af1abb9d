"""A run of all six phases in seconds: the real pipeline on 300 digits."""

import pathlib
import runpy

CONFIGS = pathlib.Path(__file__).resolve().parents[1] / 'configs'


def config(argument='', **changes):
    """configs/digits.py, shrunk; changes by dotted key with '__' for the dot."""
    result = runpy.run_path(str(CONFIGS / 'digits.py'))['get_config'](argument)
    result.data.limit, result.data.test_limit = 300, 100
    result.checkpoint_every = 100  # only what phases end with; killed_run.py saves every epoch
    result.report.page = False  # its own tests ask for it
    result.guard = False  # as does test_guard.py: it would skip phases of so short a run
    result.pretrain.epochs, result.contrast.epochs = 3, 2
    result.base.epochs, result.select.epochs = 3, 2
    for phase in (result.classify, result.finetune):
        phase.head_epochs, phase.epochs = 2, 2
    for phase in ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune'):
        result[phase].batch_size = 64
    result.update_from_flattened_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return result
