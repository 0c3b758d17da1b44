//! The gRPC API, for what `slipway` would never ask.

use std::io::Write as _;

use slipway_context::{Digest, Directory, Entry, Node};
use slipway_proto::v1::build_service_client::BuildServiceClient;
use slipway_proto::v1::context_service_client::ContextServiceClient;
use slipway_proto::v1::job_service_client::JobServiceClient;
use slipway_proto::v1::{
    Command, CommandsPlan, Job, JobKind, Plan, Root, SubmitRequest, SubmitResponse, SyncCheck, SyncOpen, SyncRequest,
    sync_request::Kind, sync_response::Kind as Answer,
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

    /// What is known of builds.
    pub fn builds(&self) -> BuildServiceClient<Authorized> {
        BuildServiceClient::with_interceptor(self.channel(), self.bearer())
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
        let plan =
            Plan { kind, name: unique("raw"), dependencies: Vec::new(), builds: Vec::new(), commands: vec![commands] };
        SubmitRequest {
            request_id: unique("request"),
            namespace: self.team.namespace.clone(),
            plan: Some(plan),
            secrets: Vec::new(),
            logins: Vec::new(),
            masked: Vec::new(),
            no_wait: false,
            grace_ms: None,
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

    /// One call of the sync: contents, each under the digest that is given, then a check if one is wanted. Its answer is what
    /// is missing: nothing, once the job is queued.
    pub fn sync(&self, job: &str, blobs: &[(Digest, &[u8])], check: bool) -> Result<Vec<Vec<u8>>, Status> {
        let mut records = Vec::new();
        for (digest, content) in blobs {
            records.write_all(digest.as_bytes()).expect("write");
            records.extend((content.len() as u64).to_be_bytes());
            records.extend(1_600_000_000_i64.to_be_bytes());
            records.extend(*content);
        }
        let mut kinds = vec![Kind::Open(SyncOpen { job: job.to_owned(), scanned_bytes: 0 })];
        for (number, frame) in records.chunks(1 << 20).enumerate() {
            let zstd = || zstd::bulk::compress(frame, 1).expect("compress");
            kinds.push(if number % 2 == 0 { Kind::ZstdFrame(zstd()) } else { Kind::RawFrame(frame.to_vec()) });
        }
        kinds.extend(check.then_some(Kind::Check(SyncCheck {})));
        self.say(kinds)
    }

    /// One call of the sync with these messages; what the service lacks in the end.
    pub fn say(&self, kinds: Vec<Kind>) -> Result<Vec<Vec<u8>>, Status> {
        let requests = kinds.into_iter().map(|kind| SyncRequest { kind: Some(kind) });
        let requests = tokio_stream::iter(requests.collect::<Vec<_>>());
        self.wait(async {
            let mut answers = self.context().sync(requests).await?.into_inner();
            let mut missing = Vec::new();
            while let Some(answer) = answers.message().await? {
                match answer.kind {
                    Some(Answer::Missing(part)) => missing.extend(part.digests),
                    Some(Answer::Committed(_)) => missing.clear(),
                    _ => {}
                }
            }
            Ok(missing)
        })
    }

    /// One call of the sync that sends contents, each under the digest that is given, and does not ask what is missing.
    pub fn send(&self, job: &str, blobs: &[(Digest, &[u8])]) -> Result<(), Status> {
        self.sync(job, blobs, false).map(drop)
    }

    /// The same with all of a tree.
    pub fn send_tree(&self, job: &str, tree: &SmallTree) -> Result<(), Status> {
        let blobs: Vec<_> = tree.blobs.iter().map(|blob| (Digest::of(blob), blob.as_slice())).collect();
        self.send(job, &blobs)
    }

    /// One call of the sync that only asks what is missing: nothing, once the job is queued.
    pub fn check(&self, job: &str) -> Result<Vec<Vec<u8>>, Status> {
        self.sync(job, &[], true)
    }
}
