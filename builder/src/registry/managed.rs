//! The registry that slipwayd runs itself: the CNCF Distribution program, started, watched, adopted and stopped.
//!
//! It is a process group of its own, so that a Ctrl-C meant for slipwayd doesn't reach it, and it is found again when slipwayd
//! was killed: running jobs go on pushing to it meanwhile. A slipwayd that stops in order stops it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use super::config::Config;
use super::signer::{SERVICE, SignerError, TokenSigner};

mod process;
mod settings;
#[cfg(test)]
pub(in crate::registry) mod tests;

use process::{PidFile, Running};
use settings::Settings;

const READY_TIMEOUT: Duration = Duration::from_secs(15);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
/// Uploads that are under way when slipwayd stops get this long.
const STOP_GRACE: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A registry that ran this long before it ended isn't in a crash loop.
const STABLE: Duration = Duration::from_mins(1);
const LOG_LIMIT: u64 = 16 << 20;

/// A running registry and its guard.
#[derive(Debug)]
pub struct ManagedRegistry {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

/// Why the registry doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum ManagedError {
    /// No program.
    #[error("no registry program: install Debian's docker-registry (`make setup` does), or set registry.binary")]
    NoBinary,
    /// A file under the data directory.
    #[error("{operation} `{path}`", path = path.display())]
    File {
        /// What was done.
        operation: &'static str,
        /// To which file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The signing key.
    #[error("prepare the registry's token key")]
    Signer {
        /// The cause.
        #[source]
        source: SignerError,
    },
    /// Something else has the port.
    #[error(
        "the registry's address {0} is in use by another program; stop that, or set registry.listen to a free address"
    )]
    PortTaken(SocketAddr),
    /// The address can't be had for another reason.
    #[error("the registry can't listen on {listen}; set registry.listen to an address of this machine")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The program can't be started.
    #[error("start `{binary}`", binary = binary.display())]
    Spawn {
        /// The program.
        binary: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It ended at once, or never answered.
    #[error("the registry {what}; its log `{log}` ends with: {tail}", log = log.display())]
    NotReady {
        /// What it did instead.
        what: &'static str,
        /// Its log.
        log: PathBuf,
        /// The end of it.
        tail: String,
    },
    /// The HTTP client for the health check.
    #[error("prepare the registry's health check")]
    Probe {
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// slipwayd stops.
    #[error("stopped while the registry was starting")]
    Stopped,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    probe: reqwest::Client,
    shutdown: CancellationToken,
}

// === impl ManagedRegistry ===

impl ManagedRegistry {
    /// Adopts the registry of this data directory if it runs with these settings, else starts it; answers when it is ready.
    /// `realm` is the URL of slipwayd's token endpoint. Cancelling `shutdown` stops the registry; [`Self::stopped`] waits
    /// for that.
    pub async fn start(
        config: &Config,
        data_dir: &Path,
        realm: &str,
        shutdown: CancellationToken,
    ) -> Result<Self, ManagedError> {
        let signer = TokenSigner::open(data_dir).map_err(|source| ManagedError::Signer { source })?;
        let settings = Settings::write(config, data_dir, realm, &signer)?;
        // Never through a proxy that the environment names: this is about one local address.
        let probe = reqwest::Client::builder().no_proxy().timeout(PROBE_TIMEOUT).build();
        let probe = probe.map_err(|source| ManagedError::Probe { source })?;
        let inner = Arc::new(Inner { settings, probe, shutdown });
        let running = match inner.adopt().await {
            Some(running) => running,
            None => inner.launch().await?,
        };
        let tasks = TaskTracker::new();
        tasks.spawn(Arc::clone(&inner).guard(running));
        tasks.close();
        Ok(Self { inner, tasks })
    }

    /// Whether the registry answers, and as ours.
    pub async fn healthy(&self) -> bool {
        self.inner.answers().await
    }

    /// Waits until the registry has been stopped after `shutdown` was cancelled.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

// === impl Inner ===

impl Inner {
    /// Restarts the registry whenever it ends, until the shutdown; then stops it.
    async fn guard(self: Arc<Self>, mut running: Running) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            let since = Instant::now();
            tokio::select! {
                () = self.shutdown.cancelled() => break,
                () = running.ended() => {}
            }
            warn!(registry.pid = running.pid(), "registry ended by itself, starting it again");
            if since.elapsed() > STABLE {
                backoff = BACKOFF_FIRST;
            }
            loop {
                tokio::select! {
                    () = self.shutdown.cancelled() => return self.pid_file().remove(),
                    () = tokio::time::sleep(backoff) => {}
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
                match self.launch().await {
                    Ok(next) => {
                        running = next;
                        break;
                    }
                    Err(ManagedError::Stopped) => return self.pid_file().remove(),
                    Err(error) => error!(error = &error as &dyn std::error::Error, "restart the registry"),
                }
            }
        }
        info!(registry.pid = running.pid(), "stopping the registry");
        running.stop(STOP_GRACE).await;
        self.pid_file().remove();
    }

    /// The registry that an earlier slipwayd left, if it is good to go on with; one that isn't is stopped.
    async fn adopt(&self) -> Option<Running> {
        let found = self.pid_file().find(&self.settings.config_path)?;
        let mut running = Running::adopted(found.process)?;
        if found.settings.as_deref() == Some(self.settings.hash.as_str()) && self.ready(&mut running).await.is_ok() {
            info!(registry.pid = running.pid(), "adopted the running registry");
            return Some(running);
        }
        info!(registry.pid = running.pid(), "stopping the registry that an earlier service left");
        running.stop(STOP_GRACE).await;
        self.pid_file().remove();
        None
    }

    /// Starts the registry and waits until it answers.
    async fn launch(&self) -> Result<Running, ManagedError> {
        self.check_address()?;
        let mut running = self.spawn()?;
        // A slipwayd that dies before this is written still finds the process, by its arguments.
        let noted = self.pid_file().write(&running, &self.settings.hash);
        let started = match noted.map_err(settings::file_error("write", &self.settings.pid_path)) {
            Ok(()) => self.ready(&mut running).await,
            error => error,
        };
        match started {
            Ok(()) => {
                info!(registry.pid = running.pid(), registry.listen = %self.settings.listen, "started the registry");
                Ok(running)
            }
            Err(error) => {
                running.stop(STOP_GRACE).await;
                self.pid_file().remove();
                Err(error)
            }
        }
    }

    fn spawn(&self) -> Result<Running, ManagedError> {
        let settings = &self.settings;
        let log = settings.open_log(LOG_LIMIT)?;
        let log_again = log.try_clone().map_err(settings::file_error("open", &settings.log_path))?;
        let mut command = tokio::process::Command::new(&settings.binary);
        command
            .arg("serve")
            .arg(&settings.config_path)
            // The program takes settings from REGISTRY_* variables; a stray one must not open it to the world.
            .env_clear()
            .envs(["PATH", "HOME", "TZ"].iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
            // Version 3 would look for a trace collector otherwise.
            .env("OTEL_TRACES_EXPORTER", OsString::from("none"))
            .current_dir(&settings.directory)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_again)
            .process_group(0);
        let spawn_error = |source| ManagedError::Spawn { binary: settings.binary.clone(), source };
        let child = command.spawn().map_err(spawn_error)?;
        Running::own(child).ok_or_else(|| self.not_ready("ended at once"))
    }

    /// Waits until the registry asks for our tokens.
    async fn ready(&self, running: &mut Running) -> Result<(), ManagedError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while Instant::now() < deadline {
            if self.answers().await {
                return Ok(());
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Err(ManagedError::Stopped),
                () = running.ended() => return Err(self.not_ready("ended at once")),
                () = tokio::time::sleep(PROBE_INTERVAL) => {}
            }
        }
        Err(self.not_ready("doesn't answer"))
    }

    /// Whether a registry with our settings answers: it must refer to our token endpoint, or it is somebody else's.
    async fn answers(&self) -> bool {
        let url = format!("http://{}/v2/", reachable(self.settings.listen));
        let Ok(response) = self.probe.get(url).send().await else {
            return false;
        };
        let challenge = response.headers().get(reqwest::header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        let ours = format!("Bearer realm={:?},service={SERVICE:?}", self.settings.realm);
        response.status() == reqwest::StatusCode::UNAUTHORIZED && challenge.is_some_and(|text| text.starts_with(&ours))
    }

    /// Finds out before the program does, which would only log it.
    fn check_address(&self) -> Result<(), ManagedError> {
        let listen = self.settings.listen;
        match std::net::TcpListener::bind(listen) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ManagedError::PortTaken(listen)),
            Err(source) => Err(ManagedError::Listen { listen, source }),
        }
    }

    fn not_ready(&self, what: &'static str) -> ManagedError {
        let log = self.settings.log_path.clone();
        let tail = File::open(&log).ok().and_then(|file| settings::tail(file).ok()).unwrap_or_default();
        ManagedError::NotReady { what, log, tail }
    }

    fn pid_file(&self) -> PidFile<'_> {
        PidFile(&self.settings.pid_path)
    }
}

/// Where a listener is reached from this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
