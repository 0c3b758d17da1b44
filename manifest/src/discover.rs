//! Finding the manifest of a directory.

use std::path::{Path, PathBuf};

use crate::parse::compose;

/// The manifest of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file.
    pub path: PathBuf,
    /// What the manifest's paths are relative to: the directory, also for a manifest in its `.okteto` folder.
    pub root: PathBuf,
}

/// Why there is no manifest to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// Nothing that looks like a manifest.
    #[error("no manifest in `{}`: looked for okteto.yml and okteto.yaml, there and in .okteto", dir.display())]
    Missing {
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// Only a compose file, which Okteto accepts and Slipway does not yet.
    #[error("{}", compose::message(path))]
    Compose {
        /// The file.
        path: PathBuf,
    },
}

impl DiscoverError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "run it where the okteto.yaml is, or name the file with -f",
            Self::Compose { .. } => compose::HINT,
        }
    }
}

const MANIFESTS: [&str; 12] = [
    "okteto.yml",
    "okteto.yaml",
    ".okteto/okteto.yml",
    ".okteto/okteto.yaml",
    // The older names, for the same format.
    "okteto-pipeline.yml",
    "okteto-pipeline.yaml",
    "okteto-pipelines.yml",
    "okteto-pipelines.yaml",
    ".okteto/okteto-pipeline.yml",
    ".okteto/okteto-pipeline.yaml",
    ".okteto/okteto-pipelines.yml",
    ".okteto/okteto-pipelines.yaml",
];
/// Names of compose files, by group: a group is looked for in the directory and then in its `.okteto` before the next one is.
const COMPOSE: [&[&str]; 3] = [&["okteto-stack", "stack"], &["okteto-compose"], &["compose", "docker-compose"]];

/// Looks for a manifest in the order of Okteto: first hit wins.
pub fn discover(dir: &Path) -> Option<Found> {
    MANIFESTS
        .iter()
        .map(|name| dir.join(name))
        .find(|path| path.is_file())
        .map(|path| Found { path, root: dir.to_path_buf() })
}

/// As [`discover`], with the reason when there is none.
pub fn require(dir: &Path) -> Result<Found, DiscoverError> {
    if let Some(found) = discover(dir) {
        return Ok(found);
    }
    if let Some(path) = compose_files(dir).find(|path| path.is_file()) {
        return Err(DiscoverError::Compose { path });
    }
    Err(DiscoverError::Missing { dir: dir.to_path_buf() })
}

/// Whether a file is named as compose files are.
pub(crate) fn is_compose_name(path: &Path) -> bool {
    let extension = path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    extension && stem.is_some_and(|stem| COMPOSE.concat().contains(&stem))
}

/// Where a compose file may be, in Okteto's order.
fn compose_files(dir: &Path) -> impl Iterator<Item = PathBuf> {
    COMPOSE.into_iter().flat_map(move |group| {
        let folders = [dir.to_path_buf(), dir.join(".okteto")].into_iter();
        folders.flat_map(move |folder| {
            let names = group.iter().flat_map(|name| [format!("{name}.yml"), format!("{name}.yaml")]);
            names.map(move |name| folder.join(name)).collect::<Vec<_>>()
        })
    })
}

/// What a manifest's paths are relative to: its folder, or the folder above a `.okteto` folder.
pub fn root_of(manifest: &Path) -> &Path {
    let folder = manifest.parent().unwrap_or(Path::new(""));
    if folder.file_name().is_some_and(|name| name == ".okteto") {
        return folder.parent().unwrap_or(folder);
    }
    folder
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_of_the_order_wins() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(require(dir.path()), Err(DiscoverError::Missing { .. })));
        fs::create_dir(dir.path().join(".okteto")).unwrap();
        fs::write(dir.path().join(".okteto/compose.yaml"), "").unwrap();
        assert!(matches!(require(dir.path()), Err(DiscoverError::Compose { .. })));
        for name in MANIFESTS.iter().rev() {
            fs::write(dir.path().join(name), "").unwrap();
            let found = require(dir.path()).unwrap();
            assert_eq!(found, Found { path: dir.path().join(name), root: dir.path().to_path_buf() });
        }
    }

    #[test]
    fn compose_files_come_in_groups() {
        let names: Vec<String> = compose_files(Path::new("")).map(|path| path.to_string_lossy().into_owned()).collect();
        insta::assert_snapshot!(names.join(" "), @"okteto-stack.yml okteto-stack.yaml stack.yml stack.yaml .okteto/okteto-stack.yml .okteto/okteto-stack.yaml .okteto/stack.yml .okteto/stack.yaml okteto-compose.yml okteto-compose.yaml .okteto/okteto-compose.yml .okteto/okteto-compose.yaml compose.yml compose.yaml docker-compose.yml docker-compose.yaml .okteto/compose.yml .okteto/compose.yaml .okteto/docker-compose.yml .okteto/docker-compose.yaml");
    }

    #[test]
    fn each_compose_file_is_found_before_those_after_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".okteto")).unwrap();
        let all: Vec<PathBuf> = compose_files(dir.path()).collect();
        for file in all.iter().rev() {
            fs::write(file, "").unwrap();
            let Err(DiscoverError::Compose { path }) = require(dir.path()) else { panic!("{file:?}") };
            assert_eq!(&path, file);
        }
    }

    #[test]
    fn names_of_compose_files() {
        for (path, is) in [
            ("docker-compose.yml", true),
            ("a/.okteto/okteto-stack.yaml", true),
            ("okteto.yaml", false),
            ("compose", false),
            ("compose.json", false),
        ] {
            assert_eq!(is_compose_name(Path::new(path)), is, "{path}");
        }
    }

    #[test]
    fn a_folder_of_that_name_is_no_manifest() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("okteto.yaml")).unwrap();
        assert_eq!(discover(dir.path()), None);
    }

    #[test]
    fn the_root_of_a_named_file() {
        for (path, root) in
            [("a/okteto.yaml", "a"), ("a/.okteto/okteto.yml", "a"), ("okteto.yaml", ""), (".okteto/x", "")]
        {
            assert_eq!(root_of(Path::new(path)), Path::new(root), "{path}");
        }
    }
}
