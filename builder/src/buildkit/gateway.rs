//! A container on an engine whose processes we start (BuildKit's `LLBBridge`, `frontend/gateway/pb/gateway.proto`).
//!
//! `Control.Solve` with neither frontend nor definition opens a build; all calls that carry its reference belong to it, and it
//! ends with `Return`, or when the call is dropped, which kills what runs. Such a container is never cached and never merged
//! with another's.

use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1 as control;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::{
    self, ExecMessage, FdMessage, InitMessage, NewContainerRequest, ReleaseContainerRequest, ResolveImageConfigRequest,
    ReturnRequest, StatFileRequest, exec_message,
};
use bollard_buildkit_proto::pb::{
    CacheOpt, CacheSharingOpt, Definition, HostIp, Meta, Mount, MountType, NetMode, SecretOpt, SshOpt,
};
use slipway_manifest::options::ExtraHost;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Streaming};

use super::engine::ascii;
use super::policy::{SourceRule, policy};
use super::session::Session;
use super::{Engine, Error, llb, random_id};

/// Messages on their way to a process, at most 32 KiB each.
const QUEUE: usize = 16;
/// The largest piece of a process's input or output in one message.
const PIECE: usize = 32 << 10;
/// How long an engine may take to find out about an image or to make a container.
const CALL_TIMEOUT: Duration = Duration::from_mins(5);

/// A build that we lead.
#[derive(Debug)]
pub struct Gateway {
    engine: Engine,
    reference: String,
    /// Ends the `Control.Solve` call, and with it everything in the build.
    _solving: DropGuard,
    solved: tokio::task::JoinHandle<Result<(), Error>>,
}

/// What a mount shows.
#[derive(Debug, Clone)]
pub struct ContainerMount {
    /// A result of [`Gateway::solve`]; empty: it needs none.
    pub result: String,
    /// Where.
    pub dest: String,
    /// Whether the process may not write to it.
    pub readonly: bool,
    /// What of it.
    pub shows: Shows,
}

/// The network of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What the engine gives to all steps.
    Engine,
    /// Its own loopback, and nothing else.
    Loopback,
}

/// What a mount is.
#[derive(Debug, Clone)]
pub enum Shows {
    /// A folder of the result; empty: all of it.
    Folder(String),
    /// A cache mount, private while it is in use, that begins as a folder of the result.
    Cache {
        /// Whoever names it has it.
        id: String,
        /// The folder.
        from: String,
    },
    /// A file in memory: the session's secret of this id, for every user of the container.
    Secret(String),
    /// A socket: the session's SSH agent of this id, for every user of the container.
    SshAgent(String),
}

impl ContainerMount {
    fn to_mount(&self) -> Mount {
        let mount = Mount {
            dest: self.dest.clone(),
            result_id: self.result.clone(),
            input: -1,
            readonly: self.readonly,
            mount_type: MountType::Bind.into(),
            ..Mount::default()
        };
        match &self.shows {
            Shows::Folder(selector) => Mount { selector: selector.clone(), ..mount },
            Shows::Cache { id, from } => Mount {
                mount_type: MountType::Cache.into(),
                selector: from.clone(),
                cache_opt: Some(CacheOpt { id: id.clone(), sharing: CacheSharingOpt::Private.into() }),
                // The folder that it begins as is nobody's result.
                output: -1,
                ..mount
            },
            Shows::Secret(id) => Mount {
                mount_type: MountType::Secret.into(),
                secret_opt: Some(SecretOpt { id: id.clone(), mode: 0o444, ..SecretOpt::default() }),
                ..mount
            },
            Shows::SshAgent(id) => Mount {
                mount_type: MountType::Ssh.into(),
                ssh_opt: Some(SshOpt { id: id.clone(), mode: 0o666, ..SshOpt::default() }),
                ..mount
            },
        }
    }
}

/// How to start the first process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Program and arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// `user`, `uid` or `uid:gid`; empty: root.
    pub user: String,
}

impl Gateway {
    /// Opens a build on the engine.
    pub fn open(engine: &Engine, session: &Session, sources: &[SourceRule]) -> Self {
        let reference = random_id();
        let request = control::SolveRequest {
            r#ref: reference.clone(),
            session: session.id().to_owned(),
            cache: Some(control::CacheOptions::default()),
            source_policy: Some(policy(sources)),
            // Keeps it out of the engine's build history.
            internal: true,
            ..control::SolveRequest::default()
        };
        let dropped = CancellationToken::new();
        let mut client = engine.control();
        let cancelled = dropped.clone();
        let solved = tokio::spawn(async move {
            match cancelled.run_until_cancelled(client.solve(request)).await {
                Some(Ok(_)) => Ok(()),
                Some(Err(status)) => Err(Error::from_status(status)),
                None => Err(Error::Cancelled),
            }
        });
        Self { engine: engine.clone(), reference, _solving: dropped.drop_guard(), solved }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("buildkit-controlapi-buildid", ascii(&self.reference));
        request
    }

    /// Evaluates a definition; the answer names its result.
    pub async fn solve(&self, definition: Definition) -> Result<String, Error> {
        let request = frontend::SolveRequest {
            definition: Some(definition),
            evaluate: true,
            allow_result_return: true,
            allow_result_array_ref: true,
            ..frontend::SolveRequest::default()
        };
        let response = self.engine.gateway().solve(self.request(request)).await.map_err(Error::from_status)?;
        match response.into_inner().result.and_then(|result| result.result) {
            Some(frontend::result::Result::Ref(reference)) => Ok(reference.id),
            _ => Err(Error::Lost("the engine gave no result for a definition".to_owned())),
        }
    }

    /// An image's configuration (OCI image spec, JSON) and the digest that it was resolved to.
    pub async fn image_config(&self, reference: &str) -> Result<(String, Vec<u8>), Error> {
        let request = ResolveImageConfigRequest {
            r#ref: reference.to_owned(),
            platform: Some(llb::platform()),
            resolve_mode: "default".to_owned(),
            log_name: format!("[internal] resolve {reference}"),
            ..ResolveImageConfigRequest::default()
        };
        let mut client = self.engine.gateway();
        let call = client.resolve_image_config(self.request(request));
        let response = timely(call).await?.into_inner();
        Ok((response.digest, response.config))
    }

    /// Whether a result holds this file.
    pub async fn has_file(&self, result: &str, path: &str) -> Result<bool, Error> {
        let request = StatFileRequest { r#ref: result.to_owned(), path: path.to_owned(), ..StatFileRequest::default() };
        let mut client = self.engine.gateway();
        match timely(client.stat_file(self.request(request))).await {
            Ok(_) => Ok(true),
            // It has no code of its own.
            Err(error) if error.to_string().contains("no such file or directory") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a container and starts its first process; when that ends, so does the container.
    pub async fn start(
        &self,
        mounts: &[ContainerMount],
        hosts: &[ExtraHost],
        network: Network,
        process: &Process,
    ) -> Result<(Input, Output), Error> {
        let container = random_id();
        let hosts = hosts.iter().map(|host| HostIp { host: host.name.clone(), ip: host.address.to_string() });
        let request = NewContainerRequest {
            container_id: container.clone(),
            mounts: mounts.iter().map(ContainerMount::to_mount).collect(),
            extra_hosts: hosts.collect(),
            network: match network {
                Network::Engine => NetMode::Unset,
                Network::Loopback => NetMode::None,
            }
            .into(),
            platform: Some(llb::platform()),
            // No hostname: a buildkitd with CNI takes a network from its pool only for containers without one.
            ..NewContainerRequest::default()
        };
        let mut client = self.engine.gateway();
        timely(client.new_container(self.request(request))).await?;

        let process_id = random_id();
        let (send, messages) = mpsc::channel(QUEUE);
        let init = InitMessage {
            container_id: container.clone(),
            meta: Some(Meta {
                args: process.args.clone(),
                env: process.env.clone(),
                cwd: process.cwd.clone(),
                user: process.user.clone(),
                ..Meta::default()
            }),
            // Only what we will end: BuildKit waits for the end of each that is listed.
            fds: vec![0, 1, 2],
            ..InitMessage::default()
        };
        let message = ExecMessage { process_id: process_id.clone(), input: Some(exec_message::Input::Init(init)) };
        let gone = |_| Error::Lost("the engine ended the process's call".to_owned());
        send.send(message).await.map_err(gone)?;
        let mut client = self.engine.gateway();
        let stream = timely(client.exec_process(self.request(ReceiverStream::new(messages)))).await?;
        Ok((Input { process_id, send }, Output { stream: stream.into_inner(), container }))
    }

    /// Takes a container down.
    pub async fn release(&self, container: &str) -> Result<(), Error> {
        let request = ReleaseContainerRequest { container_id: container.to_owned() };
        // It answers with the process's exit error, which is no failure of ours.
        let mut client = self.engine.gateway();
        let _ = timely(client.release_container(self.request(request))).await;
        Ok(())
    }

    /// Ends the build in good order.
    pub async fn finish(self) -> Result<(), Error> {
        let request = ReturnRequest { result: Some(frontend::Result::default()), error: None };
        let mut client = self.engine.gateway();
        timely(client.r#return(self.request(request))).await?;
        match tokio::time::timeout(Duration::from_secs(10), self.solved).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }
}

async fn timely<T>(call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result.map_err(Error::from_status),
        Err(_) => Err(Error::Lost("the engine did not answer in time".to_owned())),
    }
}

/// A process's standard input.
#[derive(Debug, Clone)]
pub struct Input {
    process_id: String,
    send: mpsc::Sender<ExecMessage>,
}

impl Input {
    /// Writes bytes. An error means that the process is gone.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        for piece in bytes.chunks(PIECE) {
            self.file(piece.to_vec(), false).await?;
        }
        Ok(())
    }

    /// Ends the input.
    pub async fn close(&self) -> Result<(), Error> {
        self.file(Vec::new(), true).await
    }

    async fn file(&self, data: Vec<u8>, eof: bool) -> Result<(), Error> {
        let file = FdMessage { fd: 0, eof, data };
        let message = ExecMessage { process_id: self.process_id.clone(), input: Some(exec_message::Input::File(file)) };
        self.send.send(message).await.map_err(|_| Error::Lost("the runner's channel is closed".to_owned()))
    }
}

/// What a process says.
#[derive(Debug)]
pub enum Said {
    /// On its standard output.
    Stdout(Vec<u8>),
    /// On its standard error.
    Stderr(Vec<u8>),
    /// It has ended with this code; what the engine says of a process that it could not start.
    Exited(u32, String),
}

/// What a process says, in order.
#[derive(Debug)]
pub struct Output {
    stream: Streaming<ExecMessage>,
    container: String,
}

impl Output {
    /// The container, for [`Gateway::release`].
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The next thing; nothing after the end.
    pub async fn next(&mut self) -> Result<Option<Said>, Error> {
        loop {
            let Some(message) = self.stream.message().await.map_err(Error::from_status)? else { return Ok(None) };
            match message.input {
                Some(exec_message::Input::File(file)) if !file.data.is_empty() => {
                    return Ok(Some(if file.fd == 2 { Said::Stderr(file.data) } else { Said::Stdout(file.data) }));
                }
                Some(exec_message::Input::Exit(exit)) => {
                    let message = exit.error.map(|error| error.message).unwrap_or_default();
                    return Ok(Some(Said::Exited(exit.code, message)));
                }
                Some(exec_message::Input::Done(_)) => return Ok(None),
                _ => {}
            }
        }
    }
}
