"""Refuses outputs of a trained classifier within its run or its data."""

import os

from noisy_jax.data import outside
from noisy_jax.outputs import check_new
from noisy_jax.workdir import WorkDir


def check_output(out: str | os.PathLike, folder: WorkDir) -> None:
    """Checks that the output `out` of a command can be created, apart from the run in `folder` and its data.

    Raises:
      InputError: it exists, or lies among the files of the run, or in its data; or config.json is damaged.
    """
    check_new(out)
    folder.check_apart(out, '--out')
    outside.check_of_run(out, folder, '--out')
