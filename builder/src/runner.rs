//! Commands in a container on the engine.
//!
//! The runner's first process is our agent (`slipway-runner-agent`), mounted into whatever image the section names. Everything
//! between it and us goes over its standard input and output as frames: the commands with their whole environment (so that no
//! value is in a BuildKit definition), their output, exit codes, and connections to the registry and the service under their
//! usual loopback names.
//!
//! | module | does |
//! |---|---|
//! | [`image`] | what the image's configuration says |
//! | [`channel`] | frames over the container's process |
//! | [`forward`] | connections from inside |

pub mod channel;
pub mod forward;
pub mod image;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use slipway_context::Digest;
use slipway_manifest::plan::Command;
use slipway_runner_agent::{Exit, FromAgent, Hello, PROTOCOL, Run, ToAgent};
use tokio_util::sync::CancellationToken;

use self::channel::{Channel, ChannelError};
use self::forward::Forwarder;
use crate::buildkit::gateway::{ContainerMount, Gateway, Process};
use crate::buildkit::llb::Chain;
use crate::buildkit::policy::SourceRule;
use crate::buildkit::session::auth::Auth;
use crate::buildkit::session::content::Content;
use crate::buildkit::session::exports::Exports;
use crate::buildkit::session::filesync::{FileSync, Local};
use crate::buildkit::session::secrets::Secrets;
use crate::buildkit::session::ssh::Agents;
use crate::buildkit::session::{Services, Session};
use crate::buildkit::{self, Engine};
use crate::store::Blobs;

/// The working directory of commands.
pub const WORKDIR: &str = "/okteto/src";
const AGENT_DIR: &str = "/okteto/agent";
const AGENT: &str = "slipway-runner-agent";
/// How long the commands' processes may take to end after TERM.
const GRACE: Duration = Duration::from_secs(10);
/// How long a stop may take altogether.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// After this time a runner whose channel is gone has ended what ran in it.
pub const ABANDONED: Duration = Duration::from_secs(12);
/// How long the agent may take to say hello, and to take its leave.
const AGENT_TIMEOUT: Duration = Duration::from_secs(30);

/// `[runner]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The image that commands run in when the manifest names none. Default `okteto.global/runner:<version>`.
    pub image: Option<String>,
    /// An OCI archive of that image, imported when the registry lacks it. Default: `runner-image.oci.tar` beside slipwayd.
    pub archive: Option<PathBuf>,
    /// The agent. Default: `slipway-runner-agent` beside slipwayd.
    pub agent: Option<PathBuf>,
}

impl Config {
    /// The default runner image.
    pub fn image(&self) -> String {
        let default = || format!("okteto.global/runner:{}", env!("CARGO_PKG_VERSION"));
        self.image.clone().unwrap_or_else(default)
    }

    /// The archive, if there is one.
    pub fn archive(&self) -> Option<PathBuf> {
        self.archive.clone().or_else(|| beside_us("runner-image.oci.tar").filter(|path| path.exists()))
    }

    /// The agent's path.
    pub fn agent(&self) -> Option<PathBuf> {
        self.agent.clone().or_else(|| beside_us(AGENT))
    }
}

fn beside_us(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.parent()?.join(name))
}

/// Why commands could not be run to their end. A command that failed is none of these.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] buildkit::Error),
    /// The channel to the agent.
    #[error("the runner's agent: {0}")]
    Channel(#[from] ChannelError),
    /// The agent's program.
    #[error("read the runner's agent {}: {source}", path.display())]
    Agent {
        /// Where it should be.
        path: PathBuf,
        /// Why it can't be read.
        source: std::io::Error,
    },
    /// The image's configuration.
    #[error("image {image}: {source}")]
    Image {
        /// The image.
        image: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A command could not be started.
    #[error("{0}")]
    NotStarted(String),
    /// Somebody asked the job to end, and what ran has ended.
    #[error("cancelled")]
    Cancelled,
}

impl RunnerError {
    /// Whether trying again may help; only before the first command, that is.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_transient(),
            Self::Channel(_) => true,
            _ => false,
        }
    }
}

/// Where and in what commands run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The image's full reference.
    pub image: String,
    /// The tree that becomes the writable working directory.
    pub root: Digest,
    /// Names that tree, so that BuildKit finds what it received before.
    pub shared_key: String,
    /// Which images may be used.
    pub sources: Vec<SourceRule>,
    /// Loopback ports inside, and where connections to them go.
    pub forwards: BTreeMap<u16, SocketAddr>,
    /// The agent's program.
    pub agent: PathBuf,
}

/// What happens while commands run.
pub trait Watcher {
    /// The command starts now: whoever keeps track has written it down when this returns well, and it is not started else.
    fn started(&mut self, index: u32, command: &Command) -> std::io::Result<()>;
    /// A piece of its output, split anywhere.
    fn output(&mut self, index: u32, stderr: bool, bytes: &[u8]);
    /// It ended.
    fn done(&mut self, index: u32, exit_code: i32, duration_ms: u64);
    /// Something that the user should know.
    fn warning(&mut self, message: String);
    /// The content of `$OKTETO_ENV` after a command, before [`Watcher::done`]; gives the variables that it adds.
    fn variables(&mut self, content: &[u8]) -> Vec<(String, String)>;
}

/// A container that is ready to run commands.
#[derive(Debug)]
pub struct Runner {
    gateway: Gateway,
    // Held for as long as the container lives: it serves what the container was made from.
    _session: Session,
    channel: Channel,
    forwarder: Forwarder,
    env: BTreeMap<String, String>,
    /// Ports that processes inside can't reach, and why.
    unforwarded: Vec<String>,
}

impl Runner {
    /// Brings the image, the tree and the agent to the engine and starts the agent. Nothing of the user's runs yet, so that
    /// all of this may be tried again.
    pub async fn start(engine: &Engine, blobs: Blobs, auth: Auth, place: &Place) -> Result<Self, RunnerError> {
        let read = |source| RunnerError::Agent { path: place.agent.clone(), source };
        let mut file = std::fs::File::open(&place.agent).map_err(read)?;
        let (digest, _) = Digest::of_reader(&mut file).map_err(read)?;
        let agent = Local::File { name: AGENT.to_owned(), path: place.agent.clone(), digest };
        let locals = BTreeMap::from([("src".to_owned(), Local::Tree(place.root)), ("agent".to_owned(), agent)]);
        let files = FileSync::new(blobs, locals, "src");
        let (secrets, ssh) = (Secrets::default(), Agents::default());
        let (exports, content) = (Exports::default(), Content::default());
        let services = Services { files, auth, secrets, ssh, exports, content };
        let session = Session::open(engine, &place.shared_key, services).await?;
        let gateway = Gateway::open(engine, &session, &place.sources);

        let (_, config) = gateway.image_config(&place.image).await?;
        let config = image::ImageConfig::parse(&config)
            .map_err(|source| RunnerError::Image { image: place.image.clone(), source })?;
        let mount = |result, dest: &str, readonly| ContainerMount { result, dest: dest.to_owned(), readonly };
        let mounts = [
            mount(gateway.solve(Chain::image(&place.image).finish()).await?, "/", false),
            // A copy, because BuildKit sends a tree that was mounted writable all over again the next time.
            mount(gateway.solve(Chain::local("src", session.id()).copied().finish()).await?, WORKDIR, false),
            mount(gateway.solve(Chain::local("agent", session.id()).finish()).await?, AGENT_DIR, true),
        ];
        let process = Process {
            args: vec![format!("{AGENT_DIR}/{AGENT}")],
            env: vec![format!("PATH={}", config.path())],
            cwd: "/".to_owned(),
            user: String::new(),
        };
        let (input, output) = gateway.start(&mounts, &process).await?;
        let mut channel = Channel::new(input, output);
        channel
            .send(ToAgent::Hello(Hello {
                protocol: PROTOCOL,
                listen: place.forwards.keys().copied().collect(),
                // There the real ports are on the loopback that the agent would listen on.
                no_listen: engine.host_network(),
                grace_ms: GRACE.as_millis() as u64,
            }))
            .await?;
        let hello = tokio::time::timeout(AGENT_TIMEOUT, channel.next()).await.map_err(|_| ChannelError::Silent)??;
        let Some(FromAgent::Ready(ready)) = hello else { return Err(ChannelError::Silent.into()) };
        let unforwarded =
            ready.not_listening.iter().map(|port| format!("port {}: {}", port.port, port.error)).collect();
        let frames = channel.sender().ok_or(ChannelError::Closed)?;
        let forwarder = Forwarder::new(place.forwards.clone(), frames);
        Ok(Self { gateway, _session: session, channel, forwarder, env: config.env(), unforwarded })
    }

    /// Variables for the commands that the image does not set.
    pub fn add_defaults(&mut self, defaults: BTreeMap<String, String>) {
        for (name, value) in defaults {
            self.env.entry(name).or_insert(value);
        }
    }

    /// Runs the commands one after another until one fails, and gives the code of the last. `env` is added to what the image
    /// sets.
    pub async fn run(
        &mut self,
        commands: &[Command],
        env: &BTreeMap<String, String>,
        watcher: &mut (dyn Watcher + Send),
        cancel: &CancellationToken,
    ) -> Result<i32, RunnerError> {
        for port in self.unforwarded.drain(..) {
            watcher.warning(format!("commands can't reach a service of this machine: {port}"));
        }
        let mut all = self.env.clone();
        all.extend(env.clone());
        let mut last = 0;
        for (index, command) in (0u32..).zip(commands) {
            if cancel.is_cancelled() {
                return Err(RunnerError::Cancelled);
            }
            watcher.started(index, command).map_err(|error| RunnerError::NotStarted(error.to_string()))?;
            self.channel
                .send(ToAgent::Run(Run {
                    index,
                    argv: ["sh", "-c", &command.command].map(str::to_owned).to_vec(),
                    cwd: WORKDIR.into(),
                    env: all.clone().into_iter().collect(),
                    env_file: true,
                }))
                .await?;
            let exit = self.wait(index, watcher, cancel).await?;
            if let Some(error) = exit.error {
                return Err(RunnerError::NotStarted(error));
            }
            // As a shell reports a signal.
            last = exit.exit_code.unwrap_or_else(|| 128 + exit.signal.unwrap_or(0));
            // Of one that failed as well: what it made is there.
            let left = watcher.variables(exit.env_file.as_deref().unwrap_or_default());
            watcher.done(index, last, exit.duration_ms);
            if cancel.is_cancelled() {
                return Err(RunnerError::Cancelled);
            }
            if last != 0 {
                break;
            }
            all.extend(left);
        }
        Ok(last)
    }

    /// Takes the container down in good order.
    pub async fn finish(mut self) -> Result<(), RunnerError> {
        self.channel.send(ToAgent::Finish).await?;
        drop(self.forwarder);
        self.channel.close_input();
        let leave = async { while let Ok(Some(_)) = self.channel.next().await {} };
        let _ = tokio::time::timeout(AGENT_TIMEOUT, leave).await;
        self.gateway.release(self.channel.container()).await?;
        Ok(self.gateway.finish().await?)
    }

    /// Until the command has ended. A cancel ends what runs, and is seen by the exit that it causes.
    async fn wait(
        &mut self,
        index: u32,
        watcher: &mut (dyn Watcher + Send),
        cancel: &CancellationToken,
    ) -> Result<Exit, RunnerError> {
        let mut stopping = false;
        // Once we have asked for the end, it has to come: an engine that hangs loses the container instead.
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        loop {
            let frame = tokio::select! {
                frame = self.channel.next() => frame?,
                () = cancel.cancelled(), if !stopping => {
                    stopping = true;
                    deadline.as_mut().reset(tokio::time::Instant::now() + STOP_TIMEOUT);
                    let stop = self.channel.send(ToAgent::Stop);
                    tokio::time::timeout(STOP_TIMEOUT, stop).await.map_err(|_| RunnerError::Cancelled)??;
                    continue;
                }
                () = deadline.as_mut(), if stopping => return Err(RunnerError::Cancelled),
            };
            match frame {
                Some(FromAgent::Output(output)) => {
                    let stderr = output.stream == slipway_runner_agent::OutputStream::Stderr;
                    watcher.output(output.index, stderr, &output.bytes);
                }
                Some(FromAgent::Exit(exit)) if exit.index == index => return Ok(exit),
                Some(FromAgent::Warning(message)) => watcher.warning(message),
                Some(FromAgent::StreamOpen { id, port }) => self.forwarder.open(id, port),
                Some(FromAgent::Stream(frame)) => self.forwarder.frame(frame),
                Some(FromAgent::Stopped | FromAgent::Started { .. } | FromAgent::Ready(_) | FromAgent::Exit(_)) => {}
                None => return Err(ChannelError::Closed.into()),
            }
        }
    }
}
