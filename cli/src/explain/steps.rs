//! The steps that run again.

use std::collections::BTreeSet;

use slipway_context::dockerfile::{Changes, Input, Step, rebuilt};
use slipway_context::rules::DOCKERIGNORE;
use slipway_context::tree::Change;
use slipway_manifest::options::OptionKey;
use slipway_manifest::plan::BuildPlan;
use slipway_proto::v1::{InputChange, InputKind, LastBuild};

use super::Changed;
use crate::roots::{BuildRoots, narrow};
use crate::submit::Prepared;

/// Options that RUN steps are run with; the others are the image's.
const OF_RUN: [OptionKey; 4] = [OptionKey::ExtraHost, OptionKey::Network, OptionKey::ShmSize, OptionKey::Ulimit];

/// A Dockerfile beside that of the last build.
#[derive(Debug)]
pub(super) struct Dockerfiles<'d> {
    /// Its name.
    file: &'d str,
    /// Its text; none if it is no text, or isn't here.
    now: Option<String>,
    /// The other's text, where that is known.
    before: Option<&'d str>,
    /// The digests of their trees.
    roots: [Vec<u8>; 2],
}

// === impl Dockerfiles ===

impl<'d> Dockerfiles<'d> {
    pub(super) fn new(prepared: &'d Prepared, roots: &'d BuildRoots, last: &'d LastBuild) -> Option<Self> {
        let tree = prepared.roots.tree(&roots.dockerfile)?;
        Some(Self {
            file: &roots.file,
            now: narrow::text(&tree.scan, &roots.file),
            before: last.dockerfile.as_deref(),
            roots: [last.dockerfile_root.clone(), tree.scan.digest().as_bytes().to_vec()],
        })
    }

    fn is_same(&self) -> bool {
        self.roots[0] == self.roots[1]
    }

    /// What there is to tell. `renamed`: that is told already.
    pub(super) fn changed(&self, renamed: bool) -> Option<Changed> {
        let same_text = self.before.is_some() && self.before == self.now.as_deref();
        if self.is_same() || renamed && same_text {
            return None;
        }
        // The ignore file is in the same tree.
        let name = if same_text { format!("{}{DOCKERIGNORE}", self.file) } else { self.file.to_owned() };
        let [before, after] = [0, 1].map(|at: usize| Some(format!("sha256:{}", hex::encode(&self.roots[at]))));
        Some(Changed { kind: "dockerfile", name, before, after, unknown: None })
    }

    /// Both texts, or why the steps can't be told.
    fn texts(&self) -> Result<(&str, &str), &'static str> {
        let now = self.now.as_deref().ok_or("its Dockerfile is no text, or is not here")?;
        let before = if self.is_same() { Some(now) } else { self.before };
        Ok((now, before.ok_or("the service does not keep that build's Dockerfile")?))
    }
}

/// The steps that run again; or why that is not known.
pub(super) fn steps(
    prepared: &Prepared,
    build: &BuildPlan,
    dockerfiles: &Dockerfiles<'_>,
    files: &[Change],
    changes: &[InputChange],
    mut images: BTreeSet<String>,
) -> Result<Vec<Step>, String> {
    let (text, before) = dockerfiles.texts()?;
    let at = prepared.plan.builds.iter().position(|other| other.service == build.service).unwrap_or_default();
    let args = narrow::known_args(build, &prepared.plan.builds[..at]);
    let input = Input { text, target: build.target.as_deref(), args: &args, platforms: &build.platforms };
    let of_kind =
        |kind: InputKind| changes.iter().filter(move |change| change.kind() == kind && change.unknown.is_none());
    images.extend(of_kind(InputKind::Image).chain(of_kind(InputKind::Context)).map(|change| change.name.clone()));
    let arguments = of_kind(InputKind::Argument).map(|change| change.name.clone()).collect();
    let runs = changes.iter().filter(|change| change.unknown.is_none()).find_map(of_runs);
    let platform = of_kind(InputKind::Platform).next().map(|_| "the platform changed");
    let changes = Changes {
        before,
        args: &arguments,
        images: &images,
        files,
        all: if build.no_cache { Some("no cache is used") } else { platform },
        runs: runs.as_deref(),
        target: of_kind(InputKind::Target).next().map(|change| change.before.as_deref()),
        no_cache: &build.options.no_cache_filter,
    };
    rebuilt(&input, &changes).map_err(|unknown| format!("line {} of its Dockerfile: {}", unknown.line, unknown.reason))
}

/// What to say of RUN steps when an input is one that they are run with.
fn of_runs(change: &InputChange) -> Option<String> {
    let name = &change.name;
    match change.kind() {
        InputKind::Secret => Some(format!("secret `{name}` changed")),
        InputKind::Option if OF_RUN.iter().any(|key| key.as_str() == name) => Some(format!("option `{name}` changed")),
        InputKind::Mounts => Some("the repository of its cache mounts changed".to_owned()),
        InputKind::Agents => Some("the user whose SSH agents it may ask changed".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dockerfiles(now: &str, before: Option<&'static str>, same: bool) -> Dockerfiles<'static> {
        let roots = [b"1".to_vec(), if same { b"1" } else { b"2" }.to_vec()];
        Dockerfiles { file: "app.Dockerfile", now: Some(now.to_owned()), before, roots }
    }

    #[test]
    fn another_dockerfile_is_told_and_one_that_is_not_known_is_not_taken_for_the_same() {
        let name = |files: &Dockerfiles<'_>| files.changed(false).map(|changed| changed.name);
        let other = dockerfiles("FROM a\nCMD b\n", Some("FROM a\n"), false);
        assert_eq!(name(&other).as_deref(), Some("app.Dockerfile"));
        assert_eq!(other.texts(), Ok(("FROM a\nCMD b\n", "FROM a\n")));
        let ignored = dockerfiles("FROM a\n", Some("FROM a\n"), false);
        assert_eq!(name(&ignored).as_deref(), Some("app.Dockerfile.dockerignore"));
        assert!(ignored.changed(true).is_none() && other.changed(true).is_some());
        let forgotten = dockerfiles("FROM a\n", None, false);
        assert_eq!(name(&forgotten).as_deref(), Some("app.Dockerfile"));
        assert_eq!(forgotten.texts(), Err("the service does not keep that build's Dockerfile"));
        let same = dockerfiles("FROM a\n", None, true);
        assert_eq!((name(&same), same.texts()), (None, Ok(("FROM a\n", "FROM a\n"))));
    }

    #[test]
    fn some_inputs_are_those_of_run_steps() {
        let of = |kind: InputKind, name: &str| {
            of_runs(&InputChange { kind: kind.into(), name: name.to_owned(), ..InputChange::default() })
        };
        assert_eq!(of(InputKind::Secret, "key").as_deref(), Some("secret `key` changed"));
        assert_eq!(of(InputKind::Option, "network").as_deref(), Some("option `network` changed"));
        assert_eq!(of(InputKind::Option, "label"), None);
        assert_eq!(of(InputKind::Agents, "").as_deref(), Some("the user whose SSH agents it may ask changed"));
        assert_eq!(of(InputKind::Mounts, "").as_deref(), Some("the repository of its cache mounts changed"));
        assert_eq!(of(InputKind::Argument, "A"), None);
    }
}
