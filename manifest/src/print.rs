//! `slipway build --print`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    names::{ServiceName, default_image},
    plan::{BuildPlan, Plan},
};

/// The resolved plan as JSON: `{"services":[…]}` in build order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrintedPlan {
    /// One entry an image.
    pub services: Vec<PrintedBuild>,
}

/// One image of [`PrintedPlan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrintedBuild {
    /// The service.
    pub name: ServiceName,
    /// The context, relative to the manifest's root.
    pub context: String,
    /// The Dockerfile.
    pub dockerfile: String,
    /// The stage.
    pub target: Option<String>,
    /// Build arguments; what depends on images that are built first is still an expression.
    pub args: BTreeMap<String, String>,
    /// The image's name as written, or the default.
    pub image: String,
    /// The builds before.
    pub depends_on: Vec<ServiceName>,
    /// The platforms; empty: the engine's own.
    pub platforms: Vec<String>,
    /// What goes to BuildKit besides: texts as flags have them, by the flag's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Vec<String>>,
    /// Digest of the context, known offline.
    pub context_digest: Option<String>,
    /// Digest of everything that goes into the image; unknown while that depends on an image that isn't built.
    pub input_digest: Option<String>,
}

/// What the caller knows about one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Digests {
    /// Digest of the context.
    pub context: Option<String>,
    /// Digest of everything that goes into the image.
    pub input: Option<String>,
}

impl PrintedPlan {
    /// The printed form of a plan.
    pub fn new(plan: &Plan, mut digests: impl FnMut(&BuildPlan) -> Digests) -> Self {
        let services = plan.builds.iter().map(|build| PrintedBuild::new(plan, build, digests(build))).collect();
        Self { services }
    }

    /// The same with all texts that come of expansion changed, such as by masks.
    #[must_use]
    pub fn masked(mut self, mask: impl Fn(&str) -> String) -> Self {
        for service in &mut self.services {
            let options = service.options.values_mut().flatten();
            let texts = [&mut service.context, &mut service.dockerfile, &mut service.image].into_iter();
            let texts = texts.chain(&mut service.target).chain(service.args.values_mut()).chain(options);
            texts.for_each(|text| *text = mask(text));
        }
        self
    }
}

impl PrintedBuild {
    fn new(plan: &Plan, build: &BuildPlan, digests: Digests) -> Self {
        let mut args: BTreeMap<String, String> =
            build.args.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        args.extend(build.build_args.iter().cloned());
        let mut options: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, text) in build.options.to_pairs() {
            options.entry(key.to_string()).or_default().push(text);
        }
        Self {
            name: build.service.clone(),
            context: build.context.clone(),
            dockerfile: build.dockerfile.clone(),
            target: build.target.clone(),
            args,
            image: build
                .image
                .as_ref()
                .map(ToString::to_string)
                .filter(|image| !image.is_empty())
                .unwrap_or_else(|| default_image(&plan.name, &build.service)),
            depends_on: build.depends_on.clone(),
            platforms: build.platforms.clone(),
            options,
            context_digest: digests.context,
            input_digest: digests.input,
        }
    }
}
