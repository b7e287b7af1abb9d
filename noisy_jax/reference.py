"""The reference of all settings, configs/README.md: defaults with their comments, and what is allowed.

python -m noisy_jax.reference > configs/README.md
"""

import ast
import fnmatch
import inspect
import io
import itertools
import tokenize
from typing import Any

from noisy_jax import pipeline
from noisy_jax.config import PHASES, default, defaults, flatten
from noisy_jax.config.validation import NUMBERS, RANGES

_HEAD = """# Settings

Each can be changed by `--config.KEY=VALUE`, or in a file like those beside this one. A wrong key or value is refused
before anything runs. Defaults are the paper's for CIFAR-10; the files of this folder change some. PHASE is one of
`base`, `pretrain`, `classify`, `select`, `contrast`, `finetune`.

`own_images.py` leaves settings to the data: a number as `-1`, a word as `'auto'`, a tuple as `()`. Any config may do so
with those that `noisy_jax/automatic.py` knows (`KEYS`). What was chosen is said before training and stands in the work
directory's config.json.

This file is made by `python -m noisy_jax.reference > configs/README.md`, from `noisy_jax/config/defaults.py` and from
what is allowed.
"""
_TITLES = {
    'run': 'The run',
    'phases': 'Phases',
    'optimizer': 'Optimisers',
    'data': 'Data',
    'noise': 'Noise',
    'model': 'Network',
    'augment': 'Views',
    'loss_settings': 'Losses',
    'moco': 'MoCo and supervised MoCo',
    'mopro': 'MoPro',
    'elr_plus': 'ELR+',
    'bootstrap': 'Bootstrapping',
    'dividemix': 'DivideMix',
    'report': 'List of wrong labels, report',
}


def render() -> str:
    """All settings as Markdown, a table for each group; those that say the same stand in one row."""
    source = inspect.getsource(defaults)
    meanings, introductions = comments(source)
    written = _settings(ast.parse(source))
    groups: dict[str, list[tuple[str, Any]]] = {group: [] for group in _TITLES}
    for key, value in sorted(flatten(default()), key=lambda pair: _place(pair[0], written)):
        groups[_group(key)].append((key, value))
    parts = [_HEAD]
    for group, settings in groups.items():
        parts += [f'## {_TITLES[group]}\n']
        if group in introductions:
            parts += [introductions[group] + '\n']
        parts += ['| setting | default | allowed | meaning |\n|---|---|---|---|']
        parts[-1] += ''.join(f'\n| {" | ".join(row)} |' for row in _rows(settings, meanings)) + '\n'
    return '\n'.join(parts)


def _group(key: str) -> str:
    first, *rest = key.split('.')
    if not rest:
        return 'run'
    if first in PHASES:
        return 'optimizer' if len(rest) == 2 else 'phases'
    return first


def _rows(settings: list[tuple[str, Any]], meanings: dict[str, str]) -> list[tuple[str, str, str, str]]:
    """Setting, default, allowed, meaning; settings of one name stand together where the last two are the same."""
    rows: dict[tuple[str, str, str], list[tuple[str, Any]]] = {}
    for key, value in settings:
        said = key.rpartition('.')[2], allowed(key, value), meaning(key, meanings)
        rows.setdefault(said, []).append((key, value))
    result = []
    for (_, choice, text), same in rows.items():
        values = [f'`{value!r}`' for _, value in same]
        values = values[:1] if len(set(values)) == 1 else values
        result.append(('<br>'.join(f'`{key}`' for key, _ in same), '<br>'.join(values), choice, text))
    return result


def allowed(key: str, value: Any) -> str:
    """What a setting may be."""
    if isinstance(value, bool):
        return '`True`, `False`'
    for pattern, words in pipeline.CHOICES.items():
        if fnmatch.fnmatchcase(key, pattern):
            return ', '.join(f'`{word}`' for word in words)
    if key == 'phases':
        return ', '.join(f'`{phase}`' for phase in PHASES)
    for pattern, least in NUMBERS.items():
        if fnmatch.fnmatchcase(key, pattern):
            return f'numbers of at least {least}'
    if isinstance(value, str):
        return 'text'
    limits = [limit for pattern, limit in RANGES.items() if fnmatch.fnmatchcase(key, pattern)]
    low = max((low for low, _ in limits), default=None)
    high = min((high for _, high in limits if high is not None), default=None)
    kind = 'whole number' if isinstance(value, int) else 'number'
    if low is None:
        return kind
    return f'{kind} from {low}' + ('' if high is None else f' to {high}')


def meaning(key: str, meanings: dict[str, str]) -> str:
    """The comment on a setting: its own, that on the setting around it, that on its name elsewhere; or ''."""
    around, _, name = key.rpartition('.')
    return next((meanings[each] for each in (key, around, f'*.{name}') if each in meanings), '')


def comments(source: str) -> tuple[dict[str, str], dict[str, str]]:
    """Of the text of defaults.py: the comments behind settings by key, and those above groups by group.

    The first comment on a name is also that of '*.name': for the settings of that name without one.
    """
    beside, above = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            (above if alone else beside)[token.start[0]] = token.string.lstrip('# ')
    meanings, introductions = {}, {}
    for key, line in _settings(ast.parse(source)).items():
        if line in beside:
            meanings.setdefault(key, beside[line])
            meanings.setdefault(f'*.{key.rpartition(".")[2]}', beside[line])
        lines = list(itertools.takewhile(above.__contains__, itertools.count(line - 1, -1)))
        if lines and '.' not in key:
            introductions[key] = ' '.join(above[line] for line in reversed(lines))
    return meanings, introductions


def _place(key: str, written: dict[str, int]) -> tuple[int, int]:
    """Where a setting stands in the file: its line or that of what is around it, then that of its name elsewhere."""
    around = key
    while around not in written:
        around = around.rpartition('.')[0]
    return written[around], written.get(f'*.{key.rpartition(".")[2]}', 0)


def _settings(tree: ast.AST) -> dict[str, int]:
    """The lines of the parts that several groups share, of LOSSES, and of what `config.KEY = ...` sets, by key."""
    shared: list[tuple[str, int]] = []
    found: list[tuple[str, int]] = []
    inside: set[ast.AST] = set()
    for node in ast.walk(tree):  # outer ones first
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == 'config':
            found += [(target.attr, node.lineno), *_inner(node.value, f'{target.attr}.')]
        elif isinstance(target, ast.Name) and target.id == 'LOSSES':
            found += _inner(node.value, 'loss_settings.')
        elif isinstance(node, ast.Dict) and node not in inside:
            shared += _inner(node, '*.')
            continue
        else:
            continue
        inside |= set(ast.walk(node))
    lines: dict[str, int] = {}
    for key, line in shared + found:
        lines.setdefault(key, line)
    return lines


def _inner(node: ast.AST, prefix: str) -> list[tuple[str, int]]:
    """(key, line) of the keys of a dict, or of the keywords of a call and of the dict that it gets."""
    if isinstance(node, ast.Call):
        keywords = [(prefix + each.arg, each.value.lineno) for each in node.keywords if each.arg]
        return keywords + [pair for argument in node.args for pair in _inner(argument, prefix)]
    found = []
    for key, value in zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ():
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            found += [(prefix + key.value, key.lineno), *_inner(value, f'{prefix}{key.value}.')]
    return found


if __name__ == '__main__':
    print(render(), end='')
