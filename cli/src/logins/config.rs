//! Docker's configuration file, as far as it says how to get into registries (docker/cli, `cli/config/configfile`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use slipway_proto::v1::LoginKind;

use super::{DOCKER_HUB, Login};

/// The largest file that is read, in bytes.
const MAX_CONFIG: u64 = 4 << 20;
/// What Docker Hub is called there: first as `docker login` writes it.
const DOCKER_HUB_KEYS: [&str; 4] =
    ["https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB, "registry-1.docker.io"];
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The part of the file that counts here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Config {
    #[serde(deserialize_with = "or_nothing")]
    auths: BTreeMap<String, Option<Entry>>,
    #[serde(deserialize_with = "or_nothing")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_nothing")]
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    /// `user:password` in base64; stands above the two.
    #[serde(deserialize_with = "or_nothing")]
    auth: String,
    #[serde(deserialize_with = "or_nothing")]
    username: String,
    #[serde(deserialize_with = "or_nothing")]
    password: String,
    #[serde(deserialize_with = "or_nothing")]
    identitytoken: String,
    #[serde(deserialize_with = "or_nothing")]
    registrytoken: String,
}

/// `null` is as good as nothing, as Go reads it.
fn or_nothing<'de, T: Default + Deserialize<'de>, D: serde::Deserializer<'de>>(value: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// Where the login for a registry is.
pub(super) enum Source {
    /// Nowhere.
    None,
    /// In the file itself, if it can be read.
    File(Result<Login, &'static str>),
    /// With a helper, which knows the registry by this key.
    Helper { name: String, key: String },
}

// === impl Config ===

impl Config {
    /// The file's; nothing where there is none. What is wrong is said without the file's content.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let mut text = Vec::new();
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(|error| error.to_string())?,
        };
        file.take(MAX_CONFIG + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
        if text.len() as u64 > MAX_CONFIG {
            return Err(format!("it has more than {MAX_CONFIG} bytes"));
        }
        Self::parse(&text)
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text)
            .map_err(|error| format!("line {}, column {}: not a Docker configuration", error.line(), error.column()))
    }

    /// Where the login for a registry is: a helper of its own, the helper of all, the file.
    pub(super) fn source(&self, host: &str) -> Source {
        let keys: &[&str] = if host == DOCKER_HUB { &DOCKER_HUB_KEYS } else { &[host] };
        let helper = keys.iter().find_map(|key| Some((*key, self.cred_helpers.get(*key)?)));
        let store = Some(&self.creds_store).filter(|name| !name.is_empty());
        if let Some((key, name)) = helper.or_else(|| Some((*keys.first()?, store?))) {
            return Source::Helper { name: name.clone(), key: key.to_owned() };
        }
        let exact = keys.iter().find_map(|key| self.auths.get(*key));
        // Old versions wrote URLs.
        let entry =
            exact.or_else(|| self.auths.iter().find(|(key, _)| keys.contains(&host_of(key))).map(|(_, entry)| entry));
        entry.and_then(Option::as_ref).map_or(Source::None, Entry::source)
    }
}

// === impl Entry ===

impl Entry {
    fn source(&self) -> Source {
        if !self.registrytoken.is_empty() {
            let (username, secret) = (String::new(), self.registrytoken.clone());
            return Source::File(Ok(Login { username, secret, kind: LoginKind::RegistryToken }));
        }
        if !self.identitytoken.is_empty() {
            return Source::File(Ok(Login::identity(self.identitytoken.clone())));
        }
        let (username, secret) = if self.auth.is_empty() {
            (self.username.clone(), self.password.clone())
        } else {
            match decode(&self.auth) {
                Some(pair) => pair,
                None => return Source::File(Err("its `auth` is not `user:password` in base64")),
            }
        };
        if username.is_empty() && secret.is_empty() {
            return Source::None;
        }
        Source::File(Ok(Login { username, secret, kind: LoginKind::Password }))
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned())).filter(|(user, _)| !user.is_empty())
}

/// Of a URL, without its path.
fn host_of(key: &str) -> &str {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    rest.split_once('/').map_or(rest, |(host, _)| host)
}
