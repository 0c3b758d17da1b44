#!/usr/bin/env bash
# Brings what Slipway needs onto this machine and leaves it running. Does nothing where it is already done.
#
#   scripts/setup.sh engines   tools for the checks, registry binary, Docker Engine, buildkitd, base-image mirror
#   scripts/setup.sh runner    the runner's image as an OCI archive (needs target/release/slipway)
#   scripts/setup.sh [all]     both
#   scripts/setup.sh peers     what `make bench` compares with, if it can be installed
#
# Environment: SLIPWAY_SETUP_MIRROR_PORT (5000) moves the base-image mirror to another port.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR
for part in lib tools registry mirror docker buildkitd runner; do
  # shellcheck source=/dev/null
  . "$ROOT/scripts/setup/$part.sh"
done

engines() {
  local engine engines_started=()
  room_check
  tools_setup
  registry_setup
  if docker_suffices; then
    say "docker: $(docker_version) is usable and reaches image registries; no engine and no mirror is installed"
    return
  fi
  # The mirror runs before the engines, whose configuration names it; it is filled by the first of them.
  mirror_start
  docker_setup
  mirror_fill
  buildkitd_setup
  for engine in "${engines_started[@]}"; do
    "${engine}_check" >"$RUN_DIR/check.log" 2>&1 ||
      { tail -n 15 "$RUN_DIR/check.log" >&2 && die "$engine runs but can't build \`FROM $BASE_IMAGE\` with a RUN"; }
    say "$engine: builds \`FROM $BASE_IMAGE\` with a RUN"
  done
  if ! docker_usable && ! buildkitd_answers && ! buildkitd_listens; then
    die "no engine: neither a Docker Engine with the containerd image store nor buildkitd runs; the lines above say why"
  fi
}

case ${1:-all} in
  engines | runner | all | peers) ;;
  *) die "usage: scripts/setup.sh [engines|runner|all|peers]" ;;
esac
lock
case ${1:-all} in
  engines) engines ;;
  runner) runner_setup ;;
  peers) peers_setup ;;
  all)
    engines
    runner_setup
    ;;
esac
