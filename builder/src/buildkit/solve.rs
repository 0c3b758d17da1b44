//! One image build: the `dockerfile.v0` frontend, the `image` exporter with push, the status stream beside it.

use std::collections::HashMap;
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptions, Exporter, SolveRequest, SolveResponse, StatusRequest, StatusResponse,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::policy::{SourceRule, policy};
use super::progress::{Progress, StepEvent};
use super::session::{Services, Session};
use super::{Engine, Error, random_id};

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
    /// Names (with tags) to push to.
    pub names: Vec<String>,
    /// The push goes over plain HTTP.
    pub insecure: bool,
    /// Which images it may use.
    pub sources: Vec<SourceRule>,
}

/// A pushed image.
#[derive(Debug, Clone)]
pub struct Built {
    /// The digest of its manifest or index, `sha256:…`.
    pub digest: String,
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
    let mut attrs = HashMap::from([
        ("name".to_owned(), build.names.join(",")),
        ("push".to_owned(), "true".to_owned()),
        // On a Docker Engine a stored image could be used by anyone's build.
        ("store".to_owned(), "false".to_owned()),
        ("oci-mediatypes".to_owned(), "true".to_owned()),
    ]);
    if build.insecure {
        attrs.insert("registry.insecure".to_owned(), "true".to_owned());
    }
    let request = SolveRequest {
        r#ref: random_id(),
        session: session.id().to_owned(),
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: build.frontend_attrs.clone(),
        cache: Some(CacheOptions::default()),
        exporters: vec![Exporter { r#type: "image".to_owned(), attrs: attrs.clone() }],
        // What engines before v0.13 read.
        exporter_deprecated: "image".to_owned(),
        exporter_attrs_deprecated: attrs,
        source_policy: policy(&build.sources),
        // The engine keeps no record of it, which others could read and which takes longer than a small push.
        internal: true,
        ..SolveRequest::default()
    };
    let response = solve(engine, request, &session, events, cancel).await?;
    let digest = response.exporter_response.get("containerimage.digest").cloned();
    let digest = digest.ok_or_else(|| Error::Lost("the engine pushed the image but names no digest".to_owned()))?;
    Ok(Built { digest })
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
