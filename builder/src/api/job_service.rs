//! `JobService`.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use slipway_proto::v1 as api;
use slipway_proto::v1::job_service_server::JobService;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{grace, namespace};
use super::status::from_jobs;
use super::{State, open};
use crate::jobs::sync::Submitted;

/// Batches of events on their way to one watcher.
const QUEUE: usize = 4;
/// Bytes of an archive in one message.
const PIECE: usize = 256 << 10;
/// The same of what passes between a step and an SSH agent.
const AGENT_PIECE: usize = 32 << 10;

pub(super) struct JobApi(pub(super) State);

#[tonic::async_trait]
impl JobService for JobApi {
    async fn submit(&self, request: Request<api::SubmitRequest>) -> Result<Response<api::SubmitResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let submission = request.try_into()?;
        let submitted = self.0.jobs.submit(&caller, submission).await.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(match submitted {
            Submitted::Job { row, missing_roots } => {
                api::SubmitResponse { job: Some((*row).into()), missing_roots, widen_roots: Vec::new() }
            }
            Submitted::Widen(widen_roots) => api::SubmitResponse { widen_roots, ..Default::default() },
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<api::WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<api::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let row = self.0.jobs.get(&caller, &request.job).await.map_err(|error| from_jobs(&error))?;
        let mut watch = self.0.jobs.watch(row.id, request.after_seq, !request.no_follow);
        let (batches, queue) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let pass_on = async {
                loop {
                    let batch = match watch.next().await {
                        Ok(events) if events.is_empty() => break,
                        Ok(events) => Ok(api::WatchResponse { events }),
                        Err(error) => Err(from_jobs(&error)),
                    };
                    let last = batch.is_err();
                    if batches.send(batch).await.is_err() || last {
                        break;
                    }
                }
            };
            tokio::select! {
                () = pass_on => {}
                // The watcher went away while nothing happened.
                () = batches.closed() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    type ReadArtifactsStream = Pin<Box<dyn Stream<Item = Result<api::ReadArtifactsResponse, Status>> + Send>>;

    async fn read_artifacts(
        &self,
        request: Request<api::ReadArtifactsRequest>,
    ) -> Result<Response<Self::ReadArtifactsStream>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let file = self.0.jobs.open_artifacts(&caller, &request.job, &request.test, request.offset).await;
        let file = tokio::fs::File::from_std(file.map_err(|error| from_jobs(&error))?);
        let pieces = ReaderStream::with_capacity(file, PIECE).map(|piece| match piece {
            Ok(piece) => Ok(api::ReadArtifactsResponse { data: piece.to_vec() }),
            Err(error) => Err(Status::data_loss(format!("read artifacts: {error}"))),
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    type ReadExportStream = Pin<Box<dyn Stream<Item = Result<api::ReadExportResponse, Status>> + Send>>;

    async fn read_export(
        &self,
        request: Request<api::ReadExportRequest>,
    ) -> Result<Response<Self::ReadExportStream>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let which = (request.service.as_str(), request.index);
        let file = self.0.jobs.open_export(&caller, &request.job, which, request.offset).await;
        let file = tokio::fs::File::from_std(file.map_err(|error| from_jobs(&error))?);
        // It reads on when the one before has been sent.
        let pieces = ReaderStream::with_capacity(file, PIECE).map(|piece| match piece {
            Ok(piece) => Ok(api::ReadExportResponse { data: piece.to_vec() }),
            Err(error) => Err(Status::data_loss(format!("read the archive: {error}"))),
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn forget_export(
        &self,
        request: Request<api::ForgetExportRequest>,
    ) -> Result<Response<api::ForgetExportResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let which = (request.service.as_str(), request.index);
        let forgotten = self.0.jobs.forget_export(&caller, &request.job, which).await;
        forgotten.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(api::ForgetExportResponse {}))
    }

    type AttachAgentsStream = Pin<Box<dyn Stream<Item = Result<api::AgentConnection, Status>> + Send>>;

    async fn attach_agents(
        &self,
        request: Request<api::AttachAgentsRequest>,
    ) -> Result<Response<Self::AttachAgentsStream>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let asked = self.0.jobs.attach_agents(&caller, &request.job, request.ids).await;
        let asked = ReceiverStream::new(asked.map_err(|error| from_jobs(&error))?);
        let here = futures::stream::once(async { Ok(api::AgentConnection::default()) });
        let asked = asked.map(|asked| Ok(api::AgentConnection { connection: asked.connection, id: asked.id }));
        Ok(Response::new(Box::pin(here.chain(asked))))
    }

    type ServeAgentStream = Pin<Box<dyn Stream<Item = Result<api::AgentData, Status>> + Send>>;

    async fn serve_agent(
        &self,
        request: Request<Streaming<api::AgentData>>,
    ) -> Result<Response<Self::ServeAgentStream>, Status> {
        let (caller, mut from_caller) = open(&self.0, request).await?;
        let first = from_caller.message().await?.ok_or_else(|| Status::invalid_argument("no first message"))?;
        let stream = self.0.jobs.take_agent(&caller, &first.job, first.connection).await;
        let (from_step, mut to_step) = stream.map_err(|error| from_jobs(&error))?.into_split();
        tokio::spawn(async move {
            let mut data = first.data;
            loop {
                if to_step.write_all(&data).await.is_err() {
                    return;
                }
                match from_caller.message().await {
                    Ok(Some(message)) => data = message.data,
                    _ => break,
                }
            }
            let _ = to_step.shutdown().await;
        });
        let pieces = ReaderStream::with_capacity(from_step, AGENT_PIECE).map(|piece| match piece {
            Ok(piece) => Ok(api::AgentData { data: piece.to_vec(), ..api::AgentData::default() }),
            Err(error) => Err(Status::aborted(error.to_string())),
        });
        Ok(Response::new(Box::pin(pieces)))
    }

    async fn get(&self, request: Request<api::GetJobRequest>) -> Result<Response<api::Job>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let row = self.0.jobs.get(&caller, &request.job).await.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(row.into()))
    }

    async fn list(&self, request: Request<api::ListJobsRequest>) -> Result<Response<api::ListJobsResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let chosen = if request.namespace.is_empty() { None } else { Some(namespace(&request.namespace)?) };
        let rows = self.0.jobs.list(&caller, chosen, request.limit).await.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(api::ListJobsResponse { jobs: rows.into_iter().map(Into::into).collect() }))
    }

    async fn cancel(&self, request: Request<api::CancelJobRequest>) -> Result<Response<api::Job>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let grace = grace(request.grace_ms)?.map(|ms| Duration::from_millis(ms.into()));
        let row = self.0.jobs.cancel(&caller, &request.job, grace).await.map_err(|error| from_jobs(&error))?;
        Ok(Response::new(row.into()))
    }
}
