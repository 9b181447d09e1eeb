#!/bin/sh
# Makes a Debian or Ubuntu machine ready to build and run fused-rnn, and builds it.
# Installs with apt-get only what is missing, and only from the list below.
set -eu
cd "$(dirname "$0")/.."

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

# Runs a command without its output, unless it fails.
quietly() {
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    fail "'$*' failed; its output is above"
  fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# ---- Node ----
command -v node >/dev/null || fail 'Node.js 20.19 or newer is needed (https://nodejs.org)'
command -v npm >/dev/null || fail 'npm is needed; it comes with Node.js (Debian: apt-get install -y npm)'
node -e '
  const [major, minor] = process.versions.node.split(".").map(Number)
  process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)
' || fail "Node.js 20.19 or newer is needed; this is $(node --version)"

# ---- System packages ----
missing=''
command -v c++ >/dev/null || missing="$missing g++"
command -v cmake >/dev/null || missing="$missing cmake"
command -v make >/dev/null || command -v ninja >/dev/null || missing="$missing make"

if [ -n "$missing" ]; then
  line="apt-get install -y --no-install-recommends$missing"
  command -v apt-get >/dev/null || fail "needed, but there is no apt-get here to install them:$missing"
  if [ "$(id -u)" = 0 ]; then
    as_root=''
  elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    as_root=sudo
  else
    fail "system packages are missing; as root, type:
  $line"
  fi
  echo "setup: installing$missing"
  # The package lists of a fresh machine are often empty or old.
  # shellcheck disable=SC2086
  $as_root env DEBIAN_FRONTEND=noninteractive $line >"$log" 2>&1 || {
    $as_root apt-get update >>"$log" 2>&1 || true
    $as_root env DEBIAN_FRONTEND=noninteractive $line >>"$log" 2>&1 || {
      cat "$log" >&2
      fail "could not install the system packages; as root, type:
  $line"
    }
  }
fi

# ---- MPI and ip, which only tests of several processes and hosts need ----
optional=''
command -v mpirun >/dev/null || optional="$optional openmpi-bin"
command -v ip >/dev/null || optional="$optional iproute2"
if [ -n "$optional" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "setup: installing$optional, for tests"
  line="apt-get install -y --no-install-recommends$optional"
  env DEBIAN_FRONTEND=noninteractive $line >"$log" 2>&1 || {
    apt-get update >>"$log" 2>&1 || true
    env DEBIAN_FRONTEND=noninteractive $line >>"$log" 2>&1
  } || echo "setup:$optional could not be installed; tests of several processes are left out"
fi

# ---- npm packages and the build ----
# shellcheck disable=SC3013 # dash, bash and busybox have -nt
if ! [ node_modules/.package-lock.json -nt package-lock.json ]; then
  echo 'setup: installing npm packages'
  quietly npm ci --include=dev --ignore-scripts
fi
echo 'setup: building (the first time takes a minute or two)'
quietly npm run build
