//! What was deployed last.

use std::collections::BTreeMap;

use super::{Db, DbError, now_ms};
use crate::names::{JobId, Namespace};

impl Db {
    /// Notes what a deploy left behind: service -> full image reference, digest included. One that had nothing to do with images
    /// leaves those of before.
    pub async fn set_environment(
        &self,
        namespace: &Namespace,
        name: &str,
        job: JobId,
        images: &BTreeMap<String, String>,
    ) -> Result<(), DbError> {
        let images = serde_json::to_string(images).map_err(|error| DbError::Invalid(error.to_string()))?;
        sqlx::query(
            "insert into environments (namespace, name, job, images, updated) values (?, ?, ?, ?, ?)
             on conflict (namespace, name) do update set job = excluded.job, updated = excluded.updated,
             images = case when excluded.images = '{}' then images else excluded.images end",
        )
        .bind(namespace.as_str())
        .bind(name)
        .bind(job.to_string())
        .bind(images)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
