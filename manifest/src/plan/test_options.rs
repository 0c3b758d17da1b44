//! What only tests have besides their commands.

use serde::{Deserialize, Serialize};

use super::create::Planner;
use crate::{
    manifest::{Test, TestHost, Text},
    options::ExtraHost,
};

/// Where the commands of a test find their tree, and what relative paths of a test are below.
pub const TEST_FOLDER: &str = "/okteto/src";
/// The service's own.
const RESERVED_FOLDERS: [&str; 5] = ["/okteto/agent", "/proc", "/sys", "/dev", "/run/secrets"];
/// Entries of each list of a test.
const MAX_ENTRIES: usize = 100;
const MAX_PATH: usize = 4096;

/// What only tests have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestOptions {
    /// The tests of the plan that have to succeed before it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// What is brought back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactPlan>,
    /// Folders that the next run of the test finds again: absolute paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<String>,
    /// Names that the commands find under an address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<ExtraHost>,
    /// Nothing runs if nothing that goes into it has changed since it last succeeded.
    #[serde(default)]
    pub skip_unchanged: bool,
    /// Nothing that earlier runs left is used: neither caches nor a success (`--no-cache`).
    #[serde(default)]
    pub no_cache: bool,
}

/// What is brought back of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactPlan {
    /// A path or a pattern below the test's folder.
    pub path: String,
    /// Where it goes below the test's context; none: where it was. A folder if it ends with `/`.
    pub destination: Option<String>,
}

impl TestOptions {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What later steps rely on; `known` are the tests before this one.
    pub(super) fn check(&self, known: impl Fn(&str) -> bool) -> Result<(), (&'static str, String)> {
        let Self { depends_on, artifacts, caches, hosts, .. } = self;
        let sizes = [("artifacts", artifacts.len()), ("caches", caches.len()), ("hosts", hosts.len())];
        if let Some((field, _)) = sizes.into_iter().find(|(_, size)| *size > MAX_ENTRIES) {
            return Err((field, too_many()));
        }
        if let Some(other) = depends_on.iter().find(|other| !known(other)) {
            return Err(("depends_on", format!("`{}` does not come before it", other.escape_debug())));
        }
        for ArtifactPlan { path, destination } in artifacts {
            let is_plain = below(path).as_ref() == Ok(path);
            let goes = destination.as_ref().is_none_or(|to| goes_to(to).as_ref() == Ok(to));
            if !is_plain || !goes {
                return Err(("artifacts", format!("`{}` is no path within the folder", path.escape_debug())));
            }
        }
        for (index, cache) in caches.iter().enumerate() {
            if folder(cache).as_ref() != Ok(cache) || caches[..index].contains(cache) {
                return Err(("caches", format!("`{}` can't be one", cache.escape_debug())));
            }
        }
        Ok(())
    }

    /// Bytes of all its texts.
    pub(super) fn size(&self) -> usize {
        let artifacts = self.artifacts.iter();
        let artifacts =
            artifacts.map(|artifact| artifact.path.len() + artifact.destination.as_ref().map_or(0, String::len));
        let others = self.depends_on.iter().chain(&self.caches).map(String::len);
        artifacts.chain(others).chain(self.hosts.iter().map(|host| host.name.len())).sum()
    }
}

impl Planner<'_> {
    /// What a test has besides commands, expanded.
    pub(super) fn test_options(&mut self, test: &Test, no_cache: bool) -> TestOptions {
        let lists = [
            ("artifacts", test.artifacts.get(MAX_ENTRIES).map(|artifact| artifact.path.place)),
            ("caches", test.caches.get(MAX_ENTRIES).map(|cache| cache.place)),
            ("hosts", test.hosts.get(MAX_ENTRIES).map(|host| host.hostname.place)),
        ];
        for (key, place) in lists {
            if let Some(place) = place {
                self.report.error(place, format!("`test.{}.{key}`: {}", test.name, too_many()));
            }
        }
        let mut options = TestOptions {
            depends_on: test.depends_on.iter().map(|other| other.value.clone()).collect(),
            skip_unchanged: test.skip_if_no_file_changes,
            no_cache,
            ..TestOptions::default()
        };
        for artifact in &test.artifacts {
            let path = self.placed(test, "artifacts", &artifact.path, below);
            let destination = artifact.destination.as_ref().map(|text| self.placed(test, "artifacts", text, goes_to));
            if let (Some(path), true) = (path, !matches!(destination, Some(None))) {
                options.artifacts.push(ArtifactPlan { path, destination: destination.flatten() });
            }
        }
        for cache in &test.caches {
            if let Some(folder) = self.placed(test, "caches", cache, folder)
                && !options.caches.contains(&folder)
            {
                options.caches.push(folder);
            }
        }
        options.hosts = test.hosts.iter().filter_map(|host| self.test_host(test, host)).collect();
        options
    }

    /// A path after expansion, as `read` takes it.
    fn placed(
        &mut self,
        test: &Test,
        key: &str,
        written: &Text,
        read: fn(&str) -> Result<String, &'static str>,
    ) -> Option<String> {
        let path = self.path(Some(written), key, "");
        if path.is_empty() {
            return None;
        }
        let refused = |problem: &str| format!("`{}` in `test.{}.{key}` {problem}", path.escape_debug(), test.name);
        read(&path).map_err(|problem| self.report.error(written.place, refused(problem))).ok()
    }

    fn test_host(&mut self, test: &Test, host: &TestHost) -> Option<ExtraHost> {
        let (name, address) = (self.now(&host.hostname), self.now(&host.ip));
        if name.trim().is_empty() || address.trim().is_empty() {
            // Of a variable that is not set, which is told: there is no such host.
            return None;
        }
        let parsed = format!("{}={}", name.trim(), address.trim()).parse();
        parsed
            .map_err(|error| self.report.error(host.hostname.place, format!("`test.{}.hosts`: {error}", test.name)))
            .ok()
    }
}

fn too_many() -> String {
    format!("more than {MAX_ENTRIES} entries")
}

/// A path or a pattern below the test's folder, without what says nothing in it.
fn below(path: &str) -> Result<String, &'static str> {
    let own = path.strip_prefix(TEST_FOLDER).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let path = own.map_or(path, |rest| rest.trim_start_matches('/'));
    if path.starts_with('/') {
        return Err("is absolute: it has to be within the test's folder");
    }
    let parts = parts(path)?;
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// The same for where it goes: a folder stays one.
fn goes_to(path: &str) -> Result<String, &'static str> {
    let below = below(path)?;
    Ok(if path.ends_with('/') && below != "." { format!("{below}/") } else { below })
}

/// An absolute path, which a folder of a cache can have.
fn folder(path: &str) -> Result<String, &'static str> {
    let parts = parts(path)?.join("/");
    let folder = if path.starts_with('/') { format!("/{parts}") } else { format!("{TEST_FOLDER}/{parts}") };
    let folder = folder.trim_end_matches('/');
    let within = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if folder.is_empty() || within(folder, TEST_FOLDER) {
        return Err("would hide what the test is about");
    }
    if RESERVED_FOLDERS.iter().any(|reserved| within(reserved, folder)) {
        return Err("is the service's own");
    }
    Ok(folder.to_owned())
}

fn parts(path: &str) -> Result<Vec<&str>, &'static str> {
    if path.len() > MAX_PATH {
        return Err("is longer than 4096 bytes");
    }
    if path.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") { Err("has `..`: it could lead out of the folder") } else { Ok(parts) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_brought_back_is_within_the_folder() {
        for (path, expected) in [
            ("a/b.xml", Ok("a/b.xml")),
            ("./a//b/", Ok("a/b")),
            ("**/*.xml", Ok("**/*.xml")),
            (".", Ok(".")),
            ("/okteto/src/out", Ok("out")),
            ("/okteto/src", Ok(".")),
            ("/okteto/srcs", Err(())),
            ("/etc/passwd", Err(())),
            ("../up", Err(())),
            ("a/../../up", Err(())),
            ("a\nb", Err(())),
        ] {
            assert_eq!(below(path).as_deref().map_err(|_| ()), expected, "{path}");
        }
        assert_eq!(goes_to("out/").as_deref(), Ok("out/"));
        assert_eq!(goes_to("./").as_deref(), Ok("."));
        assert!(goes_to("/out").is_err());
    }

    #[test]
    fn caches_hide_neither_the_tree_nor_what_is_ours() {
        for (path, expected) in [
            ("node_modules", Ok("/okteto/src/node_modules")),
            ("./a/", Ok("/okteto/src/a")),
            ("/root/.cache", Ok("/root/.cache")),
            ("/okteto/srcs", Ok("/okteto/srcs")),
            (".", Err(())),
            ("/", Err(())),
            ("/okteto", Err(())),
            ("/okteto/agent/x", Err(())),
            ("/proc/1", Err(())),
            ("../x", Err(())),
        ] {
            assert_eq!(folder(path).as_deref().map_err(|_| ()), expected, "{path}");
        }
    }

    #[test]
    fn a_sent_one_is_checked() {
        let artifact = |path: &str, to: Option<&str>| TestOptions {
            artifacts: vec![ArtifactPlan { path: path.to_owned(), destination: to.map(str::to_owned) }],
            ..TestOptions::default()
        };
        let check = |options: &TestOptions| options.check(|name| name == "unit").map_err(|(field, _)| field);
        assert_eq!(check(&artifact("out/*.xml", Some("reports/"))), Ok(()));
        for (path, to) in [("../out", None), ("out", Some("/etc")), ("out", Some("a/../../b")), ("", None)] {
            assert_eq!(check(&artifact(path, to)), Err("artifacts"), "{path} {to:?}");
        }
        let caches = |caches: &[&str]| {
            let caches = caches.iter().map(ToString::to_string).collect();
            check(&TestOptions { caches, ..TestOptions::default() })
        };
        assert_eq!(caches(&["/a", "/b"]), Ok(()));
        assert_eq!(
            (caches(&["a"]), caches(&["/a", "/a"]), caches(&["/"])),
            (Err("caches"), Err("caches"), Err("caches"))
        );
        let after = |name: &str| check(&TestOptions { depends_on: vec![name.to_owned()], ..TestOptions::default() });
        assert_eq!((after("unit"), after("e2e")), (Ok(()), Err("depends_on")));
    }
}
