//! A contender's own tree to build.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cases::{Change, Tree};
use crate::scene::Scene;
use crate::stock::Stock;
use crate::tree;

const MANY_FILES: u64 = 50_000;
const LARGE_BYTES: u64 = 100_000_000;
const LARGE_FILE: &str = "large.bin";
/// What the Dockerfile of the wide tree copies.
const PART: &str = "part";
const PART_BYTES: u64 = 5_000_000;
const PART_FILES: u64 = 50;

/// A folder with a tree in it, for one contender: no engine knows the layer of another one's bytes. Dropping it removes
/// it.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: TempDir,
    kind: Option<Tree>,
    seed: u64,
}

impl Ground {
    /// Makes it.
    pub(crate) async fn new(scene: &Scene, stock: &Stock, kind: Tree, seed: u64) -> Result<Self> {
        let ground = Self { kind: Some(kind), seed, ..Self::empty(scene)? };
        ground.write(stock).await?;
        Ok(ground)
    }

    /// Without a tree, for somebody who copies one to it.
    pub(crate) fn empty(scene: &Scene) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("ground-").tempdir_in(scene.path()).context("make a folder")?;
        Ok(Self { folder, kind: None, seed: 0 })
    }

    /// The folder that the tree is in, with room for a manifest beside it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The context.
    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    /// Makes a change; of those that come with a ground of their own, nothing is left to do.
    pub(crate) async fn change(&self, change: Change, stock: &Stock, round: u32) -> Result<()> {
        match change {
            _ if self.kind.is_none() => Ok(()),
            Change::New | Change::First | Change::Nothing => Ok(()),
            Change::Checkout => {
                fs::remove_dir_all(self.tree()).context("remove a tree")?;
                self.write(stock).await
            }
            Change::Line => {
                let path = self.tree().join(stock.source().await?.small_file()?);
                tree::append_line(&path, &format!("// changed {} {round}", self.seed))
            }
            Change::Byte => tree::insert_byte(&self.tree().join(LARGE_FILE)),
        }
    }

    async fn write(&self, stock: &Stock) -> Result<()> {
        let Some(kind) = self.kind else { return Ok(()) };
        let tree = self.tree();
        fs::create_dir(&tree).with_context(|| format!("make {}", tree.display()))?;
        let copied = if kind == Tree::Wide { PART } else { "." };
        fs::write(tree.join("Dockerfile"), format!("FROM scratch\nCOPY {copied} /src\n"))
            .context("write a Dockerfile")?;
        match kind {
            Tree::Source => stock.source().await?.write(&tree, self.seed),
            Tree::Many => tree::many(&tree, MANY_FILES, self.seed),
            Tree::Large => tree::large(&tree.join(LARGE_FILE), LARGE_BYTES, self.seed),
            Tree::Wide => wide(&tree, stock.wide().await?, self.seed),
        }
    }
}

/// Two gigabytes by hard links, since nobody changes them, and new bytes to copy.
fn wide(tree: &Path, files: &Path, seed: u64) -> Result<()> {
    for folder in ["data", PART] {
        fs::create_dir(tree.join(folder)).with_context(|| format!("make {folder}"))?;
    }
    for entry in fs::read_dir(files).context("list the wide tree's files")? {
        let entry = entry?;
        fs::hard_link(entry.path(), tree.join("data").join(entry.file_name())).context("link a file")?;
    }
    for number in 0..PART_FILES {
        let path = tree.join(PART).join(format!("file{number:02}.bin"));
        tree::noise(&path, PART_BYTES / PART_FILES, seed.wrapping_add(number << 32))?;
    }
    Ok(())
}
