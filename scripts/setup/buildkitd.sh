# shellcheck shell=bash
# A standalone buildkitd, the second engine that Slipway is tested with.

BUILDKIT_VERSION=v0.29.0
BUILDKIT_BIN=$TOOLS_DIR/buildkit-$BUILDKIT_VERSION
BUILDKIT_ADDR=unix:///run/buildkit/buildkitd.sock
BUILDKIT_CONFIG=$STATE_DIR/buildkitd.toml

# Whoever may not use the socket asks as root.
buildctl_cli() {
  local as=()
  [[ -w /run/buildkit/buildkitd.sock ]] || as=(as_root)
  "${as[@]}" "$(buildctl_binary)" --addr "$BUILDKIT_ADDR" "$@"
}
buildctl_binary() { if [[ -x $BUILDKIT_BIN/buildctl ]]; then echo "$BUILDKIT_BIN/buildctl"; else command -v buildctl || true; fi; }

buildkitd_answers() { [[ -S /run/buildkit/buildkitd.sock && -n $(buildctl_binary) ]] && quiet buildctl_cli debug workers; }
buildkitd_listens() {
  quiet as_root python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "${BUILDKIT_ADDR#unix://}"
}
buildkitd_isolated() { buildctl_cli debug workers -v | quiet grep 'worker.network:.*cni'; }

buildkitd_setup() {
  if ! buildkitd_answers && [[ -z $(buildctl_binary) ]] && buildkitd_listens; then
    say "buildkitd: somebody's runs on $BUILDKIT_ADDR; not looked into, since there is no buildctl"
    return
  fi
  if ! buildkitd_answers; then
    go_tool buildkit github.com/moby/buildkit "$BUILDKIT_VERSION" \
      "-X github.com/moby/buildkit/version.Version=$BUILDKIT_VERSION" ./cmd/buildkitd ./cmd/buildctl || return 0
    need runc iptables
    [[ -x /usr/lib/cni/bridge ]] || apt_install containernetworking-plugins
    buildkitd_config | put "$BUILDKIT_CONFIG" ||
      { warn "buildkitd: left out, $BUILDKIT_CONFIG was changed by hand; remove it and run this again" && return 0; }
    # Searchable by all: the socket's own mode says who may use it.
    as_root install -d -m 0711 /run/buildkit
    buildkitd_wait_for_the_old_one
    # The environment: or BuildKit cuts a step's output at 200 KiB a second and 2 MiB in all.
    start_daemon buildkitd as_root env BUILDKIT_STEP_LOG_MAX_SIZE=-1 BUILDKIT_STEP_LOG_MAX_SPEED=-1 \
      "$BUILDKIT_BIN/buildkitd" --config "$BUILDKIT_CONFIG"
    wait_for 30 buildkitd_answers || not_up buildkitd
    engines_started+=(buildkitd)
  fi
  buildkitd_isolated ||
    warn "buildkitd: its steps run on the host's network and reach its loopback services: configure CNI (networkMode = \"bridge\")"
  say "buildkitd: runs on $BUILDKIT_ADDR"
}

# One that was told to stop holds its lock until it has ended, long after its socket is gone.
buildkitd_wait_for_the_old_one() {
  local lock=$STATE_DIR/buildkit/buildkitd.lock
  as_root test -e "$lock" || return 0
  ! as_root flock -n "$lock" true || return 0
  say "buildkitd: waiting for an older one to end, which holds $lock"
  as_root flock -w 120 "$lock" true || die "an older buildkitd doesn't answer and doesn't end; it holds $lock"
}

# Bridge: a step gets a network of its own. BuildKit's default would be the host's, loopback services included.
buildkitd_config() {
  cat <<EOF
root = "$STATE_DIR/buildkit"

[grpc]
  address = ["$BUILDKIT_ADDR"]
  gid = $(id -g)

[worker.oci]
  networkMode = "bridge"
  cniBinaryPath = "/usr/lib/cni"
  gc = true
  reservedSpace = "1GB"
  maxUsedSpace = "${ENGINE_CACHE_GB}GB"

[worker.containerd]
  enabled = false
EOF
  [[ -z $use_mirror ]] || cat <<EOF

[registry."docker.io"]
  mirrors = ["$MIRROR"]

[registry."$MIRROR"]
  http = true
EOF
}

buildkitd_check() {
  local tmp status=0
  tmp=$(mktemp -d)
  printf 'FROM %s\nRUN true\n' "$BASE_IMAGE" >"$tmp/Dockerfile"
  buildctl_cli build --progress plain --frontend dockerfile.v0 --local "context=$tmp" --local "dockerfile=$tmp" || status=$?
  rm -rf "$tmp"
  return $status
}
