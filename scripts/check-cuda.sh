#!/usr/bin/env bash
# Compiles native/cuda with nvcc and links it, as the addon is linked: with the static runtime, without
# cuBLAS and without the driver. Prints registers, spills, stack and shared memory of each kernel, the
# most of any architecture; a kernel that spills registers is a failure. Of the persistent kernels
# (docs/persistent.md) also how many blocks a multiprocessor of each architecture holds; one that holds
# none is a failure. Needs no GPU. Objects are kept in build/check-cuda and made again when a source
# changed.
#
#   scripts/check-cuda.sh [ARCHITECTURE…]
#
# ARCHITECTURE: 80, 89, 90 or 100; without any, all four.
# FUSED_RNN_CUBLAS: the folder of libcublas.so.13. If ../include has its headers, blas_api.h is
# compared with both. Python's package nvidia-cublas is found by itself.
# FUSED_RNN_NCCL: the same for libnccl.so.2, nccl_api.h and the package nvidia-nccl-cu13.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { printf 'check-cuda: %s\n' "$*" >&2; exit 1; }

nvcc=${NVCC:-nvcc}
if ! command -v "$nvcc" >/dev/null; then
  echo 'check-cuda: skipped, there is no nvcc here'
  exit 0
fi

build=build/check-cuda
mkdir -p "$build"
chosen=("$@")
[ $# -gt 0 ] || chosen=(80 89 90 100)
architectures=()
for architecture in "${chosen[@]}"; do
  case $architecture in
    80 | 89 | 90) architectures+=("-gencode=arch=compute_$architecture,code=sm_$architecture") ;;
    100) architectures+=('-gencode=arch=compute_100,code=[sm_100,compute_100]') ;;
    *) fail "architecture: expected 80, 89, 90 or 100, got $architecture" ;;
  esac
done
flags=(-std=c++20 -I native -I native/include '-Xcompiler=-fPIC,-Wall,-Wextra'
  -Xcompiler=-fvisibility=hidden)

# ---- Compile ------------------------------------------------------------------------------------

# SOURCE COMMAND…: runs the command unless the object is newer than all that went into it and was
# made by the same command; what it prints is kept beside the object.
compile() {
  local source=$1 object file fresh=
  object=$build/${source//\//-}.o
  shift
  if [ -f "$object" ] && [ "$(cat "$object.command")" = "$*" ]; then
    fresh=1
    while read -r file; do
      [ "$file" -nt "$object" ] || [ ! -e "$file" ] && { fresh=; break; }
    done < <(tr -s ' \\' '\n' <"$object.d" | grep -v ':$' | grep .)
  fi
  [ -n "$fresh" ] && return
  rm -f "$object"
  if ! "$@" -MMD -MF "$object.d" -c "$source" -o "$object" >"$object.log" 2>&1; then
    grep -v '^ptxas info' "$object.log" | sed "s|^|$source: |" >&2
    return 1
  fi
  # What the compiler has to say, if anything; ptxas's figures are for the table below.
  grep -E 'warning|Warning' "$object.log" >&2 || true
  printf '%s' "$*" >"$object.command"
}

# As many at a time as there are processors.
compile_all() {
  local source running=0 failed=0 jobs
  jobs=$(nproc)
  for source in "$@"; do
    if [ "$running" -ge "$jobs" ]; then
      wait -n || failed=1
      running=$((running - 1))
    fi
    case $source in
      *.cu) compile "$source" "$nvcc" -O3 -ftz=true "${flags[@]}" "${architectures[@]}" -Xptxas=-v & ;;
      *) compile "$source" "$nvcc" -O2 "${flags[@]}" & ;;
    esac
    running=$((running + 1))
  done
  while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
  done
  return "$failed"
}

kernels=() cuda=()
while IFS= read -r source; do kernels+=("$source"); done < <(find native/cuda -name '*.cu' | sort)
while IFS= read -r source; do cuda+=("$source"); done < <(find native/cuda -name '*.cpp' | sort)
cuda+=("${kernels[@]}")
host=(native/core/*.cpp native/cpu/rnn/workspace.cpp native/test/cuda/info.cpp)
compile_all "${cuda[@]}" "${host[@]}" || fail 'native/cuda does not compile'
"$nvcc" "${flags[@]}" -cudart=static -o "$build/persistent_configs" native/test/cuda/persistent_configs.cu ||
  fail 'native/test/cuda/persistent_configs.cu does not compile'

# ---- Link, and load without a driver ------------------------------------------------------------

objects=()
for source in "${cuda[@]}" "${host[@]}"; do
  objects+=("$build/${source//\//-}.o")
done
"$nvcc" -cudart=static -o "$build/info" "${objects[@]}" -Xlinker=--no-undefined -lpthread -ldl ||
  fail 'native/cuda does not link'
if readelf -d "$build/info" | grep -E 'NEEDED.*(cuda|cublas)'; then
  fail 'the addon would not load on a machine without CUDA'
fi
printf 'GPUs: '
"$build/info"

# ---- What is opened at run time -------------------------------------------------------------------

# NAME FOLDER HEADER LIBRARY API PACKAGE PLACE: compares native/cuda/device/API.h with a library and
# its header, which are in FOLDER or, by Python's package, in nvidia/PLACE.
compare() {
  local name=$1 folder=$2 header=$3 library=$4 api=$5 package=$6 place=$7 include
  if [ -z "$folder" ] && command -v python3 >/dev/null; then
    folder=$(python3 -c '
import importlib.util, os, sys
spec = importlib.util.find_spec("nvidia")
places = [os.path.join(p, sys.argv[1]) for p in (spec.submodule_search_locations if spec else [])]
print(next((p for p in places if os.path.isdir(p)), ""))' "$place")
  fi
  include=$folder/../include
  library=$folder/$library
  if [ -n "$folder" ] && [ -f "$include/$header" ] && [ -f "$library" ]; then
    "$nvcc" -O1 "${flags[@]}" -I "$include" -shared -cudart=static -o "$build/$api.so" \
      "native/test/cuda/$api.cpp" -Xlinker="$library" -Xlinker=--no-undefined \
      -Xlinker=--allow-shlib-undefined || fail "native/cuda/device/$api.h is not what $name has"
    echo "$name: native/cuda/device/$api.h agrees with $library"
  else
    echo "$name: not compared, its headers are not here (pip install $package)"
  fi
}

compare cuBLAS "${FUSED_RNN_CUBLAS:-}" cublas_v2.h libcublas.so.13 blas_api nvidia-cublas cu13/lib
compare NCCL "${FUSED_RNN_NCCL:-}" nccl.h libnccl.so.2 nccl_api nvidia-nccl-cu13 nccl/lib

# ---- Registers ------------------------------------------------------------------------------------

{
  "$build/persistent_configs" | sed 's/:/ :/' | c++filt -t
  for source in "${kernels[@]}"; do
    cat "$build/${source//\//-}.o.log"
  done | c++filt
} | awk -v chosen="${chosen[*]}" '
  # Shared memory of a multiprocessor, of a block, and threads (the CUDA programming guide).
  function knows(number, multiprocessor, block, threads) {
    if (!index(" " chosen " ", " " number " ")) return
    architecture[++architectures] = "sm_" number
    of_multiprocessor[architectures] = multiprocessor
    of_block[architectures] = block
    most_threads[architectures] = threads
  }
  BEGIN {
    knows(80, 164, 163, 2048)
    knows(89, 100, 99, 1536)
    knows(90, 228, 227, 2048)
    knows(100, 228, 227, 2048)
  }
  { gsub(/fused_rnn::|cuda::|\(anonymous namespace\)::|detail::/, "") }
  # What persistent_configs has printed.
  /^ConfigOf<.* : [0-9]+ [0-9]+$/ {
    config = $0
    sub(/ : .*/, "", config)
    threads[config] = $(NF - 1)
    dynamic[config] = $NF
  }
  # "Compiling entry function NAME for ARCH", its properties, then "Used N registers, …".
  /Compiling entry function/ {
    name = arch = $0
    sub(/^.*entry function ./, "", name)
    sub(/. for .sm_.*$/, "", name)
    sub(/^void /, "", name)
    sub(/^.*. for ./, "", arch)
    sub(/[^0-9]+$/, "", arch)
    # Without its arguments.
    depth = 0
    for (i = 1; i <= length(name); ++i) {
      c = substr(name, i, 1)
      if (c == "<") depth++
      if (c == ">") depth--
      if (c == "(" && depth == 0) { name = substr(name, 1, i - 1); break }
    }
    if (!(name in registers)) order[++count] = name
  }
  /bytes stack frame/ { raise(stack, $1); raise(spills, $5 + $9) }
  /Used [0-9]+ registers/ {
    raise(registers, after("Used"))
    raise(shared, before("bytes smem"))
    registers_on[name, arch] = after("Used")
    shared_on[name, arch] = before("bytes smem")
  }
  function raise(list, value) { if (!(name in list) || list[name] < value + 0) list[name] = value + 0 }
  function after(word) { return match($0, word " [0-9]+") ? substr($0, RSTART + length(word) + 1, RLENGTH) + 0 : 0 }
  # How many blocks of `threads` threads one multiprocessor of architecture i holds: registers go to
  # warps, 256 at a time, and a block takes 1 KB of shared memory for the system.
  function blocks(registers, shared, threads, i,   most) {
    if (registers == 0 || shared > of_block[i] * 1024) return 0
    most = int(65536 / (int((registers * 32 + 255) / 256) * 256 * threads / 32))
    most = least(most, int(of_multiprocessor[i] * 1024 / (shared + 1024)))
    return least(most, int(most_threads[i] / threads))
  }
  function least(x, y) { return x < y ? x : y }
  function before(words) { return match($0, "[0-9]+ " words) ? substr($0, RSTART, RLENGTH) + 0 : 0 }
  END {
    printf "%-9s %6s %6s %7s  %s\n", "registers", "spills", "stack", "shared", "kernel"
    for (i = 1; i <= count; ++i) {
      name = order[i]
      printf "%9d %6d %6d %7d  %s\n", registers[name], spills[name], stack[name], shared[name], name
      if (spills[name] > 0) bad = bad "\n  " name
    }
    printf "\nPersistent kernels: registers, KB of shared memory, blocks of a multiprocessor\n"
    for (a = 1; a <= architectures; ++a) printf "%-12s ", architecture[a]
    print ""
    for (i = 1; i <= count; ++i) {
      name = order[i]
      if (name !~ /^(persistent|wavefront)_/) continue
      config = match(name, /ConfigOf<[^>]*>/) ? substr(name, RSTART, RLENGTH) : ""
      if (!(config in threads)) { bad_loops = bad_loops "\n  unknown: " name; continue }
      fits = 0
      for (a = 1; a <= architectures; ++a) {
        bytes = shared_on[name, architecture[a]] + dynamic[config]
        there = blocks(registers_on[name, architecture[a]], bytes, threads[config], a)
        fits += there > 0
        # One that asks for more shared memory than a small GPU has is not used there.
        if (there == 0 && (dynamic[config] == 0 || bytes <= of_block[a] * 1024)) {
          bad_loops = bad_loops "\n  " name " on " architecture[a]
        }
        printf "%4d %4d %2d  ", registers_on[name, architecture[a]], int((bytes + 1023) / 1024), there
      }
      print name
      if (fits == 0) bad_loops = bad_loops "\n  " name
    }
    if (bad_loops != "") { print "check-cuda: no multiprocessor holds a block of" bad_loops > "/dev/stderr" }
    if (count == 0) { print "check-cuda: ptxas named no kernel" > "/dev/stderr"; exit 1 }
    if (bad != "") { print "check-cuda: registers are spilled in" bad > "/dev/stderr"; exit 1 }
    if (bad_loops != "") exit 1
  }'
