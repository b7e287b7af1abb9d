"""The section of the page on what else is wrong with the data, from data_issues.csv."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from noisy_jax.errors import InputError
from noisy_jax.labels.data_issues import (
    BETWEEN,
    BROKEN,
    DUPLICATE,
    FLAT,
    HEADER,
    NAME,
    OVERLAP,
    STRANGER,
    TWO_LABELS,
)
from noisy_jax.labels.duplicates import EXACT, MIRRORED, NEAR, SIDE
from noisy_jax.report import tables
from noisy_jax.report.thumbnails import data_uri
from noisy_jax.report.wording import class_name, count, escape, file_path
from noisy_jax.workdir import WorkDir

_GROUPS, _AT_FIRST = 24, 8  # of a kind that are on the page, and that are seen at first
_IMAGES, _NAMES = 8, 20  # of a group that are shown, and names of broken files
_SAYS = {EXACT: 'the same pixels', NEAR: 'nearly the same picture', MIRRORED: 'a mirror image'}
Row = dict[str, str]
Set = tuple[np.ndarray, Any]  # ids str [N], images uint8 [N, H, W, C] that may be read when they are indexed


def section(folder: WorkDir, sets: Mapping[str, Set], *, thumbnail: int) -> str:
    """The section as HTML.

    Args:
      folder: of a run that has looked for data issues.
      sets: images by split; those shown are read, once.
      thumbnail: greatest length of their longer side in pixels.

    Raises:
      InputError: data_issues.csv or summary.json is missing or broken.
    """
    rows, numbers = folder.load_table(NAME, HEADER), folder.issues['data_issues']
    loader = folder.load_json('config')['data']['name']
    groups, hidden = _groups(rows)
    pictures = _pictures([row for _, _, members in groups for row in members], sets, thumbnail)
    is_small = min(folder.load_json('data')['image_shape'][:2]) < SIDE
    parts = [f'<h2>What else is wrong</h2><p>{_sentence(numbers, is_small=is_small)}</p>']
    for title in dict.fromkeys(title for title, _, _ in groups):
        of_title = [(about, members) for name, about, members in groups if name == title]
        items = [_item(about, members, pictures, loader) for about, members in of_title]
        more = f' {count(hidden[title])} more are in data_issues.csv only.' if hidden[title] else ''
        parts.append(f'<h3>{title}</h3><p class="hint">{_HINTS[title]}{more}</p>{_list(items[:_AT_FIRST])}')
        if rest := items[_AT_FIRST:]:
            parts.append(f'<details><summary>Show {count(len(rest))} more</summary>{_list(rest)}</details>')
    parts += _broken([row for row in rows if row['issue'] == BROKEN])
    return f'<section id="data-issues">{"".join(parts)}</section>\n'


_TWO, _BETWEEN, _OTHER = 'Duplicates with two labels', 'Duplicates in training and test set', 'Other duplicates'
_PAIRS, _NONE, _COLOUR = 'Classes that are hardly told apart', 'Images that fit no class', 'Images of one colour'
_HINTS = {
    _TWO: 'At most one of the labels is right, unless the image shows both.',
    _BETWEEN: 'On these the test set measures memory: leave them out of one of the two sets.',
    _OTHER: 'They count more than once in training, and a copy may be held out while the other is trained on.',
    _PAIRS: 'If two were one class, half of each would look more like the other; weak features blur classes too.',
    _NONE: 'Farther from all others than nine of ten images are from other classes; some are merely unusual.',
    _COLOUR: 'There is nothing in them to learn from.',
}


def _groups(rows: list[Row]) -> tuple[list[tuple[str, str, list[Row]]], dict[str, int]]:
    """What is shown: (title, what is said of the group, rows); and how many more there are, by title."""
    found: dict[str, dict[tuple, list[Row]]] = {title: {} for title in _HINTS}
    for number, row in enumerate(rows):
        issue, key = row['issue'], (row['group'] or f'row {number}')
        if issue == OVERLAP:
            title = _PAIRS
        elif issue in (FLAT, STRANGER):
            title = {FLAT: _COLOUR, STRANGER: _NONE}[issue]
        elif issue == BROKEN:
            continue
        else:
            title = _TWO if TWO_LABELS in row['detail'] else _BETWEEN if BETWEEN in row['detail'] else _OTHER
        found[title].setdefault(key, []).append(row)
    shown, hidden = [], {}
    for title, groups in found.items():
        hidden[title] = max(len(groups) - _GROUPS, 0)
        for members in list(groups.values())[:_GROUPS]:
            shown.append((title, _about(members), members[:_IMAGES]))
    return shown, hidden


def _about(members: list[Row]) -> str:
    """What is said of a group, as text; '' of single images."""
    first = members[0]
    if first['issue'] == OVERLAP:
        return first['detail']
    if not first['group']:
        return ''
    kinds = [_SAYS[kind] for kind in _SAYS if any(row['issue'] == DUPLICATE.format(kind) for row in members)]
    more = f', {count(len(members) - _IMAGES)} of {count(len(members))} not shown' if len(members) > _IMAGES else ''
    return ', '.join(kinds) + more


def _pictures(rows: list[Row], sets: Mapping[str, Set], thumbnail: int) -> Callable[[Row], tuple[str, int]]:
    """Gives the data URI of a row's image, and its place in its set."""
    uris: dict[tuple[str, str], tuple[str, int]] = {}
    for split, (ids, images) in sets.items():
        wanted = {row['id'] for row in rows if row['split'] == split}
        places = [place for place, name in enumerate(ids.tolist()) if name in wanted]
        shown = images[np.array(places)] if places else ()
        for place, image in zip(places, shown, strict=True):
            uris[split, str(ids[place])] = data_uri(image, thumbnail), place

    def picture(row: Row) -> tuple[str, int]:
        if (row['split'], row['id']) not in uris:
            raise InputError(
                f'{NAME}.csv: {row["id"]} is no image of the {row["split"]} set of this run; rerun the command of the '
                'run to write it'
            )
        return uris[row['split'], row['id']]

    return picture


def _list(items: list[str]) -> str:
    return f'<ul class="groups">{"".join(items)}</ul>'


def _item(about: str, members: list[Row], pictures: Callable[[Row], tuple[str, int]], loader: str) -> str:
    images = ''.join(_image(row, *pictures(row), loader) for row in members)
    return f'<li>{f"""<p class="about">{escape(about)}</p>""" if about else ""}{images}</li>'


def _image(row: Row, uri: str, place: int, loader: str) -> str:
    name, label, test = escape(row['id']), class_name(row['label']), row['split'] == 'test'
    where = f'{label}, test set' if test else label
    # Ids of a list's test images may be paths in another folder.
    is_file = loader == 'folder' or (loader == 'filelist' and not test)
    path = f' data-path="{file_path(row["id"])}"' if is_file else ''
    at = '' if test else f' data-row="{place}"'
    return (
        f'<button type="button" class="look" data-file="{name}" data-about="{where}"{at}{path} title="{name}">'
        f'<img src="{uri}" alt="{name}, labelled {where}">{where}<small>{name}</small></button>'
    )


def _broken(rows: list[Row]) -> Iterable[str]:
    if rows:
        items = ''.join(f'<li>{escape(row["id"])}: {escape(row["detail"])}</li>' for row in rows[:_NAMES])
        more = f' {count(len(rows) - _NAMES)} more in data_issues.csv only.' if len(rows) > _NAMES else ''
        yield (
            f'<h3>Broken images</h3><p class="hint">They cannot be read, and were left out.{more}</p>'
            f'<ul class="names">{items}</ul>'
        )


def _sentence(numbers: dict[str, Any], *, is_small: bool) -> str:
    """The counts, as HTML; images that are small have too little structure to be nearly alike."""
    found, unknown = tables.data_issues(numbers), numbers['fit_no_class']
    text = f'Found: {"; ".join(found)}.' if found else 'Nothing was found: no duplicates and no images of one colour.'
    if is_small:
        text += f' Of images below {SIDE} pixels, only equal ones were looked for as duplicates.'
    if unknown and unknown['images'] is None:
        text += (
            f' Images that fit no class were not looked for: {escape(unknown["features"])} can hardly '
            f'recognise images of an unknown class (AUROC {unknown["auroc"]:.2f}; 0.50 is chance).'
        )
    return text + ' All are in <code>data_issues.csv</code>.' if found else text
