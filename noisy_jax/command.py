"""How a command ends: its exit status, and what it says on standard error."""

import os
import sys
from collections.abc import Callable

from noisy_jax.errors import InputError


def exit_status(work: Callable[[], int | None], stopped: str = 'stopped; nothing was written') -> int:
    """Does the `work` of a command, which may return an exit status; `stopped` is printed after Ctrl-C.

    Returns:
      What `work` returned, or 0; 2 after a user error, printed in one line; 130 after Ctrl-C; 141 when the reader of
      standard output (`| head`) has gone.
    """
    try:
        return work() or 0
    except InputError as error:
        print(f'error: {error}', file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
