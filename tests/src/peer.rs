//! The same work by the engine's own client, to compare with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files::{Tree, of_archive};
use crate::on_docker;

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

/// Where `make setup` compiled it to, unless there is one on PATH.
fn buildctl() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let tools = std::fs::read_dir(cache.join("slipway/tools")).into_iter().flatten().flatten();
    let found = tools.map(|entry| entry.path().join("buildctl")).find(|path| path.exists());
    found.unwrap_or_else(|| "buildctl".into())
}
