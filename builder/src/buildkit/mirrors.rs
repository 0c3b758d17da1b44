//! The mirrors that an engine takes images from, as far as it tells: a Docker Engine says it, a `buildkitd` on this machine
//! has a configuration file.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::address::Address;
use super::docker;

/// Where a `buildkitd` of this machine has its configuration: its own default, and where `make setup` puts it.
const BUILDKITD_CONFIGS: [&str; 2] = ["/etc/buildkit/buildkitd.toml", "/var/lib/slipway-setup/buildkitd.toml"];
/// Far more than any configuration.
const MAX_CONFIG: u64 = 1 << 20;
/// It is only asked to save work.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The part of `buildkitd.toml` that we need.
#[derive(Debug, Default, Deserialize)]
struct BuildkitdConfig {
    #[serde(default)]
    registry: HashMap<String, BuildkitdRegistry>,
}

#[derive(Debug, Default, Deserialize)]
struct BuildkitdRegistry {
    #[serde(default)]
    mirrors: Vec<String>,
    #[serde(default)]
    http: Option<bool>,
}

/// URLs of mirrors by registry; `None` where the engine does not answer now.
pub async fn discover(address: &Address) -> Option<BTreeMap<String, Vec<String>>> {
    match address {
        Address::Docker(socket) => match tokio::time::timeout(TIMEOUT, docker::info(socket)).await {
            // A Docker Engine's mirrors are Docker Hub's.
            Ok(Ok(info)) => Some(BTreeMap::from([("docker.io".to_owned(), info.mirrors())])),
            Ok(Err(_)) | Err(_) => None,
        },
        Address::Unix(_) => Some(BUILDKITD_CONFIGS.iter().find_map(|path| read(Path::new(path))).unwrap_or_default()),
        Address::Tcp(_) => Some(BTreeMap::new()),
    }
}

fn read(path: &Path) -> Option<BTreeMap<String, Vec<String>>> {
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MAX_CONFIG).read_to_string(&mut text).ok()?;
    let mirrors = parse(&text);
    if mirrors.is_none() {
        tracing::debug!(path = %path.display(), "can't read buildkitd's configuration");
    }
    mirrors
}

fn parse(text: &str) -> Option<BTreeMap<String, Vec<String>>> {
    let source = config::File::from_str(text, config::FileFormat::Toml);
    // Names with dots are keys as any other here: only values are looked at.
    let parsed: BuildkitdConfig = config::Config::builder().add_source(source).build().ok()?.try_deserialize().ok()?;
    let plain = |mirror: &str| {
        let host = mirror.split('/').next().unwrap_or_default();
        parsed.registry.get(host).and_then(|registry| registry.http).unwrap_or(false)
    };
    let url = |mirror: &String| {
        if mirror.contains("://") {
            return mirror.clone();
        }
        format!("{}://{mirror}", if plain(mirror) { "http" } else { "https" })
    };
    let with_mirrors = parsed.registry.iter().filter(|(_, registry)| !registry.mirrors.is_empty());
    Some(with_mirrors.map(|(host, registry)| (host.clone(), registry.mirrors.iter().map(url).collect())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_read_from_buildkitds_configuration() {
        let text = "root = \"/x\"\n[worker.oci]\nnetworkMode = \"bridge\"\n[registry.\"docker.io\"]\n\
                    mirrors = [\"localhost:5000\", \"mirror.example.com/hub\"]\n[registry.\"localhost:5000\"]\nhttp = true\n";
        let expected = vec!["http://localhost:5000".to_owned(), "https://mirror.example.com/hub".to_owned()];
        assert_eq!(parse(text), Some(BTreeMap::from([("docker.io".to_owned(), expected)])));
        assert_eq!(parse(""), Some(BTreeMap::new()));
        assert_eq!(parse("registry = 1"), None);
    }
}
