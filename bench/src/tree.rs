//! Generated trees: the names and sizes are always the same, the bytes come from a seed.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::bytes::XorShift;

/// A large file alternates between text and bytes that can't be compressed, in pieces of this size: half of it each.
const PIECE: u64 = 1 << 20;
const FILES_A_FOLDER: u64 = 15;

/// This many files of up to 4 KB.
pub(crate) fn many(tree: &Path, files: u64, seed: u64) -> Result<()> {
    let mut layout = XorShift::new(7, 0);
    let mut buffer = Vec::new();
    for index in 0..files {
        let path = small_file(tree, index);
        if let Some(folder) = path.parent()
            && index % FILES_A_FOLDER == 0
        {
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        }
        buffer.clear();
        XorShift::new(seed, index).text(&mut buffer, 64 + layout.below(4_000) as usize);
        write_over(&path, &buffer)?;
    }
    Ok(())
}

/// Writes a file, over the one of before if there is one.
pub(crate) fn write_over(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)
    };
    write().with_context(|| format!("write {}", path.display()))
}

fn small_file(tree: &Path, index: u64) -> PathBuf {
    let folder = index / FILES_A_FOLDER;
    tree.join(format!("part{:03}/module{folder:05}/file{index:06}.rs", folder / 25))
}

/// A file of this many bytes. Its folder must exist.
pub(crate) fn large(path: &Path, len: u64, seed: u64) -> Result<()> {
    write(path, len, |number, len, buffer| {
        let mut bytes = XorShift::new(seed, number);
        if number % 2 == 1 { bytes.text(buffer, len) } else { bytes.noise(buffer, len) }
    })
}

/// A file of which nothing can be compressed. Its folder must exist.
pub(crate) fn noise(path: &Path, len: u64, seed: u64) -> Result<()> {
    write(path, len, |number, len, buffer| XorShift::new(seed, number).noise(buffer, len))
}

fn write(path: &Path, len: u64, piece: impl Fn(u64, usize, &mut Vec<u8>)) -> Result<()> {
    let what = || format!("write {}", path.display());
    let file = File::options().write(true).create(true).truncate(false).open(path).with_context(what)?;
    let mut file = BufWriter::new(file);
    let mut buffer = Vec::with_capacity(PIECE as usize + 64);
    for number in 0..len.div_ceil(PIECE) {
        buffer.clear();
        piece(number, (len - number * PIECE).min(PIECE) as usize, &mut buffer);
        file.write_all(&buffer).with_context(what)?;
    }
    file.flush().with_context(what)?;
    file.get_ref().set_len(len).with_context(what)
}

/// Puts a byte in the middle of a file.
pub(crate) fn insert_byte(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    bytes.insert(bytes.len() / 2, b'+');
    write_over(path, &bytes)
}

/// Puts a line at the end of a file.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<()> {
    let mut file = File::options().append(true).open(path).with_context(|| format!("open {}", path.display()))?;
    writeln!(file, "{line}").with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: u64 = 40;

    fn sizes_and_bytes(seed: u64) -> (Vec<usize>, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        many(dir.path(), FEW, seed).unwrap();
        let files: Vec<_> = (0..FEW).map(|index| fs::read(small_file(dir.path(), index)).unwrap()).collect();
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
    fn an_inserted_byte_moves_only_what_is_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        large(&path, PIECE + 10, 1).unwrap();
        let before = fs::read(&path).unwrap();
        assert_eq!(before.len() as u64, PIECE + 10);
        insert_byte(&path).unwrap();
        let after = fs::read(&path).unwrap();
        let middle = before.len() / 2;
        assert_eq!(after.len(), before.len() + 1);
        assert_eq!(after[..middle], before[..middle]);
        assert_eq!(after[middle + 1..], before[middle..]);
    }
}
