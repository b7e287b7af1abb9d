"""The names and forms of the files in a work directory."""

import os
import pathlib
import re
from typing import Any

from noisy_jax import json_files
from noisy_jax.errors import is_utf8

MARK = 'config.json'  # what makes a folder a work directory
LOCK = 'lock'  # the file in a folder that says who writes there
BEFORE_IT = (f'{MARK}.part', LOCK)  # what a run may leave without it
DEEPEST = 200  # characters of the longest path in it: a checkpoint that is being saved has some 140
# Names that a run writes in its folder: a file of a user's may not be among them.
OWN = (
    *(MARK, 'data.json', 'weights.json', 'summary.json', 'metrics.jsonl', 'labels', 'labels.csv'),
    *('data_issues.csv', 'pred_probs.npy', 'checkpoints', 'plots', 'report.html', 'tensorboard', LOCK),
)
_NEWER = {'contrasts?': [[float]], 'darkest?': [float], 'brightest?': [float]}
PIXELS = ({'mean': [float], 'std': [float]} | _NEWER, None)  # of training, by channel
OTHER, AGAIN = 'use another --workdir', 'rerun the command of the run to write it'
# What is read of each JSON file, and what to do where that is not there.
FORMS: dict[str, tuple[json_files.Form, str]] = {
    'config': (dict, OTHER),
    'data': (
        {'classes': [str], 'image_shape': [int, int, int], 'pixels?': PIXELS, 'unlabelled?': int, 'place?': str},
        AGAIN,
    ),
    'weights': ({'sha256': str}, OTHER),
    'summary': (
        {
            'complete?': bool,
            'phases?': [{'name': str}],
            'label_issues?': {
                'threshold': float,
                'estimated_noise_rate?': float,
                'noise_rate_interval?': [float, float],
                'judge?': str,
                'trusted?': bool,
                'why?': str,
            },
            'data_issues?': dict,
        },
        AGAIN,
    ),
    'labels/judge': (
        {'noise_rate': [float, float], 'judge': str, 'aurocs': {str: float}, 'fault': str}
        | {'copies?': float, 'size?': float, 'sharpness?': float},
        AGAIN,
    ),
}
_EPOCH = {'phase': str, 'stage?': str, 'epoch?': int, 'step?': int, 'loss': float}
_NUMBERS = (int, float, type(None))  # NaN among them: of nothing, a mean is none


def path_fault(folder: pathlib.Path) -> str | None:
    """Why Orbax finds no checkpoint again in a work directory; None where it does."""
    path = str(folder.absolute())
    if not is_utf8(path):
        return 'is not UTF-8; take a folder whose path is'
    found = re.search(r'[*?[]' if os.sep == '\\' else r'[*?[\\]', path)
    return found and f'has {found[0]} in its path, which stands for other letters; take a folder without'


def epoch_fault(line: Any) -> str | None:
    """What is wrong with a line of metrics.jsonl; None where nothing is."""
    if found := json_files.fault(line, _EPOCH):
        return found
    values = {name: value for name, value in line.items() if name not in ('phase', 'stage')}
    return next((f'{name} is {value!r}' for name, value in values.items() if type(value) not in _NUMBERS), None)
