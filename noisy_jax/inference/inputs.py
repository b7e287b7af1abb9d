"""What `X` may be: an array of images, not names of files, a column of objects or images of several kinds."""

import numbers
import os
import re
from collections.abc import Iterable, Iterator, Mapping, MappingView, Set
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from noisy_jax.errors import InputError, first_line, warn_once

_MANY_COLUMNS = 8  # from which on their names are looked at
_OTHER_COLOURS = ('CMYK', 'YCbCr', 'LAB', 'HSV')  # modes of Pillow
_OF_ONE_RANGE = ('uint8', 'bool', 'uint16', '1', 'I', 'I;16', 'F', *_OTHER_COLOURS)
_PALETTES = ('P', 'PA')  # modes of Pillow
_ARRAYS = ('__array__', '__array_interface__')


def check_numbers(X: ArrayLike) -> None:
    """Checks that X can be an array of numbers of images, where scikit-learn's message would not speak of images.

    Raises:
      InputError: it is one of other things, such as names of files, or of images in an array of objects; or numbers
        are masked.
    """
    first = X[0] if isinstance(X, (list, tuple)) and X else X
    of_names = isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype.kind in 'US'
    are_names = of_names or isinstance(first, (str, os.PathLike))
    if are_names or (isinstance(X, (Mapping, MappingView, Set, Iterator)) and not hasattr(X, 'ndim')):
        found = 'names of files' if are_names else f'a {type(X).__name__}'
        raise InputError(f'X: {found}; an array of images is needed, [N, H, W, C], [N, H, W] or [N, D]')
    _check_columns(getattr(X, 'columns', ()))
    images = X if isinstance(X, (list, tuple)) else ()
    for row, image in enumerate(images):
        if hasattr(image, 'mode') and hasattr(image, 'load'):  # of Pillow, which may read its file only now
            try:
                image.load()
            except Exception as error:  # damaged bytes raise many kinds, a closed file an AssertionError
                why = first_line(error) if str(error) else 'was it closed?'
                raise InputError(f'X: image {row} cannot be read ({why})') from error
        is_numbers = isinstance(image, numbers.Number) or hasattr(image, '__getitem__') or _is_array(image)
        if not is_numbers or isinstance(image, Mapping):
            raise InputError(f'X: image {row} is of type {type(image).__name__}; an array is needed')
    kinds = {_kind(each) for each in images if not isinstance(each, (list, tuple))}
    if len(kinds) > 1 and not kinds.isdisjoint(_OF_ONE_RANGE):  # together, they would have one range
        raise InputError(f'X: images of {" and of ".join(sorted(kinds))}; one kind is needed, of one range')
    shapes = [_shape(each) for each in images]
    for row, shape in enumerate(shapes):
        if shape != shapes[0] and shape and shapes[0]:
            raise InputError(f'X: image {row} has shape {shape}, image 0 {shapes[0]}; one size and kind is needed')
    cells = X.iloc[0].tolist() if hasattr(X, 'iloc') and getattr(X, 'ndim', 0) == 2 and len(X) else ()
    of_objects = getattr(X, 'ndim', 0) == 1 and X.dtype.kind == 'O'
    if of_objects or any(isinstance(cell, (Mapping, list)) or _is_array(cell) for cell in cells):
        raise InputError('X: one column of objects; one array of all images is needed, such as np.stack(X)')
    if not kinds.isdisjoint(_PALETTES):
        raise InputError("X: images with a palette, whose numbers are no brightness; image.convert('RGB') is needed")
    if masked := sum(np.ma.count_masked(each) for each in (X, *images) if isinstance(each, np.ma.MaskedArray)):
        raise InputError(f'X: {masked} numbers are masked; fill them, such as by X.filled(0)')


def _is_array(value: Any) -> bool:
    """An array of any library, or an image of Pillow; no single number."""
    return any(hasattr(value, name) for name in _ARRAYS) and not isinstance(value, np.generic)


def _shape(image: Any) -> tuple[int, ...] | None:
    """The shape of an array, or of an image of Pillow as an array; None of lists."""
    if hasattr(image, 'mode') and hasattr(image, 'load'):
        width, height = image.size
        return (height, width, len(image.getbands()))[: 3 if len(image.getbands()) > 1 else 2]
    return tuple(image.shape) if hasattr(image, 'shape') else None


def _kind(image: Any) -> str:
    """The type of an array or the mode of an image of Pillow, in whatever order of bytes."""
    kind = getattr(image, 'dtype', getattr(image, 'mode', type(image).__name__))
    return str(kind.newbyteorder('=') if isinstance(kind, np.dtype) else kind).replace('I;16B', 'I;16')


def _check_columns(names: Iterable[Any]) -> None:
    """Warns of columns pixel0, pixel1, pixel10, pixel2: in the order of text, in which the pixels are scrambled."""
    found = [re.fullmatch(r'(.*?)([0-9]+)', str(name)) for name in names]
    if len(found) > _MANY_COLUMNS and all(found) and len({each[1] for each in found}) == 1:
        texts, values = [each[2] for each in found], [int(each[2]) for each in found]
        if texts == sorted(texts) and values != sorted(values):
            warn_once(f'X: columns in the order of text, {", ".join(each[0] for each in found[:3])}, ...; sort them')
