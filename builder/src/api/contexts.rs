//! `ContextService`: the sync of a job's roots.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use slipway_proto::v1 as api;
use slipway_proto::v1::context_service_server::ContextService;
use slipway_proto::v1::sync_request::Kind;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::status::from_jobs;
use super::{State, open};
use crate::jobs::JobsError;
use crate::jobs::sync::{Answer, Message, SyncCall};

/// Frames between the network and the disk, at most 1 MiB each, and answers on their way to the client.
const QUEUE: usize = 4;
/// How long a client may take to say what it came for.
const FIRST: Duration = Duration::from_secs(30);

pub(super) struct Contexts(pub(super) State);

#[tonic::async_trait]
impl ContextService for Contexts {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<api::SyncResponse, Status>> + Send>>;

    async fn sync(&self, request: Request<Streaming<api::SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        let (caller, mut messages) = open(&self.0, request).await?;
        let first = tokio::time::timeout(FIRST, messages.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("open: nothing came"))??;
        let Some(Kind::Open(open)) = first.and_then(|first| first.kind) else {
            return Err(Status::invalid_argument("open: the first message of a sync names its job"));
        };
        let call = self.0.jobs.open_sync(&caller, &open.job, open.scanned_bytes).await;
        let call = call.map_err(|error| from_jobs(&error))?;
        let (answers, queue) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            if let Err(error) = serve(call, messages, &answers).await {
                // Nobody may be left to hear it.
                let _ = answers.send(Err(error)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue).map(|answer| match answer {
            Ok(answer) => Ok(response(answer)),
            Err(error) => Err(from_jobs(&error)),
        }))))
    }
}

/// Passes messages on until the call or the client is done.
async fn serve(
    call: SyncCall,
    mut messages: Streaming<api::SyncRequest>,
    answers: &mpsc::Sender<Result<Answer, JobsError>>,
) -> Result<(), JobsError> {
    let (frames, queue) = mpsc::channel(QUEUE);
    let receive = async move {
        // A cut ends the call as a client does that leaves: what was received stays.
        while let Ok(Some(request)) = messages.message().await {
            let message = message(request).map_err(JobsError::Invalid)?;
            if frames.send(message).await.is_err() {
                break; // The call has its result.
            }
        }
        Ok(())
    };
    let run = call.run(queue, answers);
    tokio::pin!(run);
    tokio::select! {
        ran = &mut run => ran,
        received = receive => {
            let ran = run.await;
            received.and(ran)
        }
    }
}

fn message(request: api::SyncRequest) -> Result<Message, String> {
    match request.kind {
        Some(Kind::ZstdFrame(frame)) => Ok(Message::Zstd(frame)),
        Some(Kind::RawFrame(frame)) => Ok(Message::Raw(frame)),
        Some(Kind::Check(_)) => Ok(Message::Check),
        Some(Kind::Open(_)) => Err("open: only the first message of a sync names its job".to_owned()),
        None => Err("kind: a message of the sync says nothing".to_owned()),
    }
}

fn response(answer: Answer) -> api::SyncResponse {
    use api::sync_response::Kind;
    let kind = match answer {
        Answer::Stored(bytes) => Kind::Stored(api::SyncStored { bytes }),
        Answer::Missing { digests, last } => {
            let digests = digests.iter().map(|digest| digest.as_bytes().to_vec()).collect();
            Kind::Missing(api::SyncMissing { digests, last })
        }
        Answer::Committed => Kind::Committed(api::SyncCommitted {}),
    };
    api::SyncResponse { kind: Some(kind) }
}
