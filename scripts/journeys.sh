#!/usr/bin/env bash
# The journeys (tests/), on both engines: buildkitd, then Docker Engine. The programs must be built: `make journeys` in a
# clone where `make setup` ran.
#
#   scripts/journeys.sh [ARGUMENT...]   arguments go to the test program: names to run, --nocapture
#
# Environment: SLIPWAY_TEST_ENGINE runs them on that engine alone; SLIPWAY_BIN_DIR says where the programs are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A test program that was killed can't clean up after itself. What its services started has their folder in its command line.
clean_up() {
  local line pid
  for line in /proc/[0-9]*/cmdline; do
    pid=${line#/proc/} pid=${pid%/cmdline}
    # A process that ends meanwhile is none to end.
    if tr '\0' '\n' 2>/dev/null <"$line" | grep -qF -- "$SLIPWAY_JOURNEYS_DIR/"; then kill -9 "$pid" 2>/dev/null || true; fi
  done
  rm -rf "$SLIPWAY_JOURNEYS_DIR"
}

mkdir -p target
SLIPWAY_JOURNEYS_DIR=$(mktemp -d "$PWD/target/journeys-XXXXXX")
export SLIPWAY_JOURNEYS_DIR
trap clean_up EXIT

cargo test --locked --release -p slipway-journeys --no-run
for engine in ${SLIPWAY_TEST_ENGINE:-unix:///run/buildkit/buildkitd.sock docker://}; do
  echo "journeys: on $engine"
  # More at a time than there are cores to do them: they wait for engines most of the time.
  SLIPWAY_TEST_ENGINE=$engine cargo test --locked --release -p slipway-journeys --test journeys -- --test-threads 4 "$@"
done
