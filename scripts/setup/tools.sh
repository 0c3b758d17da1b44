# shellcheck shell=bash
# What the build, the tests and the checks call.

tools_setup() { need curl git python3 skopeo; }
