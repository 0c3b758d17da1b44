//! A service that speaks the wire and does nothing: it records what it is told, and tells what its script says.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use slipway_context::Digest;
use slipway_proto::v1::context_service_server::{ContextService, ContextServiceServer};
use slipway_proto::v1::image_service_server::{ImageService, ImageServiceServer};
use slipway_proto::v1::job_service_server::{JobService, JobServiceServer};
use slipway_proto::v1::server_service_server::{ServerService, ServerServiceServer};
use slipway_proto::v1::{
    CancelJobRequest, CommitRequest, CommitResponse, Event, FindMissingRequest, FindMissingResponse, GetJobRequest,
    GetServerInfoRequest, Job, JobDone, JobState, JobStatus, ListJobsRequest, ListJobsResponse, ResolveImagesRequest,
    ResolveImagesResponse, ResolvedImage, ServerInfo, SubmitRequest, SubmitResponse, UploadRequest, UploadResponse,
    WatchRequest, WatchResponse, WhoAmIRequest, WhoAmIResponse, event::Kind,
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

pub(crate) const JOB: &str = "01900000-0000-7000-8000-000000000001";
pub(crate) const TOKEN: &str = "right";

/// What the service does.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(crate) struct Script {
    /// The job's events; without job.done at the end it goes on until it is cancelled.
    pub(crate) events: Vec<Kind>,
    /// The first watch ends after this event.
    pub(crate) cut_after: Option<u64>,
    /// The first submit is heard, and its answer lost.
    pub(crate) lose_submit: bool,
    /// The first upload breaks after its first frame; the second forgets a blob.
    pub(crate) bad_uploads: bool,
    /// Uploads never come to an end.
    pub(crate) stall: bool,
    /// Uploads are counted, not kept.
    pub(crate) discard: bool,
    pub(crate) min_client: String,
    pub(crate) namespaces: Vec<String>,
}

/// What the service was told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) submits: Vec<SubmitRequest>,
    pub(crate) blobs: BTreeMap<Vec<u8>, (i64, Vec<u8>)>,
    pub(crate) asked: BTreeSet<Vec<u8>>,
    pub(crate) uploads: usize,
    /// Bytes of discarded frames, decompressed.
    pub(crate) discarded: usize,
    pub(crate) commits: usize,
    pub(crate) watches: Vec<u64>,
    pub(crate) cancelled: bool,
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
        let router = Server::builder()
            .add_service(ServerServiceServer::new(fake.clone()))
            .add_service(JobServiceServer::new(fake.clone()))
            .add_service(ImageServiceServer::new(fake.clone()))
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
impl ServerService for Fake {
    async fn get_server_info(&self, _: Request<GetServerInfoRequest>) -> Result<Response<ServerInfo>, Status> {
        Ok(Response::new(ServerInfo { min_client: self.script.min_client.clone(), ..ServerInfo::default() }))
    }

    async fn who_am_i(&self, request: Request<WhoAmIRequest>) -> Result<Response<WhoAmIResponse>, Status> {
        authorize(&request)?;
        let namespaces = self.script.namespaces.clone();
        Ok(Response::new(WhoAmIResponse { user: "ann".to_owned(), admin: false, namespaces }))
    }
}

#[tonic::async_trait]
impl ImageService for Fake {
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
    async fn find_missing(
        &self,
        request: Request<FindMissingRequest>,
    ) -> Result<Response<FindMissingResponse>, Status> {
        let mut told = self.told();
        let mut digests = request.into_inner().digests;
        told.asked.extend(digests.iter().cloned());
        digests.retain(|digest| !told.blobs.contains_key(digest));
        Ok(Response::new(FindMissingResponse { digests }))
    }

    async fn upload(&self, request: Request<Streaming<UploadRequest>>) -> Result<Response<UploadResponse>, Status> {
        authorize(&request)?;
        let upload = {
            let mut told = self.told();
            told.uploads += 1;
            told.uploads
        };
        let mut stream = request.into_inner();
        let first = stream.message().await?.unwrap();
        assert_eq!((first.job.as_str(), first.frame.len()), (JOB, 0));
        if self.script.stall {
            std::future::pending::<()>().await;
        }
        let mut records = Vec::new();
        while let Some(message) = stream.message().await? {
            if self.script.discard {
                let frame = zstd::bulk::decompress(&message.frame, 1 << 20).unwrap();
                self.told().discarded += frame.len();
                continue;
            }
            records.extend(zstd::bulk::decompress(&message.frame, 1 << 20).unwrap());
            if self.script.bad_uploads && upload == 1 {
                return Err(Status::unavailable("going down"));
            }
        }
        let mut blobs = read(&records);
        if self.script.bad_uploads && upload == 2 {
            blobs.pop();
        }
        let answer = UploadResponse { blobs: blobs.len() as u64, bytes: records.len() as u64 };
        let mut told = self.told();
        for (digest, seconds, content) in blobs {
            assert_eq!(Digest::of(&content).as_bytes().as_slice(), digest, "the digest is the content's");
            assert!(told.blobs.insert(digest, (seconds, content)).is_none(), "no blob is sent twice");
        }
        Ok(Response::new(answer))
    }

    async fn commit(&self, _: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        let mut told = self.told();
        told.commits += 1;
        if self.script.discard {
            return Ok(Response::new(CommitResponse::default()));
        }
        let missing = told.asked.iter().filter(|digest| !told.blobs.contains_key(*digest)).cloned().collect();
        Ok(Response::new(CommitResponse { missing }))
    }
}

/// Splits the decompressed stream of an upload.
fn read(mut records: &[u8]) -> Vec<(Vec<u8>, i64, Vec<u8>)> {
    let mut blobs = Vec::new();
    while !records.is_empty() {
        let (header, rest) = records.split_at(48);
        let size = u64::from_be_bytes(header[32..40].try_into().unwrap());
        let seconds = i64::from_be_bytes(header[40..].try_into().unwrap());
        let (content, rest) = rest.split_at(usize::try_from(size).unwrap());
        blobs.push((header[..32].to_vec(), seconds, content.to_vec()));
        records = rest;
    }
    blobs
}

#[tonic::async_trait]
impl JobService for Fake {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        authorize(&request)?;
        let request = request.into_inner();
        let missing_roots = request.roots.iter().map(|root| root.name.clone()).collect();
        let mut told = self.told();
        told.submits.push(request);
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
