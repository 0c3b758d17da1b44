//! A contender's own trees to build, which stay for the next run.
//!
//! Files are written over those of before, not removed: where the disk is told of every file that is (`discard`),
//! removing a tree takes longer than all that is measured.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cases::{Change, Tree};
use crate::exec;
use crate::services::{self, BASE};
use crate::stock::Stock;
use crate::tree;

const LARGE_BYTES: u64 = 100_000_000;
const LARGE_FILE: &str = "large.bin";
/// What the Dockerfile of the wide tree copies.
const PART: &str = "part";
const PART_BYTES: u64 = 5_000_000;
const PART_FILES: u64 = 50;

/// A folder with a tree in it, for one contender: no engine knows the layer of another one's bytes.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: PathBuf,
    kind: Tree,
    seed: u64,
}

impl Ground {
    /// Makes it, or writes it anew, for the contender at this place.
    pub(crate) async fn new(stock: &Stock, kind: Tree, place: u64, seed: u64) -> Result<Self> {
        let folder = match kind {
            Tree::Many => stock.many(place).await?,
            _ => stock.folder(&format!("{kind:?}-{place}").to_lowercase())?,
        };
        let ground = Self { folder, kind, seed };
        ground.write(stock, &ground.tree()).await?;
        Ok(ground)
    }

    /// The folder that the tree is in, with room for a manifest beside it.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is in it.
    pub(crate) fn kind(&self) -> Tree {
        self.kind
    }

    /// The context.
    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.join("tree")
    }

    /// Makes a change; of those that come with a ground of their own, nothing is left to do.
    pub(crate) async fn change(&self, change: Change, stock: &Stock, round: u32) -> Result<()> {
        match change {
            Change::New | Change::First | Change::Nothing => Ok(()),
            Change::Checkout => {
                // Other files with the same bytes and new times take the place of those that were built.
                let (spare, before) = (self.folder.join("spare"), self.folder.join("before"));
                self.write(stock, &spare).await?;
                for (from, to) in [(&self.tree(), &before), (&spare, &self.tree()), (&before, &spare)] {
                    fs::rename(from, to).with_context(|| format!("move {}", from.display()))?;
                }
                Ok(())
            }
            Change::Line => {
                let path = self.tree().join(stock.source().await?.small_file()?);
                tree::append_line(&path, &format!("// changed {} {round}", self.seed))
            }
            Change::Byte => tree::insert_byte(&self.tree().join(LARGE_FILE)),
        }
    }

    async fn write(&self, stock: &Stock, tree: &Path) -> Result<()> {
        fs::create_dir_all(tree).with_context(|| format!("make {}", tree.display()))?;
        let dockerfile = match self.kind {
            Tree::Source | Tree::Many | Tree::Large => "FROM scratch\nCOPY . /src\n".to_owned(),
            Tree::Wide => format!("FROM scratch\nCOPY {PART} /src\n"),
            Tree::OneLine => format!("FROM {BASE}\n"),
            Tree::Chain => format!("FROM {BASE}\nENV SEED={}\n{}", self.seed, "RUN true\n".repeat(20)),
            Tree::Services => return services::write(tree, self.seed),
            Tree::Exec | Tree::Lines => return exec::write(tree, self.kind),
        };
        fs::write(tree.join("Dockerfile"), dockerfile).context("write a Dockerfile")?;
        match self.kind {
            Tree::Source => stock.source().await?.write(tree, self.seed),
            Tree::Many | Tree::OneLine | Tree::Chain | Tree::Services | Tree::Exec | Tree::Lines => Ok(()),
            Tree::Large => tree::large(&tree.join(LARGE_FILE), LARGE_BYTES, self.seed),
            Tree::Wide => wide(tree, stock.wide().await?, self.seed),
        }
    }
}

/// Two gigabytes by hard links, since nobody changes them, and new bytes to copy.
fn wide(tree: &Path, files: &Path, seed: u64) -> Result<()> {
    for folder in ["data", PART] {
        fs::create_dir_all(tree.join(folder)).with_context(|| format!("make {folder}"))?;
    }
    for entry in fs::read_dir(files).context("list the wide tree's files")? {
        let entry = entry?;
        let to = tree.join("data").join(entry.file_name());
        if !to.exists() {
            fs::hard_link(entry.path(), to).context("link a file")?;
        }
    }
    for number in 0..PART_FILES {
        let path = tree.join(PART).join(format!("file{number:02}.bin"));
        tree::noise(&path, PART_BYTES / PART_FILES, seed.wrapping_add(number << 32))?;
    }
    Ok(())
}
