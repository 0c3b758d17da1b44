//! SSH agents by id (`moby.sshforward.v1`): a connection for each that a step makes, for what it may ask ([`guard`]).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::moby::sshforward::v1 as api;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

mod guard;

/// The id's key in a call's metadata (BuildKit, `session/sshforward/ssh.go`).
const ID: &str = "buildkit.ssh.id";
/// What it is without one.
const DEFAULT: &str = "default";
/// BuildKit's own clients send pieces of this size.
const PIECE: usize = 32 << 10;
/// Answers on their way to a step.
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
        let agent = self.connect(&id, true).await?;
        let from_step =
            request.into_inner().map(|message| message.map(|message| message.data).map_err(io::Error::other));
        let (to_step, answers) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            if let Err(error) = guard::pass(from_step, agent, to_step).await {
                tracing::debug!(%error, "a step's connection to an SSH agent ended badly");
            }
        });
        // An answer may be longer than a message.
        let pieces = ReceiverStream::new(answers).flat_map(|answer: Vec<u8>| {
            let pieces: Vec<_> =
                answer.chunks(PIECE).map(|data| Ok(api::BytesMessage { data: data.to_vec() })).collect();
            futures::stream::iter(pieces)
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}
