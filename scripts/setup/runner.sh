# shellcheck shell=bash
# The runner's image as an OCI archive, which slipwayd imports into a registry that lacks it.

RUNNER_SRC=$ROOT/runner-image
RUNNER_ARCHIVE=$ROOT/target/release/runner-image.oci.tar
RUNNER_CACHE=$CACHE_DIR/runner-image

runner_setup() {
  local slipway=$ROOT/target/release/slipway inputs cached
  [[ -x $slipway ]] || die "runner: target/release/slipway isn't there: run \`make build\`, then this again"
  inputs=$(runner_inputs "$slipway" | sha256sum | cut -c1-20)
  cached=$RUNNER_CACHE/$inputs.oci.tar
  if [[ -e $RUNNER_ARCHIVE && $(head -n 1 "$RUNNER_ARCHIVE.stamp" 2>/dev/null) == "$inputs" ]]; then
    say "runner: target/release/runner-image.oci.tar is up to date"
    runner_told
    return
  fi
  if [[ ! -e $cached || ! -e $cached.packages ]]; then
    mkdir -p "$RUNNER_CACHE"
    runner_build "$slipway" "$cached.tmp" "$cached.packages"
    chmod 644 "$cached.tmp" && mv "$cached.tmp" "$cached" # buildctl leaves it writable by all
    # A few, so that going back and forth between branches is quick.
    find "$RUNNER_CACHE" -name '*.tar' -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- |
      sed 'p; s/$/.packages/' | xargs -r rm -f
  fi
  rm -f "$RUNNER_ARCHIVE.stamp"
  cp --reflink=auto "$cached" "$RUNNER_ARCHIVE.tmp" && mv "$RUNNER_ARCHIVE.tmp" "$RUNNER_ARCHIVE"
  { echo "$inputs" && cat "$cached.packages"; } >"$RUNNER_ARCHIVE.stamp"
  say "runner: target/release/runner-image.oci.tar is there ($(($(stat -c %s "$RUNNER_ARCHIVE") / 1000000)) MB;" \
    "the image has $(runner_unpacked "$RUNNER_ARCHIVE") MB)"
  runner_told
}

# What the archive's stamp says after the inputs: which packages, of which day, and why not the list's.
runner_told() {
  local mode day
  read -r mode day < <(sed -n 2p "$RUNNER_ARCHIVE.stamp") && [[ $mode == newest ]] || return 0
  warn "runner: the image has the newest packages of $day, not those of runner-image/packages.txt" \
    "(docs/operations.md says how to renew it):"
  tail -n +3 "$RUNNER_ARCHIVE.stamp" | sed 's/^/  /' >&2
}

# What all layers hold, in MB.
runner_unpacked() {
  local blob
  tar -tf "$1" | grep '^blobs/sha256/.' | while read -r blob; do
    # Blobs that are no layers are not compressed.
    tar -xOf "$1" "$blob" | { gzip -dc 2>/dev/null || true; } | wc -c
  done | awk '{ sum += $1 } END { printf "%d", sum / 1000000 }'
}

# What makes the image another one.
runner_inputs() {
  (cd "$RUNNER_SRC" && find . -type f ! -path './tools/*' ! -path './slipway/*' | LC_ALL=C sort | xargs sha256sum)
  uname -m
  sha256sum <"$1"
}

# runner_build SLIPWAY ARCHIVE PACKAGES: the last is a file, for what runner_told tells.
runner_build() {
  local tmp image tools=download arch mode=pinned log=$RUN_DIR/runner.log
  arch=$(uname -m) && arch=${arch/x86_64/amd64} && arch=${arch/aarch64/arm64}
  image=$(sed -n 's/^ *image: *//p' "$RUNNER_SRC/okteto.yaml")
  tmp=$(mktemp -d)
  mkdir -p "$tmp/slipway/$arch" "$tmp/tools/$arch"
  cp "$1" "$tmp/slipway/$arch/slipway"
  if ! quiet curl -fsSI -m 10 "$(runner_arg HELM_URL)/helm-$(runner_arg HELM_VERSION)-linux-amd64.tar.gz"; then
    say "runner: helm's and cue's releases can't be downloaded here; taking them compiled from source"
    tools=context
    runner_compile "$tmp/tools/$arch" || die "runner: the image can't be built without helm and cue"
  fi
  say "runner: building $image"
  : >"$3.tmp"
  if ! runner_solve "$tmp" "$2" "$image" "$tools" "$mode" >"$log" 2>&1; then
    # Debian has moved on from the list, or so has the base image, and setup has to work on any day.
    grep -q 'hint: renew packages.txt' "$log" || runner_failed "$tmp" "$2"
    # The step's last words: package lines, or apt's own where the list contradicts itself.
    sed -n 's/^#[0-9]* [0-9.]* \(package .*: .*pinned.*\|E: .*\)/\1/p' "$log" >"$3.tmp"
    mode=newest
    runner_solve "$tmp" "$2" "$image" "$tools" "$mode" >"$log" 2>&1 || runner_failed "$tmp" "$2"
  fi
  { echo "$mode $(date -u +%F)" && cat "$3.tmp"; } >"$3" && rm -f "$3.tmp"
  rm -rf "$tmp"
}

# runner_solve CONTEXTS ARCHIVE IMAGE TOOLS PACKAGES
runner_solve() {
  local args=(TOOLS="$4" PACKAGES="$5" DAY="$(date -u +%F)")
  if buildkitd_answers; then
    buildctl_cli build --progress plain --frontend dockerfile.v0 "${args[@]/#/--opt=build-arg:}" \
      --local context="$RUNNER_SRC" --local dockerfile="$RUNNER_SRC" \
      --local slipway="$1/slipway" --opt context:slipway=local:slipway \
      --local tools="$1/tools" --opt context:tools=local:tools \
      --output "type=oci,name=$3,dest=$2"
  elif docker_usable; then
    docker_cli buildx build --progress plain --provenance=false "${args[@]/#/--build-arg=}" \
      --build-context slipway="$1/slipway" --build-context tools="$1/tools" \
      --output "type=oci,name=$3,dest=$2" "$RUNNER_SRC"
  else
    die "runner: no engine runs to build the image: run \`make setup\`"
  fi
}

# runner_failed CONTEXTS ARCHIVE
runner_failed() {
  rm -rf "$1" "$2"
  tail -n 30 "$RUN_DIR/runner.log" >&2 && die "runner: the image does not build ($RUN_DIR/runner.log)"
}

# The tools' versions are pinned in the Dockerfile alone.
runner_arg() { sed -n "s/^ARG $1=//p" "$RUNNER_SRC/Dockerfile"; }

runner_compile() {
  local helm cue
  helm=$(runner_arg HELM_VERSION) cue=$(runner_arg CUE_VERSION)
  go_tool helm helm.sh/helm/v3 "$helm" "-X helm.sh/helm/v3/internal/version.version=$helm" ./cmd/helm &&
    go_tool cue cuelang.org/go "$cue" "" ./cmd/cue &&
    cp "$TOOLS_DIR/helm-$helm/helm" "$TOOLS_DIR/cue-$cue/cue" "$1/"
}
