//! `ContextService`: the sync of a job's roots.

use std::time::Duration;

use slipway_context::Digest;
use slipway_proto::v1 as api;
use slipway_proto::v1::context_service_server::ContextService;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::convert::digest;
use super::status::from_jobs;
use super::{State, open};

/// Frames between the network and the disk, at most 1 MiB each.
const QUEUE: usize = 4;
/// How long an upload may be silent: it holds a thread.
const IDLE: Duration = Duration::from_mins(1);

pub(super) struct Contexts(pub(super) State);

#[tonic::async_trait]
impl ContextService for Contexts {
    async fn find_missing(
        &self,
        request: Request<api::FindMissingRequest>,
    ) -> Result<Response<api::FindMissingResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let digests = request.digests.iter().map(|bytes| digest("digests", bytes)).collect::<Result<_, _>>()?;
        let missing =
            self.0.jobs.find_missing(&caller, &request.job, digests).await.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(api::FindMissingResponse { digests: bytes(&missing) }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<api::UploadRequest>>,
    ) -> Result<Response<api::UploadResponse>, Status> {
        let (caller, mut messages) = open(&self.0, request).await?;
        let Some(first) = messages.message().await? else {
            return Err(Status::invalid_argument("job: the first message names it"));
        };
        let (frames, queue) = mpsc::channel(QUEUE);
        let receive = async move {
            let mut cut = Ok(());
            loop {
                let next = tokio::time::timeout(IDLE, messages.message()).await;
                match next.unwrap_or_else(|_| Err(Status::deadline_exceeded("upload: nothing came for 60 s"))) {
                    Ok(Some(message)) => {
                        // The store has refused something: its error is the answer.
                        if frames.send(message.frame).await.is_err() {
                            break;
                        }
                    }
                    Ok(None) => break,
                    Err(status) => {
                        cut = Err(status);
                        break;
                    }
                }
            }
            cut
        };
        let (stored, cut) = tokio::join!(self.0.jobs.upload(&caller, &first.job, queue), receive);
        cut?;
        let (blobs, bytes) = stored.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(api::UploadResponse { blobs, bytes }))
    }

    async fn commit(&self, request: Request<api::CommitRequest>) -> Result<Response<api::CommitResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let missing = self.0.jobs.commit(&caller, &request.job).await.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(api::CommitResponse { missing: bytes(&missing) }))
    }
}

fn bytes(digests: &[Digest]) -> Vec<Vec<u8>> {
    digests.iter().map(|digest| digest.as_bytes().to_vec()).collect()
}
