#!/usr/bin/env bash
# All measurements of speed that need a GPU, each part in at most nine minutes, one JSON each.
#
#   experiments/speed/gpu.sh list        the parts
#   experiments/speed/gpu.sh PART...     runs them
#   experiments/speed/gpu.sh smoke       all of them, tiny, on the CPU, in minutes; the numbers mean nothing
#
#   OUT      where the JSON goes (experiments/results/gpu)
#   PYTHON   python3
#
# What one GPU gives in accuracy: experiments/accuracy/visit.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

PARTS='check throughput xla together torch-steps torch-epochs torch-digits contrastive selection'
PYTHON=${PYTHON:-python3}
SMOKE=()

# Runs a script of this folder for nine minutes at most: script, JSON, arguments.
run() {
  local command=("$PYTHON" "experiments/speed/$1.py" "${@:3}" "${SMOKE[@]}" --out "$OUT/$2.json")
  echo "+ ${command[*]}"
  timeout 540 "${command[@]}"
}

# The first arguments, or after -- those of a smoke test.
sized() {
  if ((${#SMOKE[@]})); then while [[ $1 != -- ]]; do shift; done; shift; fi
  SIZE=()
  while (($#)) && [[ $1 != -- ]]; do SIZE+=("$1"); shift; done
}

against_torch() {
  if "$PYTHON" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"; then
    run against_torch "against_torch_$2" --cases "$1"
  else
    echo "skipped: $PYTHON has no torch"
  fi
}

part() {
  case $1 in
    check) # the device, and whether the steps are right on it: losses against the CPU's, falling, in both precisions
      nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.max.sm --format=csv || echo 'no nvidia-smi here'
      sized --steps simclr sup_con supervised elr -- --steps supervised
      run throughput check --check "${SIZE[@]}" ;;
    throughput) # targets on an H200: an epoch of SimCLR (100,000 views) in 1.1 s, of a classifier (50,000) in 0.6 s
      sized --steps simclr supervised elr --batch 512 1024 -- --steps simclr elr
      run throughput throughput "${SIZE[@]}" --trace ;;
    xla) # XLA's options one at a time: those that help go into noisy_jax/training/compiling.py
      sized --steps simclr --batch 512 -- --steps supervised
      run throughput xla --xla-sweep "${SIZE[@]}" ;;
    together) run together together ;;
    torch-steps) against_torch resnet18_step,resnet18_simclr_step steps ;; # target on an H200: 1.3 times as fast
    torch-epochs) against_torch simclr_epoch epochs ;;
    torch-digits) against_torch digits_supervised,digits_simclr digits ;;
    contrastive) run contrastive_memory contrastive_memory ;; # up to a batch of 65,536
    selection) # the mixture (on the host), k-NN of 50,000 queries in a bank of a million
      sized --samples 1000000 --
      run selection_scale selection_scale "${SIZE[@]}" ;;
    *)
      echo "no part $1; the parts: $PARTS" >&2
      exit 2 ;;
  esac
}

if (($# == 0)) || [[ $1 == list ]]; then
  printf '%s\n' $PARTS
  exit
fi
if [[ $1 == smoke ]]; then
  SMOKE=(--smoke)
  export JAX_PLATFORMS=cpu
  OUT=${OUT:-$(mktemp -d)}
  set -- $PARTS
fi
OUT=${OUT:-experiments/results/gpu}
mkdir -p "$OUT"
for name in "$@"; do
  echo "== $name"
  part "$name"
done
