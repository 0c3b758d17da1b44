//! Which trees a namespace may be believed to have completely.

use std::time::{Duration, SystemTime};

use slipway_context::Digest;
use slipway_context::tree::CheckError;

use super::db::snapshots::SnapshotRow;
use super::db::{Db, DbError, now_ms};
use super::trees::{self, TreeError};
use super::{BlobError, Blobs};
use crate::names::Namespace;

/// A check that began so shortly after a mark may have read what the mark is about before.
const MARGIN: Duration = Duration::from_secs(1);
/// Uses within this time are one.
const USED_AGAIN_MS: i64 = 60_000;

/// Why it can't be told.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The tree can't be checked.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The check did not end.
    #[error("check a tree: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Files and bytes of a tree that a job wants to use, when the namespace has it completely. What the database says is believed
/// unless damage was found since: then it is checked again, and forgotten when something is missing now.
pub async fn snapshot_is_complete(
    db: &Db,
    blobs: &Blobs,
    namespace: &Namespace,
    root: &Digest,
) -> Result<Option<(u64, u64)>, SnapshotError> {
    let Some(row) = db.snapshot_row(namespace, root).await? else { return Ok(None) };
    if !still_complete(db, blobs, namespace, &row).await? {
        return Ok(None);
    }
    if now_ms() - row.used > USED_AGAIN_MS {
        db.set_snapshot_used(namespace, root, now_ms()).await?;
    }
    Ok(Some((row.files, row.bytes)))
}

/// The same for a row, whose tree isn't used.
pub(crate) async fn still_complete(
    db: &Db,
    blobs: &Blobs,
    namespace: &Namespace,
    row: &SnapshotRow,
) -> Result<bool, SnapshotError> {
    let checked = SystemTime::UNIX_EPOCH + Duration::from_millis(row.checked.max(0) as u64);
    if blobs.newest_damage().is_none_or(|damage| checked > damage + MARGIN) {
        return Ok(true);
    }
    check_again(db, blobs, namespace, row).await
}

/// Whether the tree is complete now; one that isn't is forgotten.
pub(crate) async fn check_again(
    db: &Db,
    blobs: &Blobs,
    namespace: &Namespace,
    row: &SnapshotRow,
) -> Result<bool, SnapshotError> {
    let (began, root, blobs) = (now_ms(), row.root, blobs.clone());
    let check = move || {
        // With the marks that are there now.
        blobs.look();
        trees::check(&blobs, &root)
    };
    let checked = tokio::task::spawn_blocking(check).await?;
    match checked {
        Ok(checked) if checked.missing.is_empty() => {
            db.check_snapshot(namespace, &root, began).await?;
            Ok(true)
        }
        // A disk that can't be read says nothing about the tree.
        Err(
            error @ (TreeError::Blob(BlobError::Io { .. } | BlobError::Pack { .. })
            | TreeError::Invalid(CheckError::Fetch {
                source: BlobError::Io { .. } | BlobError::Pack { .. },
                ..
            })),
        ) => Err(error.into()),
        _ => {
            tracing::warn!(%namespace, %root, "tree {root} of {namespace} is not complete any more");
            db.forget_snapshot(namespace, row).await?;
            Ok(false)
        }
    }
}
