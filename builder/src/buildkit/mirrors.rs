//! The mirrors that an engine takes images from, as far as it tells: a Docker Engine says it, a `buildkitd` on this machine
//! has a configuration file.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::address::Address;
use super::docker;

/// Where a `buildkitd` of this machine has its configuration: its own default, and where `make setup` puts it.
const BUILDKITD_CONFIGS: [&str; 2] = ["/etc/buildkit/buildkitd.toml", "/var/lib/slipway-setup/buildkitd.toml"];
/// Far more than any configuration.
const MAX_CONFIG: u64 = 1 << 20;

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

/// URLs of mirrors by registry; `None` where the engine does not tell now, nor within `patience`. What is in a file is read
/// each time, so that a change counts from the next job on.
pub async fn discover(address: &Address, patience: Duration) -> Option<BTreeMap<String, Vec<String>>> {
    match address {
        Address::Docker(socket) => match tokio::time::timeout(patience, docker::info(socket)).await {
            // A Docker Engine's mirrors are Docker Hub's.
            Ok(Ok(info)) => Some(BTreeMap::from([("docker.io".to_owned(), info.mirrors())])),
            Ok(Err(_)) | Err(_) => None,
        },
        Address::Unix(_) => tokio::task::spawn_blocking(|| read_first(&BUILDKITD_CONFIGS.map(Path::new))).await.ok()?,
        Address::Tcp(_) => Some(BTreeMap::new()),
    }
}

/// From the first of these files that is there. One that is just being written, or that can't be read, says nothing.
fn read_first(paths: &[&Path]) -> Option<BTreeMap<String, Vec<String>>> {
    for path in paths {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(MAX_CONFIG).read_to_string(&mut text));
        if let Err(error) = read {
            if error.kind() == io::ErrorKind::NotFound {
                continue;
            }
            tracing::warn!(path = %path.display(), %error, "can't read buildkitd's configuration");
            return None;
        }
        let mirrors = parse(&text);
        if mirrors.is_none() {
            tracing::warn!(path = %path.display(), "can't understand buildkitd's configuration");
        }
        return mirrors;
    }
    Some(BTreeMap::new())
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

    #[test]
    fn the_file_is_read_as_it_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first.toml"), dir.path().join("second.toml"));
        let mirrors = || read_first(&[&first, &second]);
        let of = |host: &str| Some(BTreeMap::from([("docker.io".to_owned(), vec![format!("https://{host}")])]));
        let text = |host: &str| format!("[registry.\"docker.io\"]\nmirrors = [\"{host}\"]\n");
        assert_eq!(mirrors(), Some(BTreeMap::new()));
        std::fs::write(&second, text("a.example")).unwrap();
        assert_eq!(mirrors(), of("a.example"));
        std::fs::write(&second, text("b.example")).unwrap();
        assert_eq!(mirrors(), of("b.example"));
        std::fs::write(&first, "[registry.").unwrap();
        assert_eq!(mirrors(), None, "it is being written");
        std::fs::write(&first, text("c.example")).unwrap();
        assert_eq!(mirrors(), of("c.example"));
        std::fs::remove_file(&first).unwrap();
        std::fs::create_dir(&first).unwrap();
        assert_eq!(mirrors(), None, "it can't be read");
    }
}
