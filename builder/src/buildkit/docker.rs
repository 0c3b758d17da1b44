//! What a Docker Engine says of itself (`GET /info`, Docker Engine API).

use std::io;
use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::UnixStream;

/// Far more than any `/info`.
const MAX_BODY: usize = 4 << 20;

/// The part of `/info` that we need.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Info {
    /// The storage driver.
    pub(super) driver: String,
    #[serde(default)]
    driver_status: Option<Vec<(String, String)>>,
    #[serde(default)]
    registry_config: Option<RegistryConfig>,
    /// Its own version, not that of its BuildKit.
    #[serde(default)]
    pub(super) server_version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RegistryConfig {
    #[serde(default)]
    mirrors: Option<Vec<String>>,
}

impl Info {
    /// Whether images are in containerd's store.
    pub(super) fn containerd_image_store(&self) -> bool {
        let status = self.driver_status.as_deref().unwrap_or_default();
        status.iter().any(|(key, value)| key == "driver-type" && value.starts_with("io.containerd.snapshotter"))
    }
}

impl Info {
    /// URLs of the mirrors of Docker Hub.
    pub(super) fn mirrors(self) -> Vec<String> {
        self.registry_config.and_then(|config| config.mirrors).unwrap_or_default()
    }
}

/// Asks the Engine on this socket.
pub(super) async fn info(socket: &Path) -> io::Result<Info> {
    let ask = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let request =
            Request::get("/info").header("host", "docker").body(Empty::<Bytes>::new()).map_err(io::Error::other)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(io::Error::other)?;
            serde_json::from_slice(&body.to_bytes()).map_err(io::Error::other)
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            Err(error) = connection => Err(io::Error::other(error)),
        }
    };
    match tokio::time::timeout(Duration::from_secs(10), ask).await {
        Ok(answer) => answer,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer to /info within 10 s")),
    }
}

#[cfg(test)]
mod tests {
    use super::Info;

    #[test]
    fn the_image_store_shows_in_the_driver_status() {
        let info = |text: &str| serde_json::from_str::<Info>(text).unwrap();
        let new = r#"{"Driver":"overlayfs","DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}"#;
        assert!(info(new).containerd_image_store());
        assert!(
            !info(r#"{"Driver":"overlay2","DriverStatus":[["Backing Filesystem","extfs"]]}"#).containerd_image_store()
        );
        assert!(!info(r#"{"Driver":"vfs","DriverStatus":null}"#).containerd_image_store());
    }
}
