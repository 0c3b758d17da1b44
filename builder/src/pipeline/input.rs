//! The input digest: one name for everything that decides what a build gives.
//!
//! The same on every machine, so that an image that one has built is found by another. Where something can't be known before
//! the build there is no digest: such a build is never skipped.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use slipway_context::Digest;
use slipway_context::dockerfile::{Analysis, ContextPaths, Input, Unknown, analyse};
use slipway_manifest::image_env::variable_names;
use slipway_manifest::options::{Sbom, familiar_name};
use slipway_manifest::plan::{BuildPlan, CompleteError, Plan};
use slipway_manifest::{ImageEnv, InvalidReference, ServiceName};
use slipway_registry_client::{ImageRef, Platform};

use self::platforms::Platforms;
use super::contexts::{self, Place};
use crate::jobs::spec::BuildRoots;
use crate::names::Namespace;
use crate::registry::bases::{Base, BaseError, BaseImages, DEADLINE};

pub mod pieces;
mod platforms;

/// The version of the digest: another one finds nothing of this one's.
const VERSION: &[u8] = b"slipway-input-v1\n\0";
/// Arguments that every build is given; they count where the Dockerfile declares them.
const GIVEN_TO_ALL: [&str; 2] = ["OKTETO_BUILD_", "OKTETO_SMART_BUILDS_ENABLED"];

/// The digest of a build's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputDigest(Digest);

/// What was found out before a build.
#[derive(Debug, Clone)]
pub struct Found {
    /// The digest of its inputs.
    pub digest: InputDigest,
    /// Its base images, each by name and digest: as they were when the digest was made.
    pub bases: Vec<ImageRef>,
}

/// A build, and what is known about it.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Where it belongs.
    pub namespace: &'a Namespace,
    /// What it is part of.
    pub plan: &'a Plan,
    /// The build.
    pub build: &'a BuildPlan,
    /// Its trees.
    pub roots: &'a BuildRoots,
    /// Its Dockerfile's text.
    pub dockerfile: &'a str,
    /// What the engine builds for when no platform is named, if that is known.
    pub platform: Option<&'a str>,
    /// What the builds before it gave.
    pub before: &'a Before,
    /// What stands for its secrets.
    pub secrets: &'a [(String, String)],
}

/// What the builds of a job gave so far.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// The variables of those that are done.
    pub env: ImageEnv,
    /// In build order: of two with one name the later one has it.
    images: Vec<(ServiceName, Image)>,
    /// Those whose images are not known yet.
    pending: BTreeSet<ServiceName>,
    /// Their names, and whether the images may have ONBUILD triggers.
    pending_names: Vec<(ImageRef, bool)>,
}

/// An image that a job has made, or has found.
#[derive(Debug, Clone)]
struct Image {
    pinned: ImageRef,
    names: Vec<ImageRef>,
}

/// Why there is no input digest.
#[derive(Debug, thiserror::Error)]
pub enum NoDigest {
    /// An image that it needs isn't built yet.
    #[error("it needs the image of `{0}`, which is not built yet")]
    Pending(ServiceName),
    /// It starts from an image that this job may push first.
    #[error("it uses `{image}`, which this job builds")]
    PendingImage {
        /// The image.
        image: ImageRef,
        /// Whether it may have ONBUILD triggers.
        triggers: bool,
    },
    /// The plan can't be completed; the build will say so.
    #[error(transparent)]
    Plan(#[from] CompleteError),
    /// The Dockerfile does something that can't be known beforehand.
    #[error("line {line} of the Dockerfile: {reason}")]
    Unknown {
        /// The line.
        line: usize,
        /// What.
        reason: String,
    },
    /// It is for the engine's own platform.
    #[error("the engine's platform is not known yet")]
    NoPlatform,
    /// It starts from an image for another platform.
    #[error("the platform `{platform}` of the base image `{image}` can't be told")]
    BasePlatform {
        /// The image.
        image: String,
        /// As the Dockerfile writes it.
        platform: String,
    },
    /// A base image can't be looked at.
    #[error("base image: {0}")]
    Base(#[from] BaseError),
    /// The engine fetches the context, which may be another one at any time.
    #[error("its context is what the engine fetches")]
    Remote,
    /// A named context that may be another at any time, or that can't be told.
    #[error("the context `{name}`: {reason}")]
    Context {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A base image has steps of its own.
    #[error("the base image `{0}` has ONBUILD triggers")]
    Triggers(ImageRef),
}

/// What the Dockerfile tells.
struct Analysed {
    /// The build's arguments.
    args: Vec<(String, String)>,
    analysis: Analysis,
    platforms: Platforms,
}

// === impl InputDigest ===

impl InputDigest {
    /// All 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

// === impl Before ===

impl Before {
    /// A build is done: its image by digest, and the names it was given.
    pub fn add(
        &mut self,
        service: &ServiceName,
        pinned: &ImageRef,
        names: Vec<ImageRef>,
    ) -> Result<(), InvalidReference> {
        self.env.extend(service, &pinned.to_string())?;
        self.images.push((service.clone(), Image { pinned: pinned.clone(), names }));
        Ok(())
    }

    /// A build comes that will be done only later; what its Dockerfile says, if that is known.
    pub fn add_pending(&mut self, service: &ServiceName, names: Vec<ImageRef>, dockerfile: Option<&str>) {
        // Triggers come from its own ONBUILD lines: those of its base image are used up by it.
        let triggers = dockerfile.is_none_or(|text| text.to_ascii_lowercase().contains("onbuild"));
        self.pending.insert(service.clone());
        self.pending_names.extend(names.into_iter().map(|name| (name, triggers)));
    }

    /// Whether the build's names depend on an image that isn't known yet.
    pub fn leaves_names_open(&self, build: &BuildPlan) -> bool {
        build.image.as_ref().is_some_and(|image| self.pending_of(&image.variables()).is_some())
    }

    /// The image of a service by digest, once it is known.
    pub fn pinned(&self, service: &ServiceName) -> Option<&ImageRef> {
        self.image(service).map(|image| &image.pinned)
    }

    fn image(&self, service: &ServiceName) -> Option<&Image> {
        self.images.iter().find(|(made, _)| made == service).map(|(_, image)| image)
    }

    fn pending_of(&self, variables: &[String]) -> Option<&ServiceName> {
        self.pending_variables().find(|(_, name)| variables.contains(name)).map(|(service, _)| service)
    }

    fn pending_variables(&self) -> impl Iterator<Item = (&ServiceName, String)> {
        self.pending.iter().flat_map(|service| variable_names(service).into_iter().map(move |name| (service, name)))
    }
}

// === impl Inputs ===

impl Inputs<'_> {
    /// What the Dockerfile needs.
    async fn analyse(&self) -> Result<Analysed, CompleteError> {
        let args = self.build.complete_args(&self.before.env)?;
        let mut known: BTreeMap<String, Option<String>> =
            args.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        for (_, name) in self.before.pending_variables() {
            known.entry(name).or_insert(None);
        }
        for (name, template) in &self.build.args {
            if self.before.pending_of(&template.variables()).is_some() {
                known.insert(name.clone(), None);
            }
        }
        for (name, value) in &self.build.build_args {
            known.insert(name.clone(), Some(value.clone()));
        }
        let (text, target, targets) =
            (self.dockerfile.to_owned(), self.build.target.clone(), self.build.platforms.clone());
        let (own, plan_args) = (self.platform.map(str::to_owned), self.build.args.clone());
        let build_args = self.build.build_args.clone();
        // What a user sends decides how long it takes: it must not hold up others.
        let analysis = tokio::task::spawn_blocking(move || {
            let found = analyse(&Input { text: &text, target: target.as_deref(), args: &known, platforms: &targets });
            let names = plan_args.iter().map(|(name, _)| name.as_str());
            let names = names.chain(build_args.iter().map(|(name, _)| name.as_str()));
            (found, Platforms::new(&text, &targets, own.as_deref(), names))
        });
        let (analysis, platforms) = analysis.await.unwrap_or_else(|error| (not_analysed(&error), Platforms::default()));
        Ok(Analysed { args, analysis, platforms })
    }

    /// The digest, asking registries for base images.
    pub async fn digest(&self, bases: &BaseImages) -> Result<Found, NoDigest> {
        if self.build.remote_context().is_some() {
            return Err(NoDigest::Remote);
        }
        let dependencies = self.dependencies()?;
        // What names its platforms may be built by any engine, unless it asks for the engine's.
        let named = !self.build.platforms.is_empty();
        if !named && self.platform.is_none() {
            return Err(NoDigest::NoPlatform);
        }
        let Analysed { args, analysis, platforms } = self.analyse().await?;
        let any = named && !platforms.uses_build();
        let own = if any { None } else { Some(self.platform.ok_or(NoDigest::NoPlatform)?) };
        if let Some(unknown) = analysis.unknown.first() {
            return Err(NoDigest::Unknown { line: unknown.line, reason: unknown.reason.clone() });
        }
        let declared = analysis.declared_args.clone().unwrap_or_default();
        if let Some((service, _)) = self.before.pending_variables().find(|(_, name)| declared.contains(name)) {
            return Err(NoDigest::Pending(service.clone()));
        }
        let args: Vec<_> = args
            .into_iter()
            .filter(|(name, _)| declared.contains(name) || !GIVEN_TO_ALL.iter().any(|given| name.starts_with(given)))
            .collect();
        let finding = async {
            let (mut found, mut pinned) = (Vec::new(), Vec::new());
            for (name, from) in self.images(&analysis) {
                let image = bases.reference(self.namespace, name).map_err(BaseError::Name)?;
                let base = self.base(bases, &image, from.then_some((&platforms, Some(name)))).await?;
                found.push((name.to_owned(), base.digest.to_string()));
                // One that names a digest is no other under its tag.
                if image.digest().is_none() {
                    pinned.push(image.with_digest(base.digest));
                }
            }
            let named = self.named(bases, &platforms, &mut pinned).await?;
            Ok::<_, NoDigest>((found, named, pinned))
        };
        let (found, named, bases) = tokio::time::timeout(DEADLINE, finding).await.map_err(|_| BaseError::TooSlow)??;
        Ok(Found { digest: self.hash(&args, &dependencies, &found, &named, own), bases })
    }

    /// Whether the base images have triggers, or can't be looked at: then any part of the context may be used.
    pub async fn may_use_more(&self, bases: &BaseImages) -> Option<String> {
        let (analysis, platforms) = match self.analyse().await {
            Ok(analysed) => (analysed.analysis, analysed.platforms),
            Err(error) => return Some(error.to_string()),
        };
        if analysis.declared_args.is_none() {
            return analysis.unknown.first().map(|unknown| unknown.reason.clone());
        }
        let looking = async {
            for image in analysis.base_images.iter().filter(|image| image.from) {
                let reference = match bases.reference(self.namespace, &image.name) {
                    Ok(reference) => reference,
                    Err(error) => return Some(BaseError::Name(error).to_string()),
                };
                match self.base(bases, &reference, Some((&platforms, Some(&image.name)))).await {
                    Ok(_) | Err(NoDigest::PendingImage { triggers: false, .. }) => {}
                    Err(error) => return Some(error.to_string()),
                }
            }
            None
        };
        match tokio::time::timeout(DEADLINE, looking).await {
            Ok(reason) => reason,
            Err(_) => Some(BaseError::TooSlow.to_string()),
        }
    }

    /// Those that it starts from or takes files from, and those that read it or look at it; and whether it starts from one.
    fn images<'i>(&'i self, analysis: &'i Analysis) -> impl Iterator<Item = (&'i str, bool)> {
        let images = analysis.base_images.iter().map(|image| (image.name.as_str(), image.from));
        let tools =
            analysis.frontend.as_deref().into_iter().chain(self.build.options.sbom.as_ref().map(Sbom::generator));
        // What is another context's name is no image.
        let images = images.filter(|(name, _)| !self.build.options.contexts.contains_key(&familiar_name(name)));
        images.chain(tools.map(|name| (name, false)))
    }

    /// The named contexts, and what stands for each; images that name no digest are pinned.
    async fn named(
        &self,
        bases: &BaseImages,
        platforms: &Platforms,
        pinned: &mut Vec<ImageRef>,
    ) -> Result<Vec<(String, String)>, NoDigest> {
        let resolved = contexts::resolve(self.build, self.before, |name| bases.reference(self.namespace, name));
        let unknown = |name: &str, reason: &str| NoDigest::Context { name: name.to_owned(), reason: reason.to_owned() };
        let mut named = Vec::new();
        for (name, place) in resolved.map_err(|reason| unknown("", &reason))? {
            let content = match place {
                Place::Image(image) => {
                    // A stage may start from it.
                    let base = self.base(bases, &image, Some((platforms, None))).await?;
                    if image.digest().is_none() {
                        pinned.push(image.with_digest(base.digest.clone()));
                    }
                    format!("image {}", base.digest)
                }
                Place::Local => {
                    let tree = self.roots.named.get(&name).ok_or_else(|| unknown(&name, "its tree is not known"))?;
                    format!("tree {tree}")
                }
                Place::Remote(_) => return Err(unknown(&name, "what the engine fetches may change at any time")),
            };
            named.push((name, content));
        }
        Ok(named)
    }

    /// An image as it is now; with platforms: one that a stage starts from, under this name or any, and that has no triggers.
    async fn base(
        &self,
        bases: &BaseImages,
        image: &ImageRef,
        from: Option<(&Platforms, Option<&str>)>,
    ) -> Result<Base, NoDigest> {
        if let Some((_, triggers)) = self.before.pending_names.iter().find(|(name, _)| name == image) {
            return Err(NoDigest::PendingImage { image: image.clone(), triggers: *triggers });
        }
        let mut made = self.before.images.iter().rev().map(|(_, made)| made);
        let made = made.find(|made| made.names.contains(image));
        let base = bases.find(self.namespace, made.map_or(image, |made| &made.pinned)).await?;
        if let Some((platforms, name)) = from {
            for platform in platforms_of(platforms, name)? {
                if bases.has_triggers(&base, &platform).await? {
                    return Err(NoDigest::Triggers(image.clone()));
                }
            }
        }
        Ok(base)
    }

    /// The digests of everything that it depends on, in the order of names.
    fn dependencies(&self) -> Result<Vec<(String, String)>, NoDigest> {
        let mut needed: BTreeSet<&ServiceName> = BTreeSet::new();
        let mut open: Vec<&BuildPlan> = vec![self.build];
        while let Some(build) = open.pop() {
            for service in &build.depends_on {
                if needed.insert(service) {
                    open.extend(self.plan.builds.iter().filter(|build| build.service == *service));
                }
            }
        }
        let templates = self.build.args.iter().map(|(_, value)| value).chain(&self.build.image);
        for template in templates {
            if let Some(service) = self.before.pending_of(&template.variables()) {
                return Err(NoDigest::Pending(service.clone()));
            }
        }
        let mut digests = Vec::with_capacity(needed.len());
        for service in needed {
            let image = self.before.image(service).ok_or_else(|| NoDigest::Pending(service.clone()))?;
            let digest = image.pinned.digest().map(ToString::to_string).unwrap_or_default();
            digests.push((service.to_string(), digest));
        }
        Ok(digests)
    }

    fn hash(
        &self,
        args: &[(String, String)],
        dependencies: &[(String, String)],
        bases: &[(String, String)],
        named: &[(String, String)],
        own_platform: Option<&str>,
    ) -> InputDigest {
        let mut hash = Fields(Sha256::new_with_prefix(VERSION));
        hash.field(self.namespace.as_str());
        hash.bytes(self.roots.context.as_bytes());
        hash.bytes(self.roots.dockerfile.as_bytes());
        hash.field(&self.build.dockerfile);
        hash.list(self.build.target.iter());
        hash.pairs(args);
        // No platform has a space.
        let role = if self.build.platforms.is_empty() { "default" } else { "build" };
        let own = own_platform.map(|own| format!("{role} {own}"));
        hash.list(self.build.platforms.iter().chain(&own));
        hash.pairs(self.secrets);
        hash.pairs(dependencies);
        hash.pairs(bases);
        // Not there for a build without any, so that these digests are what they were before there were options.
        let options = self.build.options.of_the_image();
        if !options.is_empty() {
            let options: Vec<_> = options.into_iter().map(|(key, text)| (key.to_string(), text)).collect();
            hash.pairs(&options);
        }
        if !named.is_empty() {
            hash.field("contexts");
            hash.pairs(named);
        }
        InputDigest(Digest::from_bytes(hash.0.finalize().into()))
    }
}

/// The platforms for which this base image is used.
fn platforms_of(platforms: &Platforms, image: Option<&str>) -> Result<Vec<Platform>, NoDigest> {
    let unknown = |platform| NoDigest::BasePlatform { image: image.unwrap_or("a context").to_owned(), platform };
    let names = image.map_or_else(|| platforms.of_any(), |image| platforms.of(image)).map_err(unknown)?;
    let platform = |name: String| {
        let mut parts = name.split('/').map(str::to_owned);
        let (os, architecture) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // Others' variants are left out in many indexes.
        let variant = parts.next().filter(|_| architecture == "arm");
        Platform { os, architecture, variant }
    };
    Ok(names.into_iter().map(platform).collect())
}

/// Fields one after another, each with its length before it, so that no two lists of fields have the same bytes.
struct Fields(Sha256);

impl Fields {
    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    fn field(&mut self, text: impl AsRef<str>) {
        self.bytes(text.as_ref().as_bytes());
    }

    fn list(&mut self, items: impl Iterator<Item = impl AsRef<str>>) {
        let items: Vec<_> = items.collect();
        self.count(items.len());
        for item in items {
            self.field(item);
        }
    }

    fn pairs(&mut self, pairs: &[(String, String)]) {
        self.count(pairs.len());
        for (name, value) in pairs {
            self.field(name);
            self.field(value);
        }
    }

    fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_be_bytes());
    }
}

/// What could not be looked into may use anything, and give anything.
fn not_analysed(error: &tokio::task::JoinError) -> Analysis {
    let reason = format!("it can't be looked into: {error}");
    Analysis {
        context_paths: ContextPaths::All { reason: reason.clone() },
        base_images: Vec::new(),
        opaque: true,
        frontend: None,
        unknown: vec![Unknown { reason, line: 1 }],
        declared_args: None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
