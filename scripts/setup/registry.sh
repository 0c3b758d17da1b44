# shellcheck shell=bash
# The CNCF Distribution registry: slipwayd runs it as its managed registry, and the base-image mirror is one.

registry_binary() { command -v registry || command -v docker-registry; }

registry_setup() {
  quiet registry_binary && return
  apt_install docker-registry
  # The package's own service would take port 5000; slipwayd and the mirror start their own.
  [[ ! -d /run/systemd/system ]] || as_root systemctl disable --quiet --now docker-registry
}
