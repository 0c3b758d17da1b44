//! The configuration: one field per component, every component owns its own.
//!
//! TOML, then the environment over it: `SLIPWAYD_KEY` for the keys at the top, `SLIPWAYD_SECTION__KEY` for the rest.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

use crate::buildkit::Address;
use crate::buildkit::address::{BUILDKITD_SOCKET, DOCKER_SOCKET};
use crate::buildkit::engine;
use crate::{jobs, limits, registry, runner, store};

/// What the names of our environment variables begin with.
const PREFIX: &str = "SLIPWAYD";

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where state is kept. Default `/var/lib/slipway`; for root's and everyone's `--dev`, `slipway` in the user's data directory.
    pub data_dir: PathBuf,
    /// Where gRPC, web pages and the registry's token endpoint are. Default `127.0.0.1:7700`.
    pub listen: SocketAddr,
    /// The service's URL as clients and engines reach it. Default `http://<listen>`.
    pub public_url: Option<String>,
    /// What is logged: a level (`info`) or a filter (`slipway_builder=debug,info`).
    pub log: String,
    /// The engine. Unset: `BUILDKIT_HOST`, then buildkitd's well-known socket, then Docker Engine.
    pub engine: Option<engine::Config>,
    /// Several engines, instead of one: builds go to the one that has their cache.
    pub engines: Vec<engine::Config>,
    /// Where images go.
    pub registry: registry::Config,
    /// Where commands run.
    pub runner: runner::Config,
    /// What commands may use.
    pub limits: limits::Config,
    /// How jobs are run.
    pub jobs: jobs::Config,
    /// How long blobs are kept.
    pub store: store::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/slipway"),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7700)),
            public_url: None,
            log: "info".to_owned(),
            engine: None,
            engines: Vec::new(),
            registry: registry::Config::default(),
            runner: runner::Config::default(),
            limits: limits::Config::default(),
            jobs: jobs::Config::default(),
            store: store::Config::default(),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It can't be read, or a key is wrong.
    #[error("configuration: {0}")]
    Read(String),
    /// Values that can't work, all of them.
    #[error("configuration: {}", .0.join("; "))]
    Problems(Vec<String>),
}

impl From<config::ConfigError> for ConfigError {
    fn from(error: config::ConfigError) -> Self {
        Self::Read(error.to_string())
    }
}

impl Config {
    /// Reads the file, if one is given, and the environment.
    pub fn load(file: Option<&Path>, dev: bool) -> Result<Self, ConfigError> {
        let mut sources = config::Config::builder();
        if dev && let Some(home) = user_data_dir() {
            sources = sources.set_default("data_dir", home.join("slipway").to_string_lossy().into_owned())?;
        }
        if let Some(file) = file {
            sources = sources.add_source(config::File::from(file).format(config::FileFormat::Toml));
        }
        sources = sources.add_source(config::Environment::with_prefix(PREFIX).prefix_separator("_").separator("__"));
        let mut config: Self = sources.build()?.try_deserialize()?;
        config.make_absolute();
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
    }

    /// A job's process runs in another folder than the service.
    fn make_absolute(&mut self) {
        let (registry, runner) = (&mut self.registry, &mut self.runner);
        for path in registry.ca.iter_mut().chain(runner.access.files_mut()) {
            if let Ok(absolute) = std::path::absolute(&*path) {
                *path = absolute;
            }
        }
        let mut paths = vec![&mut registry.binary, &mut registry.password_file, &mut runner.archive, &mut runner.agent];
        for engine in self.engine.iter_mut().chain(&mut self.engines) {
            paths.extend([&mut engine.ca, &mut engine.cert, &mut engine.key]);
        }
        for path in paths.into_iter().flatten() {
            // A bare name is looked up on PATH.
            if path.components().count() > 1
                && let Ok(absolute) = std::path::absolute(&*path)
            {
                *path = absolute;
            }
        }
    }

    /// Everything that is wrong.
    fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.registry.problems().iter().map(ToString::to_string).collect();
        if !self.data_dir.is_absolute() {
            problems.push(format!("data_dir: `{}` is not absolute", self.data_dir.display()));
        }
        if let Some(url) = &self.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            problems.push(format!("public_url: `{url}` is no http or https URL"));
        }
        if self.engine.is_some() && !self.engines.is_empty() {
            problems.push("engine, engines: set one engine or several, not both".to_owned());
        }
        let mut addresses = HashSet::new();
        for engine in self.engine.iter().chain(&self.engines) {
            let address = &engine.address;
            if engine.cert.is_some() != engine.key.is_some() {
                problems.push(format!("engine {address}: `cert` and `key` belong together"));
            }
            if engine.max_builds == 0 {
                problems.push(format!("engine {address}: with `max_builds` 0 it would build nothing"));
            }
            if !addresses.insert(address.to_string()) {
                problems.push(format!("engine {address} is there twice"));
            }
        }
        problems.extend(self.limits.problems());
        problems.extend(self.runner.network.problems(&self.public_url()));
        if self.jobs.max_running == 0 {
            problems.push("jobs.max_running: 0 would run nothing".to_owned());
        }
        if self.jobs.max_builds == 0 {
            problems.push("jobs.max_builds: 0 would build nothing".to_owned());
        }
        if self.store.clean_interval_s == 0 {
            problems.push("store.clean_interval_s: 0 would do nothing else".to_owned());
        }
        if self.store.namespace_max_pending_bytes == 0 {
            problems.push("store.namespace_max_pending_bytes: 0 would take no upload".to_owned());
        }
        problems
    }

    /// Files that are not there. Only what needs one of them fails without it, so that this is no part of what is loaded.
    pub fn missing_files(&self) -> Vec<String> {
        self.runner.access.problems()
    }

    /// The service's URL, without a slash at the end.
    pub fn public_url(&self) -> String {
        let url = self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.listen));
        url.trim_end_matches('/').to_owned()
    }

    /// The engines that are set, or the one that is found.
    pub fn engines(&self) -> Vec<engine::Config> {
        let found = || {
            if let Some(Ok(address)) = std::env::var("BUILDKIT_HOST").ok().map(|host| host.parse()) {
                return address;
            }
            let buildkitd = Path::new(BUILDKITD_SOCKET);
            if buildkitd.exists() { Address::Unix(buildkitd.into()) } else { Address::Docker(DOCKER_SOCKET.into()) }
        };
        if self.engines.is_empty() {
            return vec![self.engine.clone().unwrap_or_else(|| engine::Config::new(found()))];
        }
        self.engines.clone()
    }
}

/// A list, or a text with commas, which is all that the environment can have.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de> + From<String>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List<T> {
        Text(String),
        Items(Vec<T>),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Text(text) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| item.to_owned().into()).collect()
        }
        List::Items(items) => items,
    })
}

fn user_data_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path), false)
    }

    #[test]
    fn a_file_that_is_not_there_stops_only_what_needs_it() {
        let text = "[runner.access]\nca_bundle = \"no-ca.pem\"\n[runner.access.kubeconfigs]\ndev = \"no-kube\"\nops = \"in-cluster\"\n";
        let config = load(text).unwrap();
        assert!(config.runner.access.ca_bundle.as_ref().unwrap().is_absolute(), "jobs run in another folder");
        let missing = config.missing_files();
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[1].starts_with("runner.access.kubeconfigs.dev: /"), "{missing:?}");
    }

    #[test]
    fn a_file_sets_what_it_names() {
        let config =
            load("listen = \"127.0.0.1:9\"\n[engine]\naddress = \"docker://\"\n[jobs]\nmax_running = 3\n").unwrap();
        assert_eq!(config.public_url(), "http://127.0.0.1:9");
        assert_eq!(config.engines()[0].address.to_string(), "docker://");
        assert_eq!((config.jobs.max_running, config.jobs.sync_timeout_s), (3, 300));
    }

    #[test]
    fn wrong_keys_and_values_are_named() {
        assert!(load("lissten = 1\n").unwrap_err().to_string().contains("lissten"));
        assert!(load("[engine]\naddress = \"ftp://x\"\n").unwrap_err().to_string().contains("ftp://x"));
        let both = load("data_dir = \"rel\"\npublic_url = \"x\"\n").unwrap_err().to_string();
        assert!(both.contains("data_dir") && both.contains("public_url"), "{both}");
    }

    #[test]
    fn cas_that_cannot_be_read_are_all_named() {
        for (text, paths) in
            [("['/no/a.pem', '/no/b.pem']", ["/no/a.pem", "/no/b.pem"]), ("'/no/c.pem, /no/d'", ["/no/c.pem", "/no/d"])]
        {
            let wrong = load(&format!("[registry]\nca = {text}\n")).unwrap_err().to_string();
            for path in paths {
                assert!(wrong.contains(&format!("registry.ca: `{path}`: No such file")), "{wrong}");
            }
        }
    }

    #[test]
    fn several_engines_are_a_list_of_their_own() {
        let engine = |name: &str, more: &str| format!("[[engines]]\naddress = \"unix:///run/{name}\"\n{more}\n");
        let engines = load(&(engine("a", "max_builds = 3") + &engine("b", ""))).unwrap().engines();
        let told = engines.iter().map(|engine| (engine.address.to_string(), engine.max_builds));
        assert_eq!(told.collect::<Vec<_>>(), [("unix:///run/a".to_owned(), 3), ("unix:///run/b".to_owned(), 16)]);
        let wrong = engine("a", "max_builds = 0") + &engine("a", "") + "[engine]\naddress = \"docker://\"\n";
        let wrong = load(&wrong).unwrap_err().to_string();
        for problem in ["not both", "`max_builds` 0", "unix:///run/a is there twice"] {
            assert!(wrong.contains(problem), "{wrong}");
        }
    }
}
