//! What is made once and stays for the next run: `target/bench/<name>`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio::sync::OnceCell;

use crate::source::{File, Source};
use crate::tree;

/// The large context of `narrow`: this many files of this many bytes.
const WIDE_FILES: u64 = 100;
const WIDE_FILE_BYTES: u64 = 20_000_000;

/// `nochange-50k`.
const MANY_FILES: u64 = 50_000;

/// The folder, and what has been opened in it.
#[derive(Debug)]
pub(crate) struct Stock {
    folder: PathBuf,
    source: OnceCell<Source>,
    wide: OnceCell<PathBuf>,
}

impl Stock {
    /// Of this folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, source: OnceCell::new(), wide: OnceCell::new() }
    }

    /// A folder of this name, with what was left in it.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// A folder with a tree of 50,000 files in it, always the same for a contender: nobody changes them.
    pub(crate) async fn many(&self, place: u64) -> Result<PathBuf> {
        let make = async |folder: PathBuf| tree::many(&folder.join("tree"), MANY_FILES, place);
        fill(&self.folder, &format!("many-{MANY_FILES}-{place}"), make).await
    }

    /// The source tree.
    pub(crate) async fn source(&self) -> Result<&Source> {
        self.source.get_or_try_init(|| Source::open(&self.folder)).await
    }

    /// A folder with 2 GB of files that can't be compressed.
    pub(crate) async fn wide(&self) -> Result<&Path> {
        let make = async |folder: PathBuf| {
            for number in 0..WIDE_FILES {
                tree::noise(&folder.join(format!("part{number:02}.bin")), WIDE_FILE_BYTES, number)?;
            }
            Ok(())
        };
        let name = format!("wide-{}", WIDE_FILES * WIDE_FILE_BYTES / 1_000_000);
        let wide = self.wide.get_or_try_init(|| fill(&self.folder, &name, make)).await?;
        Ok(wide)
    }
}

/// The folder of this name, made by `make` if it isn't there: complete or not at all.
pub(crate) async fn fill(stock: &Path, name: &str, make: impl AsyncFnOnce(PathBuf) -> Result<()>) -> Result<PathBuf> {
    let folder = stock.join(name);
    if !folder.is_dir() {
        let unfinished = tempfile::Builder::new().prefix("new-").tempdir_in(stock).context("make a folder")?;
        make(unfinished.path().to_owned()).await?;
        let unfinished = unfinished.keep();
        fs::rename(&unfinished, &folder).with_context(|| format!("make {}", folder.display()))?;
    }
    Ok(folder)
}

/// All files below a folder, in the order of their paths.
pub(crate) fn walk(root: &Path) -> Result<Vec<File>> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let path = path.strip_prefix(root)?.to_owned();
                files.push(File { path, len: entry.metadata()?.len() });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn a_folder_is_made_once_and_never_half() {
        let stock = tempfile::tempdir().unwrap();
        let fails = async |folder: PathBuf| {
            fs::write(folder.join("a"), "x")?;
            bail!("no")
        };
        fill(stock.path(), "one", fails).await.unwrap_err();
        assert_eq!(fs::read_dir(stock.path()).unwrap().count(), 0);
        let makes = async |folder: PathBuf| Ok(fs::write(folder.join("a"), "x")?);
        let folder = fill(stock.path(), "one", makes).await.unwrap();
        assert_eq!(walk(&folder).unwrap(), [File { path: "a".into(), len: 1 }]);
        fill(stock.path(), "one", fails).await.unwrap();
    }
}
