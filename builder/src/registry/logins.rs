//! What a caller's own logins (`docker login`) open: registries that are not ours, for the jobs of that caller alone.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use slipway_registry_client::{Auth, ImageRef, RegistryHost};
use zeroize::Zeroizing;

use super::Registry;

/// Registries that one job can be logged in to.
const MAX_LOGINS: usize = 100;
/// Bytes of a user's name and secret.
const MAX_LOGIN: usize = 64 << 10;

/// How a caller gets into one registry. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum Login {
    /// With a user's name and password.
    Password {
        /// The user.
        username: String,
        /// The password, or what the registry takes in its place.
        password: SecretString,
    },
    /// With a token that the registry's token server exchanges for others.
    Identity(SecretString),
    /// With a token that the registry itself takes.
    Token(SecretString),
}

/// The logins of a job, by registry.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    by_host: BTreeMap<RegistryHost, Login>,
}

/// Why these can't be the logins of a job.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLogins {
    /// One registry twice.
    #[error("`{0}` is there twice")]
    Twice(RegistryHost),
    /// One that is too large.
    #[error("that of `{0}` is larger than {MAX_LOGIN} bytes")]
    TooLarge(RegistryHost),
    /// More than any job needs.
    #[error("more than {MAX_LOGINS}")]
    TooMany,
}

/// A login on its way to the disk, where it is encrypted.
#[derive(Serialize, Deserialize)]
struct Stored {
    host: RegistryHost,
    login: StoredLogin,
}

#[derive(Serialize, Deserialize)]
enum StoredLogin {
    Password(String, Zeroizing<String>),
    Identity(Zeroizing<String>),
    Token(Zeroizing<String>),
}

// === impl Login ===

impl Login {
    fn bytes(&self) -> usize {
        match self {
            Self::Password { username, password } => username.len() + password.expose_secret().len(),
            Self::Identity(token) | Self::Token(token) => token.expose_secret().len(),
        }
    }
}

// === impl Logins ===

impl Logins {
    /// Those that came with a job.
    pub fn new(logins: impl IntoIterator<Item = (RegistryHost, Login)>) -> Result<Self, InvalidLogins> {
        let mut by_host = BTreeMap::new();
        for (host, login) in logins {
            if by_host.len() >= MAX_LOGINS {
                return Err(InvalidLogins::TooMany);
            }
            if login.bytes() > MAX_LOGIN {
                return Err(InvalidLogins::TooLarge(host));
            }
            if by_host.insert(host.clone(), login).is_some() {
                return Err(InvalidLogins::Twice(host));
            }
        }
        Ok(Self { by_host })
    }

    /// The same without any for our registry: the service has credentials of its own there, which open less.
    #[must_use]
    pub fn elsewhere(mut self, registry: &Registry) -> Self {
        self.by_host.retain(|host, _| !registry.is_ours(host));
        self
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_host.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&RegistryHost, &Login)> {
        self.by_host.iter()
    }

    /// For a call of ours about this image.
    pub fn auth(&self, image: &ImageRef) -> Auth {
        match self.by_host.get(image.registry()) {
            None => Auth::Anonymous,
            Some(Login::Password { username, password }) => {
                Auth::Basic { username: username.clone(), password: password.clone() }
            }
            Some(Login::Identity(token)) => Auth::Identity(token.clone()),
            Some(Login::Token(token)) => Auth::Bearer(token.clone()),
        }
    }

    /// In the clear, to be encrypted.
    pub fn to_bytes(&self) -> serde_json::Result<Zeroizing<Vec<u8>>> {
        let text = |secret: &SecretString| Zeroizing::new(secret.expose_secret().to_owned());
        let stored = self.iter().map(|(host, login)| Stored {
            host: host.clone(),
            login: match login {
                Login::Password { username, password } => StoredLogin::Password(username.clone(), text(password)),
                Login::Identity(token) => StoredLogin::Identity(text(token)),
                Login::Token(token) => StoredLogin::Token(text(token)),
            },
        });
        serde_json::to_vec(&stored.collect::<Vec<_>>()).map(Zeroizing::new)
    }

    /// What [`Self::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> serde_json::Result<Self> {
        let secret = |text: Zeroizing<String>| SecretString::from(text.as_str());
        let stored: Vec<Stored> = serde_json::from_slice(bytes)?;
        let by_host = stored.into_iter().map(|Stored { host, login }| {
            let login = match login {
                StoredLogin::Password(username, password) => Login::Password { username, password: secret(password) },
                StoredLogin::Identity(token) => Login::Identity(secret(token)),
                StoredLogin::Token(token) => Login::Token(secret(token)),
            };
            (host, login)
        });
        Ok(Self { by_host: by_host.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Config;

    fn host(text: &str) -> RegistryHost {
        text.parse().unwrap()
    }

    fn password(text: &str) -> Login {
        Login::Password { username: "me".to_owned(), password: text.to_owned().into() }
    }

    fn all() -> Logins {
        let logins = [
            (host("a.example"), password("hunter2")),
            (host("b.example:5000"), Login::Identity("hunter2".to_owned().into())),
            (host("docker.io"), Login::Token("hunter2".to_owned().into())),
        ];
        Logins::new(logins).unwrap()
    }

    #[test]
    fn each_opens_its_registry_only() {
        let read = Logins::from_bytes(&all().to_bytes().unwrap()).unwrap();
        for logins in [all(), read] {
            let auth = |image: &str| logins.auth(&image.parse().unwrap());
            assert!(matches!(auth("a.example/x/y"), Auth::Basic { username, .. } if username == "me"));
            assert!(matches!(auth("b.example:5000/x"), Auth::Identity(_)));
            assert!(matches!(auth("debian:12"), Auth::Bearer(_)));
            for other in ["b.example/x", "a.example:443/x", "c.a.example/x"] {
                assert!(matches!(auth(other), Auth::Anonymous), "{other}");
            }
            assert!(!format!("{logins:?}").contains("hunter2"));
        }
    }

    #[test]
    fn they_are_bounded() {
        let many = |count: usize| (0..count).map(|n| (host(&format!("r{n}.example")), password("x")));
        assert!(Logins::new(many(MAX_LOGINS)).is_ok());
        assert_eq!(Logins::new(many(MAX_LOGINS + 1)).unwrap_err(), InvalidLogins::TooMany);
        let twice = [(host("a.example"), password("x")), (host("A.example"), password("y"))];
        assert_eq!(Logins::new(twice).unwrap_err(), InvalidLogins::Twice(host("a.example")));
        let large = [(host("a.example"), password(&"x".repeat(MAX_LOGIN)))];
        assert_eq!(Logins::new(large).unwrap_err(), InvalidLogins::TooLarge(host("a.example")));
    }

    #[test]
    fn none_is_for_our_registry_under_any_of_its_names() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::open(&Config::default(), dir.path()).unwrap();
        let hosts = ["127.0.0.1:7701", "localhost:7701", "127.0.0.2:7701", "127.0.0.1:5000", "a.example:7701"];
        let logins = Logins::new(hosts.map(|name| (host(name), password("x")))).unwrap().elsewhere(&registry);
        let left: Vec<_> = logins.iter().map(|(host, _)| host.as_str()).collect();
        assert_eq!(left, ["127.0.0.1:5000", "a.example:7701"]);
    }
}
