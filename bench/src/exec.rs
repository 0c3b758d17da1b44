//! One command: for Slipway a deploy in the runner, for its peers a step of a Dockerfile or a container.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::cases::Tree;
use crate::listen::Awaited;
use crate::services::BASE;

/// How many lines it writes in [`Tree::Lines`].
pub(crate) const LINES: u64 = 500_000;
/// The variable and build argument that no run had before.
pub(crate) const SEED: &str = "SEED";

/// A manifest and a Dockerfile with the same command, in one folder: both contexts are the same.
pub(crate) fn write(tree: &Path, kind: Tree) -> Result<()> {
    let command = match kind {
        Tree::Lines => lines().join(" "),
        // Not as it is in the command itself, which both show before they run it.
        _ => format!("echo first$(({SEED} + 1))"),
    };
    let manifest = format!("name: bench\ndeploy:\n  remote: true\n  image: {BASE}\n  commands:\n  - \"{command}\"\n");
    fs::write(tree.join("okteto.yaml"), manifest).context("write okteto.yaml")?;
    let dockerfile = format!("FROM {BASE}\nWORKDIR /okteto/src\nCOPY . .\nARG {SEED}\nRUN {command}\n");
    fs::write(tree.join("Dockerfile"), dockerfile).context("write a Dockerfile")
}

/// The command that writes lines.
pub(crate) fn lines() -> [String; 3] {
    ["seq".to_owned(), "1".to_owned(), LINES.to_string()]
}

/// A value of [`SEED`], and what shows that the command runs with it.
pub(crate) fn awaited(kind: Tree) -> (u64, Awaited) {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros() as u64);
    let awaited = match kind {
        Tree::Lines => Awaited::Numbers(LINES),
        _ => Awaited::Text(format!("first{}", seed + 1)),
    };
    (seed, awaited)
}
