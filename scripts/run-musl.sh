#!/bin/sh
# Runs programs with the addon for musl on a Debian machine, in Bun: there is no Node for musl to be
# had but from Alpine Linux.
#
#   apt-get install --no-install-recommends g++ musl
#   npm run prebuildify -- --platform linux-x64-musl
#   scripts/run-musl.sh scripts/bundlers/program.mjs
#
# Bun for musl wants Alpine's libstdc++. Of Debian's, which is for glibc, the part that Bun uses asks
# for three symbols that musl has not; they are written here. Exceptions do not pass through that part.
# The addon has a C++ library of its own.
set -eu
cd "$(dirname "$0")/.."
place=build/clients/musl
addon=$PWD/prebuilds/packages/linux-x64-musl/prebuilds/linux-x64/fused-rnn.node
bun=$place/node_modules/@oven/bun-linux-x64-musl/bin/bun
[ -f "$addon" ] || { echo "run-musl: there is no $addon: npm run prebuildify -- --platform linux-x64-musl" >&2; exit 1; }
[ -e /lib/ld-musl-x86_64.so.1 ] || { echo 'run-musl: apt-get install --no-install-recommends musl' >&2; exit 1; }

if [ ! -f "$bun" ]; then
  # --force: npm takes it for another system's.
  npm install --silent --force --ignore-scripts --no-audit --no-fund --prefix "$place" @oven/bun-linux-x64-musl@1.4
fi
if [ ! -f "$place/libstdc++.so.6" ]; then
  cat >"$place/missing.c" <<'C'
#include <sys/random.h>
char __libc_single_threaded = 0;
unsigned arc4random(void) {
  unsigned value = 0;
  getrandom(&value, sizeof value, 0);
  return value;
}
int _dl_find_object(void* code, void* result) { return -1; }
C
  gcc -O2 -fPIC -c "$place/missing.c" -o "$place/missing.o"
  library=$(g++ -print-file-name=libstdc++.a)
  gcc_folder=$(dirname "$(g++ -print-libgcc-file-name)")
  # What Bun asks of it: functions, and tables of classes, which it has copies of.
  nm -D "$bun" | sed -nE 's/^.* (U (_Z|__cxa_[a-su-z]|__dynamic_cast|__once)|[A-Z] _ZTVN10__cxxabi)/\1/p' |
    sed 's/^. //; s/@.*//' | sort -u >"$place/wanted"
  # shellcheck disable=SC2046  # a flag for each
  gcc -shared -nostdlib -Wl,-soname,libstdc++.so.6 -Wl,--gc-sections \
    $(sed 's/^/-Wl,-u,/' "$place/wanted") -o "$place/libstdc++.so.6" "$place/missing.o" \
    "$gcc_folder/crtbeginS.o" "$library" \
    -Wl,--start-group "$gcc_folder/libgcc_eh.a" "$gcc_folder/libgcc.a" -Wl,--end-group \
    "$gcc_folder/crtendS.o"
fi
FUSED_RNN_ADDON=$addon LD_LIBRARY_PATH=$PWD/$place exec "$bun" "$@"
