//! One build of the plan: skipped where that is allowed, else built and pushed.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::FlockOperation;
use secrecy::ExposeSecret as _;
use slipway_context::Digest;
use slipway_manifest::ImageEnv;
use slipway_manifest::plan::BuildPlan;
use slipway_proto::v1::event::Kind;
use slipway_proto::v1::{BuildDone, BuildSkipped, BuildStarted, OutputStream, StepDone, StepLog, StepStarted, Warning};
use slipway_registry_client::{Auth as ClientAuth, Digest as ImageDigest, ImageRef, Tag};
use tokio::sync::mpsc;

use super::Pipeline;
use super::failure::Failure;
use super::text::Pieces;
use crate::buildkit::Engine;
use crate::buildkit::progress::StepEvent;
use crate::buildkit::session::Services;
use crate::buildkit::session::auth::{Access, Auth, Mint, Token};
use crate::buildkit::session::filesync::{FileSync, Local};
use crate::buildkit::session::secrets::Secrets;
use crate::buildkit::solve::{self, ImageBuild};
use crate::registry::Action;

/// Step events on their way to the log.
const QUEUE: usize = 256;
/// Trees of one service that can be with an engine at the same time.
const SLOTS: u32 = 64;

impl Pipeline {
    /// Builds the image, or finds that it need not; gives its reference with its digest.
    pub(super) async fn build(
        &self,
        engine: &Engine,
        build: &BuildPlan,
        images: &ImageEnv,
    ) -> Result<ImageRef, Failure> {
        let service = build.service.to_string();
        let plan = |source| Failure::Plan { service: build.service.clone(), source: Box::new(source) };
        let names = build.images(&self.spec.plan.name, images).map_err(plan)?;
        let targets = self.targets(build, &names)?;
        let Some(first) = targets.first() else { return Err(Failure::internal("a build without a name")) };
        if build.only_if_missing
            && let Some(image) = self.existing(first).await?
        {
            let digest = image.digest().map(ToString::to_string).unwrap_or_default();
            let reason = "the registry has the image".to_owned();
            self.events.emit(Kind::BuildSkipped(BuildSkipped { service, reason, image: image.to_string(), digest }));
            return Ok(image);
        }
        self.events.emit(Kind::BuildStarted(BuildStarted { service: service.clone() }));
        let began = Instant::now();
        let roots = self.spec.builds.get(&build.service).ok_or_else(|| Failure::internal("a build without a tree"))?;
        let locals = BTreeMap::from([
            ("context".to_owned(), Local::Tree(roots.context)),
            ("dockerfile".to_owned(), Local::Tree(roots.dockerfile)),
        ]);
        let files = FileSync::new(self.blobs.clone(), locals, "context");
        let services =
            Services { files: files.clone(), auth: self.session_auth(engine, &targets), secrets: Secrets::default() };
        let key = SharedKey::take(&self.locks, &self.shared_key(&service, "build"))?;
        let request = ImageBuild {
            shared_key: key.name.clone(),
            frontend_attrs: frontend_attrs(build, &build.complete_args(images).map_err(plan)?),
            names: targets.iter().map(ToString::to_string).collect(),
            insecure: self.registry.client().is_plain_http(first.registry()),
            sources: self.source_rules(),
        };
        let (steps, received) = mpsc::channel(QUEUE);
        let telling = self.tell(&service, received);
        let building = async {
            let result = solve::build(engine, services, &request, &steps, &self.cancel).await;
            drop(steps);
            result
        };
        let (result, ()) = tokio::join!(building, telling);
        let pushed = result.map_err(|source| Failure::Build { service: build.service.clone(), source })?;
        let digest = pushed.digest.parse().map_err(Failure::internal)?;
        let image = pinned(first, digest);
        self.events.emit(Kind::BuildDone(BuildDone {
            service,
            image: image.to_string(),
            digest: pushed.digest,
            duration_ms: began.elapsed().as_millis() as u64,
            engine_bytes: files.sent(),
        }));
        Ok(image)
    }

    /// Where the image is pushed; every name must be one that the job may push to.
    fn targets(&self, build: &BuildPlan, names: &[String]) -> Result<Vec<ImageRef>, Failure> {
        let resolve = |name: &String| {
            let image = self.registry.image_ref(&self.spec.namespace, name);
            let image = image.map_err(|error| Failure::Image(error.to_string()))?;
            self.registry
                .allowed_push(&self.spec.namespace, self.spec.admin, &image)
                .map_err(|source| Failure::Push { service: build.service.clone(), source: Box::new(source) })?;
            Ok(if image.tag().is_none() { image.with_tag(Tag::latest()) } else { image })
        };
        names.iter().map(resolve).collect()
    }

    /// The image with its digest, when the registry has it.
    async fn existing(&self, image: &ImageRef) -> Result<Option<ImageRef>, Failure> {
        let auth: ClientAuth = self.registry.client_auth(image, &[Action::Pull]).map_err(Failure::internal)?;
        let digest = self.registry.client().resolve_digest(image, &auth).await;
        let digest = digest.map_err(|error| Failure::Registry(error.to_string()))?;
        Ok(digest.map(|digest| pinned(image, digest)))
    }

    /// The engine gets into our registry with tokens for what the job may do, and for no longer than it runs.
    pub(super) fn session_auth(&self, engine: &Engine, push: &[ImageRef]) -> Auth {
        let host = self.registry.host().to_string();
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
            return Auth::new(Vec::new());
        };
        Auth::new(vec![(host, access)])
    }

    /// Namespace, application, service and section: what two trees must share for BuildKit to compare them.
    pub(super) fn shared_key(&self, service: &str, section: &str) -> String {
        format!("{}/{}/{service}/{section}", self.spec.namespace, self.spec.plan.name)
    }

    pub(super) fn source_rules(&self) -> Vec<crate::buildkit::policy::SourceRule> {
        use crate::buildkit::policy::Decision;
        use crate::registry::SourceEffect;
        let rules = self.registry.source_policy_rules(&self.spec.namespace).into_iter();
        let decide = |effect| match effect {
            SourceEffect::Convert(to) => Decision::Convert(to),
            SourceEffect::Allow => Decision::Allow,
            SourceEffect::Deny => Decision::Deny,
        };
        rules.map(|rule| (decide(rule.effect), rule.pattern)).collect()
    }

    /// Turns steps into events.
    async fn tell(&self, service: &str, mut steps: mpsc::Receiver<StepEvent>) {
        let mut pieces = Pieces::new();
        let service = || service.to_owned();
        let log = |step, stderr, text: Vec<u8>| {
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
                StepEvent::Log { step, stderr, bytes } => log(step, stderr, pieces.add((step, stderr), &bytes)),
                StepEvent::Done { step, name, cached, duration_ms, error } => {
                    log(step, false, pieces.end(&(step, false)));
                    log(step, true, pieces.end(&(step, true)));
                    let done = StepDone { service: service(), step, name, cached, duration_ms, error };
                    self.events.emit(Kind::StepDone(done));
                }
                StepEvent::Warning { message, place } => {
                    self.events.emit(Kind::Warning(Warning { message, place }));
                }
            }
        }
    }
}

/// The image by its digest alone: what the variables name.
fn pinned(image: &ImageRef, digest: ImageDigest) -> ImageRef {
    ImageRef::new(image.registry().clone(), image.repository().clone()).with_digest(digest)
}

/// Options of the `dockerfile.v0` frontend (BuildKit, `frontend/dockerfile/builder`).
fn frontend_attrs(build: &BuildPlan, args: &[(String, String)]) -> HashMap<String, String> {
    let file_name = Path::new(&build.dockerfile).file_name().and_then(|name| name.to_str()).unwrap_or("Dockerfile");
    let mut attrs = HashMap::from([("filename".to_owned(), file_name.to_owned())]);
    attrs.extend(args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
    if let Some(target) = &build.target {
        attrs.insert("target".to_owned(), target.clone());
    }
    if !build.platforms.is_empty() {
        attrs.insert("platform".to_owned(), build.platforms.join(","));
    }
    if build.no_cache {
        attrs.insert("no-cache".to_owned(), String::new());
    }
    attrs
}

/// A sharing key that no other job uses now: BuildKit locks a source while a job uses it, and a second one with the same key
/// would send everything again.
#[derive(Debug)]
pub(super) struct SharedKey {
    /// The key itself.
    pub(super) name: String,
    _lock: File,
}

impl SharedKey {
    /// Takes the first free slot of a key.
    pub(super) fn take(locks: &Path, key: &str) -> Result<Self, Failure> {
        std::fs::create_dir_all(locks).map_err(Failure::internal)?;
        for slot in 0..SLOTS {
            let name = if slot == 0 { key.to_owned() } else { format!("{key}/{slot}") };
            let path = locks.join(Digest::of(name.as_bytes()).hex());
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
            let file = file.map_err(Failure::internal)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { name, _lock: file }),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(Failure::internal(error)),
            }
        }
        Err(Failure::Internal(format!("more than {SLOTS} jobs build the same service")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_that_overlap_get_a_key_each() {
        let dir = tempfile::tempdir().unwrap();
        let first = SharedKey::take(dir.path(), "a/b").unwrap();
        let second = SharedKey::take(dir.path(), "a/b").unwrap();
        assert_eq!((first.name.as_str(), second.name.as_str()), ("a/b", "a/b/1"));
        drop(first);
        assert_eq!(SharedKey::take(dir.path(), "a/b").unwrap().name, "a/b");
    }
}
