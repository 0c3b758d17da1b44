//! Byte streams to an engine.

use std::io;
use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// How long a connection may take to come up.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A two-way byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A two-way byte stream of any kind.
pub type BoxStream = Box<dyn Stream>;

/// A connection to a unix socket.
pub(crate) async fn unix(path: &Path) -> io::Result<BoxStream> {
    let stream = within(UnixStream::connect(path)).await?;
    Ok(Box::new(stream))
}

/// A Docker Engine connection, upgraded to raw HTTP/2 by `POST path` (`/grpc` or `/session`, Docker Engine API).
pub(crate) async fn docker(socket: &Path, path: &'static str, headers: HeaderMap) -> io::Result<BoxStream> {
    within(async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static(path);
        *request.headers_mut() = headers;
        for (name, value) in [("host", "docker"), ("connection", "Upgrade"), ("upgrade", "h2c")] {
            request.headers_mut().insert(name, http::HeaderValue::from_static(value));
        }
        let connection = connection.with_upgrades();
        let upgrade = async {
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Err(io::Error::other(format!("POST {path} answered {}", response.status())));
            }
            hyper::upgrade::on(response).await.map_err(io::Error::other)
        };
        // The connection's future ends once it has handed its stream to the upgrade.
        let (upgraded, connection) = tokio::join!(upgrade, connection);
        connection.map_err(io::Error::other)?;
        Ok(Box::new(TokioIo::new(upgraded?)) as BoxStream)
    })
    .await
}

async fn within<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s")),
    }
}
