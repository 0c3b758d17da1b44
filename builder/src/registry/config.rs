//! The `[registry]` section.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use secrecy::SecretString;
use serde::Deserialize;
use slipway_registry_client::{CaFile, InvalidCaFile, RegistryHost};

use super::mirrors::{InvalidMirror, Mirrors};

use crate::names::Namespace;

/// Where images go. Every key is optional; without any, slipwayd runs a registry of its own on 127.0.0.1:7701.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `managed` (default): slipwayd runs a Distribution registry and is its token server. `external`: any OCI registry.
    pub kind: Kind,
    /// Managed: the address to listen on. Default `127.0.0.1:7701`.
    pub listen: SocketAddr,
    /// Managed: the registry program. Default: `registry` or `docker-registry` on PATH.
    pub binary: Option<PathBuf>,
    /// Managed: the `host[:port]` in image names, if it isn't `listen`: a TLS proxy's name, for example.
    pub public_host: Option<RegistryHost>,
    /// External: the registry's `host[:port]`.
    pub host: Option<RegistryHost>,
    /// External: the user that slipwayd logs in as; anonymous if unset.
    pub username: Option<String>,
    /// External: the password or token, from the environment (`SLIPWAYD_REGISTRY__PASSWORD`) rather than from the file.
    pub password: Option<SecretString>,
    /// External: a file that holds the password or token.
    pub password_file: Option<PathBuf>,
    /// The namespace that `okteto.global` means. Default `okteto`.
    pub global_namespace: Namespace,
    /// Registries that are reached without TLS; loopback ones always are.
    pub plain_http: Vec<RegistryHost>,
    /// PEM files of CAs that are trusted beside the system's. A list, or a text with commas.
    #[serde(deserialize_with = "crate::config::list")]
    pub ca: Vec<PathBuf>,
    /// Where images of other registries are looked up: by registry, the URLs of its mirrors in order
    /// (`"docker.io" = ["https://mirror.example.com"]`). Default: those that the engine uses.
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// Whose registry it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Run and guarded by slipwayd.
    #[default]
    Managed,
    /// Somebody else's; slipwayd has fixed credentials.
    External,
}

/// A setting that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// No host for an external registry.
    #[error("registry.host: needed with kind = \"external\"")]
    NoHost,
    /// `listen` names no host that others could use.
    #[error("registry.public_host: needed, since registry.listen = \"{0}\" is no address to put into image names")]
    NoPublicHost(SocketAddr),
    /// The operating system would pick another port each time.
    #[error("registry.listen: port 0 can't be used, since image names hold the port")]
    PortZero,
    /// A reference with it would mean Docker Hub.
    #[error("{key}: `{host}` needs a dot or a port, or image names would mean Docker Hub")]
    BareHost {
        /// The key.
        key: &'static str,
        /// Its value.
        host: RegistryHost,
    },
    /// A key of the other kind is set.
    #[error("{key}: has no meaning with kind = \"{kind}\"")]
    Unused {
        /// The key.
        key: &'static str,
        /// The kind that is set.
        kind: &'static str,
    },
    /// Both ways of giving the password.
    #[error("registry.password and registry.password_file: set only one")]
    TwoPasswords,
    /// One of the two is missing.
    #[error("registry.username: a user and a password (or password_file) belong together")]
    HalfCredentials,
    /// No place to look up images.
    #[error("registry.mirrors: {0}")]
    Mirror(InvalidMirror),
    /// Nothing to trust.
    #[error("registry.ca: {0}")]
    Ca(InvalidCaFile),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Managed,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7701)),
            binary: None,
            public_host: None,
            host: None,
            username: None,
            password: None,
            password_file: None,
            #[expect(clippy::expect_used, reason = "a constant that is a DNS label")]
            global_namespace: "okteto".parse().expect("a valid namespace"),
            plain_http: Vec::new(),
            ca: Vec::new(),
            mirrors: BTreeMap::new(),
        }
    }
}

// === impl Config ===

impl Config {
    /// Everything that is wrong with these settings, and with the files of CAs that they name.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems: Vec<_> = Mirrors::parse(&self.mirrors).err().map(ConfigProblem::Mirror).into_iter().collect();
        problems.extend(self.ca_files().err().into_iter().flatten());
        let has_password = self.password.is_some() || self.password_file.is_some();
        match self.kind {
            Kind::Managed => {
                for (key, set) in [
                    ("registry.host", self.host.is_some()),
                    ("registry.username", self.username.is_some()),
                    ("registry.password", has_password),
                ] {
                    if set {
                        problems.push(ConfigProblem::Unused { key, kind: "managed" });
                    }
                }
                if self.listen.port() == 0 {
                    problems.push(ConfigProblem::PortZero);
                }
                if self.listen.ip().is_unspecified() && self.public_host.is_none() {
                    problems.push(ConfigProblem::NoPublicHost(self.listen));
                }
                problems.extend(bare("registry.public_host", self.public_host.as_ref()));
            }
            Kind::External => {
                for (key, set) in
                    [("registry.public_host", self.public_host.is_some()), ("registry.binary", self.binary.is_some())]
                {
                    if set {
                        problems.push(ConfigProblem::Unused { key, kind: "external" });
                    }
                }
                if self.host.is_none() {
                    problems.push(ConfigProblem::NoHost);
                }
                problems.extend(bare("registry.host", self.host.as_ref()));
                if self.password.is_some() && self.password_file.is_some() {
                    problems.push(ConfigProblem::TwoPasswords);
                }
                if self.username.is_some() != has_password {
                    problems.push(ConfigProblem::HalfCredentials);
                }
            }
        }
        problems
    }

    /// The CAs that are trusted beside the system's, or what is wrong with each of the files that can't be.
    pub fn ca_files(&self) -> Result<Vec<CaFile>, Vec<ConfigProblem>> {
        let (mut files, mut problems) = (Vec::new(), Vec::new());
        for path in &self.ca {
            match CaFile::read(path) {
                Ok(file) => files.push(file),
                Err(problem) => problems.push(ConfigProblem::Ca(problem)),
            }
        }
        if problems.is_empty() { Ok(files) } else { Err(problems) }
    }

    /// The `host[:port]` in image names.
    pub fn image_host(&self) -> Result<RegistryHost, ConfigProblem> {
        match self.kind {
            Kind::External => self.host.clone().ok_or(ConfigProblem::NoHost),
            Kind::Managed => match &self.public_host {
                Some(host) => Ok(host.clone()),
                None => self.listen.to_string().parse().map_err(|_| ConfigProblem::NoPublicHost(self.listen)),
            },
        }
    }
}

fn bare(key: &'static str, host: Option<&RegistryHost>) -> Option<ConfigProblem> {
    let host = host.filter(|host| !host.as_str().contains(['.', ':']) && host.as_str() != "localhost")?;
    Some(ConfigProblem::BareHost { key, host: host.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Config {
        toml::from_str(text).expect(text)
    }

    #[test]
    fn the_default_is_a_managed_registry_on_loopback() {
        let config = parse("");
        assert_eq!(config.kind, Kind::Managed);
        assert_eq!(config.problems(), []);
        assert_eq!(config.image_host().expect("host").as_str(), "127.0.0.1:7701");
        assert_eq!(config.global_namespace.as_str(), "okteto");
    }

    #[test]
    fn every_problem_is_reported() {
        use ConfigProblem as P;
        let listen: SocketAddr = "0.0.0.0:0".parse().expect("address");
        let managed = parse("listen = '0.0.0.0:0'\nhost = 'ghcr.io'\npublic_host = 'bare'\npassword = 'x'");
        assert_eq!(
            managed.problems(),
            [
                P::Unused { key: "registry.host", kind: "managed" },
                P::Unused { key: "registry.password", kind: "managed" },
                P::PortZero,
                P::BareHost { key: "registry.public_host", host: "bare".parse().expect("host") },
            ]
        );
        assert!(parse("listen = '0.0.0.0:0'").problems().contains(&P::NoPublicHost(listen)));
        let external = parse("kind = 'external'\npassword = 'x'\npassword_file = 'y'\nbinary = 'z'");
        assert_eq!(
            external.problems(),
            [P::Unused { key: "registry.binary", kind: "external" }, P::NoHost, P::TwoPasswords, P::HalfCredentials]
        );
        let good = parse("kind = 'external'\nhost = 'ghcr.io'\nusername = 'me'\npassword_file = 'y'");
        assert_eq!(good.problems(), []);
        assert!(toml::from_str::<Config>("listne = '127.0.0.1:1'").is_err());
    }

    #[test]
    fn the_password_is_not_shown() {
        let config = parse("kind = 'external'\nhost = 'ghcr.io'\nusername = 'me'\npassword = 'hunter2'");
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
