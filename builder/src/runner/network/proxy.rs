//! The proxy of restricted commands: HTTP's `CONNECT` for what is encrypted and for SSH, and whole requests for plain HTTP (RFC 9110,
//! sections 7.6 and 9.3.6; RFC 9112, section 3.2).
//!
//! It is in the job's process, where no command has a hand: the agent only carries bytes.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::{client, server};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Allowed;

/// For one address; a name may have several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request's first byte to the end of its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A container's refusals that its job is told of, so that no command fills the log with them.
const MAX_TOLD: usize = 100;
/// The longest name that there is (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
/// Fields that are between a client and its proxy (RFC 9110, section 7.6.1, and those that clients really send).
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "upgrade"];

type Body = BoxBody<Bytes, hyper::Error>;
/// Who is to know which host was refused.
type Refused = dyn Fn(&str) + Send + Sync;

/// The proxy of one container.
#[derive(Clone)]
pub struct Proxy {
    allowed: Arc<Allowed>,
    refused: Arc<Refused>,
    /// Those that it was told of.
    told: Arc<AtomicUsize>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Lets through what is allowed, and tells `refused` of everything else.
    pub fn new(allowed: Allowed, refused: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { allowed: Arc::new(allowed), refused: Arc::new(refused), told: Arc::default() }
    }

    /// Serves one connection, until that or `closed`.
    pub(in crate::runner) async fn serve(
        self,
        connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        closed: CancellationToken,
    ) {
        let tunnels = closed.clone();
        let service = hyper::service::service_fn(move |request| {
            let (proxy, closed) = (self.clone(), tunnels.clone());
            async move { Ok::<_, std::convert::Infallible>(proxy.answer(request, closed).await) }
        });
        let mut http = server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).preserve_header_case(true).half_close(true);
        let serve = http.serve_connection(TokioIo::new(connection), service).with_upgrades();
        let _ = closed.run_until_cancelled(serve).await;
    }

    async fn answer(&self, request: Request<Incoming>, closed: CancellationToken) -> Response<Body> {
        let passed = match target(&request) {
            Ok(target) if request.method() == Method::CONNECT => self.tunnel(&target, request, closed).await,
            Ok(target) => self.pass_on(&target, request, closed).await,
            Err(error) => Err(error),
        };
        passed.unwrap_or_else(|error| said(error.status(), &error.to_string()))
    }

    async fn tunnel(
        &self,
        target: &Target,
        request: Request<Incoming>,
        closed: CancellationToken,
    ) -> Result<Response<Body>, ProxyError> {
        let mut there = self.connect(target).await?;
        tokio::spawn(async move {
            let copy = async {
                let mut here = TokioIo::new(hyper::upgrade::on(request).await.map_err(io::Error::other)?);
                tokio::io::copy_bidirectional(&mut here, &mut there).await
            };
            // That a connection breaks is for its two ends to know.
            let _ = closed.run_until_cancelled(copy).await;
        });
        Ok(Response::new(empty()))
    }

    async fn pass_on(
        &self,
        target: &Target,
        request: Request<Incoming>,
        closed: CancellationToken,
    ) -> Result<Response<Body>, ProxyError> {
        let there = self.connect(target).await?;
        let failed = |error: hyper::Error| ProxyError::Failed(target.to_string(), error.to_string());
        let (mut sender, connection) = client::conn::http1::Builder::new()
            .preserve_header_case(true)
            .handshake(TokioIo::new(there))
            .await
            .map_err(failed)?;
        tokio::spawn(async move { closed.run_until_cancelled(connection).await });
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

    async fn connect(&self, target: &Target) -> Result<TcpStream, ProxyError> {
        let Target { host, port } = target;
        let Some(reason) = self.allowed.reason(host, *port) else {
            if self.told.fetch_add(1, Ordering::Relaxed) < MAX_TOLD && target.host.len() <= MAX_NAME {
                (self.refused)(&target.to_string());
            }
            return Err(ProxyError::Refused(target.to_string()));
        };
        let failed = |error: &dyn fmt::Display| ProxyError::Failed(target.to_string(), error.to_string());
        let bare = host.trim_matches(['[', ']']);
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((bare, *port))).await;
        let found = found.map_err(|_| failed(&"its address was not found in time"))?.map_err(|error| failed(&error))?;
        let (may, may_not): (Vec<SocketAddr>, Vec<_>) = found.partition(|address| Allowed::reaches(reason, *address));
        if may.is_empty() && !may_not.is_empty() {
            return Err(ProxyError::Address(target.to_string()));
        }
        let mut last = failed(&"it has no address");
        for address in may {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
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
    /// Not on the list.
    #[error(
        "{0} is not among the hosts that commands of this namespace may reach; an admin can add it to `runner.network.allow` of \
         the service's configuration"
    )]
    Refused(String),
    /// The name is on the list, but not where it leads.
    #[error("{0} leads to an address that is the service's own, or its link's")]
    Address(String),
    /// The way there.
    #[error("connect to {0}: {1}")]
    Failed(String, String),
}

impl ProxyError {
    fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) | Self::Address(_) => StatusCode::FORBIDDEN,
            Self::Failed(..) => StatusCode::BAD_GATEWAY,
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
        let port = authority.port_u16().or(port).ok_or(ProxyError::Request("CONNECT needs a port"))?;
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

fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
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
