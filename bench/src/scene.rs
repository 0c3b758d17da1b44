//! The folder in which everything happens.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::args::Args;
use crate::processes;

/// The large file, its blobs, BuildKit's copy, its layer and its snapshot, and the registry's, half of it compressed.
const MEMORY_GB: u64 = 15;
/// The wide tree, and what the service and the engine keep of the others; engines remove what is old by themselves.
const CASES_GB: u64 = 8;

/// A folder on the disk that `target` is on (`/tmp` may be memory). Dropping it ends every process that names it and
/// removes it.
#[derive(Debug)]
pub(crate) struct Scene {
    dir: TempDir,
    bin: PathBuf,
    stock: PathBuf,
    /// What stays is used by one run at a time.
    _lock: File,
    /// Where the files' bytes come from.
    pub(crate) seed: u64,
}

impl Scene {
    /// Makes the folder.
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let own = std::env::current_exe().context("find this program")?;
        let bin = own.parent().context("this program is in no folder")?.to_owned();
        let parent = bin.parent().unwrap_or(&bin).join("bench");
        fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
        let lock = File::create(parent.join("lock")).context("make a lock")?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another slipway-bench uses {}", parent.display()))?;
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(&parent).context("make a folder")?;
        Ok(Self { dir, bin, stock: parent, _lock: lock, seed })
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where what the next run can use stays.
    pub(crate) fn stock(&self) -> &Path {
        &self.stock
    }

    /// The file of the figures, `target/bench.json`.
    pub(crate) fn report(&self) -> PathBuf {
        self.stock.with_extension("json")
    }

    /// A folder in it, new and empty.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(path)
    }

    /// One of our programs, built beside this one.
    pub(crate) fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.bin.join(name);
        path.is_file().then_some(path).with_context(|| format!("{name} is not built: run `make build`"))
    }

    /// Whether what is asked for fits on the disk.
    pub(crate) fn check_disk(&self, args: &Args) -> Result<()> {
        let disk = rustix::fs::statvfs(self.dir.path()).context("ask for free disk space")?;
        let free = disk.f_bavail * disk.f_frsize / 1_000_000_000;
        let needed = if args.runs_memory() { MEMORY_GB } else { CASES_GB };
        if free < needed {
            bail!("{free} GB are free on the disk of {}, {needed} are needed", self.path().display());
        }
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        processes::end(self.dir.path());
    }
}
