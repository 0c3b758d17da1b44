//! What the journeys share: the real programs, started and stopped, and eyes to see what they did.
//!
//! | module | is about |
//! |---|---|
//! | [`service`] | slipwayd with its own data directory and ports, killed and started again |
//! | [`team`] | a namespace and its token; a project folder in it |
//! | [`section`] | the images that a section's commands run in |
//! | [`command`] | `slipway` (and other programs) with a clean environment, event by event |
//! | [`api`] | the gRPC API, for what `slipway` would never ask |
//! | [`foreign`] | registries that are not ours |
//! | [`git`] | git repositories, and a server of them |
//! | [`s3`] | an S3 server |
//! | [`azure`] | as much of Azure's blob storage as a cache needs |
//! | [`own_engine`] | an engine that may be killed |
//! | [`image`] | what a pushed image holds, by skopeo |
//! | [`files`] | trees on disk, in archives and in images, to be compared |
//! | [`link`] | a slow connection in between |
//! | [`terminal`] | a terminal, and what one sees on it |
//! | [`peer`] | the same work by docker or buildctl |
//! | [`process`] | processes of this machine |
//! | [`wait`] | waiting for something, not longer than it may take |
//!
//! The engine is the one in `SLIPWAY_TEST_ENGINE` (buildkitd's socket by default), the programs are in `SLIPWAY_BIN_DIR`
//! (`target/release` by default). Nothing is skipped: what is missing fails, and says what to do.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "test harness: what fails here fails the test")]
#![expect(clippy::return_self_not_must_use, reason = "assertions that one can go on from")]

pub mod api;
pub mod azure;
pub mod buildkitd;
pub mod command;
pub mod dockerd;
pub mod files;
pub mod foreign;
pub mod git;
pub mod image;
mod imported;
pub mod link;
pub mod own_engine;
pub mod peer;
pub mod process;
pub mod s3;
pub mod section;
pub mod service;
pub mod team;
pub mod terminal;
pub mod wait;

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

pub use buildkitd::Buildkitd;
pub use command::Run;
pub use dockerd::Dockerd;
pub use own_engine::OwnEngine;
pub use section::SectionImage;
pub use service::Service;
pub use team::{Project, Team};

/// The engine's address, as slipwayd takes it.
pub fn engine() -> String {
    std::env::var("SLIPWAY_TEST_ENGINE").unwrap_or_else(|_| "unix:///run/buildkit/buildkitd.sock".to_owned())
}

/// Whether the engine is a Docker Engine.
pub fn on_docker() -> bool {
    engine().starts_with("docker://")
}

/// The engine's socket on this machine.
///
/// # Panics
/// Where nothing answers on it.
pub fn engine_socket() -> PathBuf {
    let address = engine();
    let path = address.strip_prefix("docker://").unwrap_or(&address);
    let path = path.strip_prefix("unix://").unwrap_or("/var/run/docker.sock");
    let answer = std::os::unix::net::UnixStream::connect(path);
    assert!(answer.is_ok(), "engine {address}: {}; run `make setup`", answer.unwrap_err());
    path.into()
}

/// One of our programs.
///
/// # Panics
/// Where it is not built.
pub fn program(name: &str) -> PathBuf {
    let dir = std::env::var_os("SLIPWAY_BIN_DIR").map_or_else(|| target_dir().join("release"), PathBuf::from);
    let path = dir.join(name);
    assert!(path.exists(), "{} is not there; run `make setup`", path.display());
    path
}

/// A tool that `make setup` compiled, because this machine can't download it.
pub fn setup_tool(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let tools = std::fs::read_dir(cache.join("slipway/tools")).ok()?.flatten();
    tools.map(|entry| entry.path().join(name)).find(|path| path.is_file())
}

/// Cargo's folder for what is built.
pub fn target_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("target")
}

/// A name that nobody used before: engines are shared, and remember.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_micros();
    format!("{prefix}{:x}{:x}", now & 0xf_ffff_ffff, COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Bytes without any order, always the same: for what depends on where content-defined chunks are cut.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut buffer);
    buffer
}

/// Bytes that nobody sent before.
pub fn random(bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut buffer)).expect("read /dev/urandom");
    buffer
}
