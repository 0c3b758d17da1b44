use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bollard_buildkit_proto::moby::buildkit::v1::control_server::{Control, ControlServer};
use bollard_buildkit_proto::moby::buildkit::v1::types::{BuildkitVersion, WorkerRecord};
use bollard_buildkit_proto::moby::buildkit::v1::{
    BuildHistoryEvent, BuildHistoryRequest, BytesMessage, DiskUsageRequest, DiskUsageResponse, InfoRequest,
    InfoResponse, ListWorkersRequest, ListWorkersResponse, PruneRequest, SolveResponse, StatusRequest, StatusResponse,
    UpdateBuildHistoryRequest, UpdateBuildHistoryResponse, UsageRecord,
};
use bollard_buildkit_proto::pb::Platform;
use tokio::net::UnixListener;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::buildkit::Address;
use crate::buildkit::engine::{Config, Engine};

type Stream<T> = ReceiverStream<Result<T, Status>>;

/// An engine that refuses what it does not know as BuildKit 0.`minor` does, and builds nothing.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    socket: PathBuf,
    minor: u32,
    caches: &'static [&'static str],
    exporters: &'static [&'static str],
    /// What it says to everything, whatever it knows.
    says: Option<&'static str>,
    asked: Arc<AtomicUsize>,
}

impl Fake {
    /// Listens on this socket.
    pub(crate) fn start(socket: &Path, minor: u32, caches: &'static [&'static str]) -> Self {
        Self::exporting(socket, minor, caches, &["image", "oci", "docker", "tar"])
    }

    /// One whose answers say nothing of what it knows.
    pub(crate) fn saying(socket: &Path, says: &'static str) -> Self {
        Self { says: Some(says), ..Self::new(socket, 13) }.listen()
    }

    fn exporting(
        socket: &Path,
        minor: u32,
        caches: &'static [&'static str],
        exporters: &'static [&'static str],
    ) -> Self {
        Self { caches, exporters, ..Self::new(socket, minor) }.listen()
    }

    fn new(socket: &Path, minor: u32) -> Self {
        Self { socket: socket.to_owned(), minor, caches: &[], exporters: &[], says: None, asked: Arc::default() }
    }

    fn listen(self) -> Self {
        let incoming = UnixListenerStream::new(UnixListener::bind(&self.socket).unwrap());
        let server = tonic::transport::Server::builder().add_service(ControlServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(incoming));
        self
    }

    pub(crate) async fn connect(&self) -> Engine {
        Engine::connect(&Config::new(Address::Unix(self.socket.clone()))).await.unwrap()
    }

    /// Solves so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn refusal(&self, request: &SolveRequest) -> String {
        if let Some(says) = self.says {
            return says.to_owned();
        }
        let read = if self.minor < 13 { &[] } else { request.exporters.as_slice() };
        let mut exporters: Vec<_> = read.iter().map(|exporter| exporter.r#type.as_str()).collect();
        if exporters.is_empty() && !request.exporter_deprecated.is_empty() {
            exporters.push(&request.exporter_deprecated);
        }
        if let Some(kind) = exporters.into_iter().find(|kind| !self.exporters.contains(kind)) {
            return format!("exporter {kind:?} could not be found");
        }
        for entry in request.cache.iter().flat_map(|cache| &cache.exports) {
            let kind = entry.r#type.as_str();
            if !self.caches.contains(&kind) {
                return format!("unknown cache exporter: {kind:?}");
            }
            if kind == "azblob" && entry.attrs.get("account_url").is_none_or(|url| url != "%") {
                return "it would use what the engine's own environment has".to_owned();
            }
            if kind != "inline" {
                return format!("failed to configure {kind} cache exporter: it lacks an attribute");
            }
        }
        let mut attestations = request.frontend_attrs.keys().filter_map(|key| key.strip_prefix("attest:"));
        if let Some(kind) = attestations.find(|kind| !["sbom", "provenance"].contains(kind) && self.minor >= 11) {
            return format!("unknown attestation type {kind:?}");
        }
        format!("invalid frontend: {}", request.frontend)
    }
}

#[tonic::async_trait]
impl Control for Fake {
    type PruneStream = Stream<UsageRecord>;
    type StatusStream = Stream<StatusResponse>;
    type SessionStream = Stream<BytesMessage>;
    type ListenBuildHistoryStream = Stream<BuildHistoryEvent>;

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Err(Status::unknown(self.refusal(request.get_ref())))
    }

    async fn list_workers(&self, _: Request<ListWorkersRequest>) -> Result<Response<ListWorkersResponse>, Status> {
        let version = BuildkitVersion { version: format!("v0.{}.0", self.minor), ..BuildkitVersion::default() };
        let (os, architecture) = ("linux".to_owned(), "amd64".to_owned());
        let worker = WorkerRecord {
            platforms: vec![Platform { os, architecture, ..Platform::default() }],
            buildkit_version: (self.minor >= 11).then_some(version),
            ..WorkerRecord::default()
        };
        Ok(Response::new(ListWorkersResponse { record: vec![worker] }))
    }

    async fn disk_usage(&self, _: Request<DiskUsageRequest>) -> Result<Response<DiskUsageResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn prune(&self, _: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn session(&self, _: Request<Streaming<BytesMessage>>) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn listen_build_history(
        &self,
        _: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn update_build_history(
        &self,
        _: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

const ALL: [Feature; 8] = [
    Feature::Cache("local"),
    Feature::Cache("s3"),
    Feature::Cache("azblob"),
    Feature::Cache("inline"),
    Feature::Exporter("oci"),
    Feature::Exporter("tar"),
    Feature::SeveralExporters,
    Feature::Attestations,
];

#[tokio::test]
async fn an_engine_says_what_it_lacks_and_is_asked_once() {
    let dir = tempfile::tempdir().unwrap();
    let docker = ["local", "inline"].as_slice();
    let (s3, azblob) = (Feature::Cache("s3"), Feature::Cache("azblob"));
    for (minor, caches, exporters, expected) in [
        (29, ["local", "s3", "azblob", "inline"].as_slice(), ["oci", "tar"].as_slice(), [].as_slice()),
        (13, docker, &["oci", "tar"], &[s3, azblob]),
        (12, docker, &["oci", "tar"], &[s3, azblob, Feature::SeveralExporters]),
        (
            10,
            &["inline"],
            &["tar"],
            &[
                Feature::Cache("local"),
                s3,
                azblob,
                Feature::Exporter("oci"),
                Feature::SeveralExporters,
                Feature::Attestations,
            ],
        ),
    ] {
        let fake = Fake::exporting(&dir.path().join(minor.to_string()), minor, caches, exporters);
        let engine = fake.connect().await;
        let lacking = |engine: &Engine| ALL.into_iter().filter(|feature| engine.lacks(*feature)).collect::<Vec<_>>();
        assert_eq!(lacking(&engine), [], "nothing is held against it before");
        engine.ask(ALL).await;
        assert_eq!(lacking(&engine), expected, "0.{minor}");
        // Those who share the connection share what is known.
        engine.clone().ask(ALL).await;
        assert_eq!(fake.asked(), ALL.len());
    }
}

#[test]
fn what_gets_no_clear_answer_is_not_held_against_an_engine() {
    for message in ["", "transport error", "unknown cache exporter: \"gha\"", "exporter \"x\" could not be found"] {
        assert!(ALL.into_iter().all(|feature| feature.answer(message).is_none()), "{message}");
    }
}

#[tokio::test]
async fn the_version_of_an_engine_counts_where_it_is_known() {
    let dir = tempfile::tempdir().unwrap();
    for (minor, says, needs_mounts) in [
        (10, "a BuildKit that does not say its version", false),
        (13, "BuildKit v0.13.0", true),
        (14, "BuildKit v0.14.0", false),
    ] {
        let engine = Fake::start(&dir.path().join(minor.to_string()), minor, &[]).connect().await;
        assert_eq!((engine.version().as_str(), engine.needs_mounts()), (says, needs_mounts));
    }
}
