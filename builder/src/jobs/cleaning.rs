//! Makes room: forgets trees that were not used for long, and the blobs that nothing needs any more.
//!
//! What a job that hasn't ended reads is needed, and what a tree needs that the database calls complete. Which trees are
//! forgotten is decided by the time of their last use: after `store.keep_days`, or earlier when there is too much. What cut
//! syncs have left goes before any tree does ([`pending`] bounds it, too).

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use slipway_context::Digest;

use tokio::sync::OwnedMutexGuard;

use super::state::JobState;
use super::sync::sent_for;
use super::{Jobs, JobsError, io};
use crate::names::Namespace;
use crate::store::db::now_ms;
use crate::store::gc::{self, Policy, Swept};
use crate::store::pack::charge;
use crate::store::snapshots::still_complete;
use crate::store::trees::Reachable;
use crate::store::{self, Blobs};

mod pending;

pub(in crate::jobs) use pending::Pending;

/// A tree that was used within this time stays, whatever the limits say.
const ALWAYS_MS: i64 = 3_600_000;
/// Marks of damage stay so long at least: longer than it takes a commit to check a tree, which may have begun before the mark.
const MARKS: Duration = Duration::from_hours(1);
const DAY_MS: i64 = 86_400_000;
/// The first round comes so long after the start at the latest.
const FIRST: Duration = Duration::from_mins(1);

/// How long the other namespaces wait for one. A round that takes longer goes on beside theirs.
const PATIENCE: Duration = Duration::from_mins(10);

/// What has to go.
#[derive(Debug, Clone, Copy)]
struct Pressure {
    /// Trees that were not used since.
    unused_since: i64,
    /// So many bytes of what nobody needs, however young.
    excess: u64,
    /// About so many there are; only told when all namespaces together have too much.
    spare: u64,
}

impl Default for Pressure {
    /// Nothing that could stay.
    fn default() -> Self {
        Self { unused_since: i64::MIN, excess: 0, spare: 0 }
    }
}

impl Jobs {
    /// Makes room every now and then, until it is dropped.
    pub async fn clean_regularly(&self) {
        let config = &self.inner.store;
        let interval = Duration::from_secs(config.clean_interval_s.max(1));
        tokio::time::sleep(interval.min(FIRST)).await;
        loop {
            self.clean_exports();
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

    /// One round through all namespaces. One that fails or takes long doesn't keep the others from being cleaned.
    pub(crate) async fn clean(&self, config: &store::Config, policy: &Policy) -> Result<Swept, JobsError> {
        self.clean_within(config, policy, PATIENCE).await
    }

    async fn clean_within(
        &self,
        config: &store::Config,
        policy: &Policy,
        patience: Duration,
    ) -> Result<Swept, JobsError> {
        let now = now_ms();
        let mut namespaces: Vec<_> = self.inner.db.namespaces().await?.into_iter().map(|(name, _)| name).collect();
        let (mut limits, mut excess) = self.limits(&namespaces, config, now).await?;
        // What all of them have too much is taken where there is most that nobody needs, and only once.
        namespaces.sort_by_key(|namespace| Reverse(limits.get(namespace).map(|pressure| pressure.spare)));
        let mut all = Swept::default();
        for namespace in &namespaces {
            let by_age = now - i64::from(config.keep_days) * DAY_MS;
            let mut pressure = limits.remove(namespace).unwrap_or_default();
            pressure.unused_since = by_age.max(pressure.unused_since).min(now - ALWAYS_MS);
            pressure.excess = pressure.excess.max(excess);
            let before = if excess > 0 { self.bytes_of(namespace).await } else { None };
            match tokio::time::timeout(patience, self.clean_namespace(namespace, pressure, policy)).await {
                Ok(Ok(swept)) => {
                    all.packs += swept.packs;
                    all.bytes += swept.bytes;
                }
                Ok(Err(error)) => tracing::error!(%namespace, %error, "can't make room in {namespace}"),
                Err(_) => {
                    tracing::warn!(%namespace, "making room in {namespace} takes long: the others go on");
                    // What it will give is not known yet: nothing of the others' goes for its sake.
                    excess = 0;
                }
            }
            if let Some(before) = before
                && let Some(after) = self.bytes_of(namespace).await
            {
                excess = excess.saturating_sub(before.saturating_sub(after));
            }
        }
        Ok(all)
    }

    /// For namespaces that have too much, or share in what all of them have too much; and how much that is.
    async fn limits(
        &self,
        namespaces: &[Namespace],
        config: &store::Config,
        now: i64,
    ) -> Result<(HashMap<Namespace, Pressure>, u64), JobsError> {
        let mut limits: HashMap<Namespace, Pressure> = HashMap::new();
        if config.max_bytes.is_none() && config.namespace_max_bytes.is_none() {
            return Ok((limits, 0));
        }
        let (mut total, mut sizes) = (0, HashMap::new());
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
            sizes.insert(namespace, bytes);
            if let Some(limit) = config.namespace_max_bytes.filter(|limit| bytes > *limit) {
                limits.insert(namespace.clone(), Pressure { excess: bytes - limit, ..Pressure::default() });
            }
        }
        let too_much = config.max_bytes.filter(|limit| total > *limit);
        let mut everywhere = Vec::new();
        for namespace in namespaces {
            let own = limits.get_mut(namespace);
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
                own.unused_since = oldest_within(uses.clone(), limit);
            }
            if too_much.is_some() {
                let of_trees = uses.iter().map(|(_, bytes)| bytes).sum();
                let spare = sizes.get(namespace).map_or(0, |bytes| bytes.saturating_sub(of_trees));
                limits.entry(namespace.clone()).or_default().spare = spare;
            }
            everywhere.extend(uses);
        }
        if let Some(limit) = too_much {
            let oldest = oldest_within(everywhere, limit);
            for namespace in namespaces {
                let own = limits.entry(namespace.clone()).or_default();
                own.unused_since = oldest.max(own.unused_since);
            }
        }
        Ok((limits, too_much.map_or(0, |limit| total - limit)))
    }

    /// Bytes of the namespace's packs; none when that can't be told.
    async fn bytes_of(&self, namespace: &Namespace) -> Option<u64> {
        let blobs = self.blobs_of(namespace).await.ok()?;
        blocking("look for packs", move || blobs.bytes()).await.ok()
    }

    /// Last uses of the namespace's trees, each with the bytes that no tree has that was used later.
    async fn uses(&self, namespace: &Namespace, now: i64) -> Result<Vec<(i64, u64)>, JobsError> {
        let blobs = self.blobs_of(namespace).await?;
        let OfJobs { complete: jobs, syncing, .. } = self.roots_of_jobs(namespace).await?;
        let snapshots = self.inner.db.snapshots(namespace).await?.into_iter();
        // What isn't complete yet costs no tree that is.
        let mut trees: Vec<_> = jobs.iter().map(|root| (i64::MAX, *root)).collect();
        for row in snapshots.filter(|row| !jobs.contains(&row.root)) {
            let always = row.used > now - ALWAYS_MS || syncing.contains(&row.root);
            trees.push((if always { i64::MAX } else { row.used }, row.root));
        }
        trees.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
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
        pressure: Pressure,
        policy: &Policy,
    ) -> Result<Swept, JobsError> {
        let one = self.pending(namespace).cleaning.clone().lock_owned().await;
        let (jobs, namespace, policy) = (self.clone(), namespace.clone(), *policy);
        self.to_its_end(async move { jobs.make_room(&namespace, pressure, &policy, &one).await }).await
    }

    /// Lets something come to its end when whoever waits for it leaves. A round that has begun goes on in threads that can't
    /// be stopped, and what it holds must be held as long as they are at work.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, JobsError>> + Send + 'static,
    ) -> Result<T, JobsError> {
        let stop = self.inner.stop.now.clone();
        // Not one of the jobs that a service waits for which is to stop.
        let task = tokio::spawn(async move { stop.run_until_cancelled(work).await });
        let stopped = || io("make room")(std::io::ErrorKind::Interrupted.into());
        task.await.map_err(|error| io("make room")(error.into()))?.ok_or_else(stopped)?
    }

    /// One round, and a count of what is pending afterwards. Only inside [`Self::to_its_end`].
    async fn make_room(
        &self,
        namespace: &Namespace,
        pressure: Pressure,
        policy: &Policy,
        _one: &OwnedMutexGuard<()>,
    ) -> Result<Swept, JobsError> {
        let pending = self.pending(namespace);
        let counting = pending.begin();
        match self.round(namespace, pressure, policy).await {
            Ok((swept, bytes)) => {
                pending.counted(bytes, counting);
                Ok(swept)
            }
            Err(error) => {
                pending.failed(counting);
                Err(error)
            }
        }
    }

    /// What is gone, and how much is pending now.
    async fn round(
        &self,
        namespace: &Namespace,
        pressure: Pressure,
        policy: &Policy,
    ) -> Result<(Swept, u64), JobsError> {
        let (began, limit) = (SystemTime::now(), self.inner.store.namespace_max_pending_bytes);
        let blobs = self.blobs_of(namespace).await?;
        let jobs = self.roots_of_jobs(namespace).await?;
        for row in self.inner.db.snapshots(namespace).await? {
            if row.used < pressure.unused_since && !jobs.contains(&row.root) {
                self.inner.db.forget_snapshot(namespace, &row).await?;
            } else {
                // What was lost must be noticed before the marks of it are cleaned away.
                still_complete(&self.inner.db, &blobs, namespace, &row).await?;
            }
        }
        let OfJobs { mut complete, mut syncing, sent } = self.roots_of_jobs(namespace).await?;
        complete.extend(self.inner.db.snapshots(namespace).await?.into_iter().map(|row| row.root));
        // One that was queued in between is complete: it has used its trees just now.
        syncing.retain(|root| !complete.contains(root));
        let (mut policy, own) = (*policy, blobs.clone());
        let prepare = move || {
            let mut needed = Reachable::default();
            for root in complete {
                needed.add(&own, &root)?;
            }
            let mut unsealed = gc::unsealed(&own).map_err(io("look for packs"))?;
            let before = needed.charge();
            for root in syncing {
                needed.add_unchecked(&own, &root)?;
            }
            // What nothing refers to yet: contents may come before their directories.
            for digest in sent {
                if !own.has(&digest) {
                    // It is in a pack that is being written, of which only the bytes are known.
                    unsealed += charge(0);
                }
                needed.insert(&own, digest);
            }
            let under_way = unsealed + needed.charge() - before;
            let spare = gc::spare(&own, &needed);
            if under_way + spare.charge >= limit {
                // By half, so that it is not done again for each frame.
                policy.charge = policy.charge.min((limit / 2).saturating_sub(under_way));
            }
            if pressure.excess > 0 {
                policy.spare = policy.spare.min(spare.bytes.saturating_sub(pressure.excess));
            }
            let packs = gc::prepare(&own, &needed, &policy, began)?;
            Ok::<_, JobsError>((packs, needed, under_way))
        };
        let (packs, mut needed, under_way) = blocking("copy what is needed", prepare).await??;

        let alone = self.sweep_lock(namespace).write_owned().await;
        // After a power cut a tree must not be known again whose packs are gone.
        if !self.inner.db.checkpoint().await? {
            tracing::warn!(%namespace, "the database is busy: {namespace} keeps its packs until the next round");
            drop(alone);
            let pending = move || under_way + gc::spare(&blobs, &needed).charge;
            return Ok((Swept::default(), blocking("count what nobody needs", pending).await?));
        }
        // What was committed meanwhile.
        let OfJobs { mut complete, syncing, .. } = self.roots_of_jobs(namespace).await?;
        complete.extend(self.inner.db.snapshots(namespace).await?.into_iter().map(|row| row.root));
        let sweep = move || {
            // Also when the service stops: until the last pack is gone.
            let _alone = alone;
            needed.look_again();
            for root in complete {
                needed.add(&blobs, &root)?;
            }
            for root in syncing {
                needed.add_unchecked(&blobs, &root)?;
            }
            let swept = gc::sweep(&blobs, &packs, &needed, began - MARKS).map_err(io("remove packs"))?;
            Ok((swept, under_way + gc::spare(&blobs, &needed).charge))
        };
        blocking("remove packs", sweep).await?
    }

    /// What jobs need that haven't ended.
    async fn roots_of_jobs(&self, namespace: &Namespace) -> Result<OfJobs, JobsError> {
        let mut found = OfJobs::default();
        // At one moment: a job that goes from one state to another, and perhaps back, must not be overlooked.
        for row in self.inner.db.unfinished_jobs(namespace).await? {
            let dir = self.dir(row.id);
            let roots = match dir.outline() {
                Ok(spec) => spec.roots(),
                Err(_) if self.inner.db.job(row.id).await?.is_none_or(|now| now.state.is_final()) => continue,
                Err(error) if row.state != JobState::Running && is_lost(&error) => {
                    tracing::error!(job.id = %row.id, %error, "the specification of job {} is lost: it can't run", row.id);
                    continue;
                }
                // One that runs has read it before.
                Err(error) => return Err(io("read the specification of a job")(error)),
            };
            if row.state == JobState::Syncing {
                found.syncing.extend(roots);
                found.sent.extend(sent_for(&dir).map_err(io("read what was sent"))?);
            } else {
                found.complete.extend(roots);
            }
        }
        Ok(found)
    }

    async fn blobs_of(&self, namespace: &Namespace) -> Result<Blobs, JobsError> {
        let (data_dir, namespace) = (self.inner.data_dir.clone(), namespace.clone());
        let open = move || Blobs::open(&data_dir, &namespace);
        blocking("open the blob store", open).await?.map_err(io("open the blob store"))
    }
}

/// Whether a file is gone or holds something else, for whatever reason: that won't change.
fn is_lost(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

/// What jobs need that haven't ended.
#[derive(Debug, Default)]
struct OfJobs {
    /// Trees of those that have all of theirs.
    complete: HashSet<Digest>,
    /// Trees of those that haven't.
    syncing: HashSet<Digest>,
    /// What was sent for the latter.
    sent: HashSet<Digest>,
}

impl OfJobs {
    fn contains(&self, root: &Digest) -> bool {
        self.complete.contains(root) || self.syncing.contains(root)
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
pub(in crate::jobs) mod tests;
