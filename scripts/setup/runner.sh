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
  if [[ -e $RUNNER_ARCHIVE && $(cat "$RUNNER_ARCHIVE.stamp" 2>/dev/null) == "$inputs" ]]; then
    say "runner: target/release/runner-image.oci.tar is up to date"
    return
  fi
  if [[ ! -e $cached ]]; then
    mkdir -p "$RUNNER_CACHE"
    runner_build "$slipway" "$cached.tmp"
    chmod 644 "$cached.tmp" && mv "$cached.tmp" "$cached" # buildctl leaves it writable by all
    # A few, so that going back and forth between branches is quick.
    find "$RUNNER_CACHE" -name '*.tar' -printf '%T@ %p\n' | sort -rn | tail -n +4 | cut -d' ' -f2- | xargs -r rm -f
  fi
  cp --reflink=auto "$cached" "$RUNNER_ARCHIVE.tmp" && mv "$RUNNER_ARCHIVE.tmp" "$RUNNER_ARCHIVE"
  echo "$inputs" >"$RUNNER_ARCHIVE.stamp"
  say "runner: target/release/runner-image.oci.tar is there ($(du -h "$RUNNER_ARCHIVE" | cut -f1))"
}

# What makes the image another one.
runner_inputs() {
  (cd "$RUNNER_SRC" && find . -type f ! -path './tools/*' ! -path ./slipway | LC_ALL=C sort | xargs sha256sum)
  uname -m
  sha256sum <"$1"
}

# runner_build SLIPWAY ARCHIVE
runner_build() {
  local tmp image tools=download
  image=$(sed -n 's/^ *image: *//p' "$RUNNER_SRC/okteto.yaml")
  tmp=$(mktemp -d)
  mkdir "$tmp/slipway" "$tmp/tools"
  cp "$1" "$tmp/slipway/slipway"
  if ! quiet curl -fsSI -m 10 "$(runner_arg HELM_URL)/helm-$(runner_arg HELM_VERSION)-linux-amd64.tar.gz"; then
    say "runner: helm's and cue's releases can't be downloaded here; taking them compiled from source"
    tools=context
    runner_compile "$tmp/tools" || die "runner: the image can't be built without helm and cue"
  fi
  say "runner: building $image"
  local log=$RUN_DIR/runner.log status=0
  if buildkitd_answers; then
    buildctl_cli build --progress plain --frontend dockerfile.v0 --opt build-arg:TOOLS="$tools" \
      --local context="$RUNNER_SRC" --local dockerfile="$RUNNER_SRC" \
      --local slipway="$tmp/slipway" --opt context:slipway=local:slipway \
      --local tools="$tmp/tools" --opt context:tools=local:tools \
      --output "type=oci,name=$image,dest=$2" >"$log" 2>&1 || status=$?
  elif docker_usable; then
    docker_cli buildx build --progress plain --provenance=false --build-arg TOOLS="$tools" \
      --build-context slipway="$tmp/slipway" --build-context tools="$tmp/tools" \
      --output "type=oci,name=$image,dest=$2" "$RUNNER_SRC" >"$log" 2>&1 || status=$?
  else
    die "runner: no engine runs to build the image: run \`make setup\`"
  fi
  rm -rf "$tmp"
  ((status == 0)) || { tail -n 30 "$log" >&2 && rm -f "$2" && die "runner: the image does not build ($log)"; }
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
