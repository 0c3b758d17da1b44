//! SSH agents by id (`moby.sshforward.v1`): a connection for each that a step makes, for what it may ask ([`guard`]).

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bollard_buildkit_proto::moby::sshforward::v1 as api;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use slipway_agent_guard as guard;
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// The id's key in a call's metadata (BuildKit, `session/sshforward/ssh.go`).
const ID: &str = "buildkit.ssh.id";
/// What it is without one.
const DEFAULT: &str = "default";
/// BuildKit's own clients send pieces of this size.
const PIECE: usize = 32 << 10;
/// Answers on their way to a step.
const QUEUE: usize = 8;
/// Connections that the steps of one build may have at the same time: each is one in the service, too.
const MAX_CONNECTIONS: usize = 32;

/// Connects to an agent; without `connect` it only finds out whether that can be had.
pub type Dial = Arc<dyn Fn(String, bool) -> BoxFuture<'static, io::Result<UnixStream>> + Send + Sync>;

/// The agents that steps of one build may use.
#[derive(Clone)]
pub struct Agents {
    ids: Arc<Vec<String>>,
    dial: Option<Dial>,
    places: Arc<Semaphore>,
}

impl Default for Agents {
    fn default() -> Self {
        Self { ids: Arc::default(), dial: None, places: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }
}

impl Agents {
    /// With these ids, by way of `dial`.
    pub fn new(ids: Vec<String>, dial: Dial) -> Self {
        Self { ids: Arc::new(ids), dial: Some(dial), ..Self::default() }
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
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "more than {MAX_CONNECTIONS} connections to SSH agents at the same time"
            ))
        })?;
        let agent = self.connect(&id, true).await?;
        let from_step =
            request.into_inner().map(|message| message.map(|message| message.data).map_err(io::Error::other));
        let (to_step, answers) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let _place = place;
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

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::moby::sshforward::v1::ssh_client::SshClient;
    use bollard_buildkit_proto::moby::sshforward::v1::ssh_server::SshServer;
    use hyper_util::rt::TokioIo;

    use super::*;

    #[tokio::test]
    async fn a_step_that_connects_without_end_is_refused() {
        // The agent's ends of what was dialled: an agent that says nothing.
        let (dialled, _agents) = mpsc::unbounded_channel();
        let dial: Dial = Arc::new(move |_, _| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            dialled.send(theirs).unwrap();
            Box::pin(async move { Ok(ours) })
        });
        let (client, server) = tokio::io::duplex(1 << 20);
        let routes = tonic::service::Routes::new(SshServer::new(Agents::new(vec![DEFAULT.to_owned()], dial)));
        let connections = tokio_stream::iter([Ok::<_, io::Error>(server)]);
        let serving = tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(connections);
        tokio::spawn(serving);
        let mut client = Some(TokioIo::new(client));
        let connect = tower::service_fn(move |_: http::Uri| {
            let client = client.take().ok_or_else(|| io::Error::other("once"));
            async move { client }
        });
        let endpoint = tonic::transport::Endpoint::from_static("http://agents");
        let client = SshClient::new(endpoint.connect_with_connector(connect).await.unwrap());
        // The step's end, and what it hears.
        let forward = || {
            let mut client = client.clone();
            let (step, asks) = mpsc::channel::<api::BytesMessage>(1);
            async move { client.forward_agent(ReceiverStream::new(asks)).await.map(|heard| (step, heard.into_inner())) }
        };
        let mut open = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            open.push(forward().await.unwrap());
        }
        let refused = forward().await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
        // One that ends makes room.
        let (step, mut heard) = open.remove(0);
        drop(step);
        assert_eq!(heard.message().await.unwrap(), None);
        while forward().await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
