# shellcheck shell=bash
# Docker Engine with the containerd image store: the old store can't push from inside a build.

DOCKER_CONFIG_FILE=/etc/docker/daemon.json
DOCKER_MIN=24 # the first engine that has the containerd image store

# Without membership of the group docker its socket takes root.
docker_cli() {
  if [[ -n ${DOCKER_HOST:-} || -w /run/docker.sock || ! -S /run/docker.sock ]]; then docker "$@"; else as_root docker "$@"; fi
}

docker_answers() { have docker && quiet docker_cli version; }
docker_version() { docker_cli version --format 'Docker Engine {{.Server.Version}}'; }
docker_usable() {
  docker_answers && [[ $(docker_cli info --format '{{.DriverStatus}}') == *io.containerd.snapshotter* ]]
}

# Somebody's own engine, which needs nothing from us.
docker_suffices() {
  ! once_ours "$DOCKER_CONFIG_FILE" && docker_usable &&
    { quiet docker_cli manifest inspect "$BASE_IMAGE" || quiet docker_cli pull -q "$BASE_IMAGE"; }
}

docker_setup() {
  if ! docker_answers; then
    docker_configure
    docker_install || return 0
    docker_start
    engines_started+=(docker)
  elif ! ours "$DOCKER_CONFIG_FILE"; then
    docker_explain
  fi
  docker_usable ||
    { warn "docker: $(docker_version) has the old image store, so Slipway can't use it" && return 0; }
  say "docker: $(docker_version) runs, with the containerd image store"
}

# docker_json [MORE]
docker_json() {
  printf '{"features":{"containerd-snapshotter":true},"insecure-registries":["127.0.0.0/8"]%s' "${1:-}"
  [[ -z $use_mirror ]] || printf ',"registry-mirrors":["http://%s"]' "$MIRROR"
  printf '}\n'
}

docker_configure() {
  docker_json ',"builder":{"gc":{"enabled":true,"defaultKeepStorage":"'"$ENGINE_CACHE_GB"'GB"}}' | put "$DOCKER_CONFIG_FILE" ||
    docker_explain
}

docker_explain() {
  warn "docker: $DOCKER_CONFIG_FILE isn't this script's and stays as it is. For Slipway it takes these keys, and \
a restart of Docker (images in the old store are not shown in the new one): $(docker_json)"
}

docker_install() {
  local engine
  engine=$(dockerd --version 2>/dev/null | sed -n 's/^Docker version \([0-9]*\).*/\1/p')
  if [[ -z $engine ]]; then
    have apt-get ||
      { warn "docker: left out, there is no apt here; install Docker Engine $DOCKER_MIN or newer and run this again" && return 1; }
    say "docker: no engine answers; installing Debian's"
    docker_packages
  elif ((engine < DOCKER_MIN)); then
    warn "docker: the installed engine is version $engine; Slipway takes $DOCKER_MIN or newer" && return 1
  fi
}

docker_packages() {
  local codename file candidate from=
  candidate=$(apt-cache policy docker.io | sed -n 's/.*Candidate: \([0-9]*\).*/\1/p')
  if ((${candidate:-0} < DOCKER_MIN)); then
    read -r codename file < <(own_source) || die "docker: this release's docker.io is too old; install Docker Engine \
$DOCKER_MIN or newer and run this again"
    say "docker: $codename's is too old; adding $SUITE to apt's sources at a priority that upgrades nothing"
    # The pin first: a source without it would upgrade the whole machine.
    printf 'Package: *\nPin: release n=%s*\nPin-Priority: 100\n' "$SUITE" | put "/etc/apt/preferences.d/slipway-$SUITE" ||
      die "docker: /etc/apt/preferences.d/slipway-$SUITE was changed by hand; remove it and run this again"
    suite_source | put "/etc/apt/sources.list.d/slipway-$SUITE.${file##*.}" ||
      die "docker: /etc/apt/sources.list.d/slipway-$SUITE.${file##*.} was changed by hand; remove it and run this again"
    from=/$SUITE
    apt_stale
  fi
  # Not docker.io's runc: that one asks for a newer libc on an older release.
  apt_install "docker.io$from" "containerd$from" "docker-cli$from" "docker-buildx$from" runc iptables
}

docker_start() {
  # Or BuildKit cuts a step's output at 200 KiB a second and 2 MiB in all.
  local env=(BUILDKIT_STEP_LOG_MAX_SIZE=-1 BUILDKIT_STEP_LOG_MAX_SPEED=-1)
  if [[ -d /run/systemd/system ]]; then
    printf '[Service]\nEnvironment=%s\n' "${env[*]}" | put /etc/systemd/system/docker.service.d/slipway.conf ||
      warn "docker: its systemd drop-in was changed by hand; long step output may be cut"
    as_root systemctl daemon-reload
    as_root systemctl restart docker
  else
    docker_forget_pids
    start_daemon docker as_root env "${env[@]}" dockerd
  fi
  wait_for 30 docker_answers || not_up docker
}

# After a crash or a reboot dockerd takes any process that has got its old pid, or its containerd's, for itself; a
# zombie too (whose command line is empty).
docker_forget_pids() {
  local file pid
  for file in /run/docker.pid /run/docker/containerd/containerd.pid; do
    pid=$(cat "$file" 2>/dev/null) || continue
    quiet grep -E 'dockerd|containerd' "/proc/$pid/cmdline" || as_root rm -f "$file"
  done
}

docker_check() {
  printf 'FROM %s\nRUN true\n' "$BASE_IMAGE" | docker_cli buildx build -q --output type=cacheonly -
}
