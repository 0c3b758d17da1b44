//! SSH agents by id (`moby.sshforward.v1`): a raw connection for each that a step makes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::moby::sshforward::v1 as api;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The id's key in a call's metadata (BuildKit, `session/sshforward/ssh.go`).
const ID: &str = "buildkit.ssh.id";
/// What it is without one.
const DEFAULT: &str = "default";
/// BuildKit's own clients send pieces of this size.
const PIECE: usize = 32 << 10;
/// Pieces on their way to a step.
const QUEUE: usize = 8;

/// Connects to an agent; without `connect` it only finds out whether that can be had.
pub type Dial = Arc<dyn Fn(String, bool) -> BoxFuture<'static, io::Result<UnixStream>> + Send + Sync>;

/// The agents that steps of one build may use.
#[derive(Clone, Default)]
pub struct Agents {
    ids: Arc<Vec<String>>,
    dial: Option<Dial>,
}

impl Agents {
    /// With these ids, by way of `dial`.
    pub fn new(ids: Vec<String>, dial: Dial) -> Self {
        Self { ids: Arc::new(ids), dial: Some(dial) }
    }

    async fn connect(&self, id: &str, connect: bool) -> Result<UnixStream, Status> {
        let id = if id.is_empty() { DEFAULT } else { id };
        let dial = self.dial.as_ref().filter(|_| self.ids.iter().any(|known| known == id));
        let dial = dial.ok_or_else(|| Status::not_found(format!("no SSH agent `{id}` was given to the build")))?;
        dial(id.to_owned(), connect).await.map_err(|error| Status::failed_precondition(error.to_string()))
    }
}

impl fmt::Debug for Agents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids.iter()).finish()
    }
}

type Pieces = Pin<Box<dyn futures::Stream<Item = Result<api::BytesMessage, Status>> + Send>>;

#[tonic::async_trait]
impl api::ssh_server::Ssh for Agents {
    async fn check_agent(
        &self,
        request: Request<api::CheckAgentRequest>,
    ) -> Result<Response<api::CheckAgentResponse>, Status> {
        self.connect(&request.get_ref().id, false).await?;
        Ok(Response::new(api::CheckAgentResponse {}))
    }

    type ForwardAgentStream = Pieces;

    async fn forward_agent(&self, request: Request<Streaming<api::BytesMessage>>) -> Result<Response<Pieces>, Status> {
        let id = request.metadata().get(ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let (mut from_agent, mut to_agent) = self.connect(&id, true).await?.into_split();
        let mut from_step = request.into_inner();
        let (to_step, pieces) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Ok(Some(message)) = from_step.message().await {
                if to_agent.write_all(&message.data).await.is_err() {
                    return;
                }
            }
            let _ = to_agent.shutdown().await;
        });
        tokio::spawn(async move {
            let mut piece = vec![0; PIECE];
            while let Ok(count @ 1..) = from_agent.read(&mut piece).await {
                let data = piece.get(..count).unwrap_or_default().to_vec();
                if to_step.send(Ok(api::BytesMessage { data })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(pieces))))
    }
}
