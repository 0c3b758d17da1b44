//! The snapshot of a Dockerfile.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Scan, build};
use crate::rules;
use crate::walk::WalkError;

/// The largest Dockerfile or ignore file of one.
const MAX_DOCKERFILE: u64 = 16 << 20;

/// The file that a Dockerfile's path stands for, if there is one: where `Dockerfile` is missing, `dockerfile` will do, as for
/// `BuildKit`.
pub fn find_dockerfile(named: &Path) -> Option<PathBuf> {
    let is_default = named.file_name().is_some_and(|name| name == "Dockerfile");
    let lower = is_default.then(|| named.with_file_name("dockerfile"));
    [Some(named.to_owned()), lower].into_iter().flatten().find(|path| path.is_file())
}

/// Makes a snapshot of a Dockerfile and, if there is one, of its `<Dockerfile>.dockerignore`: under their own names, with
/// mode 644, symlinks resolved.
///
/// `.dockerignore` isn't in it: `BuildKit` looks for it in the context only.
pub fn scan_dockerfile(dockerfile: &Path) -> Result<Scan, WalkError> {
    let path = find_dockerfile(dockerfile).unwrap_or_else(|| dockerfile.to_owned());
    let read_error = |source| WalkError::Read { path: path.clone(), source };
    let mut text = Vec::new();
    let file = File::open(&path).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(read_error(io::Error::other("not a regular file")));
    }
    file.take(MAX_DOCKERFILE + 1).read_to_end(&mut text).map_err(read_error)?;
    if text.len() as u64 > MAX_DOCKERFILE {
        return Err(read_error(io::ErrorKind::FileTooLarge.into()));
    }
    let mut files = vec![(path.clone(), text, mtime(&metadata))];
    let ignore = rules::dockerignore_of(dockerfile);
    if let Some(text) = rules::read(&ignore)? {
        let mtime = fs::metadata(&ignore).map_or(0, |metadata| mtime(&metadata));
        files.push((ignore, text, mtime));
    }
    build::in_memory(files)
}

fn mtime(metadata: &fs::Metadata) -> i64 {
    metadata.mtime()
}
