//! `BuildService`: what is known of builds besides their jobs.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use slipway_context::tree::Directory;
use slipway_proto::v1 as api;
use slipway_proto::v1::build_service_server::BuildService;
use slipway_registry_client::RepositoryName;
use tonic::{Request, Response, Status};

use super::convert::{digest, namespace, time};
use super::status::{from_db, from_jobs, internal};
use super::{State, open};
use crate::auth::Caller;
use crate::jobs::explain::{Explained, Explanation, Last};
use crate::names::Namespace;
use crate::pipeline::cache_mounts::{Asked, Mount};
use crate::pipeline::input::pieces::{PieceChange, PieceKind};

/// Directory nodes in one request.
const MAX_DIRECTORIES: usize = 10_000;
/// Bytes of one that fits a message; of a larger one nothing is said.
const MAX_NODE: u64 = 8 << 20;

pub(super) struct Builds(pub(super) State);

#[tonic::async_trait]
impl BuildService for Builds {
    async fn explain(&self, request: Request<api::SubmitRequest>) -> Result<Response<api::ExplainResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let explained = self.0.jobs.explain(&caller, request.try_into()?).await;
        Ok(Response::new(match explained.map_err(|error| from_jobs(&error))? {
            Explained::Builds(builds) => {
                api::ExplainResponse { builds: builds.into_iter().map(Into::into).collect(), widen_roots: Vec::new() }
            }
            Explained::Widen(widen_roots) => api::ExplainResponse { builds: Vec::new(), widen_roots },
        }))
    }

    type ReadDirectoriesStream = Pin<Box<dyn Stream<Item = Result<api::DirectoryNode, Status>> + Send>>;

    async fn read_directories(
        &self,
        request: Request<api::ReadDirectoriesRequest>,
    ) -> Result<Response<Self::ReadDirectoriesStream>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        if request.digests.len() > MAX_DIRECTORIES {
            return Err(Status::invalid_argument(format!("more than {MAX_DIRECTORIES} directories")));
        }
        let digests = request.digests.iter().map(|bytes| digest("digests", bytes)).collect::<Result<Vec<_>, _>>()?;
        let blobs = self.0.jobs.blobs_for(&caller, &namespace(&request.namespace)?).await;
        let blobs = blobs.map_err(|error| from_jobs(&error))?;
        // The next one is read when the one before has been sent.
        let nodes = futures::stream::iter(digests).then(move |digest| {
            let blobs = blobs.clone();
            async move {
                let read = move || blobs.read_all(&digest, MAX_NODE).ok();
                let content = tokio::task::spawn_blocking(read).await.ok().flatten();
                let content = content.filter(|content| Directory::decode(content).is_ok());
                content.map(|content| Ok(api::DirectoryNode { digest: digest.as_bytes().to_vec(), content }))
            }
        });
        Ok(Response::new(Box::pin(nodes.filter_map(futures::future::ready))))
    }

    async fn list_cache_mounts(
        &self,
        request: Request<api::ListCacheMountsRequest>,
    ) -> Result<Response<api::ListCacheMountsResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let (namespace, repository) = self.place(&caller, &request.namespace, &request.repository).await?;
        let asked = self.0.mounts.list(&namespace, repository.as_ref()).await.map_err(|error| internal(&error))?;
        let mounts = asked.found.into_iter().map(Into::into).collect();
        Ok(Response::new(api::ListCacheMountsResponse { mounts, engines_away: asked.away as u32 }))
    }

    async fn prune_cache_mounts(
        &self,
        request: Request<api::PruneCacheMountsRequest>,
    ) -> Result<Response<api::PruneCacheMountsResponse>, Status> {
        let (caller, request) = open(&self.0, request).await?;
        let (namespace, repository) = self.place(&caller, &request.namespace, &request.repository).await?;
        let unused_for = Duration::from_secs(request.unused_for_s);
        let pruned = self.0.mounts.prune(&namespace, repository.as_ref(), unused_for).await;
        let Asked { found: (mounts, bytes), away } = pruned.map_err(|error| internal(&error))?;
        Ok(Response::new(api::PruneCacheMountsResponse { mounts, bytes, engines_away: away as u32 }))
    }
}

impl Builds {
    /// The namespace, if the caller may use it, and a repository of it, if one is named.
    async fn place(
        &self,
        caller: &Caller,
        name: &str,
        repository: &str,
    ) -> Result<(Namespace, Option<RepositoryName>), Status> {
        let namespace = namespace(name)?;
        let known = self.0.db.has_namespace(&namespace).await.map_err(|error| from_db(&error))?;
        if !known || !caller.may_use(&namespace) {
            return Err(Status::not_found(format!("no namespace {namespace}, or no right to use it")));
        }
        if repository.is_empty() {
            return Ok((namespace, None));
        }
        let image = self.0.registry.repository(&namespace, repository);
        let image = image.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok((namespace, Some(image.repository().clone())))
    }
}

impl From<Mount> for api::CacheMount {
    fn from(mount: Mount) -> Self {
        let Mount { repository, id, bytes, used, in_use } = mount;
        let repository = repository.map(|name| name.to_string()).unwrap_or_default();
        Self { repository, id, bytes, used: used.map(|seconds| time(seconds.saturating_mul(1000))), in_use }
    }
}

impl From<Explanation> for api::Explanation {
    fn from(explanation: Explanation) -> Self {
        let Explanation { service, last, changes, skipped, waits_for, unknown } = explanation;
        let (image, reason) = skipped.map(|skipped| (skipped.image.to_string(), skipped.reason)).unzip();
        Self {
            service: service.to_string(),
            last: last.map(Into::into),
            changes: changes.into_iter().map(Into::into).collect(),
            image,
            reason: reason.unwrap_or_default(),
            unknown: unknown.unwrap_or_default(),
            waits_for: waits_for.unwrap_or_default(),
        }
    }
}

impl From<Last> for api::LastBuild {
    fn from(last: Last) -> Self {
        let Last { record, dockerfile } = last;
        let named = record.roots.named.into_iter();
        Self {
            job: record.job.to_string(),
            time: Some(time(record.time)),
            image: record.image,
            context_root: record.roots.context.as_bytes().to_vec(),
            dockerfile_root: record.roots.dockerfile.as_bytes().to_vec(),
            named_roots: named.map(|(name, root)| api::NamedTree { name, root: root.as_bytes().to_vec() }).collect(),
            dockerfile,
            narrowed_to: record.roots.narrowed_to,
        }
    }
}

impl From<PieceChange> for api::InputChange {
    fn from(change: PieceChange) -> Self {
        let kind = match change.kind {
            PieceKind::Dockerfile => api::InputKind::Dockerfile,
            PieceKind::Target => api::InputKind::Target,
            PieceKind::Platform => api::InputKind::Platform,
            PieceKind::Image => api::InputKind::Image,
            PieceKind::Dependency => api::InputKind::Dependency,
            PieceKind::Context => api::InputKind::Context,
            PieceKind::Argument => api::InputKind::Argument,
            PieceKind::Secret => api::InputKind::Secret,
            PieceKind::Option => api::InputKind::Option,
            PieceKind::Mounts => api::InputKind::Mounts,
            PieceKind::Agents => api::InputKind::Agents,
        };
        let PieceChange { name, before, after, unknown, .. } = change;
        Self { kind: kind.into(), name, before, after, unknown }
    }
}
