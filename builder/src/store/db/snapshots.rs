//! Trees that a namespace has uploaded completely.

use slipway_context::Digest;
use sqlx::Row as _;

use super::{Db, DbError, now_ms};
use crate::names::Namespace;

/// A tree that was complete when it was checked. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its root.
    pub root: Digest,
    /// Files in it.
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// When a job last used it.
    pub used: i64,
    /// When the last check of it began.
    pub checked: i64,
}

impl Db {
    /// The tree, if the namespace was found to have it completely.
    pub async fn snapshot_row(&self, namespace: &Namespace, root: &Digest) -> Result<Option<SnapshotRow>, DbError> {
        sqlx::query("select root, files, bytes, used, checked from snapshots where namespace = ? and root = ?")
            .bind(namespace.as_str())
            .bind(root.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?
            .as_ref()
            .map(from_row)
            .transpose()
    }

    /// All trees of the namespace, those used last first.
    pub async fn snapshots(&self, namespace: &Namespace) -> Result<Vec<SnapshotRow>, DbError> {
        sqlx::query("select root, files, bytes, used, checked from snapshots where namespace = ? order by used desc")
            .bind(namespace.as_str())
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(from_row)
            .collect()
    }

    /// Notes that the namespace has this tree completely, as a check has shown that began at that time.
    pub async fn add_snapshot(
        &self,
        namespace: &Namespace,
        root: &Digest,
        files: u64,
        bytes: u64,
        checked: i64,
    ) -> Result<(), DbError> {
        sqlx::query(
            "insert into snapshots (namespace, root, files, bytes, created, used, checked) values (?, ?, ?, ?, ?, ?, ?)
             on conflict (namespace, root) do update set used = excluded.used, checked = excluded.checked",
        )
        .bind(namespace.as_str())
        .bind(root.as_bytes().as_slice())
        .bind(files as i64)
        .bind(bytes as i64)
        .bind(now_ms())
        .bind(now_ms())
        .bind(checked)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that a check of this tree that began at that time has found it complete.
    pub async fn check_snapshot(&self, namespace: &Namespace, root: &Digest, checked: i64) -> Result<(), DbError> {
        sqlx::query("update snapshots set checked = ? where namespace = ? and root = ?")
            .bind(checked)
            .bind(namespace.as_str())
            .bind(root.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Notes when a job has used this tree.
    pub async fn set_snapshot_used(&self, namespace: &Namespace, root: &Digest, used: i64) -> Result<(), DbError> {
        sqlx::query("update snapshots set used = ? where namespace = ? and root = ?")
            .bind(used)
            .bind(namespace.as_str())
            .bind(root.as_bytes().as_slice())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Forgets that the namespace has this tree; `used` has to be what it was when that was decided.
    pub async fn forget_snapshot(&self, namespace: &Namespace, row: &SnapshotRow) -> Result<bool, DbError> {
        let done = sqlx::query("delete from snapshots where namespace = ? and root = ? and used = ?")
            .bind(namespace.as_str())
            .bind(row.root.as_bytes().as_slice())
            .bind(row.used)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn from_row(row: &sqlx::sqlite::SqliteRow) -> Result<SnapshotRow, DbError> {
    let root: &[u8] = row.try_get(0)?;
    let root = Digest::try_from(root).map_err(|error| DbError::Invalid(format!("a snapshot's root: {error}")))?;
    let number = |at: usize| row.try_get::<i64, _>(at);
    Ok(SnapshotRow { root, files: number(1)? as u64, bytes: number(2)? as u64, used: number(3)?, checked: number(4)? })
}
