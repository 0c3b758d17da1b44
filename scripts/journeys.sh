#!/usr/bin/env bash
# The journeys (tests/), on both engines: buildkitd, then Docker Engine. The programs must be built: `make journeys` in a
# clone where `make setup` ran.
#
#   scripts/journeys.sh [ARGUMENT...]   arguments go to the test program: names to run, --nocapture
#
# Environment: SLIPWAY_TEST_ENGINE names the engines, instead of those that answer (with CI set, both have to);
# SLIPWAY_BIN_DIR says where the programs are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A test program that was killed can't clean up after itself. What its services and engines started has their folder in its
# command line; these folders have the run's name in theirs.
clean_up() {
  local line pid run=${SLIPWAY_JOURNEYS_DIR##*/}
  for line in /proc/[0-9]*/cmdline; do
    pid=${line#/proc/} pid=${pid%/cmdline}
    # A process that ends meanwhile is none to end.
    if tr '\0' '\n' 2>/dev/null <"$line" | grep -qE -- "/(slipway-$run-|$run/)"; then kill -9 "$pid" 2>/dev/null || true; fi
  done
  for line in /var/tmp/slipway-"$run"-*; do
    [[ -e $line ]] || continue
    awk -v dir="$line/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | xargs -r -d '\n' umount --quiet --lazy || true
    rm -rf "$line"
  done
  # Bridges of its Docker Engines: slwPID-COUNT.
  for line in /sys/class/net/slw*-*; do
    pid=${line##*/slw} pid=${pid%%-*}
    [[ ! -e $line || -e /proc/$pid ]] || ip link delete "${line##*/}" || true
  done
  rm -rf "$SLIPWAY_JOURNEYS_DIR"
}

mkdir -p target
SLIPWAY_JOURNEYS_DIR=$(mktemp -d "$PWD/target/journeys-XXXXXX")
export SLIPWAY_JOURNEYS_DIR
trap clean_up EXIT

# Whoever has only one engine can test on that; CI tests on both.
engines=${SLIPWAY_TEST_ENGINE:-}
if [[ -z $engines && -n ${CI:-} ]]; then engines="unix:///run/buildkit/buildkitd.sock docker://"; fi
if [[ -z $engines ]]; then
  if [[ -S /run/buildkit/buildkitd.sock ]]; then
    engines=unix:///run/buildkit/buildkitd.sock
  else
    echo "journeys: no buildkitd on /run/buildkit/buildkitd.sock: its journeys are left out"
  fi
  if docker info >/dev/null 2>&1; then
    engines+=" docker://"
  else
    echo "journeys: no Docker Engine answers: its journeys are left out"
  fi
fi
[[ -n ${engines// /} ]] || { echo "journeys: no engine answers: run \`make setup\`" >&2 && exit 1; }

cargo test --locked --release -p slipway-journeys --no-run
done=()
for engine in $engines; do
  echo "journeys: on $engine${done[*]:+, without dependencies: they have engines of their own}"
  # More at a time than there are cores to do them: they wait for engines most of the time.
  SLIPWAY_TEST_ENGINE=$engine cargo test --locked --release -p slipway-journeys --test journeys -- --test-threads 6 "$@" "${done[@]}"
  # All of these start a buildkitd themselves, whatever the engine is: once is enough.
  done=(--skip dependencies::)
done
