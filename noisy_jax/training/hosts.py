"""Several processes as one run: how they find each other, and how each ends when another is lost."""

import contextlib
import ctypes
import ipaddress
import os
import re
import signal
import socket
import sys
import tempfile
import threading
import traceback
import zlib
from collections.abc import Callable, Iterator
from typing import TextIO

import jax

from noisy_jax.errors import InputError, first_line
from noisy_jax.streams import Unfailing
from noisy_jax.training.signals import Stopped

_PATIENCE = 30  # seconds for all to come together; JAX's runtime takes 5 more
_PATIENCE_WITH_A_CLUSTER = 300  # which may start them one after another
_SILENCE = 15  # seconds until it is said that others are waited for
_COUNTS = 'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE'  # in which clusters say how many processes there are
_PROXIES = 'grpc_proxy', 'https_proxy', 'http_proxy'
_PORTS = range(61440, 65536)  # from which JAX chooses too
_MOST = 100_000  # processes; far more would be waited for where the number is misspelt
_HEARTBEAT = 30  # seconds without a sign of life after which a process is lost
_UNTIL_THE_REPORT = 24 * 3600  # seconds in which the first process, alone, writes its last files

# What JAX's runtime says before it aborts a process, and what an exception says of a connection that broke.
_GIVES_UP = re.compile(r'Terminating process because the JAX distributed service.*?absl::Status: (.*)')
_BROKEN = re.compile(r'gloo|nccl|socket closed|connection (reset|refused|closed)|heartbeat|barrier|coordination', re.I)

_ending = threading.Lock()
_have_met = threading.Event()  # the processes have a way to each other
_is_complete = threading.Event()  # in the first process, which writes: a loss of others is none of the run any more
_handlers = []  # that C may call, which does not count references


def join(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Makes this process one of several, before anything else of JAX; without arguments where JAX sees a cluster.

    From then on a lost process ends the others with one line and status 2, in about half a minute at most. JAX's
    runtime would abort them, with the logs of its threads; TF_CPP_MIN_LOG_LEVEL=0 in the environment keeps it so.

    Args:
      coordinator: 'host:port' of process 0.
      num_processes: how many there are.
      process_id: which of them this is, from 0.

    Raises:
      InputError: some of the three are missing or cannot be used.
    """
    given = [value is not None for value in (coordinator, num_processes, process_id)]
    if not any(given) and {os.environ[name] for name in _COUNTS if name in os.environ} == {'1'}:
        return  # alone; another run of one process in the same job would have the same coordinator
    if any(given) and not all(given):
        raise InputError('--coordinator, --num_processes and --process_id: give all three, or none on one host')
    settings = {'heartbeat_timeout_seconds': _HEARTBEAT, 'shutdown_timeout_seconds': _UNTIL_THE_REPORT}
    settings['initialization_timeout'] = _PATIENCE if all(given) else _PATIENCE_WITH_A_CLUSTER
    if all(given):
        _check(coordinator, num_processes, process_id)
        if _loopback(coordinator.rpartition(':')[0].strip('[]')):
            _have_met.set()  # all are on this host
    else:
        _choose_port()
    joined, waits = False, threading.Timer(_SILENCE, _say_what_is_waited_for)
    waits.daemon = True

    def says(reason: str) -> str:
        if 'different incarnation' in reason:
            return f'two processes have one --process_id, or one was started again ({reason})'
        return _lost(reason) if joined else _refusal(reason, coordinator, num_processes, process_id)

    if not any(given):  # else half a minute ends in one line
        waits.start()
    undo = _keep_quiet(says)
    try:
        with _directly():
            jax.distributed.initialize(coordinator, num_processes, process_id, **settings)
    except ValueError as error:  # no cluster (Cloud TPU, Slurm, ...) around this process: it is alone
        undo()
        if any(given):
            raise InputError(f'--coordinator: {coordinator!r} cannot be used ({error})') from error
        return
    except RuntimeError as error:
        undo()
        where = f'--coordinator: {coordinator}' if coordinator else 'the cluster around this process'
        raise InputError(f'{where}: {first_line(error)}') from error
    finally:
        waits.cancel()
    joined = True


def _say_what_is_waited_for() -> None:
    print(
        'waiting for the other processes that the cluster announces; start the command once for each of them, as srun '
        'does (srun --ntasks=1 for one alone)',
        file=sys.stderr,
    )


def name_fault() -> str | None:
    """What is wrong with the name of this host, which others find it by; None where it has an address of its own."""
    name, fault = socket.gethostname(), None
    try:
        for family, kind, *_, address in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family, kind) as probe:
                    probe.bind(address)
                return None
            except OSError as error:
                fault = f'{address[0]} is no address of this host, but that of its name {name!r} ({error.strerror})'
    except (OSError, UnicodeError) as error:
        fault = f'no address is known for {name!r}, the name of this host ({error})'
    return f'{fault}; mend /etc/hosts'


def _lost(reason: str) -> str:
    """What is said of a lost process, for the reason that is known."""
    lost, again = 'another process of this run has ended or cannot be reached', 'rerun the same command on every host'
    if _have_met.is_set():
        return f'{lost} ({reason}); {again} to resume'
    name = socket.gethostname()
    if address := _loopback(name):
        way = f'the name of this host, {name!r}, has the address {address}, at which no other host reaches it: mend '
        way += '/etc/hosts'
    else:
        way = 'hosts need a way to each other at all ports, not only to that of the coordinator: see to their firewalls'
    return f'{lost} ({reason}); {way}, and {again}'


def _loopback(name: str) -> str:
    """An address of a name that means this host wherever it is asked, as 127.0.1.1 on Debian; '' if it has another."""
    try:
        found = [info[4][0].partition('%')[0] for info in socket.getaddrinfo(name, None)]
    except (OSError, UnicodeError):
        return ''
    return found[0] if all(ipaddress.ip_address(address).is_loopback for address in found) else ''


@contextlib.contextmanager
def meeting() -> Iterator[None]:
    """What the processes first exchange, on connections of their own; ends this one where it cannot connect.

    On CPUs half a minute is enough: all processes have come. Those of GPUs and TPUs may be set up meanwhile.
    """
    timer = threading.Timer(_PATIENCE, lambda: _end(2, _lost(f'no connection within {_PATIENCE} seconds')))
    timer.daemon = True
    if jax.process_count() > 1 and jax.default_backend() == 'cpu':
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
    _have_met.set()


@contextlib.contextmanager
def _directly() -> Iterator[None]:
    """Within the block no proxy is used, to which JAX's runtime would send what is for process 0."""
    kept = {name: os.environ.pop(name) for name in tuple(os.environ) if name.lower() in _PROXIES}
    try:
        yield
    finally:
        os.environ.update(kept)


def leave(status: int) -> None:
    """Ends one of several processes at once: a usual exit waits for the others, who may wait for this one."""
    if jax.distributed.is_initialized():
        _end(status)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What one of several processes does; ends it at once where it fails, or where another is lost."""
    try:
        yield
        if jax.process_index() == 0:
            _is_complete.set()
    except (InputError, Stopped):
        raise
    except Exception as error:
        if jax.distributed.is_initialized():
            if is_lost(error):
                _end(2, _lost(first_line(error)))
            if isinstance(error, (OSError, MemoryError)):  # a full disk, which the command tells in one line
                raise
            _end(1, traceback.format_exc())
        raise


def is_lost(error: Exception) -> bool:
    """Whether it says that another process cannot be reached; JAX has a ValueError or a RuntimeError for it."""
    return jax.process_count() > 1 and bool(_BROKEN.search(str(error)))


def _end(status: int, message: str = '', stream: TextIO | None = None) -> None:
    """Ends this process, its message in `stream` (None: standard error); of several threads, the first one does."""
    if not _ending.acquire(blocking=False):
        threading.Event().wait()
    if message:
        print(message if status == 1 else f'error: {message}', file=stream or sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _check(coordinator: str, num_processes: int, process_id: int) -> None:
    """Raises InputError for what JAX would find out late, or not at all."""
    if not 1 <= num_processes <= _MOST:
        raise InputError(f'--num_processes: {num_processes} is not allowed; from 1 to {_MOST:,}')
    if not 0 <= process_id < num_processes:
        raise InputError(f'--process_id: {process_id} is not allowed; from 0 to {num_processes - 1}')
    host, _, port = coordinator.rpartition(':')
    if not host or not re.fullmatch('[0-9]{1,5}', port, re.ASCII) or not 0 < int(port) < 2**16:
        raise InputError(f'--coordinator: {coordinator!r} is not of the form HOST:PORT, with a port from 1 to 65535')
    try:
        socket.getaddrinfo(host.strip('[]'), int(port))
    except (OSError, UnicodeError) as error:
        raise InputError(f'--coordinator: {host!r} is no host that is known here ({error})') from error
    if process_id == 0:
        _check_port('--coordinator', int(port), 'is another process with --process_id=0 running?')


def _choose_port() -> None:
    """Makes the port that of a step of a Slurm job, unless it is set: JAX has one for all steps, which may run at once.

    Raises:
      InputError: it is in use on this host, where the first process runs.
    """
    job, step, process = (os.environ.get(f'SLURM_{name}', '') for name in ('JOB_ID', 'STEP_ID', 'PROCID'))
    if job and step.isdecimal():
        port = _PORTS.start + zlib.crc32(f'{job}.{step}'.encode()) % len(_PORTS)
        if os.environ.setdefault('JAX_COORDINATOR_PORT', str(port)) == str(port) and process == '0':
            _check_port('JAX_COORDINATOR_PORT', port, 'set another one')


def _check_port(field: str, port: int, remedy: str) -> None:
    """InputError: the port is in use: two servers may share one, and would share the processes that come."""
    both = socket.has_dualstack_ipv6()
    try:
        socket.create_server(
            ('', port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both
        ).close()
    except OSError as error:
        reason = os.strerror(error.errno)
        raise InputError(f'{field}: port {port} of this host cannot be used ({reason}); {remedy}') from error


def _refusal(reason: str, coordinator: str | None, num_processes: int | None, process_id: int | None) -> str:
    """Why this process cannot join the others, of the reason that JAX's runtime has."""
    if not reason.startswith('DEADLINE_EXCEEDED'):
        return f'--process_id: {process_id} of {num_processes} is refused by process 0 at {coordinator} ({reason})'
    if coordinator is None:
        return (
            f'not all processes that the cluster announces came within {_PATIENCE_WITH_A_CLUSTER} seconds; start the '
            'command once for each of them, as srun does'
        )
    if process_id == 0:
        return f'--num_processes: not all {num_processes} processes came to {coordinator} within {_PATIENCE} seconds'
    return (
        f'--coordinator: no answer from {coordinator} within {_PATIENCE} seconds, or not all {num_processes} processes '
        'came; run the same command on every host'
    )


def _keep_quiet(says: Callable[[str], str]) -> Callable[[], None]:
    """Holds back what native code writes to standard error; an abort by JAX's runtime is one line, and status 2.

    Its threads report a lost process by logs, a stack trace and abort(), in which Python has no say.

    Args:
      says: the message, of the reason that the runtime has.

    Returns:
      What undoes it.
    """
    # Of a command only: the streams of another program are its own. JAX sets the variable to 1 where it is not set.
    is_command = isinstance(sys.stderr, Unfailing)
    if not is_command or os.name != 'posix' or os.environ.get('TF_CPP_MIN_LOG_LEVEL') == '0':
        return lambda: None
    try:
        kept = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # nothing but the work directory may be written, or the disk is full
        return lambda: None
    stream, before, terminal = sys.stderr, sys.stderr.stream, os.dup(2)
    stream.flush()
    os.dup2(kept.fileno(), 2)
    heard = open(terminal, 'w', encoding='utf-8', errors='backslashreplace', buffering=1)  # noqa: SIM115
    stream.stream = heard

    def aborted(number: int) -> None:
        kept.seek(0)
        said = kept.read()
        if found := _GIVES_UP.search(said.decode(errors='replace')):
            if _is_complete.is_set():
                _end(0)
            _end(2, says(found.group(1).strip()), heard)  # maybe after the command, while others are waited for
        os.write(terminal, said)  # a fault of another kind: the process aborts when this returns

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    _handlers.append(handler)
    set_handler = ctypes.CDLL(None).signal
    set_handler.argtypes, set_handler.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
    earlier = set_handler(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))

    def undo() -> None:
        set_handler(signal.SIGABRT, earlier)
        stream.flush()
        os.dup2(terminal, 2)
        stream.stream.close()
        stream.stream = before
        kept.close()

    return undo
