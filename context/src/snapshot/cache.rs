//! The stat cache: what files held when they were last read, so that a file whose state is the same isn't read again.
//!
//! There is one cache file for each directory, rules and narrowing. It belongs to the caller alone, and nothing depends on
//! it but time: one that is missing, damaged, of another version or somebody else's is as good as empty, and is replaced.
//!
//! # When an entry is believed
//!
//! When device, inode, mode, size, modification time and change time are all what they were. The change time can't be
//! set, so an edit that keeps the size and puts the modification time back is seen. That leaves edits which get the very
//! time that was written down: made just after the file was read, within the granularity of the clock that stamps files.
//! So a file goes into the cache only if both times are more than [`MARGIN`] before the scan's start: whatever happens to
//! it after it was read gets a later time, but for stores into a page of a shared mapping that was dirty before: those get
//! none until the page is written back. Two seconds are the coarsest granularity in use (FAT; Linux' own is 10 ms at
//! most). They also cover a file server whose clock is behind by less; one further behind has its own granularity, mostly
//! nanoseconds, for protection. A time in the future is never more than the margin ago.
//!
//! # Several at once
//!
//! A cache is read whole, and written under a temporary name that is then renamed: the last one wins, and nobody sees half
//! of one. It isn't synced; the checksum tells what a power cut left. What a folder of them may take is told in `room`.
//!
//! # Format
//!
//! `slipway-stat-v1\n`, the SHA-256 of what the cache is of, one block for each directory, and the SHA-256 of all that. A
//! block is: length of the path (2), path, length of the rest (4), device (8), records in byte order of names. A record:
//! length of the name (1), name, mode (2), inode (8), size (8), modification and change time (8 seconds and 4 nanoseconds
//! each), digest (32), length of the chunk list (4, 0 for none), chunk list. Numbers are big-endian.

use std::collections::HashMap;
use std::fs::{self, DirBuilder};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;

use super::hash::Content;
use crate::chunk::ChunkList;
use crate::digest::{Digest, Hasher};
use crate::mode::MODE_BITS;
use crate::rules::Rules;
use crate::walk::{Stamp, Time};

mod room;
#[cfg(test)]
mod tests;

use room::ROOM;

const MAGIC: &[u8; 16] = b"slipway-stat-v1\n";

/// Length of a digest, of which there is one in front and one behind.
const DIGEST: usize = 32;

/// How long a file has to have been left alone, in seconds.
const MARGIN: i64 = 2;

/// The largest cache file: several million entries. A larger one is neither written nor read.
const MAX_CACHE: u64 = 512 << 20;

type Directories = HashMap<Box<[u8]>, Range<usize>>;

/// What is known from earlier scans.
#[derive(Debug)]
pub(super) struct StatCache {
    /// Where it is kept; `None`: nowhere.
    file: Option<PathBuf>,
    key: Digest,
    bytes: Vec<u8>,
    /// Where the device and the records of a directory begin and end.
    directories: Directories,
    /// Files in all.
    entries: u64,
    started: Time,
}

/// Which files may go into a cache: those that will always be told from what they hold later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    started: Time,
    kept: bool,
}

/// The place of a cache.
#[derive(Debug)]
pub(super) struct CacheFile {
    file: PathBuf,
    key: Digest,
}

/// What is known of a directory's files; they have to be asked for in byte order.
#[derive(Debug, Default)]
pub(super) struct Records<'c> {
    device: u64,
    rest: &'c [u8],
    next: Option<Record<'c>>,
}

#[derive(Debug)]
struct Record<'c> {
    name: &'c [u8],
    stamp: Stamp,
    digest: Digest,
    chunks: &'c [u8],
}

/// A cache that is being written.
pub(super) struct CacheWriter {
    file: BufWriter<NamedTempFile>,
    target: PathBuf,
    hasher: Hasher,
    /// How many bytes it may still get.
    left: u64,
    block: Vec<u8>,
}

// === impl StatCache ===

impl StatCache {
    /// The cache of `root` under `dir`. Without `dir`, or a name for `root`, there is none.
    pub(super) fn load(dir: Option<&Path>, root: &Path, rules: &Rules, only: &[String]) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let started = Time { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() };
        let mut cache = Self {
            file: None,
            key: Digest::of(b""),
            bytes: Vec::new(),
            directories: HashMap::new(),
            entries: 0,
            started,
        };
        if let (Some(dir), Ok(root)) = (dir, fs::canonicalize(root)) {
            cache.key = key(&root, rules, only);
            let file = dir.join(cache.key.hex());
            if let Some(bytes) = read(&file)
                && let Some((directories, entries)) = index(&bytes, &cache.key)
            {
                (cache.bytes, cache.directories, cache.entries) = (bytes, directories, entries);
            }
            cache.file = Some(file);
        }
        cache
    }

    /// How many files it knows.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// What it knows of a directory's files.
    pub(super) fn records(&self, directory: &Path) -> Records<'_> {
        let range = self.directories.get(directory.as_os_str().as_bytes());
        range.and_then(|range| Records::new(self.bytes.get(range.clone())?)).unwrap_or_default()
    }

    /// Which files may go into the next one.
    pub(super) fn settled(&self) -> Settled {
        Settled { started: self.started, kept: self.file.is_some() }
    }

    /// Where it is kept; what it knows is dropped.
    pub(super) fn into_file(self) -> Option<CacheFile> {
        Some(CacheFile { file: self.file?, key: self.key })
    }
}

// === impl CacheFile ===

impl CacheFile {
    /// Begins to write the next one; `None` if that can't be done.
    pub(super) fn rewrite(self) -> Option<CacheWriter> {
        CacheWriter::create(self.file, &self.key).ok()
    }
}

fn key(root: &Path, rules: &Rules, only: &[String]) -> Digest {
    let mut hasher = Hasher::default();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    };
    add(root.as_os_str().as_bytes());
    rules.patterns().for_each(|(pattern, ..)| add(pattern.as_bytes()));
    // No pattern is like this.
    add(b"\0");
    for path in only {
        add(path.as_bytes());
    }
    hasher.finish()
}

fn read(file: &Path) -> Option<Vec<u8>> {
    let file = fs::File::open(file).ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= MAX_CACHE)?;
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    (&file).take(MAX_CACHE).read_to_end(&mut bytes).ok()?;
    room::mark_used(&file, &metadata);
    Some(bytes)
}

/// Where each directory is, and how many files there are in all; `None` if these are not the bytes of the cache wanted.
fn index(bytes: &[u8], key: &Digest) -> Option<(Directories, u64)> {
    let (body, checksum) = bytes.split_last_chunk::<DIGEST>()?;
    let blocks = body.strip_prefix(MAGIC)?.strip_prefix(key.as_bytes())?;
    if Digest::of(body).as_bytes() != checksum {
        return None;
    }
    let mut directories = HashMap::new();
    let (mut rest, mut entries) = (blocks, 0);
    while !rest.is_empty() {
        let length = u16::from_be_bytes(*take(&mut rest)?);
        let path = take_slice(&mut rest, length.into())?;
        let length = u32::from_be_bytes(*take(&mut rest)?) as usize;
        let mut records = Records::new(take_slice(&mut rest, length)?)?;
        while records.advance()? {
            entries += 1;
        }
        let end = body.len() - rest.len();
        directories.insert(path.into(), end - length..end);
    }
    Some((directories, entries))
}

fn take<'b, const N: usize>(rest: &mut &'b [u8]) -> Option<&'b [u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(taken)
}

fn take_slice<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn take_time(rest: &mut &[u8]) -> Option<Time> {
    Some(Time { seconds: i64::from_be_bytes(*take(rest)?), nanos: u32::from_be_bytes(*take(rest)?) })
}

// === impl Settled ===

impl Settled {
    /// Whether a file in that state may, when it was read after the scan's start.
    pub(super) fn includes(&self, stamp: &Stamp) -> bool {
        let newest = stamp.modified.max(stamp.changed);
        let settled = newest.seconds.checked_add(MARGIN).map(|seconds| Time { seconds, ..newest });
        self.kept && settled.is_some_and(|settled| settled < self.started)
    }
}

// === impl Records ===

impl<'c> Records<'c> {
    /// Of a block without its path.
    fn new(mut block: &'c [u8]) -> Option<Self> {
        let device = u64::from_be_bytes(*take(&mut block)?);
        Some(Self { device, rest: block, next: None })
    }

    /// What a file held, if its state is still the same. Names have to come in byte order.
    pub(super) fn find(&mut self, name: &[u8], stamp: &Stamp) -> Option<Content> {
        while self.next.as_ref().is_none_or(|next| next.name < name) {
            if !self.advance()? {
                return None;
            }
        }
        let record = self.next.as_ref().filter(|next| next.name == name && next.stamp == *stamp)?;
        let chunks = if record.chunks.is_empty() {
            None
        } else {
            // Checked again, for the sender takes lists from here without a look.
            ChunkList::decode(record.chunks, stamp.size).ok().filter(|_| Digest::of(record.chunks) == record.digest)?;
            Some(record.chunks.into())
        };
        Some(Content { digest: record.digest, stamp: *stamp, chunks })
    }

    /// Takes the next record. `false`: there is none; `None`: these are no records.
    fn advance(&mut self) -> Option<bool> {
        self.next = None;
        if self.rest.is_empty() {
            return Some(false);
        }
        let rest = &mut self.rest;
        let [length] = *take(rest)?;
        let name = take_slice(rest, length.into())?;
        let mode = u16::from_be_bytes(*take(rest)?).into();
        let inode = u64::from_be_bytes(*take(rest)?);
        let size = u64::from_be_bytes(*take(rest)?);
        let (modified, changed) = (take_time(rest)?, take_time(rest)?);
        let digest = Digest::from_bytes(*take(rest)?);
        let length = u32::from_be_bytes(*take(rest)?);
        let chunks = take_slice(rest, length as usize)?;
        let stamp = Stamp { device: self.device, inode, mode, size, modified, changed };
        self.next = Some(Record { name, stamp, digest, chunks });
        Some(true)
    }
}

// === impl CacheWriter ===

impl CacheWriter {
    fn create(target: PathBuf, key: &Digest) -> io::Result<Self> {
        let dir = target.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Temporary files are made with mode 0600.
        let file = BufWriter::with_capacity(256 << 10, NamedTempFile::new_in(dir)?);
        let mut writer =
            Self { file, target, hasher: Hasher::default(), left: MAX_CACHE - DIGEST as u64, block: Vec::new() };
        writer.write(&[MAGIC.as_slice(), key.as_bytes()].concat())?;
        Ok(writer)
    }

    /// Adds the files of a directory, in byte order of names.
    pub(super) fn directory<'f>(
        &mut self,
        path: &Path,
        files: impl Iterator<Item = (&'f str, &'f Content)>,
    ) -> io::Result<()> {
        let mut block = std::mem::take(&mut self.block);
        block.clear();
        let mut device = None;
        for (name, Content { digest, stamp, chunks }) in files {
            // Something mounted on a file is not worth a field of its own.
            if *device.get_or_insert(stamp.device) != stamp.device || stamp.mode & !MODE_BITS != 0 {
                continue;
            }
            if block.is_empty() {
                block.extend(stamp.device.to_be_bytes());
            }
            let chunks = chunks.as_deref().unwrap_or_default();
            block.push(name.len() as u8);
            block.extend(name.as_bytes());
            block.extend((stamp.mode as u16).to_be_bytes());
            block.extend(stamp.inode.to_be_bytes());
            block.extend(stamp.size.to_be_bytes());
            for time in [stamp.modified, stamp.changed] {
                block.extend(time.seconds.to_be_bytes());
                block.extend(time.nanos.to_be_bytes());
            }
            block.extend(digest.as_bytes());
            block.extend((chunks.len() as u32).to_be_bytes());
            block.extend(chunks);
        }
        let path = path.as_os_str().as_bytes();
        if let (false, Ok(length), Ok(records)) =
            (block.is_empty(), u16::try_from(path.len()), u32::try_from(block.len()))
        {
            self.write(&length.to_be_bytes())?;
            self.write(path)?;
            self.write(&records.to_be_bytes())?;
            self.write(&block)?;
        }
        self.block = block;
        Ok(())
    }

    /// Puts it in the place of the one before, and makes room for it.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let checksum = std::mem::take(&mut self.hasher).finish();
        self.file.write_all(checksum.as_bytes())?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.persist(&self.target).map_err(|error| error.error)?;
        ROOM.make(&self.target);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or(io::ErrorKind::FileTooLarge)?;
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }
}
