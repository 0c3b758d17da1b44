//! The proxy of restricted commands: HTTP's `CONNECT` for what is encrypted and for SSH, and whole requests for plain HTTP (RFC 9110,
//! sections 7.6 and 9.3.6; RFC 9112, section 3.2).
//!
//! It is in the job's process, where no command has a hand: the agent only carries bytes.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue, UPGRADE};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use slipway_manifest::options::ExtraHost;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Allowed, spelled};
use crate::runner::forward::both;

/// For one address; a name may have several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For all of them.
const ALL_TIMEOUT: Duration = Duration::from_secs(30);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// A container's refusals that its job is told of, so that no command fills the log with them.
const MAX_TOLD: usize = 100;
/// The longest name that there is (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
/// Fields that are between a client and its proxy (RFC 9110, section 7.6.1, and those that clients really send).
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "upgrade"];

type Body = BoxBody<Bytes, hyper::Error>;
/// Who is to know why a host was not reached.
type Refused = dyn Fn(&str) + Send + Sync;

/// The proxy of one container.
#[derive(Clone)]
pub struct Proxy {
    allowed: Arc<Allowed>,
    /// Names with an address of their own in the container.
    hosts: Arc<BTreeMap<String, IpAddr>>,
    refused: Arc<Refused>,
    /// What it was told of.
    told: Arc<Mutex<HashSet<String>>>,
}

/// One connection to the proxy.
#[derive(Debug, Clone)]
pub(in crate::runner) struct Connection {
    /// Ends it.
    pub(in crate::runner) closed: CancellationToken,
    /// Cancelled before its bytes end where they end too early.
    pub(in crate::runner) broken: CancellationToken,
    /// Dropped when all of it is over.
    pub(in crate::runner) alive: mpsc::Sender<()>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Lets through what is allowed, and tells `refused` why everything else is not, once for each host and port. What the
    /// container's `hosts` name is found as there.
    pub fn new(allowed: Allowed, hosts: &[ExtraHost], refused: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let hosts = hosts.iter().map(|host| (spelled(&host.name), host.address)).collect();
        Self { allowed: Arc::new(allowed), hosts: Arc::new(hosts), refused: Arc::new(refused), told: Arc::default() }
    }

    /// Serves one connection.
    pub(in crate::runner) async fn serve(
        self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        connection: Connection,
    ) {
        let Connection { closed, broken, alive: _alive } = connection.clone();
        let service = hyper::service::service_fn(move |request| {
            let (proxy, connection) = (self.clone(), connection.clone());
            async move { Ok::<_, std::convert::Infallible>(proxy.answer(request, connection).await) }
        });
        let mut http = server::conn::http1::Builder::new();
        // No time for headers: it would begin before the answer of the request before has been read, and cut that off. There are at
        // most so many connections.
        http.header_read_timeout(None).preserve_header_case(true);
        let serve = http.serve_connection(TokioIo::new(io), service).with_upgrades();
        // It holds the other end's bytes, which must not end before that is said.
        let mut serve = std::pin::pin!(serve);
        if !matches!(closed.run_until_cancelled(serve.as_mut()).await, Some(Ok(()))) {
            broken.cancel();
        }
    }

    async fn answer(&self, request: Request<Incoming>, connection: Connection) -> Response<Body> {
        let passed = match target(&request) {
            Ok(target) if request.method() == Method::CONNECT => self.tunnel(&target, request, connection).await,
            Ok(target) => self.pass_on(&target, request, connection).await,
            Err(error) => Err(error),
        };
        passed.unwrap_or_else(|error| said(error.status(), &error.to_string()))
    }

    async fn tunnel(
        &self,
        target: &Target,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<Body>, ProxyError> {
        let there = self.connect(target).await?;
        tokio::spawn(async move {
            let Connection { closed, broken, alive: _alive } = connection;
            let Some(Ok(here)) = closed.run_until_cancelled(hyper::upgrade::on(request)).await else { return };
            // Kept here, so that no end is seen before it is said that it is none.
            let (mut here_read, mut here_write) = tokio::io::split(TokioIo::new(here));
            let (mut there_read, mut there_write) = there.into_split();
            let copied = both(copy(&mut there_read, &mut here_write), copy(&mut here_read, &mut there_write));
            // Who is there may answer without having read everything.
            if !matches!(closed.run_until_cancelled(copied).await, Some((true, _))) {
                broken.cancel();
            }
        });
        Ok(Response::new(empty()))
    }

    async fn pass_on(
        &self,
        target: &Target,
        request: Request<Incoming>,
        connection: Connection,
    ) -> Result<Response<Body>, ProxyError> {
        if request.headers().contains_key(UPGRADE) {
            return Err(ProxyError::Upgrade);
        }
        let there = self.connect(target).await?;
        let failed = |error: hyper::Error| ProxyError::Answer(target.to_string(), in_full(&error));
        let (mut sender, driver) = client::conn::http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(there))
            .await
            .map_err(failed)?;
        tokio::spawn(async move { connection.closed.run_until_cancelled(driver).await });
        let (mut parts, body) = request.into_parts();
        parts.uri = origin_form(&parts.uri);
        parts.version = http::Version::HTTP_11;
        end_to_end(&mut parts.headers);
        // What was allowed is where it goes, whatever its own field said.
        parts.headers.insert(HOST, target.header());
        // How long an answer may take is for the client to say, as without a proxy.
        let answer = sender.send_request(Request::from_parts(parts, body)).await.map_err(failed)?;
        let (mut parts, body) = answer.into_parts();
        end_to_end(&mut parts.headers);
        Ok(Response::from_parts(parts, body.boxed()))
    }

    /// Connects, or says why not, also to whoever reads the job: many tools show nothing of a proxy's answer but its number.
    async fn connect(&self, target: &Target) -> Result<TcpStream, ProxyError> {
        let connected = self.try_connect(target).await;
        if let Err(error) = &connected {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() < MAX_TOLD && target.host.len() <= MAX_NAME && told.insert(target.to_string()) {
                (self.refused)(&error.to_string());
            }
        }
        connected
    }

    async fn try_connect(&self, target: &Target) -> Result<TcpStream, ProxyError> {
        let own = self.hosts.get(&spelled(&target.host));
        // As a client in the container would find it; a rule for an address is for that, too.
        let host = own.map_or_else(|| target.host.trim_matches(['[', ']']).to_owned(), ToString::to_string);
        let reason = self.allowed.reason(&target.host, target.port).filter(|_| own.is_none());
        let Some(reason) = reason.or_else(|| self.allowed.reason(&host, target.port)) else {
            return Err(ProxyError::Refused { target: target.to_string(), key: self.allowed.key.clone() });
        };
        let failed = |error: &dyn fmt::Display| ProxyError::Failed(target.to_string(), error.to_string());
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host.as_str(), target.port))).await;
        let found = found.map_err(|_| failed(&"its address was not found in time"))?.map_err(|error| failed(&error))?;
        let (may, may_not): (Vec<SocketAddr>, Vec<_>) =
            found.partition(|address| self.allowed.reaches(reason, *address));
        let elsewhere = || ProxyError::Address { target: target.to_string(), key: self.allowed.key.clone() };
        let mut last = if may_not.is_empty() { failed(&"it has no address") } else { elsewhere() };
        let end = Instant::now() + ALL_TIMEOUT;
        for address in may {
            match tokio::time::timeout_at(end.min(Instant::now() + CONNECT_TIMEOUT), TcpStream::connect(address)).await
            {
                Ok(Ok(stream)) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = failed(&error),
                Err(_) => last = failed(&"it does not answer"),
            }
        }
        Err(last)
    }
}

/// Why a request is not passed on.
#[derive(Debug, thiserror::Error)]
enum ProxyError {
    /// It is for us, or for nobody.
    #[error("this is a proxy: {0}")]
    Request(&'static str),
    /// One that a connection is to be upgraded to.
    #[error("this is a proxy: for another protocol it takes CONNECT")]
    Upgrade,
    /// Not on the list.
    #[error(
        "{target} is not among the hosts that commands of this namespace may connect to; an admin can add it to `{key}` in the \
         service's configuration"
    )]
    Refused {
        /// What was asked for.
        target: String,
        /// Where the list is.
        key: String,
    },
    /// The name is on the list, but not where it leads.
    #[error(
        "{target} leads to an address that is the service's own, or not public; an admin can add that to `{key}` in the service's \
         configuration"
    )]
    Address {
        /// What was asked for.
        target: String,
        /// Where the list is.
        key: String,
    },
    /// The way there.
    #[error("connect to {0}: {1}")]
    Failed(String, String),
    /// What is there has not answered a request.
    #[error("ask {0}: {1}")]
    Answer(String, String),
}

impl ProxyError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Upgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Refused { .. } | Self::Address { .. } => StatusCode::FORBIDDEN,
            Self::Failed(..) | Self::Answer(..) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Where a request is to go.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// An IPv6 address is in brackets.
    host: String,
    port: u16,
}

impl Target {
    fn new(authority: &Authority, port: Option<u16>) -> Result<Self, ProxyError> {
        let named = authority.as_str().rsplit('@').next().and_then(|text| text.strip_prefix(authority.host()));
        let port = match (authority.port_u16(), named) {
            (Some(port), _) => port,
            // `http://host:/` has none (RFC 3986, section 3.2.3).
            (None, Some("" | ":")) => port.ok_or(ProxyError::Request("CONNECT needs a port"))?,
            _ => return Err(ProxyError::Request("a port is a number from 0 to 65535")),
        };
        Ok(Self { host: authority.host().to_owned(), port })
    }

    /// As `Host` of a request that is not encrypted.
    fn header(&self) -> HeaderValue {
        let text = if self.port == 80 { self.host.clone() } else { self.to_string() };
        // It was part of a URI, whose characters all may be in a field.
        HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn target(request: &Request<Incoming>) -> Result<Target, ProxyError> {
    let uri = request.uri();
    let authority = uri.authority().ok_or(ProxyError::Request("a request names the whole URL"))?;
    if request.method() == Method::CONNECT {
        return Target::new(authority, None);
    }
    match uri.scheme_str() {
        Some("http") => Target::new(authority, Some(80)),
        _ => Err(ProxyError::Request("for anything but plain HTTP it takes CONNECT")),
    }
}

/// One direction of a tunnel; whether it came to its end.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> bool {
    tokio::io::copy(from, to).await.is_ok() && to.shutdown().await.is_ok()
}

/// With what is behind it.
fn in_full(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // `http://host?query` has no path.
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    path.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

/// Removes what is not for the other end. How the body is framed, hyper says anew.
fn end_to_end(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn said(status: StatusCode, message: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("slipway: {message}\n"))).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response
}

fn empty() -> Body {
    Full::new(Bytes::new()).map_err(|never| match never {}).boxed()
}

#[cfg(test)]
mod tests;
