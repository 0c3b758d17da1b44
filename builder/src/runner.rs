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
//! | [`access`] | files and the SSH agent that they may use |
//! | [`network`] | the hosts that they may connect to |

pub mod access;
pub mod channel;
pub mod forward;
pub mod image;
pub mod network;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use slipway_commands::{Failed, Grace, Required, RunError, Sink, Story};
use slipway_context::Digest;
use slipway_manifest::options::ExtraHost;
use slipway_manifest::plan::CommandsPlan;
use slipway_runner_agent::{Collect, Collected, Exceeded, FromAgent, Hello, Limits, ToAgent};
use tokio_util::sync::CancellationToken;

use self::access::Access;
use self::channel::{Channel, ChannelError};
use self::forward::{Forwarder, Lead};
use self::network::Proxy;
use crate::buildkit::gateway::{ContainerMount, Gateway, Network, Process, Shows};
use crate::buildkit::llb::{Chain, OWNED, Owner};
use crate::buildkit::policy::SourceRule;
use crate::buildkit::session::auth::Auth;
use crate::buildkit::session::content::Content;
use crate::buildkit::session::exports::Exports;
use crate::buildkit::session::filesync::{FileSync, Local};
use crate::buildkit::session::{Services, Session};
use crate::buildkit::{self, Engine};
use crate::store::Blobs;

/// The working directory of commands.
pub const WORKDIR: &str = "/okteto/src";
/// The tree of the working directory, among what the session serves.
const SOURCE: &str = "src";
/// The folder that a new cache begins as.
const CACHE: &str = "/cache";
const AGENT_DIR: &str = "/okteto/agent";
const AGENT: &str = "slipway-runner-agent";
const SHELL: [&str; 2] = ["sh", "-c"];
/// What the agent may take beyond the grace period to end what ran, once its channel is gone.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the agent may take to take its leave.
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
    /// What commands may use besides the service.
    pub access: access::Config,
    /// Where they may connect to.
    pub network: network::Config,
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

/// After this time a runner whose channel is gone has ended what ran in it.
pub fn abandoned(grace: Duration) -> Duration {
    grace + LAST_WORDS
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
    /// No command can be started: they all need a shell.
    #[error("commands need `sh`, and in the image {image} it can't be started: {message}")]
    NoShell {
        /// The image.
        image: String,
        /// Why not.
        message: String,
    },
    /// A command could not be started.
    #[error("{0}")]
    NotStarted(String),
    /// They used more than they may.
    #[error("a limit is exceeded")]
    Exceeded(Exceeded),
    /// After the commands this variable has no value.
    #[error(transparent)]
    Required(Required),
    /// Somebody asked the job to end, and what ran has ended.
    #[error("cancelled")]
    Cancelled,
}

impl From<RunError<ChannelError>> for RunnerError {
    fn from(error: RunError<ChannelError>) -> Self {
        match error {
            RunError::Cancelled => Self::Cancelled,
            RunError::NotStarted(message) => Self::NotStarted(message),
            RunError::Exceeded(exceeded) => Self::Exceeded(exceeded),
            RunError::Required(required) => Self::Required(required),
            RunError::Closed => ChannelError::Closed.into(),
            RunError::Silent => ChannelError::Silent.into(),
            RunError::Channel(error) => error.into(),
        }
    }
}

impl RunnerError {
    /// Whether trying again may help; only before the first command, that is.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Engine(error) => error.is_transient(),
            Self::Channel(ChannelError::User(_)) => false,
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
    /// The tree that becomes the writable working directory; without one it is `/`.
    pub root: Option<Digest>,
    /// Names that tree, so that BuildKit finds what it received before.
    pub shared_key: String,
    /// Which images may be used.
    pub sources: Vec<SourceRule>,
    /// Loopback ports inside, and where connections to them go.
    pub forwards: BTreeMap<u16, SocketAddr>,
    /// The agent's program.
    pub agent: PathBuf,
    /// How long commands may take to end after TERM.
    pub grace: Grace,
    /// Where commands' tools are logged in.
    pub registry: String,
    /// Folders that other containers have left, or will find.
    pub caches: Vec<CacheFolder>,
    /// Names that processes find under an address.
    pub hosts: Vec<ExtraHost>,
    /// What they may use.
    pub limits: Limits,
    /// What they may use besides the service.
    pub access: Access,
    /// Where they may connect to, if not wherever the engine's network leads.
    pub proxy: Option<Proxy>,
}

impl Place {
    /// What they may use, and where their connections to ports of the container's loopback lead.
    fn network(&self) -> (Access, BTreeMap<u16, Lead>) {
        let forwards = self.forwards.iter().map(|(port, address)| (*port, Lead::Address(*address)));
        let mut leads: BTreeMap<u16, Lead> = forwards.collect();
        let Some(proxy) = &self.proxy else { return (self.access.clone(), leads) };
        let port = network::proxy_port(&self.forwards);
        leads.insert(port, Lead::Proxy(proxy.clone()));
        let here = self.hosts.iter().filter(|host| host.address.is_loopback()).map(|host| host.name.clone());
        (self.access.clone().with_proxy(&format!("{AGENT_DIR}/{AGENT}"), port, here.collect()), leads)
    }
}

/// A folder that outlives its container. Two at a time never share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFolder {
    /// Whoever names it has it.
    pub id: String,
    /// Where it is.
    pub path: String,
}

/// A container that is ready to run commands.
#[derive(Debug)]
pub struct Runner {
    gateway: Gateway,
    // Held for as long as the container lives: it serves what the container was made from.
    _session: Session,
    link: Link,
    /// Where commands run, with what the image sets.
    place: slipway_commands::Place,
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
        let mut locals = BTreeMap::from([("agent".to_owned(), agent)]);
        locals.extend(place.root.map(|root| (SOURCE.to_owned(), Local::Tree(root))));
        let files = FileSync::new(blobs, locals, SOURCE);
        let (access, leads) = place.network();
        let (secrets, ssh) = access.services();
        let (exports, content) = (Exports::default(), Content::default());
        let services = Services { files, auth, secrets, ssh, exports, content };
        let session = Session::open(engine, &place.shared_key, services).await?;
        let gateway = Gateway::open(engine, &session, &place.sources);

        let (_, config) = gateway.image_config(&place.image).await?;
        let config = image::ImageConfig::parse(&config)
            .map_err(|source| RunnerError::Image { image: place.image.clone(), source })?;
        let mount = |result, dest: &str, readonly| ContainerMount {
            result,
            dest: dest.to_owned(),
            readonly,
            shows: Shows::Folder(String::new()),
        };
        let root = gateway.solve(Chain::image(&place.image).finish()).await?;
        let user = user(&gateway, &root, config.user()).await?;
        let mut mounts = vec![
            mount(root, "/", false),
            mount(gateway.solve(Chain::local("agent", session.id()).finish()).await?, AGENT_DIR, true),
        ];
        if place.root.is_some() {
            // A copy, because BuildKit sends a tree that was mounted writable all over again the next time.
            let tree = Chain::local(SOURCE, session.id());
            let (tree, selector) = match Owner::of(config.user()) {
                Some(owner) => (tree.copied_for(&owner, &place.image), OWNED),
                None => (tree.copied(), ""),
            };
            let tree = mount(gateway.solve(tree.finish()).await?, WORKDIR, false);
            mounts.insert(1, ContainerMount { shows: Shows::Folder(selector.to_owned()), ..tree });
        }
        if !place.caches.is_empty() {
            let empty = gateway.solve(Chain::folder(CACHE).finish()).await?;
            let cache = |folder: &CacheFolder| ContainerMount {
                result: empty.clone(),
                dest: folder.path.clone(),
                readonly: false,
                shows: Shows::Cache { id: folder.id.clone(), from: CACHE.to_owned() },
            };
            mounts.extend(place.caches.iter().map(cache));
        }
        let session_mount =
            |dest: &str, shows| ContainerMount { result: String::new(), dest: dest.to_owned(), readonly: true, shows };
        mounts.extend(access.files().map(|dest| session_mount(dest, Shows::Secret(dest.to_owned()))));
        let agent = access.agent();
        mounts.extend(agent.map(|(dest, id)| session_mount(dest, Shows::SshAgent(id.to_owned()))));
        let process = Process {
            args: vec![format!("{AGENT_DIR}/{AGENT}")],
            env: vec![format!("PATH={}", config.path())],
            cwd: "/".to_owned(),
            user,
        };
        let network = if place.proxy.is_some() { Network::Loopback } else { Network::Engine };
        let (input, output) = gateway.start(&mounts, &place.hosts, network, &process).await?;
        let mut link = Link { channel: Channel::new(input, output), forwarder: None };
        let hello = Hello {
            listen: leads.keys().copied().collect(),
            // With the host's network the real ports are on the loopback that the agent would listen on.
            no_listen: engine.host_network() && network == Network::Engine,
            registry: Some(place.registry.clone()),
            limits: place.limits,
            ..Hello::new(place.grace.own())
        };
        let ready = slipway_commands::hello(&mut link, hello).await?;
        let unforwarded =
            ready.not_listening.iter().map(|port| format!("port {}: {}", port.port, port.error)).collect();
        let frames = link.channel.sender().ok_or(ChannelError::Closed)?;
        link.forwarder = Some(Forwarder::new(leads, frames));
        let cwd = if place.root.is_some() { WORKDIR } else { config.working_dir() };
        let shell = SHELL.map(str::to_owned).to_vec();
        let (cwd, mut env, grace) = (PathBuf::from(cwd), config.env(), place.grace.clone());
        env.entry("HOME".to_owned()).or_insert(ready.home);
        env.extend(access.env());
        let commands = slipway_commands::Place { shell, cwd, env, grace, limits: place.limits };
        match slipway_commands::probe(&mut link, &commands).await {
            Err(RunError::NotStarted(message)) => {
                return Err(RunnerError::NoShell { image: place.image.clone(), message });
            }
            // No command has started: it may be tried again.
            probed => probed?,
        }
        Ok(Self { gateway, _session: session, link, place: commands, unforwarded })
    }

    /// Variables for the commands that the image does not set.
    pub fn add_defaults(&mut self, defaults: BTreeMap<String, String>) {
        for (name, value) in defaults {
            self.place.env.entry(name).or_insert(value);
        }
    }

    /// Runs the commands. `env` is added to what the image sets.
    pub async fn run<S: Sink + Sync>(
        &mut self,
        plan: &CommandsPlan,
        env: BTreeMap<String, String>,
        story: &mut Story<'_, S>,
        cancel: &CancellationToken,
    ) -> Result<Option<Failed>, RunnerError> {
        for port in self.unforwarded.drain(..) {
            story.warn(format!("commands can't reach a service of this machine: {port}"));
        }
        let mut place = self.place.clone();
        place.env.extend(env);
        Ok(slipway_commands::run(&mut self.link, plan, place, story, cancel).await?)
    }

    /// Asks for files, and gives their archive to `take`; the inner error is that of `take`.
    pub async fn collect<S: Sink + Sync>(
        &mut self,
        wanted: Collect,
        story: &mut Story<'_, S>,
        cancel: &CancellationToken,
        take: impl AsyncFnMut(Vec<u8>) -> std::io::Result<()> + Send,
    ) -> Result<std::io::Result<Collected>, RunnerError> {
        Ok(slipway_commands::collect(&mut self.link, wanted, story, cancel, take).await?)
    }

    /// Takes the container down in good order.
    pub async fn finish(self) -> Result<(), RunnerError> {
        let Link { mut channel, forwarder } = self.link;
        channel.send(ToAgent::Finish).await?;
        drop(forwarder);
        channel.close_input();
        let leave = async { while let Ok(Some(_)) = channel.next().await {} };
        let _ = tokio::time::timeout(AGENT_TIMEOUT, leave).await;
        self.gateway.release(channel.container()).await?;
        Ok(self.gateway.finish().await?)
    }
}

/// Who the image's processes run as, in words that BuildKit takes in an image without users, too (it needs both ids there, or
/// none at all).
async fn user(gateway: &Gateway, image: &str, user: &str) -> Result<String, RunnerError> {
    if matches!(user, "0" | "root") {
        return Ok(String::new());
    }
    // As from Docker: the group of a user that nobody knows is root's.
    if user.parse::<u32>().is_ok() && !gateway.has_file(image, "/etc/passwd").await? {
        return Ok(format!("{user}:0"));
    }
    Ok(user.to_owned())
}

/// The channel to the agent, and what connections inside lead to.
#[derive(Debug)]
struct Link {
    channel: Channel,
    /// From the agent's hello on.
    forwarder: Option<Forwarder>,
}

impl slipway_commands::Channel for Link {
    type Error = ChannelError;

    async fn send(&mut self, frame: ToAgent) -> Result<(), ChannelError> {
        self.channel.send(frame).await
    }

    async fn next(&mut self) -> Result<Option<FromAgent>, ChannelError> {
        self.channel.next().await
    }

    fn connection(&mut self, frame: FromAgent) {
        match (frame, &mut self.forwarder) {
            (FromAgent::StreamOpen { id, port }, Some(forwarder)) => forwarder.open(id, port),
            (FromAgent::Stream(frame), Some(forwarder)) => forwarder.frame(frame),
            _ => {}
        }
    }
}
