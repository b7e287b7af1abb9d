"""Checks the form of JSON files that are read back, since people edit them and disks fail."""

import json
import math
import os
import pathlib
from typing import Any

from noisy_jax.errors import InputError, first_line, remedy_of

# A type; a tuple of forms, one of which is needed; [form] for a list of any length, [form, form] for one of so many;
# {name: form} for an object that has these, 'name?' for what it may lack, and maybe others; {str: form} for one of any
# names; None.
Form = Any
_WHAT = {
    str: 'text',
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    dict: 'an object',
    list: 'a list',
    type(None): 'null',
}
_MOST = 2**63  # of whole numbers: NumPy takes no larger ones
_SHOWN = 40  # characters of a value


def read(path: str | os.PathLike, form: Form, remedy: str) -> Any:
    """What a JSON file holds.

    Raises:
      InputError: it is missing, damaged or of another form; names it and ends with `remedy`.
    """
    try:
        value = json.loads(pathlib.Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        remedy = remedy_of(getattr(error, 'errno', None), remedy)
        raise InputError(f'{path} cannot be read as JSON ({first_line(error)}); {remedy}') from error
    if found := fault(value, form):
        raise InputError(f'{path}: {found}; {remedy}')
    return value


def fault(value: Any, form: Form, at: str = '') -> str | None:
    """What is wrong with a value and where in it; None where it has the form.

    Example:
      >>> fault({'shape': [8, 'x']}, {'shape': [int], 'name?': str})
      "shape[1] is 'x', a whole number is needed"
    """
    if isinstance(form, tuple):
        found = [fault(value, each, at) for each in form]
        return None if None in found else found[0]
    kind = type(form) if isinstance(form, (dict, list)) or form is None else form
    if not _is(value, kind):
        shown = repr(value)[:_SHOWN]
        return f'{at.removeprefix(".") or "it"} is {shown}, {_WHAT[kind]} is needed'
    if isinstance(form, list):
        forms = form * len(value) if len(form) == 1 else form
        if len(forms) != len(value):
            return f'{at.removeprefix(".") or "it"} has {len(value)} values, {len(forms)} are needed'
        inner = [(each, part, f'{at}[{place}]') for place, (each, part) in enumerate(zip(value, forms, strict=True))]
    elif isinstance(form, dict) and str in form:
        inner = [(each, form[str], f'{at}.{name}') for name, each in value.items()]
    elif isinstance(form, dict):
        known = {name.removesuffix('?'): part for name, part in form.items() if name[-1] != '?' or name[:-1] in value}
        if missing := [name for name in known if name not in value]:
            return f'{at}.{missing[0]}'.removeprefix('.') + ' is missing'
        inner = [(value[name], part, f'{at}.{name}') for name, part in known.items()]
    else:
        return None
    return next(filter(None, (fault(each, part, place) for each, part, place in inner)), None)


def _is(value: Any, kind: type) -> bool:
    """Whether a value from JSON is of the kind; numbers are finite, and true is none."""
    if kind not in (int, float):
        return isinstance(value, kind)
    if isinstance(value, bool) or not isinstance(value, (int, kind)):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < _MOST
