"""Settings: the defaults, string arguments of config files, validation."""

from noisy_jax.config.arguments import (
    check_override,
    leave_to_data,
    load,
    parse_argument,
    phase_list,
    set_rates,
    shrink,
    with_argument,
    with_data,
)
from noisy_jax.config.defaults import (
    LABEL_FREE,
    LOSSES,
    MACHINE,
    PHASE_LISTS,
    PHASES,
    REPEATED,
    default,
    loss_settings,
    optimizer,
)
from noisy_jax.config.validation import flatten, validate

__all__ = [
    'LABEL_FREE',
    'LOSSES',
    'MACHINE',
    'PHASES',
    'PHASE_LISTS',
    'REPEATED',
    'check_override',
    'default',
    'flatten',
    'leave_to_data',
    'load',
    'loss_settings',
    'optimizer',
    'parse_argument',
    'phase_list',
    'set_rates',
    'shrink',
    'validate',
    'with_argument',
    'with_data',
]
