//! The connection to the service: one channel, the caller's token on every call, and limits set on purpose.

use std::error::Error as _;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use secrecy::{ExposeSecret as _, SecretString};
use slipway_proto::v1::admin_service_client::AdminServiceClient;
use slipway_proto::v1::build_service_client::BuildServiceClient;
use slipway_proto::v1::context_service_client::ContextServiceClient;
use slipway_proto::v1::environment_service_client::EnvironmentServiceClient;
use slipway_proto::v1::image_service_client::ImageServiceClient;
use slipway_proto::v1::job_service_client::JobServiceClient;
use slipway_proto::v1::server_service_client::ServerServiceClient;
use slipway_proto::v1::variable_service_client::VariableServiceClient;
use slipway_proto::v1::{GetServerInfoRequest, ServerInfo, WhoAmIRequest, WhoAmIResponse};
use tonic::codegen::InterceptedService;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use crate::settings::{ServerUrl, Settings};

mod proxy;
mod retry;
mod version;

pub(crate) use retry::{Backoff, Patience, is_transient};

/// Bytes on their way to us on one connection before we have read them.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// The same for one call, and the largest message either way: a batch of log events may be large.
const STREAM_WINDOW: u32 = 16 << 20;
const MESSAGE_LIMIT: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The deadline of a call that the service answers from what it knows.
pub(crate) const SHORT_CALL: Duration = Duration::from_secs(30);
/// The deadline of a call for which the service may have to work: checking a submitted job, or a commit of many files.
pub(crate) const LONG_CALL: Duration = Duration::from_mins(5);
/// A connection on which the service has not answered a ping for this long is dead: a laptop woke up elsewhere.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Why the service did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// Nothing answers there, or not in time.
    #[error("can't reach the service at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// It answers, and says no.
    #[error("the service refuses: {message}")]
    Refused { code: Code, message: String },
    /// It answers that the request makes no sense.
    #[error("the service does not accept this: {message}")]
    Invalid { message: String },
    /// It answers something that no Slipway service should.
    #[error("the service at {url} gave an answer that makes no sense: {message}")]
    Malformed { url: String, message: String },
}

impl ServiceError {
    /// What to do about it, where that is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "is slipwayd running there? --server, SLIPWAY_SERVER or `slipway context use` name another".to_owned(),
            ),
            Self::Refused { code: Code::Unauthenticated, .. } => {
                Some("give a valid token with SLIPWAY_TOKEN, or log in again: `slipway login URL`".to_owned())
            }
            Self::Malformed { .. } => Some("is it a Slipway service, and is there a proxy in between?".to_owned()),
            _ => None,
        }
    }
}

/// A connection to one service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    channel: Channel,
    bearer: Bearer,
    url: String,
    registry: String,
    features: Vec<String>,
}

/// Puts the token on every call.
#[derive(Debug, Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// The channel that every service's client works on.
pub(crate) type Authorized = InterceptedService<Channel, Bearer>;

macro_rules! service {
    ($(#[$doc:meta])* $name:ident, $client:ident) => {
        $(#[$doc])*
        pub(crate) fn $name(&self) -> $client<Authorized> {
            $client::with_interceptor(self.channel.clone(), self.bearer.clone())
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT)
        }
    };
}

impl Client {
    /// Connects with the settings' server and token, and checks that the two versions fit.
    pub(crate) async fn connect(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self::connect_and(settings, async |_: &Self| ()).await?.0)
    }

    /// The same, and asks something else meanwhile.
    pub(crate) async fn connect_and<T>(
        settings: &Settings,
        ask: impl AsyncFnOnce(&Self) -> T,
    ) -> anyhow::Result<(Self, T)> {
        let client = Self::open(settings.server()?, settings.token.as_ref()).await?;
        let (info, answer) = tokio::join!(client.info(), ask(&client));
        let info = info?;
        version::check(&info.min_client, env!("CARGO_PKG_VERSION"))?;
        Ok((Self { registry: info.registry, features: info.features, ..client }, answer))
    }

    /// Connects, and asks nothing yet.
    pub(crate) async fn open(server: &ServerUrl, token: Option<&SecretString>) -> Result<Self, ServiceError> {
        let url = server.to_string();
        let proxy = proxy::on_the_way_to(&server.uri(), &Matcher::from_env());
        let unreachable = |reason: String| {
            let way =
                proxy.as_ref().map(|proxy| format!("through the proxy {}: ", proxy::shown(proxy))).unwrap_or_default();
            ServiceError::Unreachable { url: url.clone(), reason: way + &reason }
        };
        let bearer = match token {
            None => Bearer(None),
            Some(token) => {
                let value = format!("Bearer {}", token.expose_secret()).parse::<MetadataValue<Ascii>>();
                let mut value = value.map_err(|_| ServiceError::Refused {
                    code: Code::Unauthenticated,
                    message: "the token holds characters that no token has".to_owned(),
                })?;
                value.set_sensitive(true);
                Bearer(Some(value))
            }
        };
        let endpoint = endpoint(server).map_err(|error| unreachable(chain(&error)))?;
        let connect = async {
            match &proxy {
                Some(proxy) => proxy::connect(&endpoint, proxy, CONNECT_TIMEOUT).await,
                None => endpoint.connect().await,
            }
        };
        // The connect timeout covers the TCP connection, not a peer that accepts and then says nothing.
        let channel = match tokio::time::timeout(CONNECT_TIMEOUT * 2, connect).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(unreachable(chain(&error))),
            Err(_) => return Err(unreachable("it accepts connections, but does not answer".to_owned())),
        };
        Ok(Self { channel, bearer, url, registry: String::new(), features: Vec::new() })
    }

    service!(
        /// Jobs.
        jobs, JobServiceClient
    );
    service!(
        /// The sync of a job's roots.
        context, ContextServiceClient
    );
    service!(
        /// What is known of builds.
        builds, BuildServiceClient
    );
    service!(
        /// Images in the registry.
        images, ImageServiceClient
    );
    service!(
        /// Namespaces and tokens.
        admin, AdminServiceClient
    );
    service!(
        /// Variables that the service keeps.
        variables, VariableServiceClient
    );
    service!(
        /// What deploys have left behind.
        environments, EnvironmentServiceClient
    );
    service!(
        /// The service itself.
        server, ServerServiceClient
    );

    /// What the service says of itself.
    pub(crate) async fn info(&self) -> Result<ServerInfo, ServiceError> {
        let answer = self.server().get_server_info(timed(GetServerInfoRequest {}, CONNECT_TIMEOUT)).await;
        Ok(answer.map_err(|status| self.error(&status))?.into_inner())
    }

    /// Who the token belongs to.
    pub(crate) async fn who_am_i(&self) -> Result<WhoAmIResponse, ServiceError> {
        let answer = self.server().who_am_i(timed(WhoAmIRequest {}, SHORT_CALL)).await;
        Ok(answer.map_err(|status| self.error(&status))?.into_inner())
    }

    /// The error that a status stands for.
    pub(crate) fn error(&self, status: &Status) -> ServiceError {
        let message =
            if status.message().is_empty() { status.code().description() } else { status.message() }.to_owned();
        let url = self.url.clone();
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => ServiceError::Invalid { message },
            Code::Unavailable => ServiceError::Unreachable { url, reason: reason(status, message) },
            Code::DeadlineExceeded => {
                ServiceError::Unreachable { url, reason: "it does not answer in time".to_owned() }
            }
            // What tonic makes of its own deadline.
            Code::Cancelled => ServiceError::Unreachable { url, reason: "it does not answer in time".to_owned() },
            // tonic puts errors of the connection under it into these; the service's own come without a source.
            Code::Unknown | Code::Internal if status.source().is_some() => match reason(status, message) {
                message if is_not_http2(&message) => ServiceError::Malformed { url, message },
                reason => ServiceError::Unreachable { url, reason },
            },
            Code::Unimplemented => {
                ServiceError::Malformed { url, message: format!("it does not know this call ({message})") }
            }
            code => ServiceError::Refused { code, message },
        }
    }

    /// An answer that lacks what the API promises.
    pub(crate) fn malformed(&self, message: impl Into<String>) -> ServiceError {
        ServiceError::Malformed { url: self.url.clone(), message: message.into() }
    }

    /// Host and port of the registry that the service pushes to.
    pub(crate) fn registry(&self) -> &str {
        &self.registry
    }

    /// An error where the service lacks an ability that `what` needs.
    pub(crate) fn require(&self, feature: &str, what: &str) -> Result<(), ServiceError> {
        if self.features.iter().any(|known| known == feature) {
            return Ok(());
        }
        let message = format!("it is too old for {what}: have it upgraded");
        Err(ServiceError::Refused { code: Code::Unimplemented, message })
    }

    /// The service's URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

/// A request with a deadline, for unary calls.
pub(crate) fn timed<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn endpoint(server: &ServerUrl) -> Result<Endpoint, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(server.as_str().to_owned())?
        .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    if server.as_str().starts_with("https://") {
        endpoint.tls_config(ClientTlsConfig::new().with_native_roots())
    } else {
        Ok(endpoint)
    }
}

/// A connection error's causes say more than "transport error" does.
fn reason(status: &Status, message: String) -> String {
    status.source().map_or(message, chain)
}

/// Whether the peer speaks something else, rather than the connection broke.
fn is_not_http2(reason: &str) -> bool {
    ["invalid size", "FRAME_SIZE_ERROR", "PROTOCOL_ERROR"].iter().any(|sign| reason.contains(sign))
}

/// The innermost causes of an error, without the outer ones that only say that there was one.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if text != "transport error" && !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    if texts.is_empty() { "transport error".to_owned() } else { texts.join(": ") }
}
