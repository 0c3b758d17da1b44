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
use super::explain::{self, Explanation};
use super::spec::{BuildRoots, JobSpec};
use super::state::JobState;
use super::sync::InlineBlob;
use super::{Jobs, JobsError, io, process};
use crate::auth::Caller;
use crate::names::Namespace;
use crate::pipeline::cache_scope::CacheScope;
use crate::pipeline::input::{Before, Inputs};
use crate::pipeline::secrets::Secrets;
use crate::pipeline::skip::{self, Decision, Skipped};
use crate::registry::{BaseImages, Logins, Registry};
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
    /// What is known of each build, where that was asked for.
    pub(super) explained: Vec<Explanation>,
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
    /// The values of its builds' secrets.
    pub(super) secrets: &'a Secrets,
    /// The caller's logins.
    pub(super) logins: &'a Logins,
    /// What has changed is to be told.
    pub(super) explain: bool,
}

/// What is asked about each build.
pub(super) struct Question<'a> {
    pub(super) bases: &'a BaseImages,
    platform: Option<&'a str>,
    pub(super) namespace: &'a Namespace,
    pub(super) plan: &'a Plan,
    pub(super) build: &'a BuildPlan,
    roots: &'a BuildRoots,
    pub(super) dockerfile: Option<&'a str>,
    before: &'a Before,
    secrets: &'a [(String, String)],
    /// Who asks.
    pub(super) user: &'a str,
}

impl Asked<'_> {
    /// When nothing can be known: everything is built, from whole contexts.
    fn unknown(&self) -> Ahead {
        let named = self.plan.builds.iter().zip(self.context_roots);
        let narrowed = named
            .filter(|(build, _)| self.builds.get(&build.service).is_some_and(|roots| !roots.narrowed_to.is_empty()));
        let widen: BTreeSet<String> = narrowed.map(|(_, root)| root.clone()).collect();
        Ahead { widen: widen.into_iter().collect(), ..Ahead::default() }
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
        let Asked { plan, builds, context_roots, inline, secrets, logins, explain } = asked;
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
        let (bases, platform) = (known.bases.for_caller(logins), known.platform.as_deref());
        let blobs = Blobs::open(&self.inner.data_dir, namespace).map_err(io("open the blob store"))?;
        let inline: HashMap<Digest, &[u8]> =
            inline.values().flatten().map(|blob| (Digest::of(&blob.content), blob.content.as_slice())).collect();
        let read = |digest: &Digest, limit| match inline.get(digest) {
            Some(content) => Some(content.to_vec()),
            None => blobs.read_all(digest, limit).ok(),
        };
        let scope = CacheScope::open(&self.inner.data_dir).map_err(io("read what keeps caches apart"))?;
        let mut before = Before::default();
        for (build, context_root) in plan.builds.iter().zip(context_roots) {
            let Some(roots) = builds.get(&build.service) else { continue };
            let text = skip::dockerfile(skip::file_name(build), &roots.dockerfile, read);
            let dockerfile = text.as_deref();
            let names = names(bases.registry(), namespace, caller.admin, plan, build, &before);
            let before_it = &before;
            let keys = secrets.keys(&scope, namespace, build);
            let question = Question {
                bases: &bases,
                platform,
                namespace,
                plan,
                build,
                roots,
                dockerfile,
                before: before_it,
                secrets: &keys,
                user: &caller.user,
            };
            let found = question.found(&names).await;
            if found.is_none()
                && let Some(reason) = question.too_narrow().await
                && !ahead.widen.contains(context_root)
            {
                tracing::info!(build.service = %build.service, reason, "`{}` needs its whole context", build.service);
                ahead.widen.push(context_root.clone());
            }
            if explain {
                let (found, first, data_dir) = (found.as_ref(), names.first(), &self.inner.data_dir);
                ahead.explained.push(explain::explain(&question, found, first, &scope, &blobs, data_dir).await);
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

    /// Ends a job that has nothing to do at all: it never runs. One whose images lack names is queued: it sets them when it
    /// runs, tries again where that fails, and can be cancelled.
    pub(super) async fn end_skipped(&self, row: JobRow, spec: &JobSpec) -> Result<JobRow, JobsError> {
        let named = tokio::time::timeout(PATIENCE, self.named(spec)).await.ok().flatten();
        let went_on = match named {
            Some(events) => self.end_named(&row, events).await,
            None => self.commit(&row).await.map(drop),
        };
        let now = self.inner.db.job(row.id).await?.unwrap_or(row);
        // What has ended meanwhile has lost its specification.
        if now.state == JobState::Syncing {
            went_on?;
        }
        Ok(now)
    }

    /// What there is to say when all images that were found have the names that their builds are to have. Nothing is changed.
    async fn named(&self, spec: &JobSpec) -> Option<Vec<Kind>> {
        let registry = self.inner.bases.registry();
        let (mut before, mut events) = (Before::default(), Vec::new());
        for build in &spec.plan.builds {
            let skipped = spec.skipped.get(&build.service)?;
            let names = names(registry, &spec.namespace, spec.admin, &spec.plan, build, &before);
            for name in &names {
                match skip::has_name(registry, build, &skipped.image, name).await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(error) => {
                        tracing::warn!(image = %name, %error, "can't ask for `{name}`");
                        return None;
                    }
                }
            }
            if names.is_empty() {
                return None;
            }
            events.push(skipped.event(&build.service, &names));
            before.add(&build.service, &skipped.image, names).ok()?;
        }
        Some(events)
    }

    async fn end_named(&self, row: &JobRow, events: Vec<Kind>) -> Result<(), JobsError> {
        let dir = self.dir(row.id);
        let Some(lock) = self.lock_syncing(row).await? else { return Ok(()) };
        // We have been away: another call may have queued or ended it.
        if self.inner.db.job(row.id).await?.is_none_or(|now| now.state != JobState::Syncing) {
            return Ok(());
        }
        if process::is_cancelled(&dir) {
            return self.end(row, JobState::Cancelled, None, lock).await;
        }
        {
            let open = EventLogWriter::open(&dir.events(), &row.id.to_string());
            let mut log = open.map_err(io("open the event log"))?;
            log.append(Kind::SyncDone(SyncDone::default())).map_err(io("write an event"))?;
            for event in events {
                log.append(event).map_err(io("write an event"))?;
            }
        }
        self.end(row, JobState::Succeeded, None, lock).await
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
    pub(super) fn inputs<'q>(&'q self, dockerfile: &'q str) -> Inputs<'q> {
        let Self { platform, namespace, plan, build, roots, before, secrets, .. } = *self;
        Inputs { namespace, plan, build, roots, dockerfile, platform, before, secrets }
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
            Decision::Skip(skipped, _) => Some(skipped),
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use slipway_manifest::plan::JobKind;
    use slipway_registry_client::Digest as ImageDigest;

    use super::super::{Config, event_log::EventLogReader};
    use super::*;
    use crate::config;
    use crate::names::JobId;
    use crate::pipeline::input::tests::plain_build;
    use crate::pipeline::looking::Looking;
    use crate::registry;
    use crate::registry::bases::tests::Server;
    use crate::seal::Key;
    use crate::stop::Stop;
    use crate::store::{self, Db};

    struct Scene {
        dir: tempfile::TempDir,
        jobs: Jobs,
        server: Server,
    }

    impl Scene {
        async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let server = Server::start().await;
            let registry = registry::Config { listen: server.host.parse().unwrap(), ..registry::Config::default() };
            let config = config::Config { data_dir: dir.path().to_owned(), registry, ..config::Config::default() };
            let registry = Arc::new(Registry::open(&config.registry, dir.path()).unwrap());
            let db = Db::open(dir.path()).await.unwrap();
            db.create_namespace(&"dev".parse().unwrap()).await.unwrap();
            let (data_dir, looking) = (dir.path().to_owned(), Looking::new(&config, registry));
            let store = store::Config::default();
            let jobs = Jobs::new(db, data_dir, Config::default(), store, looking, Vec::new(), Stop::default());
            Self { dir, jobs, server }
        }

        /// A job of one build, whose image was found: the one that the server has under this path.
        async fn job(&self, found: &str) -> (JobRow, JobSpec) {
            let service = ServiceName::new("app").unwrap();
            let image = format!("{}/dev/demo-app@{}", self.server.host, ImageDigest::of(found.as_bytes()));
            let skipped = Skipped { image: image.parse().unwrap(), reason: "same".to_owned() };
            let build = plain_build("app");
            let plan = Plan { builds: vec![build], ..Plan::empty(JobKind::Build, "demo") };
            let row = crate::store::db::jobs::tests::row(plan.kind, &plan.name);
            let root = Digest::of(b"never sent");
            let roots = BuildRoots::new(root, Vec::new(), root);
            let spec = JobSpec {
                job: row.id,
                namespace: row.namespace.clone(),
                owner: row.owner.clone(),
                admin: false,
                plan,
                builds: BTreeMap::from([(service.clone(), roots)]),
                skipped: BTreeMap::from([(service, skipped)]),
                commands: Vec::new(),
                no_wait: false,
                grace_ms: None,
            };
            self.jobs.dir(row.id).create(&spec, &Key::open(self.dir.path()).unwrap(), None).unwrap();
            let (row, _) = self.jobs.inner.db.insert_job(&row, "request").await.unwrap();
            (row, spec)
        }

        fn events(&self, job: JobId) -> Vec<Kind> {
            let events = EventLogReader::new(&self.jobs.dir(job).events(), 0).read(1 << 20).unwrap();
            events.into_iter().filter_map(|event| event.kind).collect()
        }

        fn asked_only(&self) {
            let asked = self.server.asked();
            assert!(!asked.is_empty() && asked.iter().all(|asked| asked.starts_with("HEAD ")), "{asked:?}");
        }
    }

    const NAMED: &str = "/v2/dev/demo-app/manifests/okteto";

    #[tokio::test]
    async fn a_job_whose_images_have_their_names_ends_at_once() {
        let scene = Scene::new().await;
        let (row, spec) = scene.job(NAMED).await;
        let row = scene.jobs.end_skipped(row, &spec).await.unwrap();
        assert_eq!(row.state, JobState::Succeeded);
        scene.asked_only();
        let events = scene.events(row.id);
        assert!(matches!(events[..], [Kind::SyncDone(_), Kind::BuildSkipped(_), Kind::JobDone(_)]), "{events:?}");
    }

    #[tokio::test]
    async fn a_job_that_has_names_to_set_is_queued() {
        let scene = Scene::new().await;
        let (row, spec) = scene.job("another image").await;
        let row = scene.jobs.end_skipped(row, &spec).await.unwrap();
        assert_eq!(row.state, JobState::Queued);
        scene.asked_only();
        let events = scene.events(row.id);
        assert!(matches!(events[..], [Kind::SyncDone(_), Kind::JobQueued(_)]), "{events:?}");
    }

    #[tokio::test]
    async fn what_became_of_a_job_meanwhile_counts() {
        for found in [NAMED, "another image"] {
            let scene = Scene::new().await;
            let (row, spec) = scene.job(found).await;
            let caller = Caller { user: "ann".to_owned(), admin: true, namespaces: Vec::new() };
            let cancelled = scene.jobs.cancel(&caller, &row.id.to_string(), None).await.unwrap();
            assert_eq!(cancelled.state, JobState::Cancelled);
            let row = scene.jobs.end_skipped(row, &spec).await.unwrap();
            assert_eq!(row.state, JobState::Cancelled);
            assert!(matches!(scene.events(row.id)[..], [Kind::JobDone(_)]));
        }
        // Another call of the same request was faster.
        let scene = Scene::new().await;
        let (row, spec) = scene.job(NAMED).await;
        scene.jobs.commit(&row).await.unwrap();
        let row = scene.jobs.end_skipped(row, &spec).await.unwrap();
        assert_eq!(row.state, JobState::Queued);
        assert!(matches!(scene.events(row.id)[..], [Kind::SyncDone(_), Kind::JobQueued(_)]));
    }

    #[tokio::test]
    async fn few_are_told_at_a_time_what_changed() {
        let scene = Scene::new().await;
        tokio::time::pause();
        let mut turns = Vec::new();
        while let Ok(turn) = scene.jobs.turn().await {
            turns.push(turn);
        }
        assert_eq!(turns.len(), explain::AT_A_TIME);
        turns.pop();
        assert!(scene.jobs.turn().await.is_ok());
    }

    #[tokio::test]
    async fn a_job_that_is_to_end_while_its_names_are_looked_at_is_cancelled() {
        let scene = Scene::new().await;
        let (row, spec) = scene.job(NAMED).await;
        // As somebody who found us with the lock.
        process::cancel(&scene.jobs.dir(row.id), None).unwrap();
        let row = scene.jobs.end_skipped(row, &spec).await.unwrap();
        assert_eq!(row.state, JobState::Cancelled);
        assert!(matches!(scene.events(row.id)[..], [Kind::JobDone(_)]));
    }
}
