//! The cache mounts of a namespace, on all engines: listed and pruned without a word about anybody else's.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
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

/// What came of asking the engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked<T> {
    /// What those gave that answered.
    pub found: T,
    /// How many did not.
    pub away: usize,
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
    ) -> io::Result<Asked<Vec<Mount>>> {
        let scope = CacheScope::open(&self.data_dir)?;
        let prefix = prefix(&scope, namespace, repository);
        let (records, of, asked_for) =
            (Records::new(&self.data_dir, namespace), namespace.clone(), repository.cloned());
        let known = tokio::task::spawn_blocking(move || {
            let built = records.images()?.into_iter().filter_map(|image| image.parse::<ImageRef>().ok());
            let all = built.map(|image| image.repository().clone()).chain(asked_for);
            Ok::<BTreeMap<_, _>, io::Error>(all.map(|name| (scope.mounts(&of, &name), name)).collect())
        });
        let known = known.await.map_err(io::Error::other)??;
        let asked = self
            .ask(move |engine| {
                let prefix = prefix.clone();
                async move { engine.cache_mounts(&prefix).await }
            })
            .await;
        let mut mounts: BTreeMap<(Option<RepositoryName>, String, String), Mount> = BTreeMap::new();
        for mount in asked.found.into_iter().flatten() {
            let repository = known.get(&mount.owner).cloned();
            let entry = mounts.entry((repository.clone(), mount.id.clone(), mount.owner)).or_insert_with(|| Mount {
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
        Ok(Asked { found: mounts.into_values().collect(), away: asked.away })
    }

    /// Removes those of a namespace, or of one of its repositories, that no step has had for so long; gives how many, and their
    /// bytes. What a step has now stays.
    pub async fn prune(
        &self,
        namespace: &Namespace,
        repository: Option<&RepositoryName>,
        unused_for: Duration,
    ) -> io::Result<Asked<(u64, u64)>> {
        let prefix = prefix(&CacheScope::open(&self.data_dir)?, namespace, repository);
        let asked = self
            .ask(move |engine| {
                let prefix = prefix.clone();
                async move { engine.prune_cache_mounts(&prefix, unused_for).await }
            })
            .await;
        let (counts, bytes): (Vec<u64>, Vec<u64>) = asked.found.into_iter().unzip();
        Ok(Asked { found: (counts.iter().sum(), bytes.iter().sum()), away: asked.away })
    }

    /// All engines at the same time: one that is away is no reason to hear nothing of the others.
    async fn ask<T, A>(&self, question: impl Fn(Engine) -> A) -> Asked<Vec<T>>
    where
        A: Future<Output = Result<T, buildkit::Error>>,
    {
        let mut asked = Asked { found: Vec::new(), away: 0 };
        let mut asking = Vec::new();
        for engine in self.pool.all().await {
            asking.push(engine.map(&question));
        }
        let answers = asking.into_iter().map(|asking| async move { asking?.await });
        for answer in join_all(answers).await {
            match answer {
                Ok(answer) => asked.found.push(answer),
                Err(error) => {
                    tracing::warn!(%error, "can't see to an engine's cache mounts");
                    asked.away += 1;
                }
            }
        }
        asked
    }
}

fn prefix(scope: &CacheScope, namespace: &Namespace, repository: Option<&RepositoryName>) -> String {
    match repository {
        Some(repository) => scope.mounts(namespace, repository),
        None => scope.mounts_of(namespace),
    }
}
