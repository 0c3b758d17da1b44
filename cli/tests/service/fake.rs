//! A service that speaks the wire and does nothing: it records what it is told, and tells what its script says.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use slipway_context::{ChunkList, Digest, Directory, Node};
use slipway_proto::SYNC_HISTORY;
use slipway_proto::v1::context_service_server::{ContextService, ContextServiceServer};
use slipway_proto::v1::environment_service_server::{EnvironmentService, EnvironmentServiceServer};
use slipway_proto::v1::image_service_server::{ImageService, ImageServiceServer};
use slipway_proto::v1::job_service_server::{JobService, JobServiceServer};
use slipway_proto::v1::server_service_server::{ServerService, ServerServiceServer};
use slipway_proto::v1::variable_service_server::{VariableService, VariableServiceServer};
use slipway_proto::v1::{
    AgentConnection, AgentData, AttachAgentsRequest, CancelJobRequest, DeleteEnvironmentRequest,
    DeleteEnvironmentResponse, DeleteImageRequest, DeleteImageResponse, Environment, EnvironmentVariable, Event,
    ForgetExportRequest, ForgetExportResponse, GetJobRequest, GetServerInfoRequest, Job, JobDone, JobState, JobStatus,
    ListEnvironmentsRequest, ListEnvironmentsResponse, ListImagesRequest, ListImagesResponse, ListJobsRequest,
    ListJobsResponse, ListVariablesRequest, ListVariablesResponse, ReadArtifactsRequest, ReadArtifactsResponse,
    ReadExportRequest, ReadExportResponse, ResolveImagesRequest, ResolveImagesResponse, ResolveVariablesRequest,
    ResolveVariablesResponse, ResolvedImage, ServerInfo, SetVariableRequest, ShowEnvironmentRequest,
    ShowEnvironmentResponse, ShowImageRequest, ShowImageResponse, SubmitRequest, SubmitResponse, SyncCommitted,
    SyncMissing, SyncRequest, SyncResponse, SyncStored, UnsetVariableRequest, UnsetVariableResponse, Variable,
    VariableKind, WatchRequest, WatchResponse, WhoAmIRequest, WhoAmIResponse, event::Kind, sync_request::Kind as Said,
    sync_response::Kind as Answer,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use zstd::zstd_safe::DCtx;

pub(crate) const JOB: &str = "01900000-0000-7000-8000-000000000001";
pub(crate) const TOKEN: &str = "right-sesame";
/// Where it pushes.
pub(crate) const REGISTRY: &str = "registry.example";
/// What it can, unless it is old.
const FEATURES: [&str; 3] = ["sections", "dependencies", "test-options"];

/// What the service does.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a trouble of its own")]
pub(crate) struct Script {
    /// The job's events; without job.done at the end it goes on until it is cancelled.
    pub(crate) events: Vec<Kind>,
    /// The first watch ends after this event.
    pub(crate) cut_after: Option<u64>,
    /// The first submit is heard, and its answer lost.
    pub(crate) lose_submit: bool,
    /// After how many frames each sync call breaks; 0: it does not.
    pub(crate) cut_syncs: Vec<usize>,
    /// Every check asks for this.
    pub(crate) asks_for: Vec<u8>,
    /// Sync calls never come to an end.
    pub(crate) stall: bool,
    /// No job before all roots are complete.
    pub(crate) widen: bool,
    /// Large contents are counted, not kept.
    pub(crate) discard: bool,
    /// An archive; the connection of its first reading breaks in its middle.
    pub(crate) archive: Vec<u8>,
    /// What deploys left.
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    /// What the service keeps for whoever may use the namespace.
    pub(crate) service_variables: Vec<(&'static str, &'static str, VariableKind)>,
    /// It knows none of the abilities and services that came later.
    pub(crate) old: bool,
    /// Who asks is a command of a job, which may forget nothing.
    pub(crate) in_job: bool,
    pub(crate) min_client: String,
    pub(crate) namespaces: Vec<String>,
}

/// What the service was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) submits: Vec<SubmitRequest>,
    pub(crate) blobs: BTreeMap<Vec<u8>, (i64, Vec<u8>)>,
    /// How often each blob came.
    pub(crate) received: BTreeMap<Vec<u8>, usize>,
    pub(crate) syncs: usize,
    pub(crate) checks: usize,
    pub(crate) zstd_frames: usize,
    pub(crate) raw_frames: usize,
    pub(crate) committed: bool,
    /// Bytes of discarded frames, decompressed.
    pub(crate) discarded: usize,
    pub(crate) watches: Vec<u64>,
    pub(crate) cancelled: bool,
    /// The offsets at which the archive was read.
    pub(crate) reads: Vec<u64>,
    pub(crate) forgotten: usize,
    /// Environments that were forgotten.
    pub(crate) destroyed: Vec<String>,
    /// Namespaces whose variables were asked for.
    pub(crate) resolved: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) url: String,
    script: Arc<Script>,
    told: Arc<Mutex<Told>>,
}

impl Fake {
    /// Starts it on a port of its own.
    pub(crate) async fn start(script: Script) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { url, script: Arc::new(script), told: Arc::default() };
        let later = !fake.script.old;
        let router = Server::builder()
            .add_service(ServerServiceServer::new(fake.clone()))
            .add_service(JobServiceServer::new(fake.clone()))
            .add_service(ImageServiceServer::new(fake.clone()))
            .add_optional_service(later.then(|| EnvironmentServiceServer::new(fake.clone())))
            .add_optional_service(later.then(|| VariableServiceServer::new(fake.clone())))
            .add_service(ContextServiceServer::new(fake.clone()).max_decoding_message_size(16 << 20));
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        fake
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    fn job(state: JobState) -> Job {
        Job { id: JOB.to_owned(), state: state.into(), ..Job::default() }
    }
}

fn authorize<T>(request: &Request<T>) -> Result<(), Status> {
    let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
    if token == Some(&format!("Bearer {TOKEN}")) { Ok(()) } else { Err(Status::unauthenticated("no such token")) }
}

#[tonic::async_trait]
impl EnvironmentService for Fake {
    async fn list_environments(
        &self,
        _: Request<ListEnvironmentsRequest>,
    ) -> Result<Response<ListEnvironmentsResponse>, Status> {
        let environment = Environment { name: "ex".to_owned(), namespace: "dev".to_owned(), ..Environment::default() };
        Ok(Response::new(ListEnvironmentsResponse { environments: vec![environment] }))
    }

    async fn show_environment(
        &self,
        request: Request<ShowEnvironmentRequest>,
    ) -> Result<Response<ShowEnvironmentResponse>, Status> {
        let request = request.into_inner();
        if self.script.variables.is_empty() || request.name != "ex" {
            return Err(Status::not_found("there is no environment"));
        }
        let variables = self.script.variables.iter().map(|(name, value)| EnvironmentVariable {
            name: (*name).to_owned(),
            value: request.values.then(|| (*value).to_owned()),
        });
        let environment = Environment { name: request.name, namespace: request.namespace, ..Environment::default() };
        let (variables, environment) = (variables.collect(), Some(environment));
        Ok(Response::new(ShowEnvironmentResponse { environment, variables, ..ShowEnvironmentResponse::default() }))
    }

    async fn delete_environment(
        &self,
        request: Request<DeleteEnvironmentRequest>,
    ) -> Result<Response<DeleteEnvironmentResponse>, Status> {
        if self.script.in_job {
            return Err(Status::permission_denied("a job can't forget an environment"));
        }
        let DeleteEnvironmentRequest { namespace, name } = request.into_inner();
        self.told().destroyed.push(format!("{namespace}/{name}"));
        Ok(Response::new(DeleteEnvironmentResponse {}))
    }
}

#[tonic::async_trait]
impl VariableService for Fake {
    async fn list_variables(
        &self,
        _: Request<ListVariablesRequest>,
    ) -> Result<Response<ListVariablesResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn set_variable(&self, _: Request<SetVariableRequest>) -> Result<Response<Variable>, Status> {
        Err(Status::unimplemented("set"))
    }

    async fn unset_variable(
        &self,
        _: Request<UnsetVariableRequest>,
    ) -> Result<Response<UnsetVariableResponse>, Status> {
        Err(Status::unimplemented("unset"))
    }

    async fn resolve_variables(
        &self,
        request: Request<ResolveVariablesRequest>,
    ) -> Result<Response<ResolveVariablesResponse>, Status> {
        authorize(&request)?;
        self.told().resolved.push(request.into_inner().namespace);
        let variables = self.script.service_variables.iter().map(|(name, value, kind)| Variable {
            name: (*name).to_owned(),
            kind: (*kind).into(),
            value: (*kind != VariableKind::Secret).then(|| (*value).to_owned()),
            ..Variable::default()
        });
        Ok(Response::new(ResolveVariablesResponse { variables: variables.collect(), force_remote: false }))
    }
}

#[tonic::async_trait]
impl ServerService for Fake {
    async fn get_server_info(&self, _: Request<GetServerInfoRequest>) -> Result<Response<ServerInfo>, Status> {
        Ok(Response::new(ServerInfo {
            min_client: self.script.min_client.clone(),
            registry: REGISTRY.to_owned(),
            features: if self.script.old { Vec::new() } else { FEATURES.map(str::to_owned).to_vec() },
            ..ServerInfo::default()
        }))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        authorize(&request)?;
        let namespaces = self.script.namespaces.clone();
        Ok(Response::new(WhoAmIResponse { user: "ann".to_owned(), admin: false, namespaces }))
    }
}

#[tonic::async_trait]
impl ImageService for Fake {
    async fn list(&self, _: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        Err(Status::unimplemented("list"))
    }

    async fn show(&self, _: Request<ShowImageRequest>) -> Result<Response<ShowImageResponse>, Status> {
        Err(Status::unimplemented("show"))
    }

    async fn delete(&self, _: Request<DeleteImageRequest>) -> Result<Response<DeleteImageResponse>, Status> {
        Err(Status::unimplemented("delete"))
    }

    async fn resolve(&self, request: Request<ResolveImagesRequest>) -> Result<Response<ResolveImagesResponse>, Status> {
        authorize(&request)?;
        let namespace = request.get_ref().namespace.clone();
        let resolved = |image: &String| ResolvedImage {
            image: image.replace("okteto.dev", &format!("reg:1/{namespace}")),
            digest: if image.contains("gone") { String::new() } else { "sha256:1".to_owned() },
        };
        Ok(Response::new(ResolveImagesResponse { images: request.get_ref().images.iter().map(resolved).collect() }))
    }
}

#[tonic::async_trait]
impl ContextService for Fake {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<SyncResponse, Status>> + Send>>;

    async fn sync(&self, request: Request<Streaming<SyncRequest>>) -> Result<Response<Self::SyncStream>, Status> {
        authorize(&request)?;
        let mut requests = request.into_inner();
        let Some(Said::Open(open)) = requests.message().await?.unwrap().kind else { panic!("no open") };
        assert_eq!(open.job, JOB);
        let call = {
            let mut told = self.told();
            told.syncs += 1;
            told.syncs
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(4);
        let fake = self.clone();
        tokio::spawn(async move {
            if fake.script.stall {
                std::future::pending::<()>().await;
            }
            if let Err(status) = fake.serve(call, &mut requests, &sender).await {
                let _ = sender.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Fake {
    async fn serve(
        &self,
        call: usize,
        requests: &mut Streaming<SyncRequest>,
        sender: &tokio::sync::mpsc::Sender<Result<SyncResponse, Status>>,
    ) -> Result<(), Status> {
        let (mut records, mut history, mut stored, mut frames) = (Vec::new(), Vec::new(), 0, 0);
        let answer = |kind| sender.send(Ok(SyncResponse { kind: Some(kind) }));
        while let Some(request) = requests.message().await? {
            let frame = match request.kind.unwrap() {
                Said::ZstdFrame(frame) => {
                    self.told().zstd_frames += 1;
                    decompress(&frame, &history)
                }
                Said::RawFrame(frame) => {
                    self.told().raw_frames += 1;
                    frame
                }
                Said::Open(_) => panic!("a second open"),
                Said::Check(_) => {
                    assert!(records.is_empty(), "a check comes between records");
                    let missing = self.check();
                    if missing.is_empty() {
                        let _ = answer(Answer::Committed(SyncCommitted {})).await;
                        return Ok(());
                    }
                    let parts: Vec<_> = missing.chunks(2).collect();
                    for (number, part) in parts.iter().enumerate() {
                        let last = number + 1 == parts.len();
                        let _ = answer(Answer::Missing(SyncMissing { digests: part.to_vec(), last })).await;
                    }
                    continue;
                }
            };
            frames += 1;
            assert!(frame.len() <= 1 << 20);
            history.extend_from_slice(&frame);
            history.drain(..history.len().saturating_sub(SYNC_HISTORY));
            if self.script.discard {
                self.told().discarded += frame.len();
            }
            records.extend(frame);
            while let Some((digest, seconds, content)) = take(&mut records) {
                stored += content.len() as u64;
                self.keep(digest, seconds, content);
            }
            if self.script.cut_syncs.get(call - 1).is_some_and(|after| *after == frames) {
                return Err(Status::unavailable("going down"));
            }
            let _ = sender.try_send(Ok(SyncResponse { kind: Some(Answer::Stored(SyncStored { bytes: stored })) }));
        }
        Ok(())
    }

    fn keep(&self, digest: Vec<u8>, seconds: i64, content: Vec<u8>) {
        assert_eq!(Digest::of(&content).as_bytes().as_slice(), digest, "the digest is the content's");
        let content = if self.script.discard && content.len() > 1 << 20 { Vec::new() } else { content };
        let mut told = self.told();
        *told.received.entry(digest.clone()).or_default() += 1;
        told.blobs.insert(digest, (seconds, content));
    }

    /// What the roots of the last submit lack.
    fn check(&self) -> Vec<Vec<u8>> {
        let mut told = self.told();
        told.checks += 1;
        if !self.script.asks_for.is_empty() {
            return vec![self.script.asks_for.clone()];
        }
        let mut open: Vec<_> = told.submits.last().unwrap().roots.iter().map(|root| root.digest.clone()).collect();
        let mut missing = BTreeSet::new();
        while let Some(digest) = open.pop() {
            let Some((_, node)) = told.blobs.get(&digest) else {
                missing.insert(digest);
                continue;
            };
            for entry in Directory::decode(node).unwrap().entries() {
                match &entry.node {
                    Node::Directory { digest } => open.push(digest.as_bytes().to_vec()),
                    Node::File { digest, .. } if !told.blobs.contains_key(digest.as_bytes().as_slice()) => {
                        missing.insert(digest.as_bytes().to_vec());
                    }
                    Node::File { digest, size, chunked: true } => {
                        let list = ChunkList::decode(&told.blobs[digest.as_bytes().as_slice()].1, *size).unwrap();
                        let chunks = list.chunks().iter().map(|chunk| chunk.digest.as_bytes().to_vec());
                        missing.extend(chunks.filter(|digest| !told.blobs.contains_key(digest)));
                    }
                    _ => {}
                }
            }
        }
        told.committed |= missing.is_empty();
        missing.into_iter().collect()
    }
}

/// Takes the first record, if all of it is there.
fn take(records: &mut Vec<u8>) -> Option<(Vec<u8>, i64, Vec<u8>)> {
    let size = u64::from_be_bytes(records.get(32..40)?.try_into().unwrap());
    let seconds = i64::from_be_bytes(records.get(40..48)?.try_into().unwrap());
    let end = 48 + usize::try_from(size).unwrap();
    let record = (records[..32].to_vec(), seconds, records.get(48..end)?.to_vec());
    records.drain(..end);
    Some(record)
}

#[tonic::async_trait]
impl JobService for Fake {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        authorize(&request)?;
        let request = request.into_inner();
        let mut told = self.told();
        for blob in request.roots.iter().flat_map(|root| &root.inline) {
            let digest = Digest::of(&blob.content).as_bytes().to_vec();
            told.blobs.insert(digest, (blob.seconds, blob.content.clone()));
        }
        let missing = request.roots.iter().filter(|root| !told.blobs.contains_key(&root.digest));
        let missing_roots: Vec<_> = missing.map(|root| root.name.clone()).collect();
        told.committed = missing_roots.is_empty();
        let narrowed = request.roots.iter().filter(|root| self.script.widen && !root.narrowed_to.is_empty());
        let widen_roots: Vec<_> = narrowed.map(|root| root.name.clone()).collect();
        told.submits.push(request);
        if !widen_roots.is_empty() {
            return Ok(Response::new(SubmitResponse { widen_roots, ..SubmitResponse::default() }));
        }
        if self.script.lose_submit && told.submits.len() == 1 {
            return Err(Status::unavailable("the answer is lost"));
        }
        Ok(Response::new(SubmitResponse {
            job: Some(Self::job(JobState::Syncing)),
            missing_roots,
            widen_roots: Vec::new(),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        authorize(&request)?;
        let request = request.into_inner();
        let first = {
            let mut told = self.told();
            told.watches.push(request.after_seq);
            told.watches.len() == 1
        };
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        let fake = self.clone();
        tokio::spawn(async move {
            // What a job does comes after its sync.
            let syncing = |told: &Told| !told.submits.is_empty() && !told.committed && !told.cancelled;
            while syncing(&fake.told()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let mut seq = 0;
            let event = |seq, kind| Event { seq, time: None, job: JOB.to_owned(), kind: Some(kind) };
            for kind in fake.script.events.clone() {
                seq += 1;
                if seq <= request.after_seq {
                    continue;
                }
                let answer = WatchResponse { events: vec![event(seq, kind)] };
                if sender.send(Ok(answer)).await.is_err() {
                    return;
                }
                if first && fake.script.cut_after == Some(seq) {
                    let _ = sender.send(Err(Status::unavailable("cut"))).await;
                    return;
                }
            }
            if matches!(fake.script.events.last(), Some(Kind::JobDone(_))) || request.no_follow {
                return;
            }
            while !fake.told().cancelled {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let done = Kind::JobDone(JobDone { status: JobStatus::Cancelled.into(), error: None });
            let _ = sender.send(Ok(WatchResponse { events: vec![event(seq + 1, done)] })).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver).map(|item| item))))
    }

    type ReadExportStream = Pin<Box<dyn Stream<Item = Result<ReadExportResponse, Status>> + Send>>;

    async fn read_export(
        &self,
        request: Request<ReadExportRequest>,
    ) -> Result<Response<Self::ReadExportStream>, Status> {
        authorize(&request)?;
        let offset = request.get_ref().offset;
        let mut told = self.told();
        told.reads.push(offset);
        let rest = self.script.archive[usize::try_from(offset).unwrap()..].to_vec();
        let half = rest[..rest.len() / 2].to_vec();
        Ok(Response::new(if told.reads.len() == 1 {
            let cut = [Ok(ReadExportResponse { data: half }), Err(Status::unavailable("cut"))];
            Box::pin(tokio_stream::iter(cut))
        } else {
            Box::pin(tokio_stream::iter([Ok(ReadExportResponse { data: rest })]))
        }))
    }

    type ReadArtifactsStream = Pin<Box<dyn Stream<Item = Result<ReadArtifactsResponse, Status>> + Send>>;

    async fn read_artifacts(
        &self,
        _: Request<ReadArtifactsRequest>,
    ) -> Result<Response<Self::ReadArtifactsStream>, Status> {
        Err(Status::unimplemented("no test asks for them"))
    }

    async fn forget_export(
        &self,
        request: Request<ForgetExportRequest>,
    ) -> Result<Response<ForgetExportResponse>, Status> {
        authorize(&request)?;
        self.told().forgotten += 1;
        Ok(Response::new(ForgetExportResponse {}))
    }

    type AttachAgentsStream = Pin<Box<dyn Stream<Item = Result<AgentConnection, Status>> + Send>>;

    async fn attach_agents(
        &self,
        _: Request<AttachAgentsRequest>,
    ) -> Result<Response<Self::AttachAgentsStream>, Status> {
        Err(Status::unimplemented("agents"))
    }

    type ServeAgentStream = Pin<Box<dyn Stream<Item = Result<AgentData, Status>> + Send>>;

    async fn serve_agent(&self, _: Request<Streaming<AgentData>>) -> Result<Response<Self::ServeAgentStream>, Status> {
        Err(Status::unimplemented("agents"))
    }

    async fn get(&self, request: Request<GetJobRequest>) -> Result<Response<Job>, Status> {
        authorize(&request)?;
        if request.get_ref().job == JOB {
            Ok(Response::new(Self::job(JobState::Running)))
        } else {
            Err(Status::not_found("no such job"))
        }
    }

    async fn list(&self, request: Request<ListJobsRequest>) -> Result<Response<ListJobsResponse>, Status> {
        authorize(&request)?;
        Ok(Response::new(ListJobsResponse { jobs: vec![Self::job(JobState::Running)] }))
    }

    async fn cancel(&self, request: Request<CancelJobRequest>) -> Result<Response<Job>, Status> {
        authorize(&request)?;
        self.told().cancelled = true;
        Ok(Response::new(Self::job(JobState::Cancelled)))
    }
}

/// A frame that may refer to what the ones before it held.
fn decompress(frame: &[u8], history: &[u8]) -> Vec<u8> {
    let (mut context, mut held) = (DCtx::create(), Vec::with_capacity(1 << 20));
    context.ref_prefix(history).unwrap();
    context.decompress(&mut held, frame).unwrap();
    drop(context);
    held
}
