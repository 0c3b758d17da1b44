//! Makes room: forgets trees that were not used for long, and the blobs that nothing needs any more.
//!
//! What a job that hasn't ended reads is needed, and what a tree needs that the database calls complete. Which trees are
//! forgotten is decided by the time of their last use: after `store.keep_days`, or earlier when there is too much.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use slipway_context::Digest;

use super::state::JobState;
use super::{Jobs, JobsError, io};
use crate::names::Namespace;
use crate::store::db::now_ms;
use crate::store::gc::{self, Policy, Swept};
use crate::store::snapshots::still_complete;
use crate::store::trees::Reachable;
use crate::store::{self, Blobs};

/// A tree that was used within this time stays, whatever the limits say.
const ALWAYS_MS: i64 = 3_600_000;
/// Marks of damage stay so long at least: longer than it takes a commit to check a tree, which may have begun before the mark.
const MARKS: Duration = Duration::from_hours(1);
const DAY_MS: i64 = 86_400_000;
/// The first round comes so long after the start at the latest.
const FIRST: Duration = Duration::from_mins(1);

impl Jobs {
    /// Makes room every now and then, until it is dropped.
    pub async fn clean_regularly(&self, config: &store::Config) {
        let interval = Duration::from_secs(config.clean_interval_s.max(1));
        tokio::time::sleep(interval.min(FIRST)).await;
        loop {
            match self.clean(config, &Policy::default()).await {
                Ok(Swept { packs: 0, .. }) => {}
                Ok(Swept { packs, bytes }) => {
                    tracing::info!(packs, bytes, "made room: {packs} packs with {bytes} bytes are gone");
                }
                Err(error) => tracing::error!(%error, "can't make room"),
            }
            tokio::time::sleep(interval).await;
        }
    }

    /// One round through all namespaces. One that fails doesn't keep the others from being cleaned.
    pub(crate) async fn clean(&self, config: &store::Config, policy: &Policy) -> Result<Swept, JobsError> {
        let now = now_ms();
        let namespaces: Vec<_> = self.inner.db.namespaces().await?.into_iter().map(|(name, _)| name).collect();
        let mut before = self.limits(&namespaces, config, now).await?;
        let mut all = Swept::default();
        for namespace in &namespaces {
            let by_age = now - i64::from(config.keep_days) * DAY_MS;
            let unused_since = by_age.max(before.remove(namespace).unwrap_or(i64::MIN)).min(now - ALWAYS_MS);
            match self.clean_namespace(namespace, unused_since, policy).await {
                Ok(swept) => {
                    all.packs += swept.packs;
                    all.bytes += swept.bytes;
                }
                Err(error) => tracing::error!(%namespace, %error, "can't make room in {namespace}"),
            }
        }
        Ok(all)
    }

    /// For namespaces that have too much: before when trees must have been used last to be forgotten.
    async fn limits(
        &self,
        namespaces: &[Namespace],
        config: &store::Config,
        now: i64,
    ) -> Result<HashMap<Namespace, i64>, JobsError> {
        let mut before = HashMap::new();
        if config.max_bytes.is_none() && config.namespace_max_bytes.is_none() {
            return Ok(before);
        }
        let mut total = 0;
        for namespace in namespaces {
            let blobs = match self.blobs_of(namespace).await {
                Ok(blobs) => blobs,
                Err(error) => {
                    tracing::error!(%namespace, %error, "can't look for the packs of {namespace}");
                    continue;
                }
            };
            let bytes = blocking("look for packs", move || blobs.bytes()).await?;
            total += bytes;
            if config.namespace_max_bytes.is_some_and(|limit| bytes > limit) {
                before.insert(namespace.clone(), i64::MIN);
            }
        }
        let too_much = config.max_bytes.filter(|limit| total > *limit);
        let mut everywhere = Vec::new();
        for namespace in namespaces {
            let own = before.get_mut(namespace);
            if own.is_none() && too_much.is_none() {
                continue;
            }
            let uses = match self.uses(namespace, now).await {
                Ok(uses) => uses,
                Err(error) => {
                    tracing::error!(%namespace, %error, "can't count the bytes of {namespace}");
                    continue;
                }
            };
            if let (Some(own), Some(limit)) = (own, config.namespace_max_bytes) {
                *own = oldest_within(uses.clone(), limit);
            }
            everywhere.extend(uses);
        }
        if let Some(limit) = too_much {
            let oldest = oldest_within(everywhere, limit);
            for namespace in namespaces {
                let own = before.entry(namespace.clone()).or_insert(oldest);
                *own = oldest.max(*own);
            }
        }
        Ok(before)
    }

    /// Last uses of the namespace's trees, each with the bytes that no tree has that was used later.
    async fn uses(&self, namespace: &Namespace, now: i64) -> Result<Vec<(i64, u64)>, JobsError> {
        let blobs = self.blobs_of(namespace).await?;
        let jobs = self.roots_of_jobs(namespace).await?;
        let mut trees: Vec<_> =
            self.inner.db.snapshots(namespace).await?.into_iter().map(|row| (row.used, row.root)).collect();
        trees.retain(|(_, root)| !jobs.contains(root));
        let mut trees: Vec<_> = jobs.into_iter().map(|root| (i64::MAX, root)).chain(trees.drain(..)).collect();
        for (used, _) in &mut trees {
            if *used > now - ALWAYS_MS {
                *used = i64::MAX;
            }
        }
        let count = move || -> Result<Vec<(i64, u64)>, store::BlobError> {
            let (mut reachable, mut uses) = (Reachable::default(), Vec::new());
            for (used, root) in trees {
                let before = reachable.bytes();
                reachable.add(&blobs, &root)?;
                uses.push((used, reachable.bytes() - before));
            }
            Ok(uses)
        };
        Ok(blocking("count the bytes of trees", count).await??)
    }

    async fn clean_namespace(
        &self,
        namespace: &Namespace,
        unused_since: i64,
        policy: &Policy,
    ) -> Result<Swept, JobsError> {
        let began = SystemTime::now();
        let blobs = self.blobs_of(namespace).await?;
        let jobs = self.roots_of_jobs(namespace).await?;
        for row in self.inner.db.snapshots(namespace).await? {
            if row.used < unused_since && !jobs.contains(&row.root) {
                self.inner.db.forget_snapshot(namespace, &row).await?;
            } else {
                // What was lost must be noticed before the marks of it are cleaned away.
                still_complete(&self.inner.db, &blobs, namespace, &row).await?;
            }
        }
        let roots = self.roots(namespace).await?;
        let (policy, own) = (*policy, blobs.clone());
        let prepare = move || {
            let mut needed = Reachable::default();
            for root in roots {
                needed.add(&own, &root)?;
            }
            gc::prepare(&own, &needed, &policy, began).map(|packs| (packs, needed))
        };
        let (packs, mut needed) = blocking("copy what is needed", prepare).await??;

        let _alone = self.sweep_lock(namespace).write_owned().await;
        // After a power cut a tree must not be known again whose packs are gone.
        self.inner.db.checkpoint().await?;
        // What was committed meanwhile.
        let roots = self.roots(namespace).await?;
        let sweep = move || {
            needed.look_again();
            for root in roots {
                needed.add(&blobs, &root)?;
            }
            gc::sweep(&blobs, &packs, &needed, began - MARKS).map_err(io("remove packs"))
        };
        blocking("remove packs", sweep).await?
    }

    /// All trees of which nothing may be removed.
    async fn roots(&self, namespace: &Namespace) -> Result<Vec<Digest>, JobsError> {
        // Jobs first: one that ends in between has used its trees just now.
        let mut roots = self.roots_of_jobs(namespace).await?;
        roots.extend(self.inner.db.snapshots(namespace).await?.into_iter().map(|row| row.root));
        Ok(roots)
    }

    /// Those of jobs that haven't ended.
    async fn roots_of_jobs(&self, namespace: &Namespace) -> Result<Vec<Digest>, JobsError> {
        let mut roots = Vec::new();
        // A job whose process died is queued again.
        for state in [JobState::Syncing, JobState::Queued, JobState::Running, JobState::Queued] {
            for row in self.inner.db.jobs_in(state).await?.into_iter().filter(|row| row.namespace == *namespace) {
                match self.dir(row.id).spec() {
                    Ok(spec) => roots.extend(spec.roots()),
                    Err(_) if self.inner.db.job(row.id).await?.is_none_or(|now| now.state.is_final()) => {}
                    Err(error) => return Err(io("read the specification of a job")(error)),
                }
            }
        }
        Ok(roots)
    }

    async fn blobs_of(&self, namespace: &Namespace) -> Result<Blobs, JobsError> {
        let (data_dir, namespace) = (self.inner.data_dir.clone(), namespace.clone());
        let open = move || Blobs::open(&data_dir, &namespace);
        blocking("open the blob store", open).await?.map_err(io("open the blob store"))
    }
}

async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobsError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| io(operation)(error.into()))
}

/// Before when a tree must have been used last to be forgotten, so that those used later have no more bytes than the limit.
fn oldest_within(mut uses: Vec<(i64, u64)>, limit: u64) -> i64 {
    uses.sort_unstable_by_key(|(used, _)| std::cmp::Reverse(*used));
    let mut total: u64 = 0;
    for (used, bytes) in uses {
        total = total.saturating_add(bytes);
        if total > limit && used != i64::MAX {
            return used + 1;
        }
    }
    i64::MIN
}

#[cfg(test)]
mod tests;
