"""labels.csv: one row per labelled training image, what a run found of its label."""

import os

import numpy as np

from noisy_jax import files, spreadsheet
from noisy_jax.errors import shortened

HEADER = ('index', 'id', 'given_label', 'suggested_label', 'pred_prob', 'clean_probability', 'is_suspect')
_TRUE = 'true_label'  # a last column, where it is known
_TYPES = {'index': np.int64, 'pred_prob': float, 'clean_probability': float, 'is_suspect': np.int64}
_TEXT = {'pred_prob': '{:.6f}'.format, 'clean_probability': '{:.6f}'.format, 'is_suspect': int}


def as_csv(columns: dict[str, np.ndarray], order: np.ndarray) -> bytes:
    """The file of `columns`, as `read` returns them, with the rows in this order, int [N]."""
    header = (*HEADER, *([_TRUE] if _TRUE in columns else []))
    text = [map(_TEXT.get(name, str), columns[name][order].tolist()) for name in header]
    return spreadsheet.as_csv(header, zip(*text, strict=True))


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The columns by name, each [N], in the order of `index` and of the rows of pred_probs.npy.

    Labels and ids are str, numbers float64, `index` int64, `is_suspect` bool; 'true_label' only where known.

    Raises:
      OSError, ValueError, spreadsheet.Error: it is missing or broken.
    """
    header, rows = _table(path)
    columns = dict(zip(header, map(np.array, zip(*rows, strict=True)), strict=True))
    for name, dtype in _TYPES.items():
        columns[name] = _numbers(columns[name], dtype, name)
    columns['is_suspect'] = columns['is_suspect'] == 1
    order = columns['index'].argsort()
    return {name: values[order] for name, values in columns.items()}


def is_one(path: str | os.PathLike) -> bool:
    """Whether a file has these columns and no others."""
    try:
        header, _ = _table(path)
    except (OSError, ValueError, spreadsheet.Error):
        return False
    return set(header) <= {*HEADER, _TRUE}


def _table(path: str | os.PathLike) -> tuple[list[str], list[list[str]]]:
    with files.read_text(path) as file:
        return spreadsheet.table(file, HEADER)


def _numbers(texts: np.ndarray, dtype: type, name: str) -> np.ndarray:
    """The texts of a column [N] as numbers; ValueError: one is none."""
    for text in texts:
        try:
            dtype(text)
        except (ValueError, OverflowError):
            kind = '0 or 1' if name == 'is_suspect' else 'a whole number' if dtype is np.int64 else 'a number'
            raise ValueError(f'{name}: found {shortened(str(text))!r}; {kind} is needed') from None
    return texts.astype(dtype)
