//! A slipwayd of our own, and `slipway` on it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::Running;
use crate::processes;
use crate::scene::Scene;

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_mins(1);

/// `slipwayd --dev` with its own data and ports. Dropping it ends it, its registry and its jobs, and removes its data.
#[derive(Debug)]
pub(crate) struct Service {
    dir: PathBuf,
    child: Child,
    listen: SocketAddr,
    slipway: PathBuf,
    token: String,
}

/// One `slipway build`.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// The folder of its manifest.
    pub(crate) project: &'a Path,
    /// Something before the service, if not the service itself.
    pub(crate) server: Option<SocketAddr>,
    /// Whether it may skip what the registry has.
    pub(crate) skip: bool,
}

impl Service {
    /// Starts it on this engine, and waits until it is ready.
    pub(crate) async fn start(scene: &Scene, name: &str, engine: &str) -> Result<Self> {
        let (slipwayd, slipway) = (scene.program("slipwayd")?, scene.program("slipway")?);
        let dir = scene.folder(name)?;
        let (listen, registry) = (free_address()?, free_address()?);
        // Settings are in a file, not in the environment, so that its processes have the folder in their command lines.
        let config = dir.join("slipwayd.toml");
        let text = format!(
            "data_dir = {:?}\nlisten = \"{listen}\"\n[engine]\naddress = {engine:?}\n[registry]\nlisten = \"{registry}\"\n",
            dir.join("data").to_string_lossy()
        );
        fs::write(&config, text).context("write slipwayd's configuration")?;
        let mut command = without_settings(Command::new(slipwayd));
        command.arg("--dev").arg("--config").arg(&config).stdin(Stdio::null());
        let log = File::create(dir.join("log")).context("write slipwayd's log")?;
        let child = in_own_group(command.stdout(Stdio::null()).stderr(log)).spawn().context("start slipwayd")?;
        let mut service = Self { dir, child, listen, slipway, token: String::new() };
        service.ready().await?;
        let token = fs::read_to_string(service.dir.join("data/admin.token")).context("read admin.token")?;
        token.trim().clone_into(&mut service.token);
        Ok(service)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The folder that its jobs' command lines name.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it listens.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Starts `slipway build` in a project's folder.
    pub(crate) fn build(&self, build: &Build<'_>, logs: &Path) -> Result<Running> {
        let mut command = self.client(build.project, build.server);
        command.args(["build", "--output", "json"]);
        if !build.skip {
            command.env("OKTETO_SMART_BUILDS_ENABLED", "false");
        }
        Running::start(command.into(), logs)
    }

    fn client(&self, project: &Path, server: Option<SocketAddr>) -> Command {
        let mut command = without_settings(Command::new(&self.slipway));
        command
            .current_dir(project)
            .env("SLIPWAY_SERVER", format!("http://{}", server.unwrap_or(self.listen)))
            .env("SLIPWAY_TOKEN", &self.token)
            .env("SLIPWAY_NAMESPACE", "dev")
            // What it keeps between runs is ours too.
            .env("XDG_CONFIG_HOME", self.dir.join("config"))
            .env("XDG_CACHE_HOME", self.dir.join("cache"));
        command
    }

    /// `slipway deploy` in this folder, in words, with this value of a variable.
    pub(crate) fn deploy(&self, project: &Path, variable: &str, value: u64) -> Command {
        let mut command = self.client(project, None);
        command.args(["deploy", "--output", "plain", "--var"]).arg(format!("{variable}={value}"));
        command
    }

    async fn ready(&mut self) -> Result<()> {
        let start = Instant::now();
        while !self.answers().await {
            if let Some(status) = self.child.try_wait().context("wait for slipwayd")? {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                bail!("slipwayd ended with {status}:\n{log}");
            }
            if start.elapsed() > PATIENCE {
                bail!("slipwayd is not ready after {} s", PATIENCE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn answers(&self) -> bool {
        answers(self.listen, "/readyz").await
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        processes::end(&self.dir);
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A project with one image, whose context is `tree`.
pub(crate) fn write_project(project: &Path, tag: &str) -> Result<()> {
    let manifest = format!("name: bench\nbuild:\n  src:\n    context: tree\n    image: okteto.dev/bench-src:{tag}\n");
    fs::write(project.join("okteto.yaml"), manifest).context("write okteto.yaml")
}

/// The field of the last such event of a job's output, if there is one.
pub(crate) fn event_field(output: &str, kind: &str, field: &str) -> Option<u64> {
    let events = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["type"] == kind).filter_map(|event| event[field].as_u64()).next_back()
}

/// A port that nobody uses now.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

/// Whether an HTTP server says 200 to this path.
pub(crate) async fn answers(address: SocketAddr, path: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ask = async {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.ends_with(b" 200"))
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

/// Ctrl-C in a terminal is for us: we end it in order.
pub(crate) fn in_own_group(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0)
}

/// Without the user's own settings for slipway and slipwayd.
fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("SLIPWAY") || name.starts_with("OKTETO")) {
            command.env_remove(name);
        }
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_counts() {
        let output = "{\"type\":\"sync.done\",\"sent_bytes\":1}\nnoise\n{\"type\":\"sync.done\",\"sent_bytes\":2}\n";
        assert_eq!(event_field(output, "sync.done", "sent_bytes"), Some(2));
        assert_eq!(event_field(output, "build.done", "sent_bytes"), None);
    }
}
