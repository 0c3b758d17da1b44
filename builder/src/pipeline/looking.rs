//! Where base images are looked up, and what for: what is configured, and what the engine says of itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use slipway_registry_client::RegistryError;

use crate::buildkit::{Address, Engine, engine, mirrors};
use crate::config::Config;
use crate::registry::mirrors::Mirrors;
use crate::registry::{BaseImages, Registry};

/// How long an answer of the engine counts. What it says changes with its configuration or its machine only.
const AGAIN: Duration = Duration::from_mins(1);
/// How long an engine is waited for: its answer only saves work.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where it is needed next anyhow.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

/// Finds out what must be known of the engine to look at base images, and remembers it for when the engine is away. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct Looking {
    inner: Arc<Inner>,
}

/// What is known now.
#[derive(Debug, Clone)]
pub struct Known {
    /// What looks at base images.
    pub bases: Arc<BaseImages>,
    /// What the engine builds for when no platform is named; none if it never told.
    pub platform: Option<String>,
}

#[derive(Debug)]
struct Inner {
    registry: Arc<Registry>,
    set: Mirrors,
    engines: Vec<engine::Config>,
    /// Never held while something is waited for.
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    platform: Option<String>,
    /// As the engine told them.
    mirrors: Option<BTreeMap<String, Vec<String>>>,
    /// When the engine was asked last.
    asked: Option<Instant>,
    /// What looks at base images with these mirrors.
    bases: Option<(Mirrors, Arc<BaseImages>)>,
}

// === impl Looking ===

impl Looking {
    /// With these settings; they have been checked.
    pub fn new(config: &Config, registry: Arc<Registry>) -> Self {
        let set = Mirrors::parse(&config.registry.mirrors).unwrap_or_default();
        Self { inner: Arc::new(Inner { registry, set, engines: config.engines(), memory: Mutex::default() }) }
    }

    /// Finds nothing; for jobs that never ask.
    #[cfg(test)]
    pub(crate) fn nowhere(data_dir: &std::path::Path) -> Self {
        let config = Config { data_dir: data_dir.to_owned(), ..Config::default() };
        let registry = Registry::open(&config.registry, data_dir).unwrap();
        Self::new(&config, Arc::new(registry))
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// What is known, after asking the engine if that was long ago. While it is asked others go on with what is known.
    pub async fn get(&self) -> Result<Known, RegistryError> {
        if self.is_due() {
            let (engine, mirrors) = tokio::join!(self.any_engine(), self.discover(PATIENCE));
            self.remember(mirrors);
            if let Some(engine) = engine {
                self.saw(&engine);
            }
        } else if !self.is_docker() {
            self.remember(self.discover(PATIENCE).await);
        }
        let bases = self.bases_now()?;
        Ok(Known { bases, platform: self.memory().platform.clone() })
    }

    /// What looks at base images, for who is in touch with the engine anyhow.
    pub async fn bases(&self) -> Result<Arc<BaseImages>, RegistryError> {
        self.remember(self.discover(LONG_PATIENCE).await);
        self.bases_now()
    }

    async fn discover(&self, patience: Duration) -> Option<BTreeMap<String, Vec<String>>> {
        // Engines of a pool have the same mirrors.
        for engine in &self.inner.engines {
            if let Some(mirrors) = mirrors::discover(&engine.address, patience).await {
                return Some(mirrors);
            }
        }
        None
    }

    /// Whichever answers first: they build for the same platform.
    async fn any_engine(&self) -> Option<Engine> {
        let connect = |engine| Box::pin(tokio::time::timeout(PATIENCE, Engine::connect(engine)));
        let mut connecting: FuturesUnordered<_> = self.inner.engines.iter().map(connect).collect();
        while let Some(connected) = connecting.next().await {
            if let Ok(Ok(engine)) = connected {
                return Some(engine);
            }
        }
        None
    }

    /// Whether asking for mirrors takes a request.
    fn is_docker(&self) -> bool {
        self.inner.engines.iter().any(|engine| matches!(engine.address, Address::Docker(_)))
    }

    /// The engine has answered.
    pub fn saw(&self, engine: &Engine) {
        let mut memory = self.memory();
        memory.asked = Some(Instant::now());
        // One that says nothing may be another one than before.
        memory.platform = engine.default_platform().map(str::to_owned);
    }

    /// Whether it is this caller's turn to ask the engine. Where nothing is known yet, everybody asks.
    fn is_due(&self) -> bool {
        let mut memory = self.memory();
        let told = self.is_docker() && memory.mirrors.is_none();
        let due = memory.platform.is_none() || told || memory.asked.is_none_or(|asked| asked.elapsed() > AGAIN);
        if due {
            memory.asked = Some(Instant::now());
        }
        due
    }

    fn remember(&self, mirrors: Option<BTreeMap<String, Vec<String>>>) {
        if mirrors.is_some() {
            self.memory().mirrors = mirrors;
        }
    }

    fn bases_now(&self) -> Result<Arc<BaseImages>, RegistryError> {
        let mut memory = self.memory();
        let (told, problems) = memory.mirrors.as_ref().map_or_else(|| (Mirrors::unknown(), Vec::new()), Mirrors::told);
        let mirrors = self.inner.set.clone().or(told);
        if let Some((of, bases)) = &memory.bases
            && *of == mirrors
        {
            return Ok(bases.clone());
        }
        for error in problems {
            tracing::warn!(%error, "the engine has a mirror that is not understood: nothing is looked up in its place");
        }
        let bases = Arc::new(BaseImages::new(self.inner.registry.clone(), mirrors.clone())?);
        memory.bases = Some((mirrors, bases.clone()));
        Ok(bases)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use crate::registry::bases::BaseError;

    /// Over a Docker Engine that takes connections and says nothing.
    fn silent(dir: &std::path::Path) -> (Looking, UnixListener) {
        let socket = dir.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = engine::Config::new(Address::Docker(socket));
        let config = Config { data_dir: dir.to_owned(), engine: Some(engine), ..Config::default() };
        let registry = Registry::open(&config.registry, dir).unwrap();
        (Looking::new(&config, Arc::new(registry)), listener)
    }

    #[tokio::test]
    async fn nobody_waits_for_another_who_waits_for_the_engine() {
        let dir = tempfile::tempdir().unwrap();
        let (looking, _listener) = silent(dir.path());
        let began = Instant::now();
        let all = futures::future::join_all((0..4).map(|_| looking.get())).await;
        assert!(all.into_iter().all(|known| known.unwrap().platform.is_none()));
        assert!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn what_an_engine_told_counts_while_it_is_away_and_is_asked_for_once() {
        let dir = tempfile::tempdir().unwrap();
        let (looking, _listener) = silent(dir.path());
        {
            let mut memory = looking.memory();
            memory.platform = Some("linux/amd64".to_owned());
            memory.mirrors = Some(BTreeMap::new());
        }
        let first = looking.clone();
        let first = tokio::spawn(async move { first.get().await });
        // Once the first has begun to wait.
        while looking.memory().asked.is_none() {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        assert_eq!(looking.get().await.unwrap().platform.as_deref(), Some("linux/amd64"));
        assert!(began.elapsed() < PATIENCE / 2, "it waited {:?}", began.elapsed());
        assert_eq!(first.await.unwrap().unwrap().platform.as_deref(), Some("linux/amd64"));
    }

    #[tokio::test]
    async fn what_an_engine_never_told_is_not_looked_up_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (looking, _listener) = silent(dir.path());
        let namespace = "dev".parse().unwrap();
        let image = "docker.io/library/debian:12".parse().unwrap();
        let found = looking.bases_now().unwrap().find(&namespace, &image).await;
        assert!(matches!(found, Err(BaseError::Mirrors(_))), "{found:?}");
    }

    #[tokio::test]
    async fn what_is_set_stands_above_what_the_engine_told_and_a_change_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut looking, _listener) = silent(dir.path());
        let of = |url: &str| BTreeMap::from([("docker.io".to_owned(), vec![url.to_owned()])]);
        looking.remember(Some(of("https://a.example")));
        let before = looking.bases_now().unwrap();
        assert!(Arc::ptr_eq(&before, &looking.bases_now().unwrap()), "what it knows is kept");
        looking.remember(Some(of("https://b.example")));
        assert!(!Arc::ptr_eq(&before, &looking.bases_now().unwrap()));
        looking.remember(None);
        assert_eq!(looking.memory().mirrors, Some(of("https://b.example")));
        Arc::get_mut(&mut looking.inner).unwrap().set = Mirrors::parse(&of("https://set.example")).unwrap();
        looking.bases_now().unwrap();
        assert_eq!(looking.memory().bases.as_ref().unwrap().0, Mirrors::parse(&of("https://set.example")).unwrap());
    }
}
