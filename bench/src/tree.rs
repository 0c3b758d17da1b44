//! Trees to build: the names and sizes are always the same, the bytes come from a seed.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A source tree's files and bytes, about.
pub(crate) const SOURCE_FILES: usize = 7_500;
/// How many a tree of small files has.
pub(crate) const SMALL_FILES: usize = 20_000;
/// How long the large file is.
pub(crate) const LARGE_BYTES: u64 = 3 << 30;
/// A large file alternates between bytes that can't be compressed and text, in pieces of this size: three of four are noise.
const PIECE: usize = 1 << 20;
const DOCKERFILE: &str = "FROM scratch\nCOPY . /src\n";
const WORDS: [&str; 16] = [
    "let ", "return ", "self", "(", ");\n", "    ", "value", ".len()", " = ", "match ", "Result", "// ", "index",
    "{\n", "}\n", "fn ",
];

/// Marsaglia's xorshift64: fast, and the same everywhere.
#[derive(Debug, Clone)]
struct XorShift(u64);

impl XorShift {
    /// A sequence of its own for every seed and every part of a tree.
    fn new(seed: u64, part: u64) -> Self {
        // Small seeds have few bits set, which xorshift keeps for a while: spread them (the multiplier of splitmix64).
        let mixed = (seed ^ part.rotate_left(32)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut this = Self(mixed | 1);
        for _ in 0..8 {
            this.next();
        }
        this
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Bytes that can't be compressed, at the end of the buffer.
    fn noise(&mut self, buffer: &mut Vec<u8>, len: usize) {
        let end = buffer.len() + len;
        while buffer.len() < end {
            buffer.extend_from_slice(&self.next().to_le_bytes());
        }
        buffer.truncate(end);
    }

    /// Text that compresses like source code (to about a quarter), at the end of the buffer.
    fn text(&mut self, buffer: &mut Vec<u8>, len: usize) {
        let end = buffer.len() + len;
        while buffer.len() < end {
            let mut bits = self.next();
            for _ in 0..12 {
                buffer.extend_from_slice(WORDS[bits as usize % WORDS.len()].as_bytes());
                bits >>= 4;
            }
            buffer.extend_from_slice(format!("x{:x} ", bits & 0xfff).as_bytes());
        }
        buffer.truncate(end);
    }
}

/// A source tree: 60 MB in 7,500 files, most of them small. `tree` must not exist.
pub(crate) fn source(tree: &Path, seed: u64) -> Result<()> {
    small_files(tree, seed, SOURCE_FILES, source_size)
}

fn source_size(layout: &mut XorShift) -> u64 {
    match layout.below(1000) {
        0..550 => 200 + layout.below(4_000),
        550..880 => 4_000 + layout.below(10_000),
        880..990 => 14_000 + layout.below(20_000),
        _ => 48_000 + layout.below(190_000),
    }
}

/// 20,000 files of up to 4 KB. `tree` must not exist.
pub(crate) fn many(tree: &Path, seed: u64) -> Result<()> {
    small_files(tree, seed, SMALL_FILES, |layout| 64 + layout.below(4_000))
}

fn small_files(tree: &Path, seed: u64, files: usize, size: impl Fn(&mut XorShift) -> u64) -> Result<()> {
    let mut layout = layout();
    let mut buffer = Vec::new();
    new_tree(tree)?;
    for index in 0..files {
        let path = small_file(tree, index);
        if let Some(folder) = path.parent()
            && index % FILES_A_FOLDER == 0
        {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        buffer.clear();
        XorShift::new(seed, index as u64).text(&mut buffer, size(&mut layout) as usize);
        fs::write(&path, &buffer).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Where names and sizes come from: always the same.
fn layout() -> XorShift {
    XorShift::new(7, 0)
}

const FILES_A_FOLDER: usize = 15;

fn small_file(tree: &Path, index: usize) -> PathBuf {
    let folder = index / FILES_A_FOLDER;
    tree.join(format!("part{:02}/module{folder:04}/file{index:05}.rs", folder / 25))
}

/// Changes one file of a tree of small files: a line more, different with each seed.
pub(crate) fn edit(tree: &Path, seed: u64) -> Result<()> {
    let path = small_file(tree, SOURCE_FILES / 2);
    let mut file = File::options().append(true).open(&path).with_context(|| format!("open {}", path.display()))?;
    writeln!(file, "// changed {seed}").with_context(|| format!("write {}", path.display()))
}

/// One file of 3 GiB. `tree` must not exist.
pub(crate) fn large(tree: &Path, seed: u64) -> Result<()> {
    new_tree(tree)?;
    let path = tree.join("large.bin");
    let mut file = BufWriter::new(File::create(&path).with_context(|| format!("make {}", path.display()))?);
    let mut bytes = XorShift::new(seed, 0);
    let mut buffer = Vec::with_capacity(PIECE + 64);
    for piece in 0..LARGE_BYTES / PIECE as u64 {
        buffer.clear();
        if piece % 4 == 3 {
            bytes.text(&mut buffer, PIECE);
        } else {
            bytes.noise(&mut buffer, PIECE);
        }
        file.write_all(&buffer).with_context(|| format!("write {}", path.display()))?;
    }
    file.flush().with_context(|| format!("write {}", path.display()))
}

fn new_tree(tree: &Path) -> Result<()> {
    fs::create_dir(tree).with_context(|| format!("make {}", tree.display()))?;
    fs::write(tree.join("Dockerfile"), DOCKERFILE).context("write a Dockerfile")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: usize = 40;

    fn sizes_and_bytes(seed: u64) -> (Vec<usize>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        small_files(&tree, seed, FEW, source_size).unwrap();
        let files: Vec<_> = (0..FEW).map(|index| fs::read(small_file(&tree, index)).unwrap()).collect();
        (files.iter().map(Vec::len).collect(), files.concat())
    }

    #[test]
    fn a_seed_changes_bytes_and_nothing_else() {
        let (sizes, bytes) = sizes_and_bytes(1);
        assert_eq!(sizes_and_bytes(1), (sizes.clone(), bytes.clone()));
        let other = sizes_and_bytes(2);
        assert_eq!(other.0, sizes);
        assert_ne!(other.1, bytes);
    }

    #[test]
    fn a_source_tree_has_about_60_mb() {
        let mut layout = layout();
        let bytes: u64 = (0..SOURCE_FILES).map(|_| source_size(&mut layout)).sum();
        assert!((58_000_000..62_000_000).contains(&bytes), "{bytes}");
    }
}
