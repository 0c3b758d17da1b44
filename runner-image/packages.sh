#!/bin/bash
# The Debian packages of the runner's image. Runs inside of Debian, as root: the Dockerfile's steps call it.
#
#   packages.sh install pinned|newest   installs what packages.txt beside it lists, in these versions or in the newest
#   packages.sh list ARCH...            prints packages.txt anew, as the archive has it now
#
# A line of packages.txt is name=version, or name:arch=version where architectures have different ones. What the base image
# has is among them, so that all of the image is what the list says, whatever the base image has come to be.
set -euo pipefail

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

# What stands in the way of installing exactly the list.
obstacles() {
  local pin name wanted found
  for pin; do
    name=${pin%%=*} wanted=${pin#*=}
    found=$(apt-cache madison "$name" | awk -F' *[|] *' '{print $2}' | sort -u | paste -sd' ')
    if [[ " $found " != *" $wanted "* ]] && ! dpkg-query -W -f '${Version}' "$name" 2>/dev/null | grep -qxF "$wanted"; then
      echo "package $name: packages.txt has $wanted, and the archive has ${found:-none}"
    elif found=$(dpkg-query -W -f '${Version}' "$name" 2>/dev/null) && dpkg --compare-versions "$found" gt "$wanted"; then
      echo "package $name: packages.txt has $wanted, and the base image has $found"
    fi
  done
}

install() {
  local pins found
  fetch_lists
  mapfile -t pins < <(pins)
  [[ ${#pins[@]} -gt 0 ]] || { echo "packages.txt has nothing for $OWN" >&2 && exit 1; }
  case $1 in
    pinned)
      found=$(obstacles "${pins[@]}")
      if [[ -n $found ]]; then
        printf '%s\n' "$found" >&2
        echo "hint: renew packages.txt (docs/operations.md, The runner image), or build with --build-arg PACKAGES=newest" >&2
        exit 1
      fi
      ;;
    newest) pins=("${pins[@]%%=*}") ;;
    *) echo "PACKAGES is pinned or newest, not \`$1\`" >&2 && exit 1 ;;
  esac
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends -o Dpkg::Use-Pty=0 "${pins[@]}"
}

# name=version of what the image has on an architecture: what the base image has, and what is installed on top. For another
# architecture than this one apt is told that it were there.
newest() {
  local arch=$1 state options names
  state=$(mktemp -d)
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  sed "s/^Architecture: $OWN\$/Architecture: $arch/" /var/lib/dpkg/status >"$state/status"
  options=(-o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o "Dir::State=$state"
    -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache")
  fetch_lists "${options[@]}" >&2
  mapfile -t names < <({
    dpkg-query -W -f '${Package}\n'
    apt-get "${options[@]}" -s --no-install-recommends install "${WANTED[@]}" | sed -n 's/^Inst \([^ :]*\).*/\1/p'
  } | sort -u)
  apt-cache "${options[@]}" policy "${names[@]}" |
    awk '/^[^ ]/ {sub(/:.*/, ""); name = $0} /^  Candidate:/ && $2 != "(none)" {print name "=" $2}'
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
    }' | LC_ALL=C sort -u
}

verb=$1 && shift
"$verb" "$@"
