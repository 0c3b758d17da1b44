//! What the service keeps: blobs and trees on disk, facts in SQLite.
//!
//! | under the data directory | holds |
//! |---|---|
//! | `slipway.db` | namespaces, tokens' hashes, jobs, snapshots, environments |
//! | `blobs/<namespace>/` | contents and directory nodes, by SHA-256, in packs ([`pack`]); a namespace sees only its own |
//! | `builds/<namespace>/` | what services were built from last ([`crate::pipeline::records`]) |
//! | `jobs/<id>/` | a job's specification, process and event log ([`crate::jobs`]) |

pub mod blobs;
mod catalog;
pub mod db;
pub mod gc;
pub mod pack;
pub mod recover;
pub mod snapshots;
#[cfg(test)]
pub(crate) mod tests;
pub mod trees;
pub mod upload;
pub mod verify;

use serde::Deserialize;

pub use blobs::{BlobError, Blobs};
pub use db::Db;

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Days after which a tree that no job has used is forgotten. Default 14.
    pub keep_days: u32,
    /// Bytes of blobs in all namespaces above which the trees that were used longest ago are forgotten earlier. Default: no
    /// limit.
    pub max_bytes: Option<u64>,
    /// The same for each namespace.
    pub namespace_max_bytes: Option<u64>,
    /// Bytes of blobs in each namespace that no complete tree needs, of syncs that go on and of those that were cut. Above it
    /// what cut syncs have left is removed, the oldest first, and when that isn't enough, no more is taken. No context can be
    /// sent that is larger. Each blob counts for 16 KiB at least. Default 64 GiB.
    pub namespace_max_pending_bytes: u64,
    /// Seconds between two rounds that make room. Default 3600.
    pub clean_interval_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep_days: 14,
            max_bytes: None,
            namespace_max_bytes: None,
            namespace_max_pending_bytes: 64 << 30,
            clean_interval_s: 3600,
        }
    }
}
