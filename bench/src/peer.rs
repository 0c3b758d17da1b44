//! What Slipway is compared with: the engine's own client, pushing to a registry of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::Running;
use crate::registry::{Registry, on_path};
use crate::scene::Scene;

/// The client that belongs to an engine.
#[derive(Debug)]
pub(crate) struct Peer {
    client: Client,
    registry: Registry,
    /// Where buildx keeps what it knows of its builds.
    state: PathBuf,
}

#[derive(Debug)]
enum Client {
    Buildctl { program: PathBuf, engine: String },
    Buildx { host: Option<String> },
}

impl Peer {
    /// The one for this engine.
    pub(crate) async fn start(scene: &Scene, name: &str, engine: &str) -> Result<Self> {
        let client = match engine.strip_prefix("docker://") {
            Some(host) => Client::Buildx { host: (!host.is_empty()).then(|| host.to_owned()) },
            None => Client::Buildctl {
                program: buildctl().context("no buildctl: run `make setup`")?,
                engine: engine.to_owned(),
            },
        };
        let registry = Registry::start(scene, name).await?;
        Ok(Self { client, registry, state: scene.folder(&format!("{name}-state"))? })
    }

    /// As tables call it.
    pub(crate) fn name(&self) -> &'static str {
        match self.client {
            Client::Buildctl { .. } => "buildctl",
            Client::Buildx { .. } => "docker buildx",
        }
    }

    /// The name under which it pushes a service's image.
    pub(crate) fn image(&self, service: &str, tag: &str) -> String {
        self.registry.image(service, tag)
    }

    /// Starts the builds of a bake file (JSON), which only buildx can.
    pub(crate) fn bake(&self, file: &Path, logs: &Path) -> Result<Running> {
        let Client::Buildx { host } = &self.client else { bail!("buildctl has no bake") };
        let mut command = buildx(host.as_deref(), &self.state);
        command.args(["bake", "--progress", "plain", "--provenance=false", "--push", "--file"]).arg(file);
        if let Some(folder) = file.parent() {
            command.current_dir(folder);
        }
        Running::start(command.into(), logs)
    }

    /// A build of a tree whose last step is the command, with this build argument; nobody needs its result.
    pub(crate) fn exec(&self, tree: &Path, argument: &str, value: u64) -> Command {
        let argument = format!("{argument}={value}");
        let mut command = match &self.client {
            Client::Buildctl { program, engine } => {
                let mut command = buildctl_build(program, engine, tree);
                command.arg("--opt").arg(format!("build-arg:{argument}"));
                command
            }
            Client::Buildx { host } => {
                let mut command = buildx(host.as_deref(), &self.state);
                command.args(["build", "--progress", "plain", "--provenance=false", "--output", "type=cacheonly"]);
                command.args(["--build-arg", &argument]).arg(tree);
                command
            }
        };
        // It shows what comes every 150 ms otherwise.
        command.env("TTY_DISPLAY_RATE", "1");
        command
    }

    /// A container of this image that runs a command, with its output: BuildKit cuts what steps write.
    pub(crate) fn container(&self, image: &str, run: &[String]) -> Command {
        let mut command = Command::new("docker");
        if let Client::Buildx { host: Some(host) } = &self.client {
            command.env("DOCKER_HOST", host);
        }
        command.args(["run", "--rm", image]).args(run);
        command
    }

    /// Starts the build of a tree. `link` is something before the engine, if not the engine itself.
    pub(crate) fn build(&self, tree: &Path, tag: &str, link: Option<SocketAddr>, logs: &Path) -> Result<Running> {
        let image = self.image("src", tag);
        let command = match &self.client {
            Client::Buildctl { program, engine } => {
                let address = link.map_or_else(|| engine.clone(), |link| format!("tcp://{link}"));
                let mut command = buildctl_build(program, &address, tree);
                command.arg("--output").arg(format!("type=image,name={image},push=true"));
                command
            }
            Client::Buildx { host } => {
                let mut command = buildx(host.as_deref(), &self.state);
                // No provenance: the others make none.
                command.args(["build", "--progress", "plain", "--provenance=false", "--push", "--tag", &image]);
                command.arg(tree);
                command
            }
        };
        Running::start(command.into(), logs)
    }
}

fn buildctl_build(program: &Path, address: &str, tree: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--addr", address, "build", "--progress", "plain", "--frontend", "dockerfile.v0"]);
    for local in ["context", "dockerfile"] {
        command.arg("--local").arg(format!("{local}={}", tree.display()));
    }
    command
}

fn buildx(host: Option<&str>, state: &Path) -> Command {
    let mut command = Command::new("docker");
    command.arg("buildx").env("BUILDX_CONFIG", state);
    if let Some(host) = host {
        command.env("DOCKER_HOST", host);
    }
    command
}

/// The one that `make setup` has built, the newest of them, or one that is installed.
fn buildctl() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    let tools = fs::read_dir(cache.join("slipway/tools")).into_iter().flatten().flatten();
    let ours = tools.filter(|tool| tool.file_name().to_string_lossy().starts_with("buildkit-"));
    let newest = ours.map(|tool| tool.path().join("buildctl")).filter(|path| path.is_file()).max();
    newest.or_else(|| on_path("buildctl"))
}
