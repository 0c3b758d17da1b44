# shellcheck shell=bash
# Sourced by setup.sh: what its parts share.

CACHE_DIR=${XDG_CACHE_HOME:-$HOME/.cache}/slipway
TOOLS_DIR=$CACHE_DIR/tools   # what was compiled here, by name and version, so that a second clone is quick
RUN_DIR=$CACHE_DIR/run       # pid files and logs of the daemons started here
STATE_DIR=/var/lib/slipway-setup
ENGINE_CACHE_GB=16 # what an engine started here keeps of what it built; their own defaults are some share of the disk
ROOM_GB=25         # what a first setup with all tests takes, engines and compiled code included

# The suite that has a Docker Engine with the containerd image store, and the base image of our Dockerfiles.
SUITE=trixie

# The real stderr, for what must be seen even where a probe's output is thrown away.
exec 8>&2

say() { printf 'setup: %s\n' "$*"; }
warn() { printf 'setup: warning: %s\n' "$*" >&2; }
die() { printf 'setup: error: %s\n' "$*" >&8 && exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
quiet() { "$@" >/dev/null 2>&1; }

# Debian keeps daemons in sbin, which an ordinary user's PATH lacks.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# Two setups at once (two clones, a test and a demo) would start daemons twice.
lock() {
  mkdir -p "$TOOLS_DIR" "$RUN_DIR"
  exec 9>"$CACHE_DIR/setup.lock"
  flock -n 9 || { say "waiting for another setup to end" && flock 9; }
}

# A disk that fills up in the middle shows as failures of whatever comes then.
room_check() {
  local place free
  [[ ! -d $ROOT/target/release ]] || return 0
  for place in "$ROOT" "$(dirname "$STATE_DIR")"; do
    free=$(df --output=avail -BG "$place" | tr -dc 0-9)
    ((free >= ROOM_GB)) || warn "$place: its disk has $free GB left; setup with all tests takes up to $ROOM_GB GB"
  done
}

# === root

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  elif have sudo; then
    [[ -n ${told_sudo:-} ]] || say "root is needed from here on for packages, engines and files in /etc: using sudo" >&8
    told_sudo=1
    sudo "$@"
  else
    die "this needs root, and there is no sudo: $*"
  fi
}

# put FILE < content: writes a root-owned file, unless somebody else's is there. Configuration files have no
# place for a mark of ours, so the hashes of what we wrote are kept beside.
put() {
  local file=$1 content
  content=$(cat; printf x) && content=${content%x}
  if [[ -e $file ]]; then
    if printf %s "$content" | cmp -s - "$file"; then return 0; fi
    ours "$file" || return 1
  fi
  say "$file: writing it"
  { as_root mkdir -p "$(dirname "$file")" "$STATE_DIR" &&
    printf %s "$content" | as_root tee "$file" >/dev/null &&
    sha256sum "$file" | as_root tee -a "$STATE_DIR/written" >/dev/null; } || die "can't write $file"
}

ours() { [[ -e $1 && -e $STATE_DIR/written ]] && grep -qxF "$(sha256sum "$1")" "$STATE_DIR/written"; }
once_ours() { quiet grep "  $1\$" "$STATE_DIR/written"; }

# === packages

apt_stale() { unset apt_updated; } # the next apt_install fetches the package lists again

apt_update() {
  [[ -z ${apt_updated:-} ]] || return 0
  as_root apt-get -qq update || warn "apt-get update had errors; going on with the package lists there are"
  apt_updated=1
}

apt_install() {
  have apt-get || die "this machine has no apt; install these (named as in Debian) and run this again: $*"
  apt_update
  say "packages: installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
    -o Dpkg::Use-Pty=0 "$@" >"$RUN_DIR/apt.log" 2>&1 ||
    { tail -n 20 "$RUN_DIR/apt.log" >&2 && die "apt-get install failed ($RUN_DIR/apt.log)"; }
}

# need COMMAND[=PACKAGE]...: installs the packages whose command is missing.
need() {
  local item missing=()
  for item; do have "${item%%=*}" || missing+=("${item#*=}"); done
  [[ ${#missing[@]} -eq 0 ]] || apt_install "${missing[@]}"
}

# The machine's own apt source, and the same for $SUITE: this script knows no mirror's name.
own_source() {
  local codename file
  codename=$(. /etc/os-release && [[ ${ID:-} == debian ]] && printf %s "${VERSION_CODENAME:-}") || return 1
  for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
    if quiet grep -w "$codename" "$file"; then printf '%s %s\n' "$codename" "$file" && return; fi
  done
  return 1
}

suite_source() { # prints the source's text; its file name's ending is that of own_source
  local codename file
  read -r codename file < <(own_source) || return 1
  if [[ $file == *.list ]]; then grep -w "^deb.*$codename" "$file"; else cat "$file"; fi |
    sed "s/\b$codename\b/$SUITE/g"
}

# === daemons

# start_daemon NAME [as_root] COMMAND...: runs it so that it outlives this shell. Whether a daemon runs is told by
# asking it; its pid file is a note, and a stale one does no harm.
start_daemon() {
  local name=$1 as=() && shift
  [[ $1 != as_root ]] || { as=(as_root) && shift; }
  say "$name: starting it (log: $RUN_DIR/$name.log)"
  rm -f "$RUN_DIR/$name.pid"
  # shellcheck disable=SC2016 # the inner shell's own
  # Descriptor 9 is the lock, which the daemon would hold for as long as it lives.
  "${as[@]}" setsid -f sh -c 'exec 8>&- 9>&- && echo $$ >"$0" && exec "$@"' "$RUN_DIR/$name.pid" "$@" \
    </dev/null >>"$RUN_DIR/$name.log" 2>&1
}

# wait_for SECONDS COMMAND...
wait_for() {
  local end=$((SECONDS + $1)) && shift
  until quiet "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
}

not_up() { tail -n 15 "$RUN_DIR/$1.log" >&2 && die "$1 does not come up (its log: $RUN_DIR/$1.log)"; }

# === Go programs

# go_tool NAME MODULE VERSION LDFLAGS PACKAGE...: compiles a module's programs into $TOOLS_DIR/NAME-VERSION, once.
go_tool() {
  local name=$1 module=$2 version=$3 ldflags=$4 src tmp && shift 4
  [[ ! -d $TOOLS_DIR/$name-$version ]] || return 0
  have go || { warn "$name: left out, it is compiled from source and there is no Go here" && return 1; }
  say "$name: compiling $version (some minutes, kept in $TOOLS_DIR)"
  # auto: some modules ask for a newer Go than the machine's, which the go command can fetch by itself.
  local -x GOTOOLCHAIN=auto CGO_ENABLED=0 GOFLAGS=-mod=readonly GOBIN
  src=$(cd / && go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  [[ -n $src ]] || { warn "$name: left out, $module $version can't be downloaded" && return 1; }
  tmp=$(mktemp -d "$TOOLS_DIR/.$name.XXXXXX")
  GOBIN=$tmp
  if ! go_build "$src" "$module" "$version" -trimpath -buildvcs=false -ldflags "-s -w $ldflags" -- "$@"; then
    rm -rf "$tmp" && warn "$name: left out, it does not compile" && return 1
  fi
  chmod 755 "$tmp" && mv "$tmp" "$TOOLS_DIR/$name-$version"
}

# go_build SRC MODULE VERSION FLAG... -- PACKAGE...
go_build() {
  local src=$1 module=$2 version=$3 flags=() package packages=() && shift 3
  while [[ $1 != -- ]]; do flags+=("$1") && shift; done && shift
  if grep -qE '^(exclude|replace)\b' "$src/go.mod"; then
    # `go install` refuses such a module, but the module's own directory is as good a place to build it.
    (cd "$src" && go build "${flags[@]}" -o "$GOBIN/" "$@")
  else
    for package; do packages+=("$module/${package#./}@$version"); done
    (cd / && go install "${flags[@]}" "${packages[@]}")
  fi
}
