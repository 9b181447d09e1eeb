#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds for it, runs the test suite there, a short training under
# compute-sanitizer, and the benchmark beside PyTorch (cuDNN), in less than eight minutes.
#
#   bench/gpu/run.sh OUT
#
# OUT is a folder for the logs, the tables and the JSON. Needed: the CUDA toolkit, cmake and a C++
# compiler, Python with PyTorch, Node (NODE names another binary than the PATH's), node_modules.
# TypeScript is compiled unless dist, dist-bench and dist-test are there already.
set -uo pipefail
out=$(mkdir -p "${1:?usage: bench/gpu/run.sh OUT}" && cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
NODE=${NODE:-$(command -v node)}
PATH=$(cd "$(dirname "$NODE")" && pwd):$PATH
export FUSED_RNN_ADDON=$PWD/build/gpu/Release/fused_rnn.node
failed=0
begin=$SECONDS

step() { printf '\n== %s (%s s)\n' "$1" "$((SECONDS - begin))"; }
# Runs the rest of the line with its output in a log, and shows the log's end.
logged() {
  local log=$out/$1 lines=$2
  shift 2
  "$@" >"$log" 2>&1 || { echo "failed: $*"; failed=1; }
  tail -n "$lines" "$log"
}

step 'Machine'
{
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
  nvcc --version | tail -n 2
  node --version
  python3 -c 'import torch; print("PyTorch", torch.__version__, "cuDNN", torch.backends.cudnn.version())'
} 2>&1 | tee "$out/machine.txt"

step 'Build'
logged build.log 3 node node_modules/cmake-js/bin/cmake-js compile -O build/gpu \
  --CDFUSED_RNN_CUDA=on --CDCMAKE_CUDA_ARCHITECTURES=native --parallel "$(nproc)"
[ -f "$FUSED_RNN_ADDON" ] || exit 1
for part in ts bench test; do
  folder=dist-$part
  [ -d "${folder/dist-ts/dist}" ] || npm run --silent "build:$part"
done

step 'Tests on cuda:0'
FUSED_RNN_TEST_DEVICE=cuda:0 logged tests.log 15 node scripts/test.mjs

step 'compute-sanitizer'
yes 'the quick brown fox jumps over the lazy dog' | head -n 60 >"$out/corpus.txt"
for tool in memcheck racecheck; do
  logged "sanitizer-$tool.log" 3 compute-sanitizer --tool "$tool" --error-exitcode 9 \
    node dist/cli/main.js train "$out/corpus.txt" --device cuda:0 --epochs 1 --batch-size 4 --steps 16 \
    --hidden 48 --out "$out/model"
done

step 'Benchmark'
for precision in tf32 ieee bf16; do
  logged "bench-$precision.txt" 60 node dist-bench/run.js --device cuda:0 --precision "$precision" \
    --peers pytorch --rounds 3
done
logged bench-deepbench.txt 90 node dist-bench/run.js --list deepbench --device cuda:0 \
  --precision tf32 --peers pytorch --rounds 3 --budget 8000
cp bench/results/cuda-* "$out" 2>/dev/null
rm -rf "$out/model" "$out/corpus.txt"

step "$([ $failed = 0 ] && echo 'Done' || echo 'Done, with failures above')"
exit $failed
