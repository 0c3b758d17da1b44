//! What lies in an engine's cache: the folders of `RUN --mount=type=cache`.
//!
//! BuildKit says whose a cache mount is in its description only: `… with id "ID"` (BuildKit, `solver/llbsolver/mounts`), and the id
//! is the namespace that the Dockerfile frontend was given (`BUILDKIT_CACHE_MOUNT_NS`), a slash and the Dockerfile's own id.

use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{DiskUsageRequest, PruneRequest, UsageRecord};

use super::{Engine, Error};

/// How long an engine may take to count what it has, or to remove it.
const USAGE_TIMEOUT: Duration = Duration::from_mins(1);
/// Shorter than who asks waits.
const PRUNE_TIMEOUT: Duration = Duration::from_mins(4);
/// BuildKit's word for them.
const KIND: &str = "type==exec.cachemount";
const WITH_ID: &str = " with id \"";

/// The folder of one cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// The engine's name for it.
    record: String,
    /// What the ids of one owner begin with.
    pub owner: String,
    /// As the Dockerfile calls it.
    pub id: String,
    /// Bytes on the engine's disk.
    pub bytes: u64,
    /// When a step had it last, in seconds since 1970.
    pub used: Option<i64>,
    /// Whether a step has it now.
    pub in_use: bool,
}

impl Engine {
    /// Those whose owner begins so.
    pub async fn cache_mounts(&self, prefix: &str) -> Result<Vec<CacheMount>, Error> {
        let request = DiskUsageRequest { filter: vec![KIND.to_owned()], age_limit: 0 };
        let call = async { self.control().disk_usage(request).await };
        let slow = |_| Err(tonic::Status::deadline_exceeded("it does not say what is in its cache"));
        let answer = tokio::time::timeout(USAGE_TIMEOUT, call).await.unwrap_or_else(slow);
        let records = answer.map_err(Error::from_status)?.into_inner().record;
        Ok(records.iter().filter_map(mount).filter(|mount| mount.owner.starts_with(prefix)).collect())
    }

    /// Removes those whose owner begins so and that no step has had for so long; gives how many, and their bytes.
    pub async fn prune_cache_mounts(&self, prefix: &str, unused_for: Duration) -> Result<(u64, u64), Error> {
        // By their names: BuildKit before 0.13 can't tell them by what they are described as.
        let filter: Vec<_> =
            self.cache_mounts(prefix).await?.iter().map(|mount| format!("id=={}", mount.record)).collect();
        if filter.is_empty() {
            // Without a filter everything would go.
            return Ok((0, 0));
        }
        let keep_duration = i64::try_from(unused_for.as_nanos()).unwrap_or(i64::MAX);
        let request = PruneRequest { filter, keep_duration, ..PruneRequest::default() };
        let call = async {
            let mut removed = self.control().prune(request).await?.into_inner();
            let (mut count, mut bytes) = (0, 0);
            while let Some(record) = removed.message().await? {
                count += 1;
                bytes += u64::try_from(record.size).unwrap_or_default();
            }
            Ok((count, bytes))
        };
        let slow = |_| Err(tonic::Status::deadline_exceeded("it does not come to an end of removing"));
        tokio::time::timeout(PRUNE_TIMEOUT, call).await.unwrap_or_else(slow).map_err(Error::from_status)
    }
}

/// What a record says, if it is of a cache mount with an owner.
fn mount(record: &UsageRecord) -> Option<CacheMount> {
    // The last one: what the step ran, which may be anything, stands before it.
    let (_, id) = record.description.rsplit_once(WITH_ID)?;
    let (owner, id) = id.strip_suffix('"')?.split_once('/')?;
    Some(CacheMount {
        record: record.id.clone(),
        owner: owner.to_owned(),
        id: id.to_owned(),
        bytes: u64::try_from(record.size).unwrap_or_default(),
        used: record.last_used_at.as_ref().map(|time| time.seconds),
        in_use: record.in_use,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_in_the_id_and_not_in_what_the_step_runs() {
        let of = |description: &str| {
            let record = UsageRecord { description: description.to_owned(), size: 7, ..UsageRecord::default() };
            mount(&record).map(|mount| (mount.owner, mount.id))
        };
        let found = |owner: &str, id: &str| Some((owner.to_owned(), id.to_owned()));
        assert_eq!(of(r#"cached mount /c from exec make with id "a-b/root""#), found("a-b", "root"));
        let disguised = r#"cached mount /c from exec echo ' with id "x-y/z"' with id "a-b//go/pkg""#;
        assert_eq!(of(disguised), found("a-b", "/go/pkg"));
        for other in ["mount / from exec make", r#"x with id "no-slash""#, r#"x with id "a/b"#] {
            assert_eq!(of(other), None);
        }
    }
}
