//! The gRPC API, for what `slipway` would never ask.

use std::io::Write as _;

use slipway_context::{Digest, Directory, Entry, Node};
use slipway_proto::v1::context_service_client::ContextServiceClient;
use slipway_proto::v1::job_service_client::JobServiceClient;
use slipway_proto::v1::{
    Command, CommandsPlan, CommitRequest, FindMissingRequest, Job, JobKind, Plan, Root, SubmitRequest, SubmitResponse,
    UploadRequest, UploadResponse,
};
use tokio::runtime::Runtime;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::team::Team;
use crate::unique;

/// Calls in a team's name.
#[derive(Debug)]
pub struct Api {
    runtime: Runtime,
    channel: Channel,
    team: Team,
}

/// Adds the token to every call.
#[derive(Debug, Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorized = InterceptedService<Channel, Bearer>;

/// A folder without folders, as the sync sends it.
#[derive(Debug, Clone)]
pub struct SmallTree {
    /// Its digest.
    pub root: Digest,
    /// Its files' contents and its own encoding.
    pub blobs: Vec<Vec<u8>>,
}

impl SmallTree {
    /// Of these files.
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let entry = |(name, content): &(&str, &[u8])| Entry {
            name: (*name).to_owned(),
            mode: 0o644,
            node: Node::File { digest: Digest::of(content), size: content.len() as u64, chunked: false },
        };
        let encoded = Directory::new(files.iter().map(entry).collect()).expect("a directory").encode();
        let root = Digest::of(&encoded);
        let blobs = files.iter().map(|(_, content)| content.to_vec()).chain([encoded]).collect();
        Self { root, blobs }
    }

    /// The digests of all that has to be sent.
    pub fn digests(&self) -> Vec<Digest> {
        self.blobs.iter().map(|blob| Digest::of(blob)).collect()
    }
}

impl Api {
    /// Connects at the first call.
    pub fn new(team: &Team) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let endpoint = Endpoint::from_shared(team.server.clone()).expect("a URL");
        let channel = runtime.block_on(async { endpoint.connect_lazy() });
        Self { runtime, channel, team: team.clone() }
    }

    /// Waits for a call.
    pub fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    /// The connection, for services that are not ours.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    fn bearer(&self) -> Bearer {
        Bearer(format!("Bearer {}", self.team.token).parse().expect("a header"))
    }

    /// The jobs.
    pub fn jobs(&self) -> JobServiceClient<Authorized> {
        JobServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// The sync.
    pub fn context(&self) -> ContextServiceClient<Authorized> {
        ContextServiceClient::with_interceptor(self.channel(), self.bearer())
    }

    /// A deploy job of this team, with one command in this tree.
    pub fn deploy_request(&self, tree: Digest, command: &str) -> SubmitRequest {
        let command = Command { name: command.to_owned(), command: command.to_owned() };
        let commands = CommandsPlan {
            section: "deploy".to_owned(),
            commands: vec![command],
            root: "commands".to_owned(),
            context: ".".to_owned(),
            ..CommandsPlan::default()
        };
        let kind = JobKind::Deploy.into();
        let plan = Plan { kind, name: unique("raw"), builds: Vec::new(), commands: Some(commands) };
        SubmitRequest {
            request_id: unique("request"),
            namespace: self.team.namespace.clone(),
            plan: Some(plan),
            roots: vec![Root { name: "commands".to_owned(), digest: tree.as_bytes().to_vec(), ..Root::default() }],
        }
    }

    /// Submits.
    pub fn submit(&self, request: SubmitRequest) -> Result<SubmitResponse, Status> {
        self.wait(async { self.jobs().submit(request).await }).map(tonic::Response::into_inner)
    }

    /// Submits a deploy with one command; the job, which still misses its tree.
    pub fn syncing(&self, tree: &SmallTree, command: &str) -> Job {
        let answer = self.submit(self.deploy_request(tree.root, command)).expect("submit");
        assert_eq!(answer.missing_roots, ["commands"], "the service lacks the tree");
        answer.job.expect("a job")
    }

    /// Which digests the service lacks.
    pub fn missing(&self, job: &str, digests: &[Digest]) -> Result<Vec<Vec<u8>>, Status> {
        let digests = digests.iter().map(|digest| digest.as_bytes().to_vec()).collect();
        let request = FindMissingRequest { job: job.to_owned(), digests };
        self.wait(async { self.context().find_missing(request).await }).map(|answer| answer.into_inner().digests)
    }

    /// Uploads contents, each under the digest that is given.
    pub fn upload(&self, job: &str, blobs: &[(Digest, &[u8])]) -> Result<UploadResponse, Status> {
        let mut records = Vec::new();
        for (digest, content) in blobs {
            records.write_all(digest.as_bytes()).expect("write");
            records.extend((content.len() as u64).to_be_bytes());
            records.extend(1_600_000_000_i64.to_be_bytes());
            records.extend(*content);
        }
        let mut messages = vec![UploadRequest { job: job.to_owned(), frame: Vec::new() }];
        for frame in records.chunks(1 << 20) {
            let frame = zstd::bulk::compress(frame, 1).expect("compress");
            messages.push(UploadRequest { job: String::new(), frame });
        }
        self.wait(async { self.context().upload(tokio_stream::iter(messages)).await }).map(tonic::Response::into_inner)
    }

    /// Uploads a tree.
    pub fn upload_tree(&self, job: &str, tree: &SmallTree) -> Result<UploadResponse, Status> {
        let blobs: Vec<_> = tree.blobs.iter().map(|blob| (Digest::of(blob), blob.as_slice())).collect();
        self.upload(job, &blobs)
    }

    /// Commits; what is still missing.
    pub fn commit(&self, job: &str) -> Result<Vec<Vec<u8>>, Status> {
        let request = CommitRequest { job: job.to_owned() };
        self.wait(async { self.context().commit(request).await }).map(|answer| answer.into_inner().missing)
    }
}
