//! A buildkitd of a test's own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::setup_tool;

/// A buildkitd whose steps run on the host's network. Dropping it kills it.
#[derive(Debug)]
pub struct Buildkitd(Child);

impl Buildkitd {
    /// Starts it at this address, with its data and its log in this folder. Nothing in its environment is changed.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(dir: &Path, address: &str, args: &[&str]) -> Self {
        let program = setup_tool("buildkitd").unwrap_or_else(|| PathBuf::from("buildkitd"));
        let child = Command::new(program)
            .args(["--addr", address, "--oci-worker-net", "host", "--root"])
            .arg(dir.join("root"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("log")).expect("make a log"))
            .spawn()
            .expect("run buildkitd; `make setup` installs it");
        Self(child)
    }
}

impl Drop for Buildkitd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
