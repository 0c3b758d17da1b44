# The service's image: slipwayd, the registry program that it runs, and slipway.
#
# BINARIES says where the programs come from: `build` (default) compiles them, `prebuilt` takes target/release as
# `make build` leaves it, for a machine that can't pull the Rust image.
ARG BINARIES=build

FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
# The cache mount hides what .dockerignore lets through of target/.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    make build \
 && install -D -t /out target/release/slipwayd target/release/slipway target/release/slipway-runner-agent

FROM scratch AS prebuilt
COPY target/release/slipwayd target/release/slipway target/release/slipway-runner-agent /out/

FROM ${BINARIES} AS binaries

FROM debian:trixie-slim
# docker-registry is the CNCF Distribution program that slipwayd runs as its managed registry. tini, since jobs are
# processes of their own, which a slipwayd that ends leaves behind. openssh-client, whose agent holds SSH keys of variables.
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends ca-certificates docker-registry openssh-client tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* \
 && useradd --uid 1000 --home-dir /var/lib/slipway --no-create-home --shell /usr/sbin/nologin slipway \
 && install -d -o slipway -g slipway -m 0700 /var/lib/slipway
# The runner's agent is looked for beside slipwayd; so is runner-image.oci.tar, for who mounts it.
COPY --from=binaries --chmod=0755 /out/ /usr/local/bin/
LABEL org.opencontainers.image.title="slipwayd" \
      org.opencontainers.image.licenses="Apache-2.0"
USER slipway
# For --dev, too.
ENV SLIPWAYD_DATA_DIR=/var/lib/slipway
WORKDIR /var/lib/slipway
VOLUME /var/lib/slipway
EXPOSE 7700 7701
ENTRYPOINT ["tini", "--"]
CMD ["slipwayd"]
