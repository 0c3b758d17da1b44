//! Small roots that come with the request itself.

use slipway_context::Digest;

use super::inbox::Inbox;
use super::sent::Sent;
use super::{Jobs, JobsError, Message, io};
use crate::jobs::state::JobState;
use crate::names::Namespace;
use crate::store::db::jobs::{JobFailure, JobRow};
use crate::store::trees;

/// Contents' bytes in one request.
pub const MAX_INLINE: usize = 256 << 10;

/// A blob of a small root; its digest is its name.
#[derive(Debug, Clone)]
pub struct InlineBlob {
    /// Its bytes.
    pub content: Vec<u8>,
    /// The file's modification time, whole seconds since 1970.
    pub seconds: i64,
}

impl Jobs {
    /// Stores what came with a request, as far as the namespace does not have it.
    pub(super) async fn store_inline(&self, row: &JobRow, inline: Vec<InlineBlob>) -> Result<(), JobsError> {
        if inline.is_empty() {
            return Ok(());
        }
        let (blobs, dir, pending) = (self.blobs(&row.namespace)?, self.dir(row.id), self.pending(&row.namespace));
        let there = blobs.clone();
        let list = move || {
            let mut records = Vec::new();
            for InlineBlob { content, seconds } in inline {
                let digest = Digest::of(&content);
                if !there.has(&digest) {
                    records.extend_from_slice(digest.as_bytes());
                    records.extend_from_slice(&(content.len() as u64).to_be_bytes());
                    records.extend_from_slice(&seconds.to_be_bytes());
                    records.extend_from_slice(&content);
                }
            }
            records
        };
        let records = tokio::task::spawn_blocking(list).await.map_err(|error| io("look for blobs")(error.into()))?;
        if records.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.admit(&row.namespace).await {
            if matches!(error, JobsError::TooMuchPending { .. }) {
                self.end_refused(row, &error).await?;
            }
            return Err(error);
        }
        let store = move || {
            let mut inbox = Inbox::new(blobs, Sent::open(&dir).map_err(io("note what was sent"))?, pending, None);
            inbox.frame(&Message::Raw(records))?;
            inbox.seal()
        };
        tokio::task::spawn_blocking(store).await.map_err(|error| io("store blobs")(error.into()))?
    }

    /// Ends a job whose client isn't told that there is one.
    async fn end_refused(&self, row: &JobRow, error: &JobsError) -> Result<(), JobsError> {
        let Some(lock) = self.lock_syncing(row).await? else { return Ok(()) };
        let failure = JobFailure { code: "too_much_pending".to_owned(), message: error.to_string(), hint: None };
        self.end(row, JobState::Failed, Some(failure), lock).await
    }

    /// Whether all of a small tree is there, although nobody has noted that yet.
    pub(super) async fn is_complete(&self, namespace: &Namespace, root: Digest) -> Result<bool, JobsError> {
        let blobs = self.blobs(namespace)?;
        let check = move || trees::check(&blobs, &root);
        let checked = tokio::task::spawn_blocking(check).await.map_err(|error| io("check a tree")(error.into()))??;
        Ok(checked.missing.is_empty())
    }
}
