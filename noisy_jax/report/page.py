"""report.html: a single file that shows a run and lets a person review its label issues, without a network.

Its policy lets the browser run the page's own script and style alone, whatever the data hold.
"""

import base64
import hashlib
import importlib.resources
import json
import os
import pathlib
import string
from typing import Any

import numpy as np

from noisy_jax.data import identity
from noisy_jax.report import charts, evidence, sections
from noisy_jax.report.findings import Findings
from noisy_jax.report.thumbnails import data_uri
from noisy_jax.report.wording import count, escape, file_path, sentences
from noisy_jax.workdir import WorkDir

_SCRIPTS = (
    *('threshold', 'names', 'dialogs', 'decisions', 'estimate', 'evidence'),
    *('gallery', 'csv', 'large', 'review', 'look', 'map'),
)

# Images are thumbnails and, where the browser can see them, the files that they were made of.
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: file: 'self'"


def write(
    folder: WorkDir, findings: Findings, images: Any, *, gallery: int, thumbnail: int, data_issues: str = ''
) -> None:
    """Writes report.html of a finished run with a classifier; the same run gives the same bytes.

    Args:
      folder: work directory of the run; labels/map.npy and map_rows.npy are shown if they exist.
      findings: of the run.
      images: uint8 [N, H, W, C] of the labelled images; indexed once, with the rows shown or beside them.
      gallery: how many images it shows, the most suspicious ones.
      thumbnail: greatest length of their longer side in pixels; images beside them have half.
      data_issues: the section on what else is wrong with the data, as HTML; '' where nobody looked.

    Raises:
      InputError: a file of the run is missing or broken.
    """
    rows = findings.by_suspicion[:gallery]
    others, about = evidence.collect(folder, findings, rows)
    needed = np.append(rows, others)
    shown = images[np.sort(needed)][np.argsort(np.argsort(needed))] if len(needed) else ()  # in their order on disk
    data = {
        'run': _fingerprint(findings, identity.recorded(folder)),
        'classes': findings.classes,
        'images': len(findings.given),
        'wrong': round(float((1 - findings.clean_probability).sum()), 3),
        'noise_rate': findings.verdict and findings.verdict.noise_rate,
        'true_wrong': None if findings.is_wrong is None else int(findings.is_wrong.sum()),
        'threshold': findings.threshold,
        'one_group': findings.is_one_group,
        'cuts': findings.cuts(),
        'originals': _originals(folder, findings.config['data']),
        'gallery': _columns(findings, rows) | {'image': [data_uri(image, thumbnail) for image in shown[: len(rows)]]},
        'others': {
            'id': findings.id[others].tolist(),
            'given': findings.given[others].tolist(),
            'image': [data_uri(image, thumbnail // 2) for image in shown[len(rows) :]],
        },
        **about,
        'map': _map(folder, findings, rows),
    }
    summary = findings.summary
    versions = ', '.join(f'{name} {version}' for name, version in summary['versions'].items() if version)
    style, script = _asset('style.css'), _script()
    text = string.Template(_asset('page.html')).substitute(
        title=escape(findings.title),
        policy=f"{_POLICY}; style-src '{_digest(style)}'; script-src '{_digest(script)}'",
        style=style,
        script=script,
        # Names must not end the script or begin another: in JSON, < occurs in texts only, and is escaped.
        data=json.dumps(data, separators=(',', ':')).replace('<', '\\u003c'),
        sentences=''.join(f'<p>{text}</p>' for text in sentences(findings)),
        overview=sections.overview(findings),
        histogram=charts.histogram(findings),
        data_issues=data_issues,
        judges=sections.judges(findings),
        classes=sections.classes(findings),
        confusion=sections.confusion(findings),
        training=sections.training(findings),
        map_size=_map_size(data),
        machine=escape(f'{summary["config"]}, seed {summary["seed"]}, on {summary["device"]}; {versions}'),
    )
    folder.save_bytes('report.html', text.encode())


def _script() -> str:
    parts = '\n'.join(_asset(f'{name}.js') for name in _SCRIPTS)
    return f"\n(() => {{\n'use strict';\n{parts}\n}})();\n"


def _digest(text: str) -> str:
    """The hash by which the policy allows an inline script or style (https://www.w3.org/TR/CSP3/#grammardef-hash-source)."""
    return f'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'


def _asset(name: str) -> str:
    return (importlib.resources.files('noisy_jax.report') / 'assets' / name).read_text(encoding='utf-8')


def _fingerprint(findings: Findings, noted: dict[str, Any] | None) -> str:
    """Name of the run under which the browser keeps decisions; it stays the same when the report is rewritten.

    Other images of the same names have another one, as far as the run has `noted` what is in them.
    """
    config = {key: value for key, value in findings.config.items() if key != 'report'}
    labels = [findings.id.tolist(), findings.given.tolist()]
    marks = [noted['train']['mark']] if noted and noted['train']['mark'] else []
    return hashlib.sha256(json.dumps([config, labels, *marks], sort_keys=True).encode()).hexdigest()[:16]


def _originals(folder: WorkDir, settings: dict[str, Any]) -> str | None:
    """URL of the folder that ids are paths in, seen from the report; None where images are no files.

    Args:
      folder: work directory.
      settings: config.data of the run.
    """
    if settings['name'] not in ('folder', 'filelist'):
        return None
    root = pathlib.Path(settings['path'])
    root = root.parent if root.is_file() else root
    try:
        return file_path(pathlib.Path(os.path.relpath(root, folder.path)).as_posix()) + '/'
    except ValueError:  # on another drive
        return root.absolute().as_uri() + '/'


def _columns(findings: Findings, rows: np.ndarray) -> dict[str, list]:
    """What the page knows of these images, by column."""
    clean = findings.clean_probability[rows]
    crosses = (clean.round(6) < findings.threshold) != findings.is_suspect[rows]
    return {
        'index': rows.tolist(),
        'id': findings.id[rows].tolist(),
        'given': findings.given[rows].tolist(),
        'suggested': findings.suggested[rows].tolist(),
        'pred_prob': findings.pred_prob[rows].astype(np.float64).round(6).tolist(),
        'clean': np.where(crosses, clean, clean.round(6)).tolist(),
    }


def _map(folder: WorkDir, findings: Findings, shown: np.ndarray) -> dict[str, list] | None:
    """The 2-D map, scaled to [0, 1], with each point's place in the gallery or -1; None without a map."""
    if not folder.has_array('labels/map'):
        return None
    rows, places = folder.load_array('labels/map_rows'), folder.load_array('labels/map').astype(np.float64)
    places = (places - places.min(0)) / np.maximum(np.ptp(places, axis=0), 1e-12)
    place_of = np.full(len(findings.given), -1)
    place_of[shown] = np.arange(len(shown))
    x, y = places.round(4).T.tolist()
    return {'x': x, 'y': y, 'place': place_of[rows].tolist()} | _columns(findings, rows)


def _map_size(data: dict[str, Any]) -> str:
    size, images = len(data['map']['x']) if data['map'] else 0, count(data['images'], 'image')
    if size == data['images']:
        return f'all {images}'
    return f'{count(size)} of {images}: the most suspicious, and an even selection of the others'
