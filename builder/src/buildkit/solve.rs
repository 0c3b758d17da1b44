//! One image build: the `dockerfile.v0` frontend, the `image` exporter with push and others beside it, the status stream.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptions, CacheOptionsEntry, Exporter, SolveRequest, SolveResponse, StatusRequest, StatusResponse,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::policy::{SourceRule, policy};
use super::progress::{Progress, StepEvent};
use super::session::{Services, Session};
use super::{Engine, Error, random_id};

/// The frontend for Dockerfiles that every engine has.
pub const FRONTEND: &str = "dockerfile.v0";
/// How long the status stream may take to tell the rest after the solve has ended.
const LAST_STATUS: Duration = Duration::from_secs(5);
/// Status messages on their way to the events.
const QUEUE: usize = 256;

/// One image to build and push.
#[derive(Debug, Clone)]
pub struct ImageBuild {
    /// Names the trees, so that BuildKit finds what it received before.
    pub shared_key: String,
    /// Options of the frontend, such as `filename`, `target`, `build-arg:K`.
    pub frontend_attrs: HashMap<String, String>,
    /// Caches outside of the engine that steps' results may come from, and go to.
    pub cache_imports: Vec<CacheEntry>,
    /// See there.
    pub cache_exports: Vec<CacheEntry>,
    /// Options of the image exporter, such as `compression`; names and push are added.
    pub exporter_attrs: HashMap<String, String>,
    /// Names (with tags) of the image.
    pub names: Vec<String>,
    /// It is pushed to them.
    pub push: bool,
    /// What else it is exported as; the session's `exports` get these, by their indexes.
    pub exports: Vec<Export>,
    /// The push goes over plain HTTP.
    pub insecure: bool,
    /// Which images it may use.
    pub sources: Vec<SourceRule>,
}

/// A cache outside of the engine (BuildKit, `cache/remotecache`).
#[derive(Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CacheEntry {
    /// Such as `registry`.
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// Such as `ref`; also what opens it.
    pub attrs: HashMap<String, String>,
}

/// Values may be anybody's keys.
impl fmt::Debug for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.attrs.keys().collect();
        names.sort_unstable();
        f.debug_struct("CacheEntry").field("kind", &self.kind).field("attrs", &names).finish()
    }
}

/// Another form of the image.
#[derive(Debug, Clone)]
pub struct Export {
    /// The exporter's name: `oci`, `docker`, `tar`.
    pub kind: &'static str,
    /// Its attributes; names are added to those of images.
    pub attrs: HashMap<String, String>,
}

/// A built image.
#[derive(Debug, Clone)]
pub struct Built {
    /// The digest of its manifest or index, `sha256:…`.
    pub digest: String,
    /// That of its configuration; an index has none.
    pub config_digest: Option<String>,
    /// What the first digest is of.
    pub descriptor: Option<Descriptor>,
}

/// As much of a descriptor as is told (OCI image specification, `descriptor.md`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its media type.
    pub media_type: String,
    /// In bytes.
    pub size: u64,
}

/// Builds and pushes. Step events go to `events`; a receiver that is slow slows the build's log down, not the build.
pub async fn build(
    engine: &Engine,
    services: Services,
    build: &ImageBuild,
    events: &mpsc::Sender<StepEvent>,
    cancel: &CancellationToken,
) -> Result<Built, Error> {
    let opening = cancel.run_until_cancelled(Session::open(engine, &build.shared_key, services)).await;
    let session = opening.ok_or(Error::Cancelled)??;
    let mut attrs = build.exporter_attrs.clone();
    attrs.extend([
        ("name".to_owned(), build.names.join(",")),
        ("push".to_owned(), build.push.to_string()),
        // On a Docker Engine a stored image could be used by anyone's build.
        ("store".to_owned(), "false".to_owned()),
    ]);
    if build.insecure {
        attrs.insert("registry.insecure".to_owned(), "true".to_owned());
    }
    let mut exporters: Vec<_> = build
        .exports
        .iter()
        .map(|export| {
            let mut attrs = export.attrs.clone();
            if export.kind != "tar" {
                attrs.insert("name".to_owned(), build.names.join(","));
            }
            Exporter { r#type: export.kind.to_owned(), attrs }
        })
        .collect();
    // The last one: of what several say under one key, such as the digest, BuildKit tells what the last one says.
    exporters.push(Exporter { r#type: "image".to_owned(), attrs: attrs.clone() });
    let mut frontend_attrs = build.frontend_attrs.clone();
    if !build.cache_imports.is_empty() {
        // The frontend hands them on with what it makes of the Dockerfile.
        let imports = serde_json::json!(build.cache_imports).to_string();
        frontend_attrs.insert("cache-imports".to_owned(), imports);
    }
    let entry = |entry: &CacheEntry| CacheOptionsEntry { r#type: entry.kind.to_owned(), attrs: entry.attrs.clone() };
    let cache = CacheOptions {
        exports: build.cache_exports.iter().map(entry).collect(),
        imports: build.cache_imports.iter().map(entry).collect(),
        ..CacheOptions::default()
    };
    let request = SolveRequest {
        r#ref: random_id(),
        session: session.id().to_owned(),
        frontend: FRONTEND.to_owned(),
        frontend_attrs,
        cache: Some(cache),
        exporters,
        // What engines before v0.13 read.
        exporter_deprecated: "image".to_owned(),
        exporter_attrs_deprecated: attrs,
        source_policy: Some(policy(&build.sources)),
        // The engine keeps no record of it, which others could read and which takes longer than a small push.
        internal: true,
        ..SolveRequest::default()
    };
    let response = solve(engine, request, &session, events, cancel).await?;
    let said = |key: &str| response.exporter_response.get(key).cloned();
    let digest = said("containerimage.digest");
    let digest = digest.ok_or_else(|| Error::Lost("the engine made the image but names no digest".to_owned()))?;
    let descriptor = said("containerimage.descriptor").and_then(|text| descriptor(&text));
    Ok(Built { digest, config_digest: said("containerimage.config.digest"), descriptor })
}

/// It comes as JSON in base64.
fn descriptor(text: &str) -> Option<Descriptor> {
    serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()
}

async fn solve(
    engine: &Engine,
    request: SolveRequest,
    session: &Session,
    events: &mpsc::Sender<StepEvent>,
    cancel: &CancellationToken,
) -> Result<SolveResponse, Error> {
    let (statuses, mut received) = mpsc::channel(QUEUE);
    let reference = request.r#ref.clone();
    let mut control = engine.control();
    let ended = CancellationToken::new();
    let watching = watch(engine, reference, statuses, &ended);
    let forwarding = async {
        let mut progress = Progress::default();
        while let Some(status) = received.recv().await {
            for event in progress.update(status) {
                let _ = events.send(event).await;
            }
        }
    };
    let solving = async {
        // Dropping the call is how a client cancels.
        let result = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled),
            response = control.solve(request) => response.map(tonic::Response::into_inner).map_err(Error::from_status),
            () = session.lost() => Err(Error::Lost("the session's connection ended".to_owned())),
            () = engine.silent() => Err(Error::Lost("it does not answer any more".to_owned())),
        };
        ended.cancel();
        result
    };
    let (result, (), ()) = tokio::join!(solving, watching, forwarding);
    result
}

/// Passes status messages on until the solve's job has ended. A solve that fails before its job exists leaves this call
/// waiting, so it gets a moment only once the solve has ended.
async fn watch(engine: &Engine, reference: String, statuses: mpsc::Sender<StatusResponse>, ended: &CancellationToken) {
    let mut control = engine.control();
    let reading = async {
        let Ok(stream) = control.status(StatusRequest { r#ref: reference }).await else { return };
        let mut stream = stream.into_inner();
        while let Ok(Some(status)) = stream.message().await {
            if statuses.send(status).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = async {
            ended.cancelled().await;
            tokio::time::sleep(LAST_STATUS).await;
        } => {}
    }
}
