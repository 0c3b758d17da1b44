//! The cache mounts of a namespace, on all engines: listed and pruned without a word about anybody else's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use slipway_registry_client::{ImageRef, RepositoryName};

use super::cache_scope::CacheScope;
use super::records::Records;
use crate::buildkit::{self, Engine, Pool};
use crate::names::Namespace;

/// One cache mount, as a namespace sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The repository whose builds have it, if a build of it is remembered.
    pub repository: Option<RepositoryName>,
    /// As the Dockerfile calls it.
    pub id: String,
    /// Bytes, on all engines that have it.
    pub bytes: u64,
    /// When a step had it last, in seconds since 1970.
    pub used: Option<i64>,
    /// Whether a step has it now.
    pub in_use: bool,
}

/// Why they can't be listed or pruned.
#[derive(Debug, thiserror::Error)]
pub enum MountsError {
    /// What keeps namespaces apart, or what was built, can't be read.
    #[error("read the service's folder: {0}")]
    Io(#[from] io::Error),
    /// An engine failed.
    #[error("engine {engine}: {source}")]
    Engine {
        /// Which.
        engine: String,
        /// Why.
        source: Box<buildkit::Error>,
    },
}

/// The cache mounts of all namespaces.
#[derive(Debug, Clone)]
pub struct CacheMounts {
    pool: Arc<Pool>,
    data_dir: PathBuf,
}

impl CacheMounts {
    /// On these engines.
    pub fn new(pool: Arc<Pool>, data_dir: &Path) -> Self {
        Self { pool, data_dir: data_dir.to_owned() }
    }

    /// Those of a namespace, or of one of its repositories, by repository and id.
    pub async fn list(
        &self,
        namespace: &Namespace,
        repository: Option<&RepositoryName>,
    ) -> Result<Vec<Mount>, MountsError> {
        let scope = CacheScope::open(&self.data_dir)?;
        let (prefix, known) =
            (prefix(&scope, namespace, repository), self.repositories(&scope, namespace, repository)?);
        let mut found: BTreeMap<(Option<RepositoryName>, String, String), Mount> = BTreeMap::new();
        for engine in self.engines().await? {
            let mounts = engine.cache_mounts(&prefix).await.map_err(|source| failed(&engine, source))?;
            for mount in mounts {
                let repository = known.get(&mount.owner).cloned();
                let entry = found.entry((repository.clone(), mount.id.clone(), mount.owner)).or_insert_with(|| Mount {
                    repository,
                    id: mount.id.clone(),
                    bytes: 0,
                    used: None,
                    in_use: false,
                });
                entry.bytes += mount.bytes;
                entry.used = entry.used.max(mount.used);
                entry.in_use |= mount.in_use;
            }
        }
        Ok(found.into_values().collect())
    }

    /// Removes those of a namespace, or of one of its repositories, that no step has had for so long; gives how many, and their
    /// bytes. What a step has now stays.
    pub async fn prune(
        &self,
        namespace: &Namespace,
        repository: Option<&RepositoryName>,
        unused_for: Duration,
    ) -> Result<(u64, u64), MountsError> {
        let prefix = prefix(&CacheScope::open(&self.data_dir)?, namespace, repository);
        let (mut count, mut bytes) = (0, 0);
        for engine in self.engines().await? {
            let removed = engine.prune_cache_mounts(&prefix, unused_for).await;
            let removed = removed.map_err(|source| failed(&engine, source))?;
            (count, bytes) = (count + removed.0, bytes + removed.1);
        }
        Ok((count, bytes))
    }

    async fn engines(&self) -> Result<Vec<Engine>, MountsError> {
        let engines = self.pool.all().await;
        engines.map_err(|(engine, source)| MountsError::Engine { engine, source: Box::new(source) })
    }

    /// What the owners of mounts are called, as far as builds are remembered.
    fn repositories(
        &self,
        scope: &CacheScope,
        namespace: &Namespace,
        named: Option<&RepositoryName>,
    ) -> Result<BTreeMap<String, RepositoryName>, MountsError> {
        let records = Records::new(&self.data_dir, namespace).all()?;
        let built = records.iter().filter_map(|record| record.image.parse::<ImageRef>().ok());
        let all = built.map(|image| image.repository().clone()).chain(named.cloned());
        Ok(all.map(|name| (scope.mounts(namespace, &name), name)).collect())
    }
}

fn prefix(scope: &CacheScope, namespace: &Namespace, repository: Option<&RepositoryName>) -> String {
    match repository {
        Some(repository) => scope.mounts(namespace, repository),
        None => scope.mounts_of(namespace),
    }
}

fn failed(engine: &Engine, source: buildkit::Error) -> MountsError {
    MountsError::Engine { engine: engine.address().to_string(), source: Box::new(source) }
}
