//! A build's options in BuildKit's words.

use std::collections::HashMap;

use slipway_manifest::options::{Network, Output, OutputKind};
use slipway_manifest::plan::BuildPlan;
use slipway_registry_client::ImageRef;

use super::cache_scope::CacheScope;
use super::frontend::Reader;
use super::skip;
use crate::buildkit::solve::{Export, FRONTEND};
use crate::names::Namespace;

const HOSTS: &str = "add-hosts";
/// Where the name in every step's hosts file leads that makes it another step: nowhere, and never back from an address that
/// anyone uses.
const NOWHERE: &str = "127.255.255.254";
const CACHE_MOUNTS: &str = "build-arg:BUILDKIT_CACHE_MOUNT_NS";

/// Where what is built belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) scope: &'a CacheScope,
    pub(super) namespace: &'a Namespace,
    /// The image's first name.
    pub(super) name: &'a ImageRef,
    /// What stands for the build's secrets.
    pub(super) secrets: &'a [(String, String)],
    /// Who submitted the job.
    pub(super) owner: &'a str,
}

/// Attributes of the `dockerfile.v0` frontend (`BuildKit`, `frontend/dockerui/config.go` and `attr.go`). `args` are
/// complete.
pub(super) fn frontend(
    build: &BuildPlan,
    args: &[(String, String)],
    dockerfile: &str,
    reader: Reader,
    place: Place<'_>,
) -> HashMap<String, String> {
    let options = &build.options;
    let mut attributes = HashMap::new();
    let mut set = |key: &str, value: String| {
        attributes.insert(key.to_owned(), value);
    };
    match build.remote_context() {
        Some(url) => {
            set("context", url.to_owned());
            // Within what is fetched.
            set("filename", build.dockerfile.clone());
        }
        None => set("filename", skip::file_name(build).to_owned()),
    }
    for (name, value) in args {
        set(&format!("build-arg:{name}"), value.clone());
    }
    // What comes now, no argument of the user's may change.
    let Place { scope, namespace, name, secrets, owner } = place;
    set(CACHE_MOUNTS, scope.mounts(namespace, name.repository()));
    // BuildKit's cache key knows neither contents of cache mounts, nor secrets, nor addresses of hosts and proxies: an equal
    // step of another namespace would give what theirs gave. Mounts of other repositories are others, too; and equal steps that
    // run at once are one, which has one user's SSH agents.
    let repository = may_have_cache_mounts(build, dockerfile).then(|| name.repository());
    let agents_of = (!options.ssh.is_empty()).then_some(owner);
    // The name of a host counts in a step's key, its address doesn't. A hostname would do, too, but a buildkitd with CNI makes
    // a network of its own for each step that has one, which takes longer than most steps.
    let own = format!("{}={NOWHERE}", scope.host(namespace, repository, &options.extra_hosts, secrets, agents_of));
    let hosts = options.extra_hosts.iter().map(ToString::to_string).chain([own]);
    set(HOSTS, hosts.collect::<Vec<_>>().join(","));
    match reader {
        // As if it had been forwarded already.
        Reader::Engine => set("cmdline", FRONTEND.to_owned()),
        // It is not for BuildKit to find another one in the text.
        Reader::Image(name) => set("build-arg:BUILDKIT_SYNTAX", name),
        Reader::Named => {}
    }
    for (name, value) in &options.labels {
        set(&format!("label:{name}"), value.clone());
    }
    if let Some(target) = &build.target {
        set("target", target.clone());
    }
    if !build.platforms.is_empty() {
        set("platform", build.platforms.join(","));
    }
    if build.no_cache {
        set("no-cache", String::new());
    } else if !options.no_cache_filter.is_empty() {
        set("no-cache", options.no_cache_filter.join(","));
    }
    if options.pull {
        set("image-resolve-mode", "pull".to_owned());
    }
    if options.network == Network::None {
        set("force-network-mode", "none".to_owned());
    }
    if let Some(size) = options.shm_size {
        set("shm-size", size.to_string());
    }
    if !options.ulimits.is_empty() {
        let limits: Vec<_> = options.ulimits.iter().map(|(name, limit)| format!("{name}={limit}")).collect();
        set("ulimit", limits.join(","));
    }
    if let Some(provenance) = &options.provenance {
        set("attest:provenance", provenance.to_string());
    }
    if let Some(sbom) = &options.sbom {
        // By name, so that it is the one that was looked at.
        set("attest:sbom", format!("generator={}", sbom.generator()));
    }
    attributes
}

/// Whether the repository counts in every step's key. Also one whose type is a variable, and one that waits for the next image's
/// build.
pub(super) fn may_have_cache_mounts(build: &BuildPlan, dockerfile: &str) -> bool {
    let text = dockerfile.to_ascii_lowercase();
    build.remote_context().is_some() || text.contains("--mount") || text.contains("onbuild")
}

/// Whether an argument of this name is the service's to give.
pub(super) fn is_ours(name: &str) -> bool {
    CACHE_MOUNTS.strip_prefix("build-arg:") == Some(name)
}

/// Attributes of the image exporter, without names and push.
pub(super) fn exporter(build: &BuildPlan) -> HashMap<String, String> {
    let options = &build.options;
    let image = options.export.attributes().into_iter().map(|(key, value)| (key.to_owned(), value));
    let annotations = options.annotations.iter().map(|one| (one.attribute(), one.value.clone()));
    image.chain(annotations).collect()
}

/// What else it is exported as. Annotations are those of every image.
pub(super) fn exports(build: &BuildPlan) -> Vec<Export> {
    let annotations = || build.options.annotations.iter().map(|one| (one.attribute(), one.value.clone()));
    let export = |output: &Output| {
        let attrs = output.attributes().into_iter().map(|(key, value)| (key.to_owned(), value));
        let annotations = annotations().filter(|_| output.kind != OutputKind::Tar);
        Export { kind: output.kind.as_str(), attrs: attrs.chain(annotations).collect() }
    };
    build.options.outputs.iter().map(export).collect()
}

#[cfg(test)]
mod tests {
    use slipway_manifest::options::OptionKey;

    use super::*;
    use crate::pipeline::input::tests::plain_build;

    #[test]
    fn no_argument_changes_what_keeps_namespaces_apart() {
        let dir = tempfile::tempdir().unwrap();
        let scope = CacheScope::open(dir.path()).unwrap();
        let mut build = plain_build("app");
        build.options.set(OptionKey::ExtraHost, "db=10.0.0.1").unwrap();
        let args = [(CACHE_MOUNTS.replace("build-arg:", ""), "mine".to_owned())];
        let (namespace, name) = ("dev".parse().unwrap(), "127.0.0.1:1/dev/app".parse().unwrap());
        let place = Place { scope: &scope, namespace: &namespace, name: &name, secrets: &[], owner: "ann" };
        let cached = "FROM x\nRUN --mount=target=/x,type=$T true\n";
        let found = frontend(&build, &args, cached, Reader::Named, place);
        let (hosts, repository) = (&build.options.extra_hosts, name.repository());
        assert_eq!(found[CACHE_MOUNTS], scope.mounts(&namespace, repository));
        let own = scope.host(&namespace, Some(repository), hosts, &[], None);
        assert_eq!(found[HOSTS], format!("db=10.0.0.1,{own}={NOWHERE}"));
        build.options.set(OptionKey::Ssh, "default").unwrap();
        let found = frontend(&build, &args, cached, Reader::Named, place);
        let own = scope.host(&namespace, Some(repository), &build.options.extra_hosts, &[], Some("ann"));
        assert_eq!(found[HOSTS], format!("db=10.0.0.1,{own}={NOWHERE}"));
        let found = frontend(&plain_build("app"), &args, "FROM x\n", Reader::Engine, place);
        assert_eq!(found[HOSTS], format!("{}={NOWHERE}", scope.host(&namespace, None, &[], &[], None)));
    }

    #[test]
    fn what_the_engine_fetches_may_have_any_step() {
        let dir = tempfile::tempdir().unwrap();
        let scope = CacheScope::open(dir.path()).unwrap();
        let (namespace, name) = ("dev".parse().unwrap(), "127.0.0.1:1/dev/app".parse().unwrap());
        let place = Place { scope: &scope, namespace: &namespace, name: &name, secrets: &[], owner: "ann" };
        let mut build = plain_build("app");
        (build.context, build.dockerfile) =
            ("https://git.example/app.git#main:sub".to_owned(), "docker/Dockerfile".to_owned());
        let found = frontend(&build, &[], "", Reader::Engine, place);
        assert_eq!(
            (found["context"].as_str(), found["filename"].as_str()),
            (build.context.as_str(), "docker/Dockerfile")
        );
        // As of a Dockerfile with cache mounts; and no frontend that it names reads it.
        assert_eq!(
            found[HOSTS],
            format!("{}={NOWHERE}", scope.host(&namespace, Some(name.repository()), &[], &[], None))
        );
        assert_eq!(found["cmdline"], FRONTEND);
    }

    #[test]
    fn options_that_are_not_set_say_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let scope = CacheScope::open(dir.path()).unwrap();
        let build = plain_build("app");
        let (namespace, name) = ("dev".parse().unwrap(), "127.0.0.1:1/dev/app".parse().unwrap());
        let place = Place { scope: &scope, namespace: &namespace, name: &name, secrets: &[], owner: "ann" };
        let found = frontend(&build, &[], "FROM x\n", Reader::Named, place);
        let mut keys: Vec<_> = found.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, [HOSTS, CACHE_MOUNTS, "filename"]);
        assert_eq!(exporter(&build), HashMap::from([("oci-mediatypes".to_owned(), "true".to_owned())]));
    }
}
