//! What the service keeps: blobs and trees on disk, facts in SQLite.
//!
//! | under the data directory | holds |
//! |---|---|
//! | `slipway.db` | namespaces, tokens' hashes, jobs, snapshots, environments |
//! | `blobs/<namespace>/` | contents and directory nodes, by SHA-256, in packs ([`pack`]); a namespace sees only its own |
//! | `jobs/<id>/` | a job's specification, process and event log ([`crate::jobs`]) |

pub mod blobs;
mod catalog;
pub mod db;
pub mod pack;
pub mod recover;
pub mod snapshots;
#[cfg(test)]
mod tests;
pub mod trees;
pub mod upload;

pub use blobs::{BlobError, Blobs};
pub use db::Db;
