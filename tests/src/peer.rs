//! The same work by the engine's own client, to compare with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::{Tree, of_archive};
use crate::{on_docker, setup_tool};

/// The files of an image that `docker buildx build` or `buildctl` makes of a folder on the engine under test.
///
/// # Panics
/// When it can't.
pub fn build(dir: &Path, dockerfile: &str) -> Tree {
    let out = tempfile::Builder::new().suffix(".tar").tempfile().expect("make a file");
    let output = format!("type=tar,dest={}", out.path().display());
    let mut command;
    if on_docker() {
        command = Command::new("docker");
        command.args(["buildx", "build", "--builder", "default", "-q", "-f"]).arg(dir.join(dockerfile));
        command.args(["--output", &output]).arg(dir);
    } else {
        let place = format!("={}", dir.display());
        command = Command::new(buildctl());
        command.args(["--addr", &crate::engine(), "build", "--progress", "quiet", "--frontend", "dockerfile.v0"]);
        command.args(["--local", &format!("context{place}"), "--local", &format!("dockerfile{place}")]);
        command.args(["--opt", &format!("filename={dockerfile}"), "--output", &output]);
    }
    let answer = command.output().unwrap_or_else(|error| panic!("run {command:?}: {error}; run `make setup`"));
    assert!(answer.status.success(), "{command:?}: {}", String::from_utf8_lossy(&answer.stderr));
    of_archive(out.path())
}

/// The one that `make setup` compiled, else the one on PATH.
fn buildctl() -> PathBuf {
    setup_tool("buildctl").unwrap_or_else(|| "buildctl".into())
}
