# shellcheck shell=bash
# What the build, the tests and the checks call.

tools_setup() { need curl git python3 skopeo ssh-agent=openssh-client; }

# What the benchmarks compare with, beside the engines' own clients. Without it they leave that out, and say so.
peers_setup() { (need rsync) || warn "rsync: not installed; \`make bench\` leaves it out"; }
