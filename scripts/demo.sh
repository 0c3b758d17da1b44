#!/usr/bin/env bash
# Starts `slipwayd --dev` if it doesn't run, deploys examples/hello, and shows the result with Docker (or skopeo).
# `make demo` calls it after `make setup`. The service is left running.
#
# Environment: SLIPWAYD_LISTEN (127.0.0.1:7700), SLIPWAYD_REGISTRY__LISTEN (127.0.0.1:7701) and SLIPWAYD_DATA_DIR
# ($XDG_DATA_HOME/slipway) move the service, as they do for slipwayd itself.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BIN=$ROOT/target/release
DATA_DIR=${SLIPWAYD_DATA_DIR:-${XDG_DATA_HOME:-$HOME/.local/share}/slipway}
URL=http://${SLIPWAYD_LISTEN:-127.0.0.1:7700}
PID_FILE=$DATA_DIR/demo.pid
LOG=$DATA_DIR/slipwayd.log
TMP=$(mktemp -d)

# What the caller's shell is set up for must not lead the demo elsewhere.
unset SLIPWAY_{SERVER,TOKEN,NAMESPACE,FILE,OUTPUT,LOG_LEVEL} OKTETO_{CONTEXT,TOKEN,NAMESPACE}

if [[ -t 1 ]]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; else BOLD='' PLAIN=''; fi
say() { printf '%sdemo: %s%s\n' "$BOLD" "$*" "$PLAIN"; }
die() { printf 'demo: error: %s\n' "$*" >&2 && exit 1; }
answers() { curl -fs --noproxy '*' -m 5 -o /dev/null "$URL/$1"; }
container='' image=''

cleanup() {
  [[ -z $container ]] || docker_cli rm -f "$container" >/dev/null 2>&1 || true
  [[ -z $image ]] || docker_cli rmi "$image" >/dev/null 2>&1 || true
  rm -rf "$TMP"
}
trap cleanup EXIT

# === the service

# The process that an earlier demo started, if it lives.
ours() {
  local pid
  pid=$(cat "$PID_FILE" 2>/dev/null) && [[ $(tr '\0' ' ' <"/proc/$pid/cmdline") == *'slipwayd --dev '* ]] &&
    printf %s "$pid"
} 2>/dev/null

# The first signal makes slipwayd wait for its running jobs, the second makes it leave; they go on without it.
stop() {
  local tenths
  for tenths in {1..150}; do
    case $tenths in 1 | 20) kill "$1" 2>/dev/null || return 0 ;; esac
    [[ -e /proc/$1 ]] || return 0
    sleep 0.1
  done
  die "the older service (process $1) does not end"
}

start() {
  local pid
  (umask 077 && mkdir -p "$DATA_DIR")
  rm -f "$PID_FILE"
  say "starting slipwayd --dev (log: $LOG)"
  # shellcheck disable=SC2016 # the inner shell's own
  setsid -f sh -c 'echo $$ >"$0" && exec "$@"' "$PID_FILE" "$BIN/slipwayd" --dev </dev/null >>"$LOG" 2>&1
  for _ in {1..300}; do
    if answers readyz; then return; fi
    # The file may not be there yet; the process may not be slipwayd yet.
    pid=$(cat "$PID_FILE" 2>/dev/null || true)
    [[ -z $pid || -e /proc/$pid ]] || break
    sleep 0.2
  done
  tail -n 15 "$LOG" >&2
  die "slipwayd does not come up (the lines above are from $LOG)"
}

service() {
  local pid
  [[ -x $BIN/slipwayd && -x $BIN/slipway ]] || die "target/release has no slipwayd and slipway: run \`make build\`"
  pid=$(ours) || pid=
  if answers healthz; then
    if [[ -z $pid ]]; then
      say "a service that no demo started answers on $URL; using it as it is"
    elif cmp -s "/proc/$pid/exe" "$BIN/slipwayd"; then
      say "slipwayd answers on $URL"
    else
      say "an older build answers on $URL: restarting it (jobs that run go on)"
      stop "$pid"
      start
    fi
  else
    # One that is there but hangs, or listens elsewhere, has the data directory's lock.
    [[ -z $pid ]] || stop "$pid"
    start
  fi
  for _ in {1..150}; do
    if answers readyz; then return; fi
    sleep 0.2
  done
  die "the service on $URL answers but is not ready; its log says why ($LOG)"
}

# === tools that aren't ours

# With a configuration of its own, so that the login does not end up in the user's.
docker_cli() { "${as_root[@]}" docker --config "$TMP/docker" "$@"; }

# Whether there is a Docker Engine on this machine that we may use.
docker_here() {
  as_root=()
  command -v docker >/dev/null || return 1
  [[ ${DOCKER_HOST:-unix://} == unix://* ]] || return 1
  if docker_cli version >/dev/null 2>&1; then return; fi
  as_root=(sudo -n)
  docker_cli version >/dev/null 2>&1
}

show_with_docker() {
  local port body=
  say "Docker logs in to the registry with the Slipway token, and runs the image"
  docker_cli login -u token --password-stdin "$registry" <"$DATA_DIR/admin.token" 2>"$TMP/login" ||
    { cat "$TMP/login" >&2 && die "docker can't log in to $registry"; }
  image=$1
  docker_cli pull -q "$image"
  container=$(docker_cli run -d -p 127.0.0.1::8080 "$image")
  port=$(docker_cli port "$container" 8080/tcp | head -n 1)
  say "curl http://$port/"
  for _ in {1..50}; do
    body=$(curl -fsS --noproxy '*' -m 5 "http://$port/" 2>"$TMP/curl") && break
    sleep 0.1
  done
  [[ -n $body ]] || { cat "$TMP/curl" >&2 && docker_cli logs "$container" >&2 && die "the image's server does not answer"; }
  printf '%s\n' "$body"
  [[ $body == *"from an image that Slipway built"* ]] || die "that is not examples/hello/app/index.html"
}

show_with_skopeo() {
  command -v skopeo >/dev/null || die "neither a Docker Engine nor skopeo is here to show the image with"
  say "no Docker Engine here; skopeo logs in with the Slipway token and reads the image"
  skopeo login --authfile "$TMP/auth.json" --tls-verify=false -u token --password-stdin "$registry" \
    <"$DATA_DIR/admin.token"
  skopeo inspect --authfile "$TMP/auth.json" --tls-verify=false \
    --format '{{.Digest}}, {{len .Layers}} layers, created {{.Created}}' "docker://$1"
}

# === the demo

say "1. the service"
service
[[ -r $DATA_DIR/admin.token ]] ||
  die "no $DATA_DIR/admin.token: the service on $URL has another data directory; set SLIPWAYD_DATA_DIR to it"

say "2. slipway login -n dev $URL"
"$BIN/slipway" login -n dev "$URL" <"$DATA_DIR/admin.token" ||
  die "the service on $URL does not take $DATA_DIR/admin.token: set SLIPWAYD_DATA_DIR to its data directory, or \
SLIPWAYD_LISTEN and SLIPWAYD_REGISTRY__LISTEN to free addresses for another service"

say "3. slipway deploy --build, in examples/hello"
(cd "$ROOT/examples/hello" && "$BIN/slipway" deploy --build --env-file "$TMP/images.env")
# shellcheck source=/dev/null
. "$TMP/images.env"
registry=$OKTETO_BUILD_APP_REGISTRY

say "4. the result: $OKTETO_BUILD_APP_IMAGE"
if docker_here; then show_with_docker "$OKTETO_BUILD_APP_IMAGE"; else show_with_skopeo "$OKTETO_BUILD_APP_IMAGE"; fi

pid=$(ours) || pid=
say "done. The service goes on${pid:+ as process $pid} (kill ${pid:-it} to stop it). To try next:"
cat <<END
  export PATH=$BIN:\$PATH
  cd $ROOT/examples/hello
  slipway deploy                             # nothing to build: the registry has the images
  slipway deploy --build --var GREETING=Hi   # builds one image anew
  slipway deploy --build --detach            # prints the job's id and leaves
  slipway job list                           # then: slipway job attach ID
  slipway files --for build:app              # what is sent for a build
  slipway env                                # the variables of the images
END
