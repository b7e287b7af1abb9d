"""What is said when memory does not suffice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import refused, refused_by_command

from noisy_jax.cli import exit_status
from noisy_jax.training import memory

MORE_THAN_THERE_IS = 2**50


@pytest.mark.parametrize('of', [np, jnp], ids=['host', 'device'])
def test_a_real_allocation_that_fails(of):
    @memory.needed()
    def allocate():
        return of.ones(MORE_THAN_THERE_IS, np.uint8).sum()

    refused(allocate, 'not enough memory', 'batch_size', 'model.width', 'data.image_size')


def test_other_errors_stay():
    error = jax.errors.JaxRuntimeError('INTERNAL: something else')
    with pytest.raises(jax.errors.JaxRuntimeError, match='something else'), memory.needed():
        raise error


def test_a_command_says_it_in_one_line(capsys):
    refused_by_command(capsys, exit_status(lambda: np.ones(MORE_THAN_THERE_IS)), 'not enough memory')
