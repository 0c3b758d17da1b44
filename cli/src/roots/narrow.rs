//! What of its context a build can use: nothing else is scanned and sent.

use std::collections::BTreeMap;
use std::io::Read as _;

use slipway_context::dockerfile::{Analysis, ContextPaths, Input, analyse};
use slipway_context::rules::DOCKERIGNORE;
use slipway_context::{PathNode, Scan};
use slipway_manifest::image_env::variable_names;
use slipway_manifest::plan::BuildPlan;

/// The paths that the build can use, as `BuildKit` asks for them; empty: any, or it can't be told. `dockerfile` is the
/// snapshot of the Dockerfile of that name.
pub(super) fn paths(dockerfile: &Scan, name: &str, build: &BuildPlan, earlier: &[BuildPlan]) -> Vec<String> {
    let Some(analysis) = analysis(dockerfile, name, build, earlier) else {
        tracing::info!(build.service = %build.service, "the whole context is sent: the Dockerfile is not UTF-8");
        return Vec::new();
    };
    let ignore_file = ignore_file(name);
    match analysis.context_paths {
        ContextPaths::Only(mut paths) => {
            // BuildKit asks for it before anything else. Always one, since none would mean all.
            let has_own = dockerfile.paths().any(|entry| entry.path == ignore_file);
            if !has_own || paths.is_empty() {
                paths.push(DOCKERIGNORE.to_owned());
                paths.sort_unstable();
                paths.dedup();
            }
            paths
        }
        ContextPaths::All { reason } => {
            tracing::info!(build.service = %build.service, reason, "the whole context is sent");
            Vec::new()
        }
    }
}

/// What a Dockerfile says in this build; none if it is no text.
pub(super) fn analysis(dockerfile: &Scan, name: &str, build: &BuildPlan, earlier: &[BuildPlan]) -> Option<Analysis> {
    Some(analyse(&Input {
        text: &text(dockerfile, name)?,
        target: build.target.as_deref(),
        args: &known_args(build, earlier),
        platforms: &build.platforms,
    }))
}

fn ignore_file(name: &str) -> String {
    format!("{name}{DOCKERIGNORE}")
}

/// The arguments, as far as they are known before the service completes them.
pub(crate) fn known_args(build: &BuildPlan, earlier: &[BuildPlan]) -> BTreeMap<String, Option<String>> {
    let mut args: BTreeMap<_, _> = build.args.iter().map(|(name, value)| (name.clone(), value.complete())).collect();
    args.entry("OKTETO_SMART_BUILDS_ENABLED".to_owned()).or_insert_with(|| Some("true".to_owned()));
    let made = earlier.iter().flat_map(|build| variable_names(&build.service));
    args.extend(made.map(|name| (name, None)));
    args.extend(build.build_args.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
    args
}

/// The text of the Dockerfile of that name in its snapshot; none if it is no text.
pub(crate) fn text(dockerfile: &Scan, name: &str) -> Option<String> {
    let ignore_file = ignore_file(name);
    let entry = dockerfile.paths().find(|entry| entry.path != ignore_file)?;
    let PathNode::File { digest, .. } = entry.node else { return None };
    let mut text = String::new();
    dockerfile.open(&digest).ok()??.read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use slipway_context::scan_dockerfile;
    use slipway_manifest::ServiceName;
    use slipway_manifest::expand::Template;

    use super::*;

    fn build(service: &str) -> BuildPlan {
        BuildPlan {
            service: ServiceName::new(service).unwrap(),
            context: ".".to_owned(),
            dockerfile: "Dockerfile".to_owned(),
            target: None,
            args: vec![("DIR".to_owned(), Template::literal("src"))],
            build_args: Vec::new(),
            image: None,
            depends_on: Vec::new(),
            platforms: Vec::new(),
            options: slipway_manifest::BuildOptions::default(),
            no_cache: false,
            no_skip: false,
            only_if_missing: false,
        }
    }

    #[test]
    fn a_build_is_narrowed_to_what_its_dockerfile_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Dockerfile");
        let paths = |text: &str, change: fn(&mut BuildPlan)| {
            fs::write(&path, text).unwrap();
            let mut build = build("api");
            change(&mut build);
            super::paths(&scan_dockerfile(&path).unwrap(), "Dockerfile", &build, &[super::tests::build("base")])
        };
        let text = "FROM scratch\nARG DIR\nCOPY $DIR go.* /\n";
        assert_eq!(paths(text, |_| {}), [".dockerignore", "go.*", "src"]);
        let with_arg: fn(&mut BuildPlan) = |build| build.build_args = vec![("DIR".to_owned(), "lib".to_owned())];
        assert_eq!(paths(text, with_arg), [".dockerignore", "go.*", "lib"]);
        assert_eq!(paths("FROM scratch\n", |_| {}), [".dockerignore"]);
        assert_eq!(paths("FROM scratch\nCOPY . /\n", |_| {}), [""; 0]);
        assert_eq!(paths("FROM scratch\nARG OKTETO_BUILD_BASE_TAG\nCOPY $OKTETO_BUILD_BASE_TAG /\n", |_| {}), [""; 0]);
        // What is built in any case uses no more than what may be skipped.
        assert_eq!(paths(text, |build| (build.no_skip, build.no_cache) = (true, true)).len(), 3);
        fs::write(dir.path().join("Dockerfile.dockerignore"), "x\n").unwrap();
        assert_eq!(paths(text, |_| {}), ["go.*", "src"]);
        assert_eq!(paths("FROM scratch\n", |_| {}), [".dockerignore"]);
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(super::paths(&scan_dockerfile(&path).unwrap(), "Dockerfile", &build("api"), &[]), [""; 0]);
        fs::rename(&path, dir.path().join("dockerfile")).unwrap();
        fs::write(dir.path().join("dockerfile"), text).unwrap();
        assert_eq!(super::paths(&scan_dockerfile(&path).unwrap(), "Dockerfile", &build("api"), &[]), ["go.*", "src"]);
    }
}
