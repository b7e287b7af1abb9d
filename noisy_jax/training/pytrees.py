"""What can be said of a tree of arrays as a whole: whether it is what was saved, and which array is not finite."""

import hashlib
import json
from typing import Any

import jax
import numpy as np

_DIGEST = 'sha256'


def digest(tree: Any) -> str:
    """SHA-256, in hexadecimal digits, of the path, type, shape and bytes of every array; all are on this host."""
    found = hashlib.sha256()
    for path, array in _named(tree):
        found.update(f'{path} {array.dtype} {array.shape}\n'.encode())
        found.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return found.hexdigest()


def signed(meta: dict[str, Any], tree: Any) -> dict[str, Any]:
    """The JSON object `meta` of a tree with `sha256`, the digest of both."""
    rest = {name: value for name, value in meta.items() if name != _DIGEST}
    text = np.frombuffer(json.dumps(rest, sort_keys=True).encode(), np.uint8)
    return {**rest, _DIGEST: digest({'meta': text, 'arrays': tree})}


def is_as_signed(meta: dict[str, Any], tree: Any) -> bool:
    """Whether both are what `signed` saw; also where `meta` was never signed, as by earlier versions."""
    return _DIGEST not in meta or signed(meta, tree)[_DIGEST] == meta[_DIGEST]


def not_finite(tree: Any) -> str | None:
    """The path of the first array with NaN or infinite values, such as 'params/encoder/stem_conv/kernel'; or None."""
    return next((path for path, array in _named(tree) if not np.isfinite(array).all()), None)


def _named(tree: Any) -> list[tuple[str, np.ndarray]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator='/'), np.asarray(leaf)) for path, leaf in leaves]
