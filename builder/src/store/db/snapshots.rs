//! Trees that a namespace has uploaded completely.

use slipway_context::Digest;

use super::{Db, DbError, now_ms};
use crate::names::Namespace;

impl Db {
    /// Files and bytes of a complete tree; nothing when the namespace does not have it.
    pub async fn snapshot(&self, namespace: &Namespace, root: &Digest) -> Result<Option<(u64, u64)>, DbError> {
        let row: Option<(i64, i64)> =
            sqlx::query_as("select files, bytes from snapshots where namespace = ? and root = ?")
                .bind(namespace.as_str())
                .bind(root.as_bytes().as_slice())
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(files, bytes)| (files as u64, bytes as u64)))
    }

    /// Notes that the namespace has this tree completely.
    pub async fn add_snapshot(
        &self,
        namespace: &Namespace,
        root: &Digest,
        files: u64,
        bytes: u64,
    ) -> Result<(), DbError> {
        sqlx::query("insert or ignore into snapshots (namespace, root, files, bytes, created) values (?, ?, ?, ?, ?)")
            .bind(namespace.as_str())
            .bind(root.as_bytes().as_slice())
            .bind(files as i64)
            .bind(bytes as i64)
            .bind(now_ms())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
