//! One build of the plan: skipped where that is allowed, else built and pushed.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use secrecy::ExposeSecret as _;
use slipway_commands::text::{Pieces, Tail};
use slipway_manifest::plan::BuildPlan;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{
    BuildDone, BuildExported, BuildStarted, OutputStream, StepDone, StepLog, StepProgress, StepStarted,
};
use slipway_registry_client::ImageRef;
use tokio::sync::mpsc;

use super::Pipeline;
use super::attributes;
use super::caches::LocalCache;
use super::clipped::says_clipped;
use super::contexts;
use super::failure::Failure;
use super::frontend;
use super::input::{Before, Inputs};
use super::locks::{Alone, SharedKey};
use super::logins;
use super::skip::{self, AskError, Decision, NameError, Skipped};
use super::stages::Made;
use crate::buildkit::Engine;
use crate::buildkit::pool::Needs;
use crate::buildkit::progress::StepEvent;
use crate::buildkit::session::Services;
use crate::buildkit::session::auth::{Access, Auth, Mint, Token};
use crate::buildkit::session::content::Content;
use crate::buildkit::session::exports::{Exports, Written};
use crate::buildkit::session::filesync::{FileSync, Local};
use crate::buildkit::session::secrets::Secrets;
use crate::buildkit::solve::{self, ImageBuild};
use crate::jobs;
use crate::registry::BaseImages;

const CLIPPED: &str = "the engine cuts the output of steps: start it with BUILDKIT_STEP_LOG_MAX_SIZE=-1 and \
                       BUILDKIT_STEP_LOG_MAX_SPEED=-1 in its environment to have all of it";
/// Step events on their way to the log.
const QUEUE: usize = 256;
/// How long an image that was found may take to get its names.
const NAMING: Duration = Duration::from_mins(1);

/// Whether a build has waited for another one from the same inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    First,
    /// Where the other one failed, all who waited build at the same time.
    Waited,
}

/// What became of a build.
#[derive(Debug)]
pub(super) enum Built {
    /// Its reference with its digest, and its names.
    Image(Made),
    /// Somebody builds from the same inputs, which are these.
    Elsewhere(String),
}

impl Pipeline {
    /// The image and its names, if it is known without an engine that nothing is to be done.
    pub(super) async fn found(
        &self,
        build: &BuildPlan,
        before: &Before,
    ) -> Result<Option<(ImageRef, Vec<ImageRef>)>, Failure> {
        let targets = self.targets(build, before)?;
        let Some(first) = targets.first() else { return Err(Failure::internal("a build without a name")) };
        let Some(skipped) = self.found_before(build, first).await? else { return Ok(None) };
        if let Err(failure) = self.skip(build, &skipped, &targets).await {
            // What was found when the job was submitted has not been sent: it can't be built.
            if self.spec.skipped.contains_key(&build.service) {
                return Err(failure);
            }
            told_to_build(build, &failure);
            return Ok(None);
        }
        Ok(Some((skipped.image, targets)))
    }

    /// Builds the image, or finds that it need not.
    pub(super) async fn build(
        &self,
        engine: &Engine,
        needs: &Needs,
        build: &BuildPlan,
        before: &Before,
        targets: Vec<ImageRef>,
        turn: Turn,
    ) -> Result<Built, Failure> {
        let service = build.service.to_string();
        let plan = |source| Failure::Plan { service: build.service.clone(), source: Box::new(source) };
        let Some(first) = targets.first() else { return Err(Failure::internal("a build without a name")) };
        let roots = self.spec.builds.get(&build.service).ok_or_else(|| Failure::internal("a build without a tree"))?;
        let text = skip::dockerfile(skip::file_name(build), &roots.dockerfile, |digest, limit| {
            self.blobs.read_all(digest, limit).ok()
        });
        let text = text.unwrap_or_default();
        let (namespace, of_plan, platform) = (&self.spec.namespace, &self.spec.plan, engine.default_platform());
        let secrets = self.secrets.keys(&self.cache_scope, namespace, build);
        let secrets = secrets.as_slice();
        let inputs = Inputs { namespace, plan: of_plan, build, roots, dockerfile: &text, platform, before, secrets };
        let bases = self.unless_cancelled(self.looking.bases()).await?.map_err(Failure::internal)?;
        let bases = bases.for_caller(&self.logins);
        let decision = self.unless_cancelled(Box::pin(self.skip_or_build(&bases, &inputs, &targets))).await?;
        let found = match decision {
            Decision::Skip(skipped, _) => return Ok(Built::Image((skipped.image, targets))),
            Decision::Build(found) => found,
        };
        let _alone = if let (Some(found), Turn::First) = (&found, turn) {
            // It is looked for where its first name is.
            let input = format!("{} {}/{}", found.digest.hex(), first.registry(), first.repository());
            let alone = Alone::try_take(&self.locks, &input)?;
            // What is to be built anew waits for nobody, but others may wait for it.
            if alone.is_none() && !build.no_skip {
                return Ok(Built::Elsewhere(input));
            }
            alone
        } else {
            None
        };
        if let Some(problem) = self.secrets.missing(build) {
            return Err(Failure::Secret { service: build.service.clone(), problem });
        }
        let mut caches = self.caches(build, roots)?;
        if let Some(feature) = needs.features.iter().copied().find(|feature| engine.lacks(*feature)) {
            return Err(Failure::lacks(build, engine, feature));
        }
        for feature in caches.leave_out(engine) {
            self.events.warn_once(format!(
                "`{service}`: `cache_from` is left out: engine {} ({}) knows no {feature}",
                engine.address(),
                engine.version(),
            ));
        }
        self.events
            .emit(Kind::BuildStarted(BuildStarted { service: service.clone(), engine: engine.address().to_string() }));
        let began = Instant::now();
        let mut locals = BTreeMap::from([
            ("context".to_owned(), Local::context(roots.context, &roots.narrowed_to)),
            ("dockerfile".to_owned(), Local::Tree(roots.dockerfile)),
        ]);
        let named = roots.named.iter().map(|(name, root)| (contexts::local_name(name), Local::Tree(*root)));
        locals.extend(named);
        let files = FileSync::new(self.blobs.clone(), locals, "context");
        let pushed = [targets.as_slice(), &caches.pushed].concat();
        let (auth, values) = (self.session_auth(engine, &pushed), Secrets::new(self.secrets.of(build)));
        let exports = self.exports(build);
        let (ssh, _held) = self.agents(&build.options.ssh, &format!("build of service `{}`", build.service)).await?;
        let (exported, content) = (exports.clone(), Content::new(caches.stores));
        let services = Services { files: files.clone(), auth, secrets: values, ssh, exports: exported, content };
        let args = build.complete_args(&before.env).map_err(plan)?;
        for (name, _) in args.iter().filter(|(name, _)| attributes::is_ours(name)) {
            self.events.warn(format!("`{}`: the argument `{name}` is set by the service", build.service));
        }
        let refused = |frontend| Failure::Frontend { service: build.service.clone(), frontend };
        let reader = frontend::reader(&text, &args, self.frontends).map_err(refused)?;
        let owner = &self.spec.owner;
        let place = attributes::Place { scope: &self.cache_scope, namespace, name: first, secrets, owner };
        let mut frontend_attrs = attributes::frontend(build, &args, &text, reader, place);
        let resolved = contexts::resolve(build, before, |name| bases.reference(namespace, name));
        let resolved = resolved.map_err(|error| Failure::Image(format!("service `{}`: {error}", build.service)))?;
        frontend_attrs.extend(contexts::attributes(resolved));
        let key = SharedKey::take(&self.locks, &self.shared_key(&service, "build"))?;
        let request = ImageBuild {
            shared_key: key.name.clone(),
            frontend_attrs,
            cache_imports: caches.imports,
            cache_exports: caches.exports,
            exporter_attrs: attributes::exporter(build),
            names: targets.iter().map(ToString::to_string).collect(),
            push: !build.options.no_push,
            exports: attributes::exports(build),
            insecure: self.registry.client().is_plain_http(first.registry()),
            sources: self.source_rules(found.as_ref().map_or(&[], |found| &found.bases)),
        };
        let (steps, received) = mpsc::channel(QUEUE);
        let telling = self.tell(&service, received);
        let building = async {
            let result = solve::build(engine, services, &request, &steps, &self.cancel).await;
            drop(steps);
            result
        };
        // What it is built from, to tell later what changed.
        let ((result, tail), pieces) = {
            let pieces = pin!(inputs.pieces(&bases, &self.cache_scope, Some(first), owner));
            let solved = pin!(async { tokio::join!(building, telling) });
            match select(solved, pieces).await {
                Either::Left((solved, pieces)) if solved.0.is_ok() => (solved, self.unless_cancelled(pieces).await?),
                // Nobody waits for what is of no use.
                Either::Left((solved, _)) => (solved, Vec::new()),
                Either::Right((pieces, solved)) => (solved.await, pieces),
            }
        };
        if let Some(message) = files.refused() {
            return Err(Failure::Context { service: build.service.clone(), message });
        }
        let pushed = match result {
            Ok(pushed) => pushed,
            Err(source) => return Err(self.build_failed(build, roots, &bases, source, tail).await),
        };
        let digest = pushed.digest.parse().map_err(Failure::internal)?;
        let image = skip::pinned(first, digest);
        let (media_type, size) = pushed.descriptor.map(|found| (found.media_type, found.size)).unzip();
        let duration_ms = began.elapsed().as_millis() as u64;
        self.exported(build, &exports)?;
        self.unless_cancelled(self.cached(build, caches.local)).await??;
        if let Some(found) = found.filter(|_| request.push) {
            self.unless_cancelled(skip::remember(&bases, &inputs, found.digest, &image)).await?;
        }
        self.record(build, roots, &image, pieces);
        self.events.emit(Kind::BuildDone(BuildDone {
            service,
            image: image.to_string(),
            digest: pushed.digest,
            duration_ms,
            engine_bytes: files.sent(),
            names: request.names,
            config_digest: pushed.config_digest,
            media_type,
            size,
        }));
        Ok(Built::Image((image, targets)))
    }

    /// Where the engine sends what the caller wants.
    fn exports(&self, build: &BuildPlan) -> Exports {
        let path = |index| jobs::exports::file(&self.exports, build.service.as_str(), index);
        let files = (0..build.options.outputs.len()).map(|index| (index, path(index)));
        Exports::new(files.collect(), self.max_export_bytes)
    }

    /// Tells the caller what there is to be fetched.
    fn exported(&self, build: &BuildPlan, exports: &Exports) -> Result<(), Failure> {
        for (index, output) in build.options.outputs.iter().enumerate() {
            let (service, kind) = (build.service.clone(), output.kind.as_str());
            let Some(written) = exports.written(index) else {
                return Err(Failure::Export { service, kind });
            };
            self.tell_export(build, index, kind, written);
        }
        Ok(())
    }

    /// The same for caches in the caller's folders.
    async fn cached(&self, build: &BuildPlan, caches: Vec<LocalCache>) -> Result<(), Failure> {
        for cache in caches {
            let (index, kind) = (cache.index, "cache");
            let cancel = self.cancel.clone();
            let packed = tokio::task::spawn_blocking(move || cache.pack(&cancel)).await.map_err(Failure::internal)?;
            let failed = |source| Failure::CacheArchive { service: build.service.clone(), source };
            match packed.map_err(failed)? {
                Some(written) => self.tell_export(build, index, kind, written),
                // As it may, with `ignore-error`.
                None => self.events.warn(format!("`{}`: the engine left no complete local cache", build.service)),
            }
        }
        Ok(())
    }

    fn tell_export(&self, build: &BuildPlan, index: usize, kind: &str, written: Written) {
        self.events.emit(Kind::BuildExported(BuildExported {
            service: build.service.to_string(),
            index: index as u32,
            kind: kind.to_owned(),
            bytes: written.bytes,
            digest: written.digest.to_string(),
        }));
    }

    /// What was found when the job was submitted, or is there under a name that is all that counts.
    async fn found_before(&self, build: &BuildPlan, name: &ImageRef) -> Result<Option<Skipped>, Failure> {
        if let Some(skipped) = self.spec.skipped.get(&build.service) {
            return match skip::existing(&self.registry, &skipped.image).await.map_err(asked)? {
                Some(_) => Ok(Some(skipped.clone())),
                None => Err(Failure::Gone { service: build.service.clone(), image: skipped.image.to_string() }),
            };
        }
        if !build.only_if_missing {
            return Ok(None);
        }
        let image = skip::existing(&self.registry, name).await.map_err(asked)?;
        Ok(image.map(|image| Skipped { image, reason: skip::IS_THERE.to_owned() }))
    }

    /// Decides, and gives an image that was found its names; one that can't have them is built.
    async fn skip_or_build(&self, bases: &BaseImages, inputs: &Inputs<'_>, names: &[ImageRef]) -> Decision {
        let decision = skip::decide(bases, inputs, names).await;
        if let Decision::Skip(skipped, found) = &decision
            && let Err(failure) = self.skip(inputs.build, skipped, names).await
        {
            told_to_build(inputs.build, &failure);
            return Decision::Build(Some(found.clone()));
        }
        decision
    }

    async fn skip(&self, build: &BuildPlan, skipped: &Skipped, names: &[ImageRef]) -> Result<(), Failure> {
        let naming = skip::set_names(&self.registry, build, &skipped.image, names);
        let set = tokio::time::timeout(NAMING, naming).await;
        let late = |_| Failure::Registry(format!("{} has no name after {} s", skipped.image, NAMING.as_secs()));
        set.map_err(late)?.map_err(asked)?;
        self.events.emit(skipped.event(&build.service, names));
        Ok(())
    }

    /// Where the image is pushed; every name must be one that the job may push to.
    pub(super) fn targets(&self, build: &BuildPlan, before: &Before) -> Result<Vec<ImageRef>, Failure> {
        let plan = |source| Failure::Plan { service: build.service.clone(), source: Box::new(source) };
        let names = build.images(&self.spec.plan.name, &before.env).map_err(plan)?;
        skip::names(&self.registry, &self.spec.namespace, self.spec.admin, &names).map_err(|error| match error {
            NameError::Image(message) => Failure::Image(message),
            NameError::Push(source) => Failure::Push { service: build.service.clone(), source },
        })
    }

    /// The engine gets into our registry with tokens for what the job may do, and for no longer than it runs; into others with
    /// the caller's logins.
    pub(super) fn session_auth(&self, engine: &Engine, push: &[ImageRef]) -> Auth {
        let host = self.registry.host().to_string();
        // Ours first: no login of a caller's stands for it.
        let with =
            |ours: Option<(String, Access)>| Auth::new(ours.into_iter().chain(logins::access(&self.logins)).collect());
        let access = if let Some(credentials) = self.registry.credentials() {
            Access::Credentials {
                username: credentials.username.clone(),
                secret: credentials.password.expose_secret().to_owned(),
            }
        } else if self.registry.signer().is_some() {
            let rights = self.registry.job_rights(&self.spec.namespace, push);
            let rights = if engine.needs_mounts() { rights.with_mounts() } else { rights };
            let (registry, subject) = (self.registry.clone(), format!("job:{}", self.spec.job));
            let mint: Mint = Arc::new(move |scopes| {
                let answer = registry.token_for_job(&subject, &rights, None, scopes);
                let answer = answer.map_err(|error| error.to_string())?;
                Ok(Token {
                    token: answer.token.expose_secret().to_owned(),
                    expires_in: answer.expires_in as i64,
                    issued_at: answer.issued_at.unix_timestamp(),
                })
            });
            Access::Tokens(mint)
        } else {
            return with(None);
        };
        with(Some((host, access)))
    }

    /// Namespace, application, service and section: what two trees must share for BuildKit to compare them.
    pub(super) fn shared_key(&self, service: &str, section: &str) -> String {
        format!("{}/{}/{service}/{section}", self.spec.namespace, self.spec.plan.name)
    }

    pub(super) fn source_rules(&self, bases: &[ImageRef]) -> Vec<crate::buildkit::policy::SourceRule> {
        use crate::buildkit::policy::Decision;
        use crate::registry::SourceEffect;
        let rules = self.registry.source_policy_rules(&self.spec.namespace, bases).into_iter();
        let decide = |effect| match effect {
            SourceEffect::Convert(to) => Decision::Convert(to),
            SourceEffect::Allow => Decision::Allow,
            SourceEffect::Deny => Decision::Deny,
        };
        rules.map(|rule| (decide(rule.effect), rule.pattern)).collect()
    }

    /// Turns steps into events; gives the end of what the first one said that failed.
    async fn tell(&self, service: &str, mut steps: mpsc::Receiver<StepEvent>) -> String {
        let (mut pieces, mut failed) = (Pieces::new(&self.events.masks()), String::new());
        let mut tails = HashMap::<u32, Tail>::new();
        let service = || service.to_owned();
        let log = |tail: &mut Tail, step, stderr, text: Vec<u8>| {
            tail.add(&text);
            let stream = if stderr { OutputStream::Stderr } else { OutputStream::Stdout };
            if !text.is_empty() {
                self.events.emit(Kind::StepLog(StepLog { service: service(), step, stream: stream.into(), text }));
            }
        };
        while let Some(event) = steps.recv().await {
            match event {
                StepEvent::Started { step, name } => {
                    self.events.emit(Kind::StepStarted(StepStarted { service: service(), step, name }));
                }
                StepEvent::Log { step, stderr, bytes } => {
                    if says_clipped(&bytes) && !self.clipped.swap(true, Ordering::Relaxed) {
                        self.events.warn(CLIPPED.to_owned());
                    }
                    log(tails.entry(step).or_default(), step, stderr, pieces.add((step, stderr), &bytes));
                }
                StepEvent::Done { step, name, cached, duration_ms, error } => {
                    let mut said = tails.remove(&step).unwrap_or_default();
                    for stderr in [false, true] {
                        log(&mut said, step, stderr, pieces.end(&(step, stderr)));
                    }
                    if error.is_some() && failed.is_empty() {
                        failed = said.text();
                    }
                    let done = StepDone { service: service(), step, name, cached, duration_ms, error };
                    self.events.emit(Kind::StepDone(done));
                }
                StepEvent::Moving { step, bytes, total } => {
                    let progress = StepProgress { service: service(), step, bytes, total_bytes: total };
                    self.events.emit(Kind::StepProgress(progress));
                }
                // An engine that is tried again, or that builds for several platforms, finds it again.
                StepEvent::Warning { message, place } => {
                    self.events.warn_once_at(format!("`{}`: {message}", service()), place);
                }
            }
        }
        // Nobody was told how these ended.
        for (step, stderr) in pieces.open() {
            log(&mut Tail::default(), step, stderr, pieces.end(&(step, stderr)));
        }
        failed
    }
}

fn told_to_build(build: &BuildPlan, failure: &Failure) {
    let service = &build.service;
    tracing::warn!(build.service = %service, error = %failure, "can't name the image that `{service}` has: it is built");
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn asked(error: AskError) -> Failure {
    Failure::Registry(error.to_string())
}

#[cfg(test)]
mod tests;
