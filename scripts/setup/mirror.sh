# shellcheck shell=bash
# The base-image mirror: a loopback registry from which both engines take `debian:trixie-slim` on a machine that
# reaches no image registry. A fixture; the service's own registry is another one.

MIRROR_PORT=${SLIPWAY_SETUP_MIRROR_PORT:-5000}
MIRROR=localhost:$MIRROR_PORT
MIRROR_DIR=$CACHE_DIR/mirror
BASE_IMAGE=debian:$SUITE-slim
BASE_REPOSITORY=library/debian

mirror_answers() { curl -sf --noproxy '*' -m 5 -o /dev/null "http://127.0.0.1:$MIRROR_PORT/v2/"; }

mirror_filled() {
  curl -sf --noproxy '*' -m 5 "http://127.0.0.1:$MIRROR_PORT/v2/$BASE_REPOSITORY/tags/list" | quiet grep "\"$SUITE-slim\""
}

# Sets `use_mirror`: yes where the engines are to use it.
mirror_start() {
  use_mirror=yes
  if mirror_answers; then
    mirror_runs || mirror_filled ||
      die "a registry that isn't ours answers on port $MIRROR_PORT: stop it, or set SLIPWAY_SETUP_MIRROR_PORT"
    say "mirror: runs on $MIRROR"
    return
  fi
  if quiet bash -c ": </dev/tcp/127.0.0.1/$MIRROR_PORT"; then
    die "something that is no registry listens on port $MIRROR_PORT: stop it, or set SLIPWAY_SETUP_MIRROR_PORT"
  fi
  if [[ ! -d $MIRROR_DIR/data ]] && quiet timeout 20 skopeo inspect --raw "docker://docker.io/library/$BASE_IMAGE"; then
    say "mirror: not needed, $BASE_IMAGE can be had from its own registry"
    use_mirror=
    return
  fi
  mkdir -p "$MIRROR_DIR/data"
  # Only on loopback, so that nobody else pushes into what both engines trust as docker.io.
  cat >"$MIRROR_DIR/config.yml" <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $MIRROR_DIR/data}
http: {addr: "127.0.0.1:$MIRROR_PORT"}
EOF
  start_daemon mirror "$(registry_binary)" serve "$MIRROR_DIR/config.yml"
  wait_for 15 mirror_answers || not_up mirror
}

mirror_runs() {
  local pid
  pid=$(cat "$RUN_DIR/mirror.pid" 2>/dev/null) && quiet grep -z "$MIRROR_DIR/config.yml" "/proc/$pid/cmdline"
}

mirror_fill() {
  [[ -n $use_mirror ]] || return 0
  mirror_filled && return
  docker_answers || die "mirror: no Docker Engine to make $BASE_IMAGE with"
  local tmp file
  read -r _ file < <(own_source) || die "mirror: $BASE_IMAGE is made from Debian's packages, and this is no Debian; \
push it as $MIRROR/library/$BASE_IMAGE yourself"
  need mmdebstrap
  say "mirror: making $BASE_IMAGE from Debian's packages, since no image registry can be reached"
  tmp=$(mktemp -d)
  suite_source >"$tmp/debian.${file##*.}"
  # Without what Debian's own slim image leaves out, too.
  as_root mmdebstrap --quiet --variant=minbase --include=ca-certificates \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
    "$SUITE" "$tmp/base.tar" "$tmp/debian.${file##*.}" >"$RUN_DIR/mmdebstrap.log" 2>&1 ||
    { tail -n 15 "$RUN_DIR/mmdebstrap.log" >&2 && die "mmdebstrap failed ($RUN_DIR/mmdebstrap.log)"; }
  docker_cli import -c 'CMD ["bash"]' "$tmp/base.tar" "$MIRROR/library/$BASE_IMAGE" >/dev/null
  docker_cli push -q "$MIRROR/library/$BASE_IMAGE" >/dev/null
  docker_cli rmi "$MIRROR/library/$BASE_IMAGE" >/dev/null
  as_root rm -rf "$tmp"
  say "mirror: $BASE_IMAGE is in it"
}
