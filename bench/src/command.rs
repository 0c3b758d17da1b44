//! Commands that are measured.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::process::{Child, Command};

/// How much of a failed command's output is shown.
const TAIL: usize = 2000;
/// No command takes as long.
pub(crate) const PATIENCE: Duration = Duration::from_mins(20);

/// A command that runs. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: String,
    start: Instant,
    output: PathBuf,
    errors: PathBuf,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Done {
    /// From its start to its end.
    pub(crate) time: Duration,
    /// What it wrote to its standard output.
    pub(crate) output: String,
}

impl Running {
    /// Starts it; what it writes goes to files in this folder.
    pub(crate) fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let (output, errors) = (folder.join("stdout"), folder.join("stderr"));
        command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(File::create(&errors)?);
        // Ctrl-C in a terminal is for us: we end them in order.
        command.process_group(0).kill_on_drop(true);
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { child, name, start, output, errors })
    }

    /// Its process id; 0 once it has ended.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Waits for its end, which has to be a success.
    pub(crate) async fn done(mut self) -> Result<Done> {
        let wait = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let wait = wait.with_context(|| format!("{} still runs after {} s", self.name, PATIENCE.as_secs()))?;
        let status = wait.with_context(|| format!("wait for {}", self.name))?;
        let time = self.start.elapsed();
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let output = read(&self.output)?;
        if !status.success() {
            bail!("{} ended with {status}:\n{}{}", self.name, tail(&output), tail(&read(&self.errors)?));
        }
        Ok(Done { time, output })
    }
}

/// The last lines, within reason.
pub(crate) fn tail(text: &str) -> &str {
    let mut start = text.len().saturating_sub(TAIL);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    text.get(start..).unwrap_or_default()
}
