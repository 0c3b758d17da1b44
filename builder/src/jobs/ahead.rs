//! What is known of a job before it begins: which images are there already, so that nothing is sent for them and no engine
//! is asked; and which contexts were narrowed too far.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use slipway_context::Digest;
use slipway_manifest::ServiceName;
use slipway_manifest::plan::{BuildPlan, Plan};
use slipway_proto::v1::SyncDone;
use slipway_proto::v1::event::Kind;
use slipway_registry_client::ImageRef;

use super::event_log::EventLogWriter;
use super::spec::{BuildRoots, JobSpec};
use super::state::JobState;
use super::sync::InlineBlob;
use super::{Jobs, JobsError, io};
use crate::auth::Caller;
use crate::names::Namespace;
use crate::pipeline::failure::Failure;
use crate::pipeline::input::{Before, Inputs};
use crate::pipeline::skip::{self, Decision, Skipped};
use crate::registry::{BaseImages, Registry};
use crate::store::Blobs;
use crate::store::db::jobs::JobRow;

/// How long registries are asked in all: the client waits.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is known before a job begins.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Images that need not be built.
    pub(super) skipped: BTreeMap<ServiceName, Skipped>,
    /// The client's names of the roots that have to be complete.
    pub(super) widen: Vec<String>,
}

/// What a submission says of its builds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) plan: &'a Plan,
    /// Their trees.
    pub(super) builds: &'a BTreeMap<ServiceName, BuildRoots>,
    /// The client's names for their contexts, in the plan's order.
    pub(super) context_roots: &'a [String],
    /// Blobs that came with it.
    pub(super) inline: &'a BTreeMap<String, Vec<InlineBlob>>,
}

/// What is asked about each build.
struct Question<'a> {
    bases: &'a BaseImages,
    platform: Option<&'a str>,
    namespace: &'a Namespace,
    plan: &'a Plan,
    build: &'a BuildPlan,
    roots: &'a BuildRoots,
    dockerfile: Option<&'a str>,
    before: &'a Before,
}

impl Asked<'_> {
    /// When nothing can be known: everything is built, from whole contexts.
    fn unknown(&self) -> Ahead {
        let named = self.plan.builds.iter().zip(self.context_roots);
        let narrowed = named
            .filter(|(build, _)| self.builds.get(&build.service).is_some_and(|roots| !roots.narrowed_to.is_empty()));
        let widen: BTreeSet<String> = narrowed.map(|(_, root)| root.clone()).collect();
        Ahead { skipped: BTreeMap::new(), widen: widen.into_iter().collect() }
    }
}

impl Jobs {
    /// Looks at every build in the plan's order. When that takes too long, everything is built, from whole contexts.
    pub(super) async fn look_ahead(
        &self,
        caller: &Caller,
        namespace: &Namespace,
        asked: Asked<'_>,
    ) -> Result<Ahead, JobsError> {
        if let Ok(ahead) = tokio::time::timeout(PATIENCE, self.look(caller, namespace, asked)).await {
            return ahead;
        }
        tracing::warn!("base images can't be looked at in {} s: nothing is skipped", PATIENCE.as_secs());
        Ok(asked.unknown())
    }

    async fn look(&self, caller: &Caller, namespace: &Namespace, asked: Asked<'_>) -> Result<Ahead, JobsError> {
        let Asked { plan, builds, context_roots, inline } = asked;
        let mut ahead = Ahead::default();
        if plan.builds.is_empty() {
            return Ok(ahead);
        }
        let known = match self.inner.bases.get().await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, "can't look at base images");
                return Ok(asked.unknown());
            }
        };
        let (bases, platform) = (known.bases, known.platform.as_deref());
        let blobs = Blobs::open(&self.inner.data_dir, namespace).map_err(io("open the blob store"))?;
        let inline: HashMap<Digest, &[u8]> =
            inline.values().flatten().map(|blob| (Digest::of(&blob.content), blob.content.as_slice())).collect();
        let read = |digest: &Digest, limit| match inline.get(digest) {
            Some(content) => Some(content.to_vec()),
            None => blobs.read_all(digest, limit).ok(),
        };
        let mut before = Before::default();
        for (build, context_root) in plan.builds.iter().zip(context_roots) {
            let Some(roots) = builds.get(&build.service) else { continue };
            let text = skip::dockerfile(build, &roots.dockerfile, read);
            let dockerfile = text.as_deref();
            let names = names(bases.registry(), namespace, caller.admin, plan, build, &before);
            let before_it = &before;
            let question =
                Question { bases: &bases, platform, namespace, plan, build, roots, dockerfile, before: before_it };
            let found = question.found(&names).await;
            if found.is_none()
                && let Some(reason) = question.too_narrow().await
                && !ahead.widen.contains(context_root)
            {
                tracing::info!(build.service = %build.service, reason, "`{}` needs its whole context", build.service);
                ahead.widen.push(context_root.clone());
            }
            match found {
                Some(skipped) if before.add(&build.service, &skipped.image, names.clone()).is_ok() => {
                    ahead.skipped.insert(build.service.clone(), skipped);
                }
                _ => before.add_pending(&build.service, names, dockerfile),
            }
        }
        Ok(ahead)
    }

    /// Ends a job that has nothing to do but to set names: it never runs.
    pub(super) async fn end_skipped(&self, row: JobRow, spec: &JobSpec) -> Result<JobRow, JobsError> {
        let dir = self.dir(row.id);
        let named = self.name_skipped(spec).await;
        if let Some(lock) = self.lock_syncing(&row).await? {
            {
                let open = EventLogWriter::open(&dir.events(), &row.id.to_string());
                let mut log = open.map_err(io("open the event log"))?;
                log.append(Kind::SyncDone(SyncDone::default())).map_err(io("write an event"))?;
                for build in &spec.plan.builds {
                    if let Some(skipped) = spec.skipped.get(&build.service)
                        && named.is_ok()
                    {
                        log.append(skipped.event(&build.service)).map_err(io("write an event"))?;
                    }
                }
            }
            let (state, failure) = named.map_or_else(|failure| failure.end(), |()| (JobState::Succeeded, None));
            self.end(&row, state, failure, lock).await?;
        }
        Ok(self.inner.db.job(row.id).await?.unwrap_or(row))
    }

    /// Gives the images that were found the names that their builds are to have.
    async fn name_skipped(&self, spec: &JobSpec) -> Result<(), Failure> {
        let registry = self.inner.bases.registry();
        let mut before = Before::default();
        for build in &spec.plan.builds {
            let Some(skipped) = spec.skipped.get(&build.service) else { continue };
            let names = names(registry, &spec.namespace, spec.admin, &spec.plan, build, &before);
            let naming = skip::set_names(registry, build, &skipped.image, &names);
            match tokio::time::timeout(PATIENCE, naming).await {
                Ok(result) => result.map_err(|error| Failure::Registry(error.to_string()))?,
                Err(_) => return Err(Failure::Registry(format!("no answer within {} s", PATIENCE.as_secs()))),
            }
            before.add(&build.service, &skipped.image, names).map_err(Failure::internal)?;
        }
        Ok(())
    }
}

/// The names that a build is to have, as far as they are known and allowed.
fn names(
    registry: &Registry,
    namespace: &Namespace,
    admin: bool,
    plan: &Plan,
    build: &BuildPlan,
    before: &Before,
) -> Vec<ImageRef> {
    let names = build.images(&plan.name, &before.env).ok().filter(|_| !before.leaves_names_open(build));
    names.and_then(|names| skip::names(registry, namespace, admin, &names).ok()).unwrap_or_default()
}

// === impl Question ===

impl Question<'_> {
    fn inputs<'q>(&'q self, dockerfile: &'q str) -> Inputs<'q> {
        let Self { platform, namespace, plan, build, roots, before, .. } = *self;
        Inputs { namespace, plan, build, roots, dockerfile, platform, before }
    }

    /// The image, if it need not be built.
    async fn found(&self, names: &[ImageRef]) -> Option<Skipped> {
        let first = names.first()?;
        if self.build.only_if_missing
            && let Ok(Some(image)) = skip::existing(self.bases.registry(), first).await
        {
            return Some(Skipped { image, reason: skip::IS_THERE.to_owned() });
        }
        // One that was never seen was never built.
        let inputs = self.inputs(self.dockerfile?);
        match skip::decide(self.bases, &inputs, names).await {
            Decision::Skip(skipped) => Some(skipped),
            Decision::Build(_) => None,
        }
    }

    /// Why the build may use more than its context was narrowed to.
    async fn too_narrow(&self) -> Option<String> {
        if self.roots.narrowed_to.is_empty() {
            return None;
        }
        match self.dockerfile {
            Some(text) => self.inputs(text).may_use_more(self.bases).await,
            None => Some("its Dockerfile is not known yet".to_owned()),
        }
    }
}
