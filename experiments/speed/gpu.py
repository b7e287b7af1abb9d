"""All measurements of speed that need a GPU, one after another until the time is over, one JSON each.

  python experiments/speed/gpu.py --out OUT --seconds 560           in this order; what is left is said by name
  python experiments/speed/gpu.py --out OUT --only xla-256 torch    some of them
  python experiments/speed/gpu.py list
  ... --smoke                                                       tiny sizes; the numbers mean nothing

A part starts only where it can end in time, by what it takes on an H100 at most, and one that fails leaves the others
alone. A second call with the same OUT does what is left. What one GPU gives in accuracy: experiments/accuracy/visit.py.
"""

import dataclasses
import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from experiments import record


@dataclasses.dataclass(frozen=True)
class Part:
    """A command of this folder.

    Attributes:
      script: its name.
      arguments: with spaces between.
      smoke: those of a smoke test.
      seconds: that it takes at most; estimates until a visit has measured them.
    """

    script: str
    arguments: str
    smoke: str
    seconds: int


# Goals on an H200: an epoch of SimCLR (100,000 views) in 0.9 s, of a classifier (50,000) in 0.5 s.
PARTS: dict[str, Part] = {
    # Where a run loses time against its steps: both at the batch of a run and at that of the records.
    'host': Part(
        'host_time', '--encoder resnet18 --dtype bfloat16 --batch 256 512 --images 50000 --steps elr', '', 150
    ),
    'steps-256': Part('throughput', '--steps elr simclr ssr --batch 256 --trace --quick', '--steps elr --trace', 150),
    'steps-512': Part('throughput', '--steps elr simclr ssr --batch 512 --trace --quick', '--steps ssr --trace', 150),
    'steps-1024': Part('throughput', '--steps elr simclr --batch 1024 --trace --quick', '--steps elr --trace', 120),
    # Options that help go into noisy_jax/training/compiling.py.
    'xla-256': Part('throughput', '--xla-sweep --steps elr --batch 256', '--steps elr --xla-sweep', 330),
    'xla-512': Part('throughput', '--xla-sweep --steps simclr --batch 512', '--steps elr --xla-sweep', 480),
    # The default mode of torch.compile: max-autotune takes longer than a visit.
    'torch': Part('against_torch', '--cases resnet18_step,resnet18_simclr_step --mode default', '', 300),
    'epochs': Part('throughput', '--steps simclr elr --batch 512', '--steps elr', 120),
    # Whether the steps are right on the device: losses against the CPU's, falling, in both precisions.
    'check': Part('throughput', '--check --steps simclr sup_con supervised elr', '--check --steps supervised', 540),
    'together': Part('together', '', '', 240),
    'torch-epochs': Part('against_torch', '--cases simclr_epoch --mode default', '', 300),
    'torch-digits': Part('against_torch', '--cases digits_supervised,digits_simclr', '', 300),
    'contrastive': Part('contrastive_memory', '', '', 300),  # up to a batch of 65,536
    'selection': Part('selection_scale', '--samples 1000000', '', 300),  # k-NN of 50,000 queries in a million
}


def run(name: str, out: pathlib.Path, left: float, *, smoke: bool) -> bool:
    """Whether the part ended well in time; it is killed after `left` seconds, with the processes it started."""
    part, script = PARTS[name], pathlib.Path(__file__).with_name(f'{PARTS[name].script}.py')
    words = ['--smoke', *part.smoke.split()] if smoke else part.arguments.split()
    partial = out / f'{name}.json.partial'
    print('+', script.name, *words, flush=True)
    process = subprocess.Popen([sys.executable, str(script), *words, '--out', str(partial)], start_new_session=True)
    try:
        code = process.wait(left)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if partial.exists():  # of a part that was killed: what it had measured by then
        partial.rename(out / f'{name}{"" if code == 0 else "_begun"}.json')
    return code == 0


def main() -> None:
    parser = record.parser(__doc__)
    parser.add_argument('what', nargs='?', choices=('list',))
    parser.add_argument('--only', nargs='+', choices=tuple(PARTS), default=tuple(PARTS), help='parts, in their order')
    parser.add_argument('--seconds', type=float, default=560, help='after which the call ends')
    arguments = parser.parse_args()
    if arguments.what:
        print(*PARTS, sep='\n')
        return
    if arguments.out is None:
        parser.error('--out is needed: a folder for the results')
    arguments.out.mkdir(parents=True, exist_ok=True)
    limit, left = time.monotonic() + arguments.seconds, []
    if shutil.which('nvidia-smi'):
        query = 'name,memory.total,driver_version,clocks.max.sm'
        subprocess.run(['nvidia-smi', f'--query-gpu={query}', '--format=csv'], check=False)
    for name in PARTS:
        if name not in arguments.only or (arguments.out / f'{name}.json').exists():
            continue
        remaining = limit - time.monotonic()
        if PARTS[name].script == 'against_torch' and importlib.util.find_spec('torch') is None:
            print(f'{name}: there is no torch', flush=True)
            continue
        fits = remaining > (1 if arguments.smoke else PARTS[name].seconds)
        if not fits or not run(name, arguments.out, remaining, smoke=arguments.smoke):
            left.append(name)
    print('left:', ' '.join(left) if left else 'nothing', flush=True)


if __name__ == '__main__':
    main()
