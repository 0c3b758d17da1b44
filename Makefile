# What each target does is said by `make help`.
SHELL := /bin/bash
CARGO ?= cargo
TARGET := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
AGENT_FLAGS := -C target-feature=+crt-static

# The targets of a line depend on each other in order.
.NOTPARALLEL:

.PHONY: help setup engines build agent runner demo test unit fuzz-short journeys lint peers bench clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: engines build runner ## install and start what is missing: engines, registry, base images, runner image

engines:
	@scripts/setup.sh engines

build: agent ## slipwayd, slipway and the runner's agent, in target/release
	$(CARGO) build --release --locked -p slipway-builder -p slipway-cli

# Static, whatever image it has to run in; with flags and a folder of its own, so that it does not rebuild the others.
agent:
	RUSTFLAGS='$(AGENT_FLAGS)' $(CARGO) build --release --locked -p slipway-runner-agent --bin slipway-runner-agent \
	  --target $(TARGET) --target-dir target/static
	@mkdir -p target/release
	@cmp -s target/static/$(TARGET)/release/slipway-runner-agent target/release/slipway-runner-agent \
	  || install -m 755 target/static/$(TARGET)/release/slipway-runner-agent target/release/slipway-runner-agent

runner:
	@scripts/setup.sh runner

demo: setup ## set up, start the service, deploy examples/hello, show the result
	@scripts/demo.sh

test: setup lint unit fuzz-short journeys ## lint, unit tests, a short fuzzing, journeys on both engines

unit:
	$(CARGO) test --locked --workspace --exclude slipway-journeys

fuzz-short:
	scripts/fuzz.sh 12

journeys:
	scripts/journeys.sh

lint: ## formatting, clippy and documentation, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --workspace --no-deps --document-private-items

peers:
	@scripts/setup.sh peers

bench: setup peers ## slipway beside its peers, and the memory it takes
	$(CARGO) run --locked --release -p slipway-bench

clean: ## remove what was built
	$(CARGO) clean
