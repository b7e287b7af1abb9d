"""The parser of all commands: its errors are user errors, one line without the usage."""

import argparse
from typing import NoReturn

from noisy_jax.errors import InputError

_LONG = 500  # characters; a message may repeat what was typed


class Parser(argparse.ArgumentParser):
    """argparse's, but an error raises InputError; parse within `errors.exit_status`."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f'{message if len(message) <= _LONG else f"{message[:_LONG]}..."}; see --help')


def of_command(name: str, description: str) -> Parser:
    """The parser of `python -m noisy_jax.NAME`, whose --help begins with the docstring of its module as it is."""
    return Parser(
        f'python -m noisy_jax.{name}', formatter_class=argparse.RawDescriptionHelpFormatter, description=description
    )
