//! The BuildKit session: our gRPC server on a byte stream that we opened, on which BuildKit calls back for files, registry
//! tokens and secrets (BuildKit, `session/session.go` and `session/grpc.go`).

pub mod auth;
pub mod content;
pub mod exports;
pub mod filesync;
pub mod secrets;
pub mod ssh;

use bollard_buildkit_proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use bollard_buildkit_proto::moby::filesync::v1::auth_server::AuthServer;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::FileSendServer;
use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use slipway_proto::content::content_server::ContentServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::{Engine, Error, MAX_MESSAGE, WINDOW};

/// What BuildKit may call. Of these it looks up the two `DiffCopy` before it calls; the rest is listed for good measure.
const METHODS: [&str; 13] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Write",
];

/// The services of one session.
#[derive(Debug, Clone)]
pub struct Services {
    /// The directories that BuildKit may read.
    pub files: filesync::FileSync,
    /// Registry tokens.
    pub auth: auth::Auth,
    /// Secrets by id.
    pub secrets: secrets::Secrets,
    /// SSH agents by id.
    pub ssh: ssh::Agents,
    /// Where archives go that BuildKit sends.
    pub exports: exports::Exports,
    /// Stores of caches.
    pub content: content::Content,
}

/// An open session. Dropping it closes the byte stream, which ends what BuildKit still does with it.
#[derive(Debug)]
pub struct Session {
    id: String,
    closed: CancellationToken,
}

impl Session {
    /// Opens a session on the engine. `shared_key` names the tree that its local sources come from: BuildKit keeps what it
    /// received under it, and compares the next transfer with that.
    pub async fn open(engine: &Engine, shared_key: &str, services: Services) -> Result<Self, Error> {
        let id = super::random_id();
        let stream = engine.open_session(headers(&id, shared_key)).await?;
        let (health, health_service) = tonic_health::server::health_reporter();
        drop(health);
        let routes = Routes::new(health_service)
            .add_service(FileSyncServer::new(services.files).max_decoding_message_size(MAX_MESSAGE))
            .add_service(FileSendServer::new(services.exports).max_decoding_message_size(MAX_MESSAGE))
            .add_service(AuthServer::new(services.auth))
            .add_service(SecretsServer::new(services.secrets))
            .add_service(SshServer::new(services.ssh))
            .add_service(ContentServer::new(services.content).max_decoding_message_size(MAX_MESSAGE))
            .prepare();
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .initial_connection_window_size(WINDOW)
            .initial_stream_window_size(WINDOW)
            .max_concurrent_streams(1024)
            // Ignore patterns and COPY sources come as headers.
            .max_header_list_size(MAX_MESSAGE as u32)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
        let closed = CancellationToken::new();
        let ended = closed.clone();
        tokio::spawn(async move {
            // hyper's future owns the byte stream, so ending this task closes it, whatever its calls are doing.
            if let Some(Err(error)) = ended.run_until_cancelled(connection).await {
                tracing::debug!(%error, "the session's connection ended");
            }
            ended.cancel();
        });
        Ok(Self { id, closed })
    }

    /// The id that solves refer to.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Resolves when the connection has ended.
    pub async fn lost(&self) {
        self.closed.cancelled().await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

fn headers(id: &str, shared_key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    };
    add("x-docker-expose-session-uuid", id);
    add("x-docker-expose-session-name", "slipway");
    add("x-docker-expose-session-sharedkey", shared_key);
    for method in METHODS {
        add("x-docker-expose-session-grpc-method", method);
    }
    headers
}
