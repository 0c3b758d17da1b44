//! Finding the manifest of a directory.

use std::path::{Path, PathBuf};

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
    /// Only a file of a kind that Okteto accepts and Slipway does not yet.
    #[error("`{}` is a {kind} file: not supported yet, write an okteto.yaml with a build section instead", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Compose or pipeline.
        kind: &'static str,
    },
}

const MANIFESTS: [&str; 4] = ["okteto.yml", "okteto.yaml", ".okteto/okteto.yml", ".okteto/okteto.yaml"];
const PIPELINES: [&str; 4] =
    ["okteto-pipeline.yml", "okteto-pipeline.yaml", ".okteto/okteto-pipeline.yml", ".okteto/okteto-pipeline.yaml"];
const COMPOSE: [&str; 5] = ["okteto-stack", "stack", "okteto-compose", "compose", "docker-compose"];

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
    if let Some(path) = PIPELINES.iter().map(|name| dir.join(name)).find(|path| path.is_file()) {
        return Err(DiscoverError::Unsupported { path, kind: "pipeline" });
    }
    for folder in [dir.to_path_buf(), dir.join(".okteto")] {
        for name in COMPOSE {
            for extension in ["yml", "yaml"] {
                let path = folder.join(format!("{name}.{extension}"));
                if path.is_file() {
                    return Err(DiscoverError::Unsupported { path, kind: "compose" });
                }
            }
        }
    }
    Err(DiscoverError::Missing { dir: dir.to_path_buf() })
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
        assert!(matches!(require(dir.path()), Err(DiscoverError::Unsupported { kind: "compose", .. })));
        fs::write(dir.path().join("okteto-pipeline.yml"), "").unwrap();
        assert!(matches!(require(dir.path()), Err(DiscoverError::Unsupported { kind: "pipeline", .. })));
        for name in MANIFESTS.iter().rev() {
            fs::write(dir.path().join(name), "").unwrap();
            let found = require(dir.path()).unwrap();
            assert_eq!(found, Found { path: dir.path().join(name), root: dir.path().to_path_buf() });
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
