# shellcheck shell=bash
# What the build, the tests and the checks call.

VERSITYGW_VERSION=v1.8.0 # an S3 server that checks signatures

tools_setup() {
  need curl git python3 skopeo ssh-agent=openssh-client
  go_tool versitygw github.com/versity/versitygw "$VERSITYGW_VERSION" "" ./cmd/versitygw || true
}

# What the benchmarks compare with, beside the engines' own clients. Without it they leave that out, and say so.
peers_setup() { (need rsync) || warn "rsync: not installed; \`make bench\` leaves it out"; }
