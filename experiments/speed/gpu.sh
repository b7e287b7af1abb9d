#!/usr/bin/env bash
# All measurements that need a GPU, each part in at most nine minutes, one JSON each.
#
#   experiments/gpu.sh list              the parts
#   experiments/gpu.sh PART...           runs them
#   experiments/gpu.sh smoke             all of them, tiny, on the CPU, in minutes; the numbers mean nothing
#
#   OUT      where the JSON goes (experiments/results/gpu)
#   IMAGES   CIFAR-10 as a tar of class folders, for knn-1, knn-2 and tables
#   HUMAN    the labels of CIFAR-10N (.npz), for tables
#   WORK     where knn-2 and tables find what the part before has trained (runs/gpu)
#   PYTHON   python3
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PARTS='check throughput xla together torch-steps torch-epochs torch-digits contrastive selection knn-1 knn-2 tables tables-parts tables-ours'
PYTHON=${PYTHON:-python3}
SMOKE=()

# Prints a command, and runs it for nine minutes at most.
run() {
  echo "+ $*"
  timeout 540 "$@"
}

# Whether Python has all these packages; says what is missing.
has() {
  local package
  for package in "$@"; do
    if ! "$PYTHON" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$package') is None)"; then
      echo "skipped: $PYTHON has no $package"
      return 1
    fi
  done
}

# The device, and whether the steps are right on it: losses against the CPU's, falling, in both precisions.
part_check() {
  if command -v nvidia-smi > /dev/null; then
    run nvidia-smi --query-gpu=name,memory.total,driver_version,clocks.sm,clocks.max.sm --format=csv
  else
    echo 'no nvidia-smi here'
  fi
  run "$PYTHON" -c 'import jax; print(jax.__version__, jax.devices())'
  local sizes=()
  if ((${#SMOKE[@]})); then sizes=(--steps supervised --smoke); fi
  run "$PYTHON" experiments/throughput.py --check "${sizes[@]}" --out "$OUT/check.json"
}

# Steps and epochs, bfloat16. Targets on an H200: an epoch of SimCLR (100,000 views) in 1.1 s, of a classifier (50,000
# images) in 0.6 s. With the trace: does the device ever wait for the host?
part_throughput() {
  local sizes=(--steps simclr supervised elr --batch 512 1024)
  if ((${#SMOKE[@]})); then sizes=(--steps simclr elr --smoke); fi
  run "$PYTHON" experiments/throughput.py "${sizes[@]}" --trace --out "$OUT/throughput.json"
}

# XLA's options one at a time: those that help go into noisy_jax/training/compiling.py.
part_xla() {
  local sizes=(--steps simclr --batch 512)
  if ((${#SMOKE[@]})); then sizes=(--steps supervised --smoke); fi
  run "$PYTHON" experiments/throughput.py --xla-sweep "${sizes[@]}" --out "$OUT/xla.json"
}

# Do cells of a table that differ in their labels train faster in one program?
part_together() {
  run "$PYTHON" experiments/together.py "${SMOKE[@]}" --out "$OUT/together.json"
}

# Against the same training in PyTorch. Target on an H200: 1.3 times as fast at least.
against_torch() {
  has torch || return 0
  run "$PYTHON" experiments/against_torch.py --cases "$1" "${SMOKE[@]}" --out "$OUT/against_torch_$2.json"
}
part_torch-steps() { against_torch resnet18_step,resnet18_simclr_step steps; }
part_torch-epochs() { against_torch simclr_epoch epochs; }
part_torch-digits() { against_torch digits_supervised,digits_simclr digits; }

# Memory and time of the contrastive losses in blocks against the dense form, up to a batch of 65,536.
part_contrastive() {
  run "$PYTHON" experiments/contrastive_memory.py "${SMOKE[@]}" --out "$OUT/contrastive_memory.json"
}

# The mixture on a million losses (it runs on the host), k-NN of 50,000 queries in a bank of a million.
part_selection() {
  has sklearn || return 0
  local samples=(--samples 1000000)
  if ((${#SMOKE[@]})); then samples=(); fi
  run "$PYTHON" experiments/selection_scale.py "${samples[@]}" "${SMOKE[@]}" --out "$OUT/selection_scale.json"
}

# SimCLR on CIFAR-10 until 90 % k-NN accuracy. Target on an H200: ten minutes at most. Two calls of one run.
knn() {
  local images=()
  if ((${#SMOKE[@]} == 0)); then
    if [[ -z ${IMAGES:-} ]]; then
      echo 'skipped: IMAGES is not set'
      return 0
    fi
    images=(--images "$IMAGES")
  fi
  run "$PYTHON" experiments/knn_target.py "${images[@]}" "${SMOKE[@]}" --workdir "$WORK/knn" --seconds "$1" \
    --out "$OUT/knn.json"
}
part_knn-1() { knn 480; }
part_knn-2() { knn 480; }

# A table at full scale, for eight minutes; every further call goes on. The JSON of all cells in one archive.
table() {
  has ml_collections sklearn || return 0
  local size=(--table "$1" --scale full --images "${IMAGES:-}" --human "${HUMAN:-}" --budget 480)
  if ((${#SMOKE[@]})); then
    size=(--table "$1" --scale smoke --budget 20)
  elif [[ -z ${IMAGES:-} || -z ${HUMAN:-} ]]; then
    echo 'skipped: IMAGES or HUMAN is not set'
    return 0
  fi
  run "$PYTHON" experiments/tables.py "${size[@]}" --work "$WORK/tables" --results "$WORK/tables/results"
  tar -C "$WORK/tables" -czf "$OUT/tables.tar.gz" results
}
part_tables() { table paper; }
part_tables-parts() { table parts; }
part_tables-ours() { table ours; }

if (($# == 0)) || [[ $1 == list ]]; then
  printf '%s\n' $PARTS
  exit
fi
if [[ $1 == smoke ]]; then
  SMOKE=(--smoke)
  export JAX_PLATFORMS=cpu
  OUT=${OUT:-$(mktemp -d)}
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  set -- $PARTS
fi
for part in "$@"; do
  if [[ " $PARTS " != *" $part "* ]]; then
    echo "no part $part; the parts: $PARTS" >&2
    exit 2
  fi
done
# -P: whether it is installed, not whether it lies here.
"$PYTHON" -P -c 'import noisy_jax' 2> /dev/null || export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
OUT=${OUT:-experiments/results/gpu} WORK=${WORK:-runs/gpu}
mkdir -p "$OUT"
echo "results in $OUT"
for part in "$@"; do
  echo "== $part"
  "part_$part"
done
