//! How much a namespace may have uploaded that no complete tree needs.
//!
//! Counting that exactly takes a walk through all trees, so it is done when room is made; in between, what arrives is added.
//! Only when the sum reaches `store.namespace_max_pending_bytes` room is made at once, and an upload is refused that has too
//! much in the way even then. A blob counts for 16 KiB at least ([`charge`]), so that this bounds their number, too.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use super::{Jobs, JobsError, Pressure, blocking, io};
use crate::names::Namespace;
use crate::store::gc::{self, Policy};
use crate::store::pack::charge;

/// Between two counts that uploads have asked for, at most.
const LONGEST_REST: Duration = Duration::from_secs(10);

/// One namespace's. Forgotten with the service: the first upload afterwards begins with all that is there.
#[derive(Debug, Default)]
pub(in crate::jobs) struct Pending {
    bound: Mutex<Bound>,
    /// One at a time makes room.
    pub(super) cleaning: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Bound {
    /// At the last count; none before the first.
    counted: Option<u64>,
    /// What has arrived since.
    since: u64,
    /// When the last count began and ended, or failed.
    last: Option<(Instant, Instant)>,
    /// It failed.
    failed: bool,
}

impl Pending {
    /// Blobs have arrived that were not there before.
    pub(in crate::jobs) fn add(&self, blobs: &[(slipway_context::Digest, u64)]) {
        self.bound().since += blobs.iter().map(|(_, size)| charge(*size)).sum::<u64>();
    }

    /// No fewer bytes than there are; none before the first count.
    fn bytes(&self) -> Option<u64> {
        let bound = self.bound();
        Some(bound.counted?.saturating_add(bound.since))
    }

    /// Before a count begins.
    pub(super) fn begin(&self) -> (u64, Instant) {
        (self.bound().since, Instant::now())
    }

    /// A count has come to this.
    pub(super) fn counted(&self, bytes: u64, (since, began): (u64, Instant)) {
        let mut bound = self.bound();
        bound.counted = Some(bytes);
        bound.since = bound.since.saturating_sub(since);
        bound.last = Some((began, Instant::now()));
        bound.failed = false;
    }

    /// A count has failed: that took its time, too.
    pub(super) fn failed(&self, (_, began): (u64, Instant)) {
        let mut bound = self.bound();
        bound.last = Some((began, Instant::now()));
        bound.failed = true;
    }

    /// How long to wait before another count, so that at most half of the time goes there; none when the last one began after
    /// this and told something.
    fn rest(&self, asked: Instant) -> Option<Duration> {
        let bound = self.bound();
        let Some((began, ended)) = bound.last else { return Some(Duration::ZERO) };
        (bound.failed || began < asked).then(|| (ended - began).min(LONGEST_REST).saturating_sub(ended.elapsed()))
    }

    #[cfg(test)]
    pub(super) fn last_began(&self) -> Option<Instant> {
        self.bound().last.map(|(began, _)| began)
    }

    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    pub(in crate::jobs) fn pending(&self, namespace: &Namespace) -> Arc<Pending> {
        let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.entry(namespace.clone()).or_default().clone()
    }

    /// Asked before more is stored for the namespace. What cut syncs have left makes room, the oldest first; what belongs to
    /// syncs that go on does not.
    pub(in crate::jobs) async fn admit(&self, namespace: &Namespace) -> Result<(), JobsError> {
        let (pending, limit) = (self.pending(namespace), self.inner.store.namespace_max_pending_bytes);
        let asked = Instant::now();
        let fits = |pending: &Pending| pending.bytes().is_some_and(|bytes| bytes < limit);
        if fits(&pending) {
            return Ok(());
        }
        // Whoever comes while room is being made waits here, and finds what came of it.
        let one = pending.cleaning.clone().lock_owned().await;
        let (jobs, of) = (self.clone(), namespace.clone());
        self.to_its_end(async move { jobs.look_for_room(&of, asked, &one).await }).await?;
        if fits(&pending) {
            return Ok(());
        }
        let bytes = pending.bytes().unwrap_or(u64::MAX);
        Err(JobsError::TooMuchPending { namespace: namespace.clone(), bytes, limit })
    }

    /// Counts, and makes room when there is none.
    async fn look_for_room(
        &self,
        namespace: &Namespace,
        asked: Instant,
        one: &OwnedMutexGuard<()>,
    ) -> Result<(), JobsError> {
        let (pending, limit) = (self.pending(namespace), self.inner.store.namespace_max_pending_bytes);
        if pending.bytes().is_none() {
            let (blobs, began) = (self.blobs_of(namespace).await?, pending.begin());
            let all = move || gc::unsealed(&blobs).map(|unsealed| unsealed + gc::charge_of_all(&blobs));
            let all = blocking("look for packs", all).await?.map_err(io("look for packs"))?;
            pending.counted(all, began);
            // That was no count of what is pending.
            pending.bound().last = None;
        }
        if pending.bytes().is_none_or(|bytes| bytes >= limit)
            && let Some(rest) = pending.rest(asked)
        {
            tokio::time::sleep(rest).await;
            let swept = self.make_room(namespace, Pressure::default(), &Policy::default(), one).await?;
            tracing::info!(%namespace, packs = swept.packs, bytes = swept.bytes, "made room in {namespace} for an upload");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_a_million_small_files_fit_and_five_million_do_not() {
        let limit = crate::store::Config::default().namespace_max_pending_bytes;
        // Each in a directory of its own.
        assert!(2_000_000 * charge(100) < limit);
        assert!(5_000_000 * charge(0) > limit, "their index alone would take more memory than the service should need");
    }

    #[test]
    fn a_count_that_failed_is_no_answer_for_those_who_waited_for_it() {
        let (pending, asked) = (Pending::default(), Instant::now());
        assert_eq!(pending.rest(asked), Some(Duration::ZERO), "nothing was counted yet");
        pending.failed(pending.begin());
        assert!(pending.rest(asked).is_some());
        pending.counted(7, pending.begin());
        assert_eq!(pending.rest(asked), None);
        assert!(pending.rest(Instant::now()).is_some());
    }
}
