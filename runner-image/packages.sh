#!/bin/bash
# The Debian packages of the runner's image. Runs inside of Debian, as root: the Dockerfile's steps call it.
#
#   packages.sh install pinned|newest   installs what packages.txt beside it lists, in these versions or in the newest
#   packages.sh list ARCH...            prints packages.txt anew, as the archive has it now
#
# A line of packages.txt is name=version, or name:arch=version where architectures have different ones. What the base image
# has is among them: `pinned` makes an image of exactly these, whatever the base image has come to be, or fails. It fails, too,
# where Debian has something newer, which may be the fix of a hole: Debian keeps the old one beside it for months.
set -euo pipefail
export LC_ALL=C

# What people call in commands. What these need is in the list, too.
WANTED=(bash ca-certificates curl gettext-base git kubernetes-client kustomize make openssh-client wait-for-it)
LIST=$(dirname "${BASH_SOURCE[0]}")/packages.txt
OWN=$(dpkg --print-architecture)

fetch_lists() {
  # A name server that fails for a moment is no reason to go on with nothing.
  apt-get update -q -o APT::Update::Error-Mode=any -o Acquire::Retries=3 "$@"
}

# This architecture's lines, as name=version.
pins() { sed -n "s/^\([^:=]*\):$OWN=/\1=/p; t; /^[^:=#]*=/p" "$LIST"; }

# name=version of what is installed.
installed() { dpkg-query -W -f '${db:Status-Abbrev}${Package}=${Version}\n' | sed -n 's/^.i //p'; }

# candidates [OPTION...] NAME...: name=version of what apt would install, without the names that it doesn't know.
candidates() {
  apt-cache policy "$@" |
    awk '/^[^ ]/ { sub(/:.*/, ""); name = $0 } /^  Candidate:/ && $2 != "(none)" { print name "=" $2 }'
}

# differences PINS WHOSE HAVE: a line for each package of which WHOSE has another version than the list.
differences() {
  join -t= -a1 -a2 -e none -o 0,1.2,2.2 <(sort -t= -k1,1 <<<"$1") <(sort -t= -k1,1 <<<"$3") |
    awk -F= -v whose="$2" '$2 != $3 {
      print "package " $1 ": " ($2 == "none" ? "not pinned" : "pinned " $2) ", " whose " has " $3
    }'
}

# The list is not what can or should be installed. scripts/setup/runner.sh looks for the hint.
outdated() {
  printf '%s\n' "$1" >&2
  echo "hint: renew packages.txt (docs/operations.md, The runner image), or build with --build-arg PACKAGES=newest" >&2
  exit 1
}

install() {
  local pins names have found packages apt=(apt-get install -qy --no-install-recommends -o Dpkg::Use-Pty=0)
  fetch_lists
  pins=$(pins)
  [[ -n $pins ]] || { echo "packages.txt has nothing for $OWN" >&2 && exit 1; }
  mapfile -t names < <(cut -d= -f1 <<<"$pins")
  have=$(candidates "${names[@]}")
  case $1 in
    pinned)
      found=$(differences "$pins" Debian "$have")
      [[ -z $found ]] || outdated "$found"
      mapfile -t packages <<<"$pins"
      found=$("${apt[@]}" -s "${packages[@]}" 2>&1) || outdated "$found"
      ;;
    newest)
      # Without what Debian no longer has, and with what is new in the base image.
      found=$(installed)
      found=$(cut -d= -f1 <<<"$have"$'\n'"$found" | sort -u)
      mapfile -t packages <<<"$found"
      ;;
    *) echo "PACKAGES is pinned or newest, not \`$1\`" >&2 && exit 1 ;;
  esac
  DEBIAN_FRONTEND=noninteractive "${apt[@]}" "${packages[@]}"
  have=$(installed)
  found=$(differences "$pins" "the image" "$have")
  [[ -z $found || $1 == newest ]] || outdated "$found"
  printf '%s' "${found:+$found$'\n'}"
}

# name=version of what the image has on an architecture: what the base image has, and what is installed on top. apt is told
# that nothing is installed, or it would take versions of this machine's architecture, which another may not have.
newest() {
  local arch=$1 state options names found
  state=$(mktemp -d)
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  : >"$state/status"
  options=(-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State=$state"
    -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache")
  fetch_lists "${options[@]}" >&2
  found=$(installed)
  mapfile -t names < <(cut -d= -f1 <<<"$found")
  found=$(candidates "${options[@]}" "${names[@]}")
  mapfile -t names < <(cut -d= -f1 <<<"$found")
  options+=(-o APT::Immediate-Configure=false) # no order suits apt where nothing is there yet
  found=$(apt-get "${options[@]}" -s --no-install-recommends install "${names[@]}" "${WANTED[@]}")
  sed -n 's/^Inst \([^ :]*\)[^ ]* (\([^ ]*\) .*/\1=\2/p' <<<"$found"
  rm -rf "$state"
}

list() {
  local arch
  for arch; do newest "$arch" | sed "s/^/$arch /"; done | awk -v architectures=$# '
    { seen[$2]++; line[NR] = $1 " " $2 }
    END {
      for (n = 1; n <= NR; n++) {
        split(line[n], part, " ")
        pin = part[2]
        if (seen[pin] == architectures) print pin
        else { at = index(pin, "="); print substr(pin, 1, at - 1) ":" part[1] substr(pin, at) }
      }
    }' | sort -u
}

verb=$1 && shift
"$verb" "$@"
