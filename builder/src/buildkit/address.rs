//! Where an engine is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The well-known socket of a `buildkitd`.
pub const BUILDKITD_SOCKET: &str = "/run/buildkit/buildkitd.sock";
/// The well-known socket of a Docker Engine.
pub const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// An engine's address: `unix:///path`, `tcp://host:port`, `docker://` or `docker://unix:///path`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A `buildkitd` on a unix socket.
    Unix(PathBuf),
    /// A `buildkitd` on TCP: `host:port`.
    Tcp(String),
    /// The BuildKit inside the Docker Engine that listens on this unix socket.
    Docker(PathBuf),
}

/// Why a text is no engine address.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine address `{0}`: expected unix:///path, tcp://host:port, docker:// or docker://unix:///path")]
pub struct InvalidAddress(String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.to_owned());
        let socket = |path: &str| if path.starts_with('/') { Ok(PathBuf::from(path)) } else { Err(invalid()) };
        if let Some(path) = text.strip_prefix("unix://") {
            return socket(path).map(Self::Unix);
        }
        if let Some(authority) = text.strip_prefix("tcp://") {
            let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
            let ok = !host.is_empty() && port.parse::<u16>().is_ok() && !authority.contains('/');
            return if ok { Ok(Self::Tcp(authority.to_owned())) } else { Err(invalid()) };
        }
        match text.strip_prefix("docker://") {
            Some("") => Ok(Self::Docker(PathBuf::from(DOCKER_SOCKET))),
            Some(rest) => socket(rest.strip_prefix("unix://").ok_or_else(invalid)?).map(Self::Docker),
            None => Err(invalid()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
            Self::Docker(path) if path.as_os_str() == DOCKER_SOCKET => f.write_str("docker://"),
            Self::Docker(path) => write!(f, "docker://unix://{}", path.display()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_parse_and_print() {
        for text in ["unix:///run/b.sock", "tcp://10.0.0.1:1234", "docker://", "docker://unix:///tmp/d.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!("docker://unix:///var/run/docker.sock".parse::<Address>().unwrap().to_string(), "docker://");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "unix://", "unix://rel", "tcp://host", "tcp://:1", "tcp://h:1/x", "docker://tcp://h:1", "http://h:1"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
