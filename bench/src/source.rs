//! The source tree: real packages, pinned by a lock file, fetched once and cut to size.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::print::say;
use crate::stock::{fill, walk};
use crate::tree::write_over;

const MANIFEST: &str = include_str!("../fixture/Cargo.toml");
const LOCK: &str = include_str!("../fixture/Cargo.lock");
const TARGET: &str = include_str!("../fixture/empty.rs");
/// It ends at the first file that would be one too many, or with which it would have more bytes.
const MAX_FILES: usize = 7_500;
const MAX_BYTES: u64 = 80_000_000;
/// Files above this are left out: tables, libraries and the like, which would be most of the bytes.
const MAX_FILE_BYTES: u64 = 200_000;
/// What `onefile` calls small.
const SMALL_BYTES: u64 = 8_000;

/// A folder with the files, which stays for the next run.
#[derive(Debug)]
pub(crate) struct Source {
    folder: PathBuf,
    files: Vec<File>,
}

/// A file of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its path below the tree's folder.
    pub(crate) path: PathBuf,
    /// Its length in bytes.
    pub(crate) len: u64,
}

impl Source {
    /// The one in this folder, fetched if it is not there yet.
    pub(crate) async fn open(stock: &Path) -> Result<Self> {
        let name = format!("source-{}", key());
        let folder =
            fill(stock, &name, fetch).await.context("make the source tree from the packages of bench/fixture")?;
        let files = walk(&folder)?;
        if files.is_empty() {
            bail!("{} is empty: remove it, and run this again", folder.display());
        }
        Ok(Self { folder, files })
    }

    /// Writes the tree; every file starts with a line that names the seed, so that no file is like another seed's.
    pub(crate) fn write(&self, tree: &Path, seed: u64) -> Result<()> {
        for file in &self.files {
            let (from, to) = (self.folder.join(&file.path), tree.join(&file.path));
            let mode = fs::metadata(&from).with_context(|| format!("look at {}", from.display()))?.permissions().mode();
            let mut bytes = format!("// {seed:016x}\n").into_bytes();
            bytes.extend(fs::read(&from).with_context(|| format!("read {}", from.display()))?);
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
            }
            write_over(&to, &bytes)?;
            if mode & 0o111 != 0 {
                fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).context("make a file executable")?;
            }
        }
        Ok(())
    }

    /// A small source file in the middle of the tree.
    pub(crate) fn small_file(&self) -> Result<&Path> {
        let small = |file: &&File| file.len < SMALL_BYTES && file.path.extension().is_some_and(|end| end == "rs");
        let found = self.files.iter().skip(self.files.len() / 2).find(small);
        Ok(&found.context("the source tree has no small file in its second half")?.path)
    }

    /// How many files it has, and how many bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.files.len(), self.files.iter().map(|file| file.len).sum())
    }
}

/// Changes with everything that the files depend on.
fn key() -> String {
    let limits = format!("{MAX_FILES} {MAX_BYTES} {MAX_FILE_BYTES}");
    let digest = Sha256::digest([MANIFEST, LOCK, &limits].concat());
    hex::encode(digest.get(..6).unwrap_or_default())
}

/// `cargo vendor` in this folder; what is too much is removed.
async fn fetch(folder: PathBuf) -> Result<()> {
    say("fetching the packages of the source tree, once for this folder (about 300 MB on the disk for a moment)");
    let package = folder.join("package");
    fs::create_dir(&package)?;
    for (name, text) in [("Cargo.toml", MANIFEST), ("Cargo.lock", LOCK), ("empty.rs", TARGET)] {
        fs::write(package.join(name), text).with_context(|| format!("write {name}"))?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["vendor", "--locked", "--quiet", "../vendor"]).current_dir(&package).kill_on_drop(true);
    let output = command.output().await.context("start cargo vendor")?;
    if !output.status.success() {
        bail!("cargo vendor ended with {}:\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let kept = cut(walk(&folder.join("vendor"))?);
    for file in kept {
        let (from, to) = (folder.join("vendor").join(&file.path), folder.join(&file.path));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::rename(&from, &to).with_context(|| format!("move {}", from.display()))?;
    }
    fs::remove_dir_all(folder.join("vendor"))?;
    Ok(fs::remove_dir_all(package)?)
}

/// What the tree has of these files, which are in the order of their paths.
fn cut(files: Vec<File>) -> Vec<File> {
    let (mut kept, mut bytes) = (Vec::new(), 0);
    for file in files.into_iter().filter(|file| file.len <= MAX_FILE_BYTES) {
        bytes += file.len;
        if kept.len() == MAX_FILES || bytes > MAX_BYTES {
            break;
        }
        kept.push(file);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, len: u64) -> File {
        File { path: path.into(), len }
    }

    #[test]
    fn the_cut_drops_large_files_and_ends_at_either_limit() {
        let few = vec![file("a", 1), file("b", MAX_FILE_BYTES + 1), file("c", MAX_FILE_BYTES)];
        assert_eq!(cut(few), [file("a", 1), file("c", MAX_FILE_BYTES)]);
        assert_eq!(cut(vec![file("x", 1); MAX_FILES + 5]).len(), MAX_FILES);
        let large = cut(vec![file("x", MAX_FILE_BYTES); MAX_FILES]);
        assert_eq!(large.len() as u64, MAX_BYTES / MAX_FILE_BYTES);
    }

    #[test]
    fn a_seed_is_the_first_line_of_every_file() {
        let (stock, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(stock.path().join("d")).unwrap();
        fs::write(stock.path().join("d/a.rs"), "fn a() {}\n").unwrap();
        let source = Source { folder: stock.path().to_owned(), files: walk(stock.path()).unwrap() };
        source.write(out.path(), 10).unwrap();
        assert_eq!(fs::read_to_string(out.path().join("d/a.rs")).unwrap(), "// 000000000000000a\nfn a() {}\n");
        assert_eq!(source.small_file().unwrap(), Path::new("d/a.rs"));
        assert_eq!(source.size(), (1, 10));
    }
}
