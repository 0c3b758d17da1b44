//! Which registries a plan takes images from.

use std::collections::BTreeSet;

use slipway_context::dockerfile::Analysis;
use slipway_manifest::options::{NamedContext, Sbom, familiar_name};
use slipway_manifest::plan::{BuildPlan, Plan};

use super::DOCKER_HUB;
use crate::roots::{BuildRoots, Roots};

/// Hosts that mean the service's own registry.
const OURS: [&str; 2] = ["okteto.dev", "okteto.global"];

/// The registries, `host[:port]`, that builds and commands of the plan can ask for images and caches. `builds` are the roots of
/// its builds. Where images are pushed is not among them: that is the service's registry.
pub(crate) fn of_plan(plan: &Plan, builds: &[BuildRoots], roots: &Roots) -> Vec<String> {
    let mut hosts = BTreeSet::new();
    for (index, (build, of_build)) in plan.builds.iter().zip(builds).enumerate() {
        let analysis = roots.analysis(of_build, build, &plan.builds[..index]);
        hosts.extend(images(build, analysis.as_ref()).iter().filter_map(|image| host(image)));
    }
    let commands = plan.commands.iter().filter_map(|commands| commands.image.as_ref()?.complete());
    hosts.extend(commands.filter_map(|image| host(&image)));
    hosts.into_iter().collect()
}

/// All images that a build reads, by name.
fn images(build: &BuildPlan, dockerfile: Option<&Analysis>) -> Vec<String> {
    let options = &build.options;
    let bases = dockerfile.into_iter().flat_map(|found| &found.base_images).map(|image| &image.name);
    // What is a named context's name is no image.
    let bases = bases.filter(|name| !options.contexts.contains_key(&familiar_name(name)));
    let frontend = dockerfile.and_then(|found| found.frontend.as_ref());
    let named = options.contexts.values().filter_map(|context| match context {
        NamedContext::Image(image) => Some(image),
        _ => None,
    });
    let caches = options.cache_from.iter().filter_map(|cache| cache.reference.as_ref());
    let tools = options.sbom.as_ref().map(Sbom::generator).map(str::to_owned);
    bases.chain(frontend).chain(named).chain(caches).cloned().chain(tools).collect()
}

/// The registry of an image, by the rule of Docker's references (distribution/reference, `normalize.go`); none if it is the
/// service's own.
fn host(image: &str) -> Option<String> {
    let first = image.trim().split_once('/').map(|(first, _)| first);
    let is_host = |first: &&str| {
        first.contains(['.', ':']) || *first == "localhost" || first.chars().any(|letter| letter.is_ascii_uppercase())
    };
    let host = first.filter(is_host).unwrap_or(DOCKER_HUB).to_ascii_lowercase();
    let host = if host == "index.docker.io" { DOCKER_HUB.to_owned() } else { host };
    (!OURS.contains(&host.as_str())).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_of_a_registry_as_docker_reads_it() {
        for (image, expected) in [
            ("debian", "docker.io"),
            ("team/app:1", "docker.io"),
            ("index.docker.io/team/app", "docker.io"),
            ("ghcr.io/a/b@sha256:1", "ghcr.io"),
            ("localhost/a", "localhost"),
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000"),
            ("GHCR.io/a", "ghcr.io"),
        ] {
            assert_eq!(host(image).as_deref(), Some(expected), "{image}");
        }
        for ours in ["okteto.dev/a", "okteto.global/a:1"] {
            assert_eq!(host(ours), None);
        }
    }
}
