//! Connect to an engine and find out what it can do.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::control_client::ControlClient;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use bollard_buildkit_proto::moby::buildkit::v1::types::WorkerRecord;
use bollard_buildkit_proto::moby::buildkit::v1::{BytesMessage, ListWorkersRequest};
use bollard_buildkit_proto::pb::Platform;
use http::{HeaderMap, Uri};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::address::Address;
use super::docker;
use super::feature::Feature;
use super::transport::{self, BoxStream};
use super::{Error, MAX_MESSAGE, WINDOW};

/// How long an engine may take to answer a question about itself.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an engine is looked at that works for us, and how often in a row it may miss the question.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const MISSED: u32 = 3;
/// Bytes on their way between the session's server and the `Control.Session` call, each direction.
const SESSION_PIPE: usize = 1 << 20;

/// One BuildKit endpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it is.
    pub address: Address,
    /// For `tcp://`: the CA that signed the engine's certificate, PEM file.
    pub ca: Option<PathBuf>,
    /// For `tcp://`: our certificate, PEM file.
    pub cert: Option<PathBuf>,
    /// For `tcp://`: our private key, PEM file.
    pub key: Option<PathBuf>,
    /// Builds that may run on it at a time, those of all jobs together. Default 16.
    #[serde(default = "default_max_builds")]
    pub max_builds: usize,
}

fn default_max_builds() -> usize {
    16
}

impl Config {
    /// An engine without TLS.
    pub fn new(address: Address) -> Self {
        Self { address, ca: None, cert: None, key: None, max_builds: default_max_builds() }
    }
}

/// A connected engine. Cheap to clone: clones share the connection.
#[derive(Debug, Clone)]
pub struct Engine {
    address: Address,
    channel: Channel,
    /// Docker Engine before API 1.53 takes sessions through `POST /session` only.
    session_by_upgrade: Option<PathBuf>,
    host_network: bool,
    /// What it builds for, the default first.
    platforms: Vec<String>,
    version: Version,
    /// Which of these it has, as far as it was asked.
    features: Arc<Mutex<HashMap<Feature, Option<bool>>>>,
}

/// As much as an engine says of its version.
#[derive(Debug, Clone, Default)]
struct Version {
    /// A Docker Engine's own.
    docker: Option<String>,
    /// That of its BuildKit; those before 0.11 say none, and Docker Engines of distributions don't know theirs.
    buildkit: Option<String>,
}

impl Engine {
    /// Connects, and asks what the engine can do.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        let address = config.address.clone();
        let mut version = Version::default();
        let (channel, session_by_upgrade) = match &address {
            Address::Docker(socket) => {
                // Before anything of BuildKit's, so that it is the first thing one hears.
                version.docker = docker_image_store(&address, socket).await?.server_version;
                match docker_h2c(socket.clone()).await {
                    Some(channel) => (channel, None),
                    None => (docker_upgrade(socket.clone()), Some(socket.clone())),
                }
            }
            _ => (plain(config)?, None),
        };
        let mut engine = Self {
            address,
            channel,
            session_by_upgrade,
            host_network: false,
            platforms: Vec::new(),
            version,
            features: Arc::default(),
        };
        engine.probe().await?;
        Ok(engine)
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether its steps run on the host's network, loopback services included.
    pub fn host_network(&self) -> bool {
        self.host_network
    }

    /// What it builds for when no platform is named, as `linux/amd64` or `linux/arm/v7`; none if it does not say.
    pub fn default_platform(&self) -> Option<&str> {
        self.platforms.first().map(String::as_str)
    }

    /// Whether it builds for all of these, by itself or with emulators. What it does not say is not held against it.
    pub fn builds_for(&self, platforms: &[String]) -> bool {
        self.platforms.is_empty() || platforms.iter().all(|platform| self.platforms.contains(&normalised(platform)))
    }

    /// Asks it whether it is there.
    pub async fn answers(&self) -> Result<(), Error> {
        self.workers().await.map(drop)
    }

    /// Whether its pushes fail when the registry refuses to mount a layer from elsewhere: BuildKit before 0.14. Where it does not
    /// say its version, that is what Docker Engines may have that take no session over plain gRPC.
    pub fn needs_mounts(&self) -> bool {
        self.version.number().map_or(self.session_by_upgrade.is_some(), |version| version < (0, 14))
    }

    /// What it is, and of which version.
    pub fn version(&self) -> String {
        self.version.to_string()
    }

    /// Asks it whether it has these, each once: an answer that says nothing is one.
    pub async fn ask(&self, features: impl IntoIterator<Item = Feature>) {
        let features: Vec<_> = features.into_iter().collect();
        let asking = async {
            for feature in features.iter().copied() {
                if self.features().contains_key(&feature) {
                    continue;
                }
                let answer = self.control().solve(feature.question()).await.err();
                let said = answer.as_ref().and_then(|status| feature.answer(status.message()));
                if said.is_none() {
                    let address = &self.address;
                    tracing::info!(engine = %address, ?answer, "engine {address} does not say whether it knows {feature}");
                }
                self.features().insert(feature, said);
            }
        };
        if tokio::time::timeout(PROBE_TIMEOUT, asking).await.is_err() {
            tracing::info!(engine = %self.address, "engine {} does not say what it knows", self.address);
            for feature in features {
                self.features().entry(feature).or_default();
            }
        }
    }

    /// Whether it said that it does not have this. What it was not asked, or did not say, is not held against it.
    pub fn lacks(&self, feature: Feature) -> bool {
        self.features().get(&feature) == Some(&Some(false))
    }

    fn features(&self) -> MutexGuard<'_, HashMap<Feature, Option<bool>>> {
        self.features.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// BuildKit's control API.
    pub(super) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// BuildKit's gateway API.
    pub(super) fn gateway(&self) -> LlbBridgeClient<Channel> {
        LlbBridgeClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// The byte stream on which BuildKit calls our session services; `headers` say who we are and what we serve.
    pub(super) async fn open_session(&self, headers: HeaderMap) -> Result<BoxStream, Error> {
        let failed = |source| Error::Connect { address: self.address.clone(), source };
        if let Some(socket) = &self.session_by_upgrade {
            return transport::docker(socket, "/session", headers).await.map_err(failed);
        }
        let (to_engine, outgoing) = mpsc::channel::<BytesMessage>(16);
        let mut request = tonic::Request::new(ReceiverStream::new(outgoing));
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let mut control = self.control();
        let opening = tokio::time::timeout(PROBE_TIMEOUT, control.session(request));
        let opened = opening.await.map_err(|_| Error::Lost("it takes no session".to_owned()))?;
        let mut incoming = opened.map_err(Error::from_status)?.into_inner();
        let (ours, theirs) = tokio::io::duplex(SESSION_PIPE);
        let (mut read, mut write) = tokio::io::split(theirs);
        // Tasks of their own: a stream that nobody reads for a moment is what h2 takes for an attack (see WINDOW). Both end
        // when the session's side of the pipe is dropped or the engine ends the call.
        tokio::spawn(async move {
            while let Ok(Some(message)) = incoming.message().await {
                if write.write_all(&message.data).await.is_err() {
                    break;
                }
            }
            let _ = write.shutdown().await;
        });
        tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(n @ 1..) = read.read(&mut buffer).await {
                if to_engine.send(BytesMessage { data: buffer[..n].to_vec() }).await.is_err() {
                    break;
                }
            }
        });
        Ok(Box::new(ours))
    }

    /// Resolves when it has not answered several times: a machine that hangs or is cut off does not say so.
    pub(super) async fn silent(&self) {
        let mut missed = 0;
        while missed < MISSED {
            tokio::time::sleep(LOOK_EVERY).await;
            missed = if self.answers().await.is_ok() { 0 } else { missed + 1 };
        }
    }

    async fn workers(&self) -> Result<Vec<WorkerRecord>, Error> {
        let call = async { self.control().list_workers(ListWorkersRequest::default()).await };
        let silent = |_| Err(tonic::Status::deadline_exceeded("no answer within 10 s"));
        let workers = tokio::time::timeout(PROBE_TIMEOUT, call)
            .await
            .unwrap_or_else(silent)
            .map_err(|status| Error::Unreachable { address: self.address.clone(), source: Box::new(status) })?;
        Ok(workers.into_inner().record)
    }

    async fn probe(&mut self) -> Result<(), Error> {
        let Some(worker) = self.workers().await?.into_iter().next() else {
            return Err(Error::NoWorker { address: self.address.clone() });
        };
        self.version.buildkit = worker.buildkit_version.map(|version| version.version);
        // The Dockerfile frontend takes the first one of the first worker.
        self.platforms = worker.platforms.iter().map(platform).collect();
        // A Docker Engine says `host` too, but gives its steps a bridge, and the label with the host's address on it.
        let label = |name: &str| worker.labels.get(&format!("org.mobyproject.buildkit.worker.{name}"));
        let bridged = label("moby.host-gateway-ip").is_some();
        self.host_network = !bridged && label("network").is_some_and(|network| network == "host");
        Ok(())
    }
}

impl Version {
    /// Of its BuildKit, as far as it counts.
    fn number(&self) -> Option<(u32, u32)> {
        let mut parts = self.buildkit.as_deref()?.trim_start_matches('v').split('.').map(|part| part.parse().ok());
        let number = (parts.next()??, parts.next()??);
        // What was built without one says this.
        (number != (0, 0)).then_some(number)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.docker, &self.buildkit) {
            (Some(docker), _) => write!(f, "Docker Engine {docker}"),
            (None, Some(buildkit)) => write!(f, "BuildKit {buildkit}"),
            (None, None) => f.write_str("a BuildKit that does not say its version"),
        }
    }
}

fn platform(platform: &Platform) -> String {
    let parts = [&platform.os, &platform.architecture, &platform.variant];
    let written = parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("/");
    normalised(&written)
}

/// A platform in the one way that is meant by several (containerd, `platforms/database.go`).
fn normalised(platform: &str) -> String {
    let mut parts = platform.split('/');
    let (os, architecture, variant) =
        (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
        ("armel", _) | ("arm", "6") => ("arm", "v6"),
        ("i386", _) => ("386", ""),
        other => other,
    };
    [os.unwrap_or_default(), architecture, variant]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

/// Refuses a Docker Engine on its old image store, which can't push from inside a build. Else what it says of itself.
async fn docker_image_store(address: &Address, socket: &Path) -> Result<docker::Info, Error> {
    let info = docker::info(socket).await.map_err(|source| Error::Connect { address: address.clone(), source })?;
    if info.containerd_image_store() {
        return Ok(info);
    }
    Err(Error::OldImageStore { address: address.clone(), driver: info.driver })
}

fn tuned(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        // A failed build's error is in headers, with the whole Dockerfile.
        .http2_max_header_list_size(MAX_MESSAGE as u32)
        .buffer_size(4096)
}

fn endpoint() -> Endpoint {
    tuned(Endpoint::from_static("http://engine"))
}

fn plain(config: &Config) -> Result<Channel, Error> {
    let address = config.address.clone();
    match &config.address {
        Address::Tcp(authority) => {
            let tls = config.ca.is_some() || config.cert.is_some();
            let failed =
                |source: tonic::transport::Error| Error::Tls { address: address.clone(), source: Box::new(source) };
            let scheme = if tls { "https" } else { "http" };
            let endpoint = Endpoint::from_shared(format!("{scheme}://{authority}")).map_err(failed)?;
            let mut endpoint = tuned(endpoint).connect_timeout(transport::CONNECT_TIMEOUT).tcp_nodelay(true);
            if tls {
                endpoint = endpoint.tls_config(tls_config(config)?).map_err(failed)?;
            }
            Ok(endpoint.connect_lazy())
        }
        Address::Unix(path) | Address::Docker(path) => {
            let path = path.clone();
            Ok(endpoint().connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { transport::unix(&path).await.map(TokioIo::new) }
            })))
        }
    }
}

fn tls_config(config: &Config) -> Result<ClientTlsConfig, Error> {
    let read = |path: &PathBuf| {
        std::fs::read(path).map_err(|source| Error::Tls {
            address: config.address.clone(),
            source: format!("read {}: {source}", path.display()).into(),
        })
    };
    let mut tls = ClientTlsConfig::new();
    if let Some(ca) = &config.ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let (Some(cert), Some(key)) = (&config.cert, &config.key) {
        tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
    }
    Ok(tls)
}

/// gRPC straight on the Docker socket, where the Engine knows it (API 1.53 and later).
async fn docker_h2c(socket: PathBuf) -> Option<Channel> {
    let channel = plain(&Config::new(Address::Unix(socket))).ok()?;
    let mut control = ControlClient::new(channel.clone());
    let probe = control.list_workers(ListWorkersRequest::default());
    match tokio::time::timeout(Duration::from_secs(2), probe).await {
        Ok(Ok(_)) => Some(channel),
        _ => None,
    }
}

fn docker_upgrade(socket: PathBuf) -> Channel {
    endpoint().connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { transport::docker(&socket, "/grpc", HeaderMap::new()).await.map(TokioIo::new) }
    }))
}

/// A header value from our own ids and keys, which are ASCII.
pub(super) fn ascii(value: &str) -> MetadataValue<tonic::metadata::Ascii> {
    value.parse().unwrap_or_else(|_| MetadataValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_counts_where_there_is_one() {
        let of = |buildkit: &str| Version { buildkit: Some(buildkit.to_owned()), docker: None }.number();
        for (said, meant) in [
            ("v0.29.0", Some((0, 29))),
            ("v0.11.7-0.20230525183624-798ad6b0ce9f", Some((0, 11))),
            ("0.13.1-moby", Some((0, 13))),
            ("v0.0.0+unknown", None),
            ("", None),
            ("main", None),
        ] {
            assert_eq!(of(said), meant, "{said}");
        }
        assert_eq!(Version::default().number(), None);
        let docker = Version { docker: Some("26.1.5".to_owned()), buildkit: Some("v0.0.0+unknown".to_owned()) };
        assert_eq!(docker.to_string(), "Docker Engine 26.1.5");
    }

    #[test]
    fn platforms_are_written_as_dockerfiles_name_them() {
        let of = |os: &str, architecture: &str, variant: &str| {
            let (os, architecture, variant) = (os.to_owned(), architecture.to_owned(), variant.to_owned());
            platform(&Platform { os, architecture, variant, ..Platform::default() })
        };
        assert_eq!(of("linux", "amd64", ""), "linux/amd64");
        assert_eq!(of("linux", "arm", "v7"), "linux/arm/v7");
        for (written, meant) in [
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/riscv64", "linux/riscv64"),
        ] {
            assert_eq!(normalised(written), meant);
        }
    }
}
