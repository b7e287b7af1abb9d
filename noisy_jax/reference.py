"""The reference of all settings, configs/README.md.

python -m noisy_jax.reference > configs/README.md
"""

import inspect

from noisy_jax.config import Section, Setting, flatten
from noisy_jax.methods import METHODS
from noisy_jax.schedule import PHASES
from noisy_jax.settings import RUN, sections

_HEAD = """# Settings

Change one by `--config.KEY=VALUE`, or in a file like those beside this one; it is Python that is run, so take only one
that you trust. A wrong key or value is refused before anything runs. Defaults are the paper's for CIFAR-10; the files
of this folder change some. Each takes an argument, `--config=FILE:loss=ce,rate=0.8`: `loss`, `noise`, `rate`, `phases`
(`base`, `pretrained`, `finetuned`, `all`) and what it gives `presets.begin` by name, as `data` (the loader) and
`smoke`, a run of minutes on a CPU.

`own_images.py` leaves settings to the data: a number as `-1`, a word as `'auto'`, a tuple as `()`. Any config may do so
with those in `KEYS` of `noisy_jax/settings/automatic.py`. The choices are shown before training and saved in the work
directory's config.json.

Made by `python -m noisy_jax.reference > configs/README.md`.
"""
# Title of each group, and what is to be said of it as a whole.
_GROUPS = {
    'run': 'The run',
    'phases': 'Phases',
    'optimizer': 'Optimisers\n\n`pretrain.optimizer` also serves `contrast`, `classify.optimizer` also `base`; '
    '`head_optimizer` trains a head alone, in `classify`, `select` and `finetune`.',
    'data': 'Data',
    'noise': 'Noise',
    'model': 'Network',
    'augment': 'Augmentation\n\nThe policies of `PHASE.augment`.',
    'loss_settings': 'Losses',
    'report': 'Label issues and report\n\nRerun with other values, a finished run only writes these anew.',
}


def render() -> str:
    """All settings as Markdown, a table for each group; settings that differ in their section alone share a row."""
    groups: dict[str, Section] = {group: {} for group in _GROUPS}
    for key, setting in flatten(sections()):
        groups.setdefault(_group(key), {})[key] = setting
    parts = [_HEAD]
    for group, settings in groups.items():
        rows = ''.join(f'\n| {" | ".join(row)} |' for row in _rows(settings))
        parts += [f'## {_GROUPS[group] if group in _GROUPS else _of_method(group)}\n']
        parts += ['| setting | default | allowed | meaning |\n|---|---|---|---|' + rows + '\n']
    return '\n'.join(parts)


def _of_method(name: str) -> str:
    """The title of a method's own settings: its name, and what its module says of it."""
    says = inspect.getmodule(type(METHODS[name])).__doc__.splitlines()[0]
    return f'`{name}`\n\n{says}'


def _group(key: str) -> str:
    first = key.split('.')[0]
    if 'optimizer.' in key:
        return 'optimizer'
    return 'run' if first in RUN else 'phases' if first in PHASES else first


def _rows(settings: dict[str, Setting]) -> list[tuple[str, str, str, str]]:
    """Setting, default, allowed, meaning."""
    same: dict[tuple[str, str, str], dict[str, Setting]] = {}
    for key, setting in settings.items():
        allowed = ', '.join(f'`{word}`' for word in setting.words) or setting.allowed
        same.setdefault((key.rpartition('.')[2], allowed, setting.meaning), {})[key] = setting
    rows = []
    for (_, allowed, meaning), row in same.items():
        values = [f'`{setting.default!r}`' for setting in row.values()]
        values = values[:1] if len(set(values)) == 1 else values
        rows.append(('<br>'.join(f'`{key}`' for key in row), '<br>'.join(values), allowed, meaning))
    return rows


if __name__ == '__main__':
    print(render(), end='')
