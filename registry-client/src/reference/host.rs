//! A registry's host name and port.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ReferenceProblem;

/// The name Docker Hub has in references.
const DOCKER_HUB: &str = "docker.io";
/// The host that answers Docker Hub's registry calls.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// A registry as references name it: `host[:port]`, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryHost(String);

// === impl RegistryHost ===

impl RegistryHost {
    /// Docker Hub.
    pub fn docker_hub() -> Self {
        Self(DOCKER_HUB.to_owned())
    }

    /// Whether this is Docker Hub.
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }

    /// Host and port as written in references.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without its port; an IPv6 address keeps its brackets.
    pub fn name(&self) -> &str {
        split_port(&self.0).0
    }

    /// The port, if one is named.
    pub fn port(&self) -> Option<u16> {
        split_port(&self.0).1.and_then(|port| port.parse().ok())
    }

    /// The host that answers this registry's calls.
    pub fn api_host(&self) -> &str {
        if self.is_docker_hub() { DOCKER_HUB_API } else { &self.0 }
    }

    /// Whether the name itself says that this is the same machine: `localhost`, 127.0.0.0/8 or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        let name = self.name();
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        name == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// Whether a reference's first component is a registry rather than part of a Docker Hub repository.
    pub(super) fn looks_like_one(component: &str) -> bool {
        component.contains(['.', ':']) || component.eq_ignore_ascii_case("localhost")
    }
}

impl FromStr for RegistryHost {
    type Err = ReferenceProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, port) = split_port(text);
        let valid = match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => name.split('.').all(is_label),
        };
        if !valid || name.len() > 255 {
            return Err(ReferenceProblem::Host(text.to_owned()));
        }
        if let Some(port) = port
            // No sign and no leading zero either: hosts are compared as text, and one port must have one spelling.
            && !port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
        {
            return Err(ReferenceProblem::Port(port.to_owned()));
        }
        // Names are compared as text from here on, and DNS ignores case.
        let host = text.to_ascii_lowercase();
        Ok(if host == "index.docker.io" || host == DOCKER_HUB_API { Self::docker_hub() } else { Self(host) })
    }
}

impl TryFrom<String> for RegistryHost {
    type Error = ReferenceProblem;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RegistryHost> for String {
    fn from(host: RegistryHost) -> Self {
        host.0
    }
}

impl fmt::Display for RegistryHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits at the colon before the port; the colons of a bracketed IPv6 address stay.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}
