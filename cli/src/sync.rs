//! Sends the service the blobs that it does not have, and nothing else.

use std::path::PathBuf;

use slipway_context::Digest;
use slipway_proto::v1::{CommitRequest, FindMissingRequest};
use tonic::Status;

use crate::client::{Backoff, Client, LONG_CALL, Patience, ServiceError, is_transient, timed};
use crate::output;

mod blobs;
mod frames;
mod upload;

use blobs::Blob;
pub(crate) use blobs::Blobs;

/// Digests asked for in one request: half a megabyte of them.
const BATCH: usize = 16_384;
/// Whoever sends less does not wait for it.
const WORTH_A_LINE: u64 = 4 << 20;
/// Tries in a row that bring nothing new to the service before we give up.
const FRUITLESS: u32 = 6;

/// Why a sync did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    /// A file is not what it was when the context was read.
    #[error("`{path}` changed while it was being sent: nothing was built; run the command again")]
    Changed { path: PathBuf },
    /// A file can't be read any more.
    #[error("read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    /// A bug of ours.
    #[error("the reading thread failed")]
    Panicked(#[source] tokio::task::JoinError),
    /// The service asks for a blob that the job's roots don't hold.
    #[error("the service asks for blob {digest}, which this job does not have")]
    Unknown { digest: String },
    /// The service goes on asking for what was sent.
    #[error("the service still lacks {count} blobs after {FRUITLESS} tries")]
    Fruitless { count: usize },
    /// The service can't be reached, or refuses.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Makes the service's copy of a job's roots complete, and queues the job.
pub(crate) async fn sync(client: &Client, job: &str, blobs: &Blobs) -> Result<(), SyncError> {
    let (mut fruitless, mut before, mut backoff) = (0, usize::MAX, Backoff::new());
    loop {
        let missing = find_missing(client, job, blobs).await?;
        let count = missing.len();
        fruitless = if count < before { 0 } else { fruitless + 1 };
        if fruitless >= FRUITLESS {
            return Err(SyncError::Fruitless { count });
        }
        before = count;
        tracing::info!(blobs = blobs.len(), missing = count, "syncing");
        let bytes: u64 = missing.iter().map(|blob| blob.size).sum();
        if bytes >= WORTH_A_LINE {
            output::note(format_args!("sending {} before compression", output::size(bytes)));
        }
        if !missing.is_empty()
            && let Some(status) = upload::upload(client, job, missing).await?
        {
            tracing::info!(%status, "the upload was cut; going on with what is missing");
            tokio::time::sleep(backoff.next()).await;
            continue;
        }
        let left = commit(client, job).await?;
        if left.is_empty() {
            return Ok(());
        }
        if let Some(digest) = left.iter().find(|digest| !known(blobs, digest)) {
            return Err(SyncError::Unknown { digest: hex::encode(digest) });
        }
        // More may be missing than a commit's answer names: the next round asks.
        tracing::info!(missing = left.len(), "the commit was incomplete");
    }
}

fn known(blobs: &Blobs, digest: &[u8]) -> bool {
    Digest::try_from(digest).is_ok_and(|digest| blobs.get(&digest).is_some())
}

async fn find_missing(client: &Client, job: &str, blobs: &Blobs) -> Result<Vec<Blob>, SyncError> {
    let mut missing = Vec::new();
    let all: Vec<&Digest> = blobs.digests().collect();
    for batch in all.chunks(BATCH) {
        let digests = batch.iter().map(|digest| digest.as_bytes().to_vec()).collect();
        let request = FindMissingRequest { job: job.to_owned(), digests };
        let call = || {
            let (mut context, request) = (client.context(), timed(request.clone(), LONG_CALL));
            async move { context.find_missing(request).await }
        };
        let answer = Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?;
        for digest in answer.digests {
            let blob = Digest::try_from(digest.as_slice()).ok().and_then(|digest| blobs.get(&digest));
            missing.push(blob.ok_or_else(|| SyncError::Unknown { digest: hex::encode(&digest) })?.clone());
        }
    }
    Ok(missing)
}

async fn commit(client: &Client, job: &str) -> Result<Vec<Vec<u8>>, SyncError> {
    let request = CommitRequest { job: job.to_owned() };
    let call = || {
        let (mut context, request) = (client.context(), timed(request.clone(), LONG_CALL));
        async move { context.commit(request).await }
    };
    Ok(Patience::RESTART.call(call).await.map_err(|status| client.error(&status))?.missing)
}
