"""Makes want of memory a user error that names the settings to lower."""

import contextlib
from collections.abc import Iterator

from noisy_jax.errors import InputError, first_line, is_memory_short


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Within it, or in a function that it decorates, an allocation that fails says which settings to lower.

    Raises:
      InputError: the memory of the host or of a device does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # JaxRuntimeError among them
        if not is_memory_short(error):
            raise
        reason = first_line(error).removeprefix('RESOURCE_EXHAUSTED: ').rstrip('.')
        raise InputError(
            f'not enough memory ({reason[:200]}); lower batch_size of the phase, eval_batch_size, model.width or '
            'data.image_size'
        ) from error
