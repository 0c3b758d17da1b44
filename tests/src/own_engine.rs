//! An engine of a test's own, of the kind that is tested: one that may be killed.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Buildkitd, Dockerd, on_docker};

/// buildkitd or a Docker Engine, as [`crate::engine`]. Its steps may have no network: what is done in it has to be content with
/// a restricted one, and with `RUN --network=none`.
#[derive(Debug)]
pub struct OwnEngine {
    /// None of one that was killed.
    daemon: Option<Daemon>,
    address: String,
    dir: TempDir,
}

/// Held, and dropped to kill it.
#[derive(Debug)]
#[expect(dead_code, reason = "nothing else is asked of them")]
enum Daemon {
    Buildkitd(Buildkitd),
    Dockerd(Dockerd),
}

impl OwnEngine {
    /// One that listens.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start() -> Self {
        // On a disk, and with a short name, for sockets; `scripts/journeys.sh` finds by it what a killed test left.
        let run = std::env::var_os("SLIPWAY_JOURNEYS_DIR").map(PathBuf::from);
        let run = run.as_deref().and_then(Path::file_name).unwrap_or(OsStr::new("journeys"));
        let prefix = format!("slipway-{}-", run.display());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in("/var/tmp").expect("make a folder");
        let (daemon, address) = Daemon::start(&dir);
        Self { daemon: Some(daemon), address, dir }
    }

    /// As slipwayd takes it.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Kills it, if it isn't yet, and starts it over the data that are there. It listens.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        // Before: it cleans up in the folder that the next one has.
        self.kill();
        self.daemon = Some(Daemon::start(&self.dir).0);
    }
}

impl Daemon {
    fn start(dir: &TempDir) -> (Self, String) {
        if on_docker() {
            let (dockerd, address) = Dockerd::start(dir.path());
            (Self::Dockerd(dockerd), address)
        } else {
            let (buildkitd, address) = Buildkitd::with_mirrors(dir.path());
            (Self::Buildkitd(buildkitd), address)
        }
    }
}
