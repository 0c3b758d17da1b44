# shellcheck shell=bash
# What the build, the tests and the checks call.

VERSITYGW_VERSION=v1.8.0 # an S3 server that checks signatures

tools_setup() {
  need busybox=busybox-static c++=g++ curl git ip=iproute2 python3 skopeo ssh-agent=openssh-client
  go_tool versitygw github.com/versity/versitygw "$VERSITYGW_VERSION" "" ./cmd/versitygw || true
  (emulator_setup) || warn "emulator: left out, the package qemu-user-static can't be had here"
}

# An emulator for one test's engine, under the name that BuildKit looks for. The package is not installed: that would
# register emulators for the whole machine.
emulator_setup() {
  local tmp package program kept=$TOOLS_DIR/emulator
  [[ ! -f $kept/buildkit-qemu-riscv64 ]] || return 0
  have apt-get || return 1
  apt_update
  tmp=$(mktemp -d "$TOOLS_DIR/.emulator.XXXXXX")
  # Newer Debians have the static programs in qemu-user, and links to them in qemu-user-static.
  for package in qemu-user-static qemu-user; do
    mkdir "$tmp/$package"
    (cd "$tmp/$package" && quiet apt-get download "$package" && quiet dpkg -x "$package"_*.deb .) || continue
    for program in "$tmp/$package"/usr/bin/qemu-riscv64{-static,}; do
      [[ -f $program ]] || continue
      say "emulator: $package's, kept in $TOOLS_DIR"
      mkdir -p "$kept" && install -m 755 "$program" "$kept/buildkit-qemu-riscv64"
      break 2
    done
  done
  rm -rf "$tmp"
  [[ -f $kept/buildkit-qemu-riscv64 ]]
}

# What the benchmarks compare with, beside the engines' own clients. Without it they leave that out, and say so.
peers_setup() { (need rsync) || warn "rsync: not installed; \`make bench\` leaves it out"; }
