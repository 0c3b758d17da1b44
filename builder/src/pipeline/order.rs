//! Which builds wait for which.
//!
//! A build waits for those whose images it uses: that it depends on, whose variables (`OKTETO_BUILD_*`) its fields or its
//! Dockerfile name, and whose names are in its FROM, COPY --from or --mount, or that make its bill of materials; and for all that these wait for. Only what comes
//! before it in the plan is waited for. Where a Dockerfile can't be understood, that is everything.

use std::collections::{BTreeMap, BTreeSet};

use slipway_context::dockerfile::{Input, analyse};
use slipway_manifest::ImageEnv;
use slipway_manifest::expand::Template;
use slipway_manifest::image_env::variable_names;
use slipway_manifest::options::{NamedContext, Sbom};
use slipway_manifest::plan::BuildPlan;
use slipway_registry_client::{ImageRef, Tag};

use super::Pipeline;
use super::skip;

/// Stands for the registry of an image that isn't built yet and whose name can't be told. There is no such host (RFC 6761).
const NOT_YET: &str = "slipway.invalid";
/// A digest like any other.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// For each build of a plan, by its index: the indexes of those that it waits for.
pub(super) type Needs = Vec<BTreeSet<usize>>;

impl Pipeline {
    /// What each build waits for.
    pub(super) fn needs(&self) -> Needs {
        let (uses, names) = self.uses_and_names();
        needs(&self.spec.plan.builds, &uses, &names)
    }

    /// The same, of those of whom it is known what they use: others may use nothing.
    pub(super) fn known_needs(&self) -> Needs {
        let (uses, names) = self.uses_and_names();
        let uses: Vec<_> = uses.into_iter().map(|uses| Some(uses.unwrap_or_default())).collect();
        needs(&self.spec.plan.builds, &uses, &names)
    }

    fn uses_and_names(&self) -> (Vec<Option<Uses>>, Vec<Vec<ImageRef>>) {
        let builds = &self.spec.plan.builds;
        let (mut env, mut uses, mut names) = (ImageEnv::default(), Vec::new(), Vec::new());
        for build in builds {
            // One that is there already doesn't care what its Dockerfile says.
            let skipped = self.spec.skipped.contains_key(&build.service);
            uses.push(if skipped { Some(Uses::default()) } else { self.uses(build, &env) });
            names.push(self.names(build, &env));
            // As its image will be named, but for the digest.
            let name = names.last().and_then(|names| names.first());
            let place = name.map(|name| format!("{}/{}", name.registry(), name.repository()));
            // Both are references.
            let place = place.unwrap_or_else(|| format!("{NOT_YET}/{}", build.service));
            let _ = env.extend(&build.service, &format!("{place}@{NO_DIGEST}"));
        }
        (uses, names)
    }

    /// What its Dockerfile uses; none: that can't be told.
    fn uses(&self, build: &BuildPlan, env: &ImageEnv) -> Option<Uses> {
        let root = self.spec.builds.get(&build.service)?.dockerfile;
        let text =
            skip::dockerfile(skip::file_name(build), &root, |digest, limit| self.blobs.read_all(digest, limit).ok())?;
        let args: BTreeMap<_, _> =
            build.complete_args(env).ok()?.into_iter().map(|(name, value)| (name, Some(value))).collect();
        let target = build.target.as_deref();
        let found = analyse(&Input { text: &text, target, args: &args, platforms: &build.platforms });
        if found.opaque {
            return None;
        }
        let image = |name: &str| {
            let image = self.registry.image_ref(&self.spec.namespace, name).ok()?;
            Some(if image.tag().is_none() && image.digest().is_none() { image.with_tag(Tag::latest()) } else { image })
        };
        let generator = build.options.sbom.as_ref().map(Sbom::generator);
        let contexts = build.options.contexts.values().filter_map(|context| match context {
            NamedContext::Image(image) => Some(image.as_str()),
            _ => None,
        });
        let images = found.base_images.iter().map(|base| base.name.as_str()).chain(generator).chain(contexts);
        let images = images.filter_map(image).collect();
        Some(Uses { variables: found.declared_args?, images })
    }

    /// The names that the build's image will have, as far as they are known.
    fn names(&self, build: &BuildPlan, env: &ImageEnv) -> Vec<ImageRef> {
        let names = build.images(&self.spec.plan.name, env).unwrap_or_default();
        skip::names(&self.registry, &self.spec.namespace, self.spec.admin, &names).unwrap_or_default()
    }
}

/// What a Dockerfile uses that other builds may make.
#[derive(Debug, Default)]
struct Uses {
    variables: BTreeSet<String>,
    images: BTreeSet<ImageRef>,
}

/// The same from what their Dockerfiles use (nothing: that can't be told) and which names their images will have.
fn needs(builds: &[BuildPlan], all: &[Option<Uses>], names: &[Vec<ImageRef>]) -> Needs {
    let mut needs: Needs = Vec::with_capacity(builds.len());
    for (index, (build, uses)) in builds.iter().zip(all).enumerate() {
        let templates = build.args.iter().map(|(_, value)| value).chain(&build.image);
        let variables: BTreeSet<String> = templates.flat_map(Template::variables).collect();
        let own_names = &names[index];
        let is_used = |other: &usize| {
            let (service, names) = (&builds[*other].service, &names[*other]);
            let own = variable_names(service);
            build.depends_on.contains(service)
                || own.iter().any(|name| variables.contains(name))
                // Not known: it may be any.
                || names.is_empty()
                // Who pushes a name last has it, and who used it before had the one before.
                || own_names.iter().any(|name| names.contains(name) || all[*other].as_ref().is_some_and(|uses| uses.images.contains(name)))
                || uses.as_ref().is_none_or(|uses| {
                    own.iter().any(|name| uses.variables.contains(name))
                        || names.iter().any(|name| uses.images.contains(name))
                })
        };
        let direct: BTreeSet<usize> = (0..index).filter(is_used).collect();
        let through = direct.iter().flat_map(|other| needs[*other].iter().copied());
        needs.push(through.chain(direct.iter().copied()).collect());
    }
    needs
}

#[cfg(test)]
mod tests {
    use slipway_manifest::ServiceName;

    use super::*;
    use crate::pipeline::input::tests::plain_build;

    fn named(name: &str) -> ImageRef {
        format!("reg.example/dev/{name}:1").parse().unwrap()
    }

    /// What the builds `a`, `b`, … wait for.
    fn waits(change: impl FnOnce(&mut [BuildPlan], &mut [Option<Uses>])) -> Vec<String> {
        waits_named(|builds, uses, _| change(builds, uses))
    }

    fn waits_named(change: impl FnOnce(&mut [BuildPlan], &mut [Option<Uses>], &mut [Vec<ImageRef>])) -> Vec<String> {
        let services = ["a", "b", "c", "d"];
        let mut builds = services.map(plain_build);
        let mut uses = services.map(|_| Some(Uses::default()));
        let mut names = services.map(|name| vec![named(name)]);
        change(&mut builds, &mut uses, &mut names);
        let needs = needs(&builds, &uses, &names);
        needs.iter().map(|needs| needs.iter().map(|index| services[*index]).collect()).collect()
    }

    #[test]
    fn nothing_waits_for_what_it_does_not_use() {
        assert_eq!(waits(|_, _| {}), ["", "", "", ""]);
    }

    #[test]
    fn each_way_to_use_an_image_waits_for_it_and_for_what_that_waits_for() {
        let waits = waits(|builds, uses| {
            builds[1].depends_on = vec![ServiceName::new("a").unwrap()];
            uses[2].as_mut().unwrap().images.extend([named("b"), named("d"), named("other")]);
            uses[3].as_mut().unwrap().variables.insert("OKTETO_BUILD_C_SHA".to_owned());
        });
        assert_eq!(waits, ["", "a", "ab", "abc"]);
    }

    #[test]
    fn fields_count_and_so_does_what_cant_be_told() {
        let waits = waits(|builds, uses| {
            builds[1].args = vec![("X".to_owned(), Template::from_source("${OKTETO_BUILD_A_TAG}"))];
            builds[2].image = Some(Template::from_source("x:${OKTETO_BUILD_A_TAG}"));
            uses[3] = None;
        });
        assert_eq!(waits, ["", "a", "a", "abc"]);
    }

    #[test]
    fn who_pushes_a_name_waits_for_those_who_have_it_before() {
        let waits = waits_named(|_, uses, names| {
            names[1] = vec![named("a")];
            uses[2].as_mut().unwrap().images.insert(named("d"));
        });
        assert_eq!(waits, ["", "a", "", "c"]);
        assert_eq!(waits_named(|_, _, names| names[1].clear()), ["", "", "b", "b"], "it may have any name");
    }
}
