//! What the service keeps: blobs and trees on disk, facts in SQLite.
//!
//! | under the data directory | holds |
//! |---|---|
//! | `slipway.db` | namespaces, tokens' hashes, jobs, snapshots, environments |
//! | `blobs/<namespace>/ab/cdef…` | contents and directory nodes, by SHA-256; a namespace sees only its own |
//! | `jobs/<id>/` | a job's specification, process and event log ([`crate::jobs`]) |

pub mod blobs;
pub mod db;
pub mod trees;
pub mod upload;

pub use blobs::{BlobError, Blobs};
pub use db::Db;
