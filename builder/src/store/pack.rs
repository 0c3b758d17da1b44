//! Packs: files that hold many blobs each, so that thousands of small files cost a handful of disk operations.
//!
//! A pack is records one after another, as they come in an upload: digest (32 bytes), size (`u64`), seconds (`i64`), both
//! big-endian, then the content as it is. Beside it lies its index (`pack/index.rs`), which is only a faster way to the same facts:
//! a pack whose index is lost or damaged is read from its records.
//!
//! | in `blobs/<namespace>/` | holds |
//! |---|---|
//! | `packs/<id>.pack`, `packs/<id>.idx` | sealed packs: on the disk, complete, never changed again |
//! | `tmp/` | packs that are being written; what a crash leaves there is looked through at the next start |
//! | `damaged/<digest>.<id>` | marks: this blob in this pack is not what it should be |
//! | `damaged/lost.<id>` | marks: this pack had lost its index, and perhaps blobs |

pub(super) mod index;
pub(super) mod writer;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use slipway_context::{Digest, tree};
use uuid::Uuid;

/// Largest content of a record, in bytes: an encoded directory. Files come in chunks, which are smaller.
pub const MAX_RECORD: u64 = tree::MAX_ENCODED as u64;
/// A pack of so many bytes gets no more records.
pub const MAX_PACK: u64 = 256 << 20;
/// A pack of so many records gets no more.
pub const MAX_RECORDS: usize = 1 << 20;
/// Bytes before a record's content.
pub const HEADER: usize = 32 + 8 + 8;
/// Bytes on disk that a blob takes beside its content: the header, and its entry in the pack's index.
const RECORD_OVERHEAD: u64 = (HEADER + index::ENTRY) as u64;
/// What a blob counts for at least where a sum bounds uploads: the index of a small one takes more memory than its content takes
/// of the disk, in the service and in each job's process. So 64 GiB are some four million blobs, and 300 MB of memory.
const LEAST_CHARGE: u64 = 16 << 10;
/// The latest time, in seconds since 1970, whose nanoseconds all fit into an `i64`: in the year 2262. BuildKit is told times as
/// such numbers, and tells contents from each other by their nanoseconds.
pub(crate) const LAST_SECOND: i64 = i64::MAX / 1_000_000_000 - 1;

/// What a blob of this size counts for where a sum bounds uploads: what it takes on disk, and not less than 16 KiB.
pub fn charge(size: u64) -> u64 {
    size.saturating_add(RECORD_OVERHEAD).max(LEAST_CHARGE)
}

/// The id of a pack: a UUIDv7, so that newer ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(Uuid);

impl PackId {
    pub(super) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id in `<id>.<extension>`.
    pub(super) fn from_file_name(name: &str, extension: &str) -> Option<Self> {
        name.strip_suffix(extension)?.strip_suffix('.').and_then(Self::parse)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        // One id has one spelling.
        let id = Uuid::try_parse(text).ok()?;
        (id.hyphenated().to_string() == text).then_some(Self(id))
    }

    /// When it was begun.
    pub(super) fn created(self) -> SystemTime {
        let since = self.0.get_timestamp().map_or((0, 0), |timestamp| timestamp.to_unix());
        SystemTime::UNIX_EPOCH + Duration::new(since.0, since.1)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// What precedes a record's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) digest: Digest,
    pub(super) size: u64,
    /// Since 1970: the time that BuildKit is told for the content.
    pub(super) seconds: i64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..32].copy_from_slice(self.digest.as_bytes());
        bytes[32..40].copy_from_slice(&self.size.to_be_bytes());
        bytes[40..].copy_from_slice(&self.seconds.to_be_bytes());
        bytes
    }

    /// Any bytes are a header; times are moved into what can be told.
    pub(super) fn decode(bytes: &[u8; HEADER]) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[..32]);
        Self { digest: Digest::from_bytes(digest), size: number(bytes, 32), seconds: seconds(bytes, 40) }
    }
}

/// The big-endian `u64` at this place, which has to be there.
fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(number)
}

/// The time at this place, which has to be there.
fn seconds(bytes: &[u8], at: usize) -> i64 {
    (number(bytes, at) as i64).clamp(0, LAST_SECOND)
}

/// Where a pack has a blob. 48 bytes, since there are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) digest: Digest,
    /// Of the content in the pack.
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) seconds: i64,
}

impl Entry {
    /// Where its record ends.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.size)
    }
}

/// A sealed pack and what is in it.
#[derive(Debug)]
pub(super) struct Pack {
    pub(super) id: PackId,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// By digest, each once.
    pub(super) entries: Box<[Entry]>,
}

impl Pack {
    pub(super) fn find(&self, digest: &Digest) -> Option<Entry> {
        let at = self.entries.binary_search_by(|entry| entry.digest.cmp(digest)).ok()?;
        self.entries.get(at).copied()
    }
}

/// The folders of one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dirs(PathBuf);

impl Dirs {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// Makes them, so that they are there after a power cut too.
    pub(super) fn create(&self) -> io::Result<()> {
        if self.tmp().is_dir() && self.damaged().is_dir() && self.packs().is_dir() {
            return Ok(());
        }
        for dir in [self.tmp(), self.damaged(), self.packs()] {
            std::fs::create_dir_all(dir)?;
        }
        sync_dir(&self.0)?;
        self.0.parent().map_or(Ok(()), sync_dir)
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn packs(&self) -> PathBuf {
        self.0.join("packs")
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.0.join("tmp")
    }

    pub(super) fn damaged(&self) -> PathBuf {
        self.0.join("damaged")
    }

    pub(super) fn pack(&self, id: PackId) -> PathBuf {
        self.packs().join(format!("{id}.pack"))
    }

    pub(super) fn index(&self, id: PackId) -> PathBuf {
        self.packs().join(format!("{id}.idx"))
    }
}

/// Makes names in a folder outlive a power cut.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What a reading of a pack's records has shown.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The sound ones, as they lie.
    pub(super) entries: Vec<Entry>,
    /// Those whose content is another one, with their offsets.
    pub(super) damaged: Vec<(Digest, u64)>,
    /// Bytes at the end that are no records.
    pub(super) rest: u64,
}

impl Scan {
    /// Where the last sound record ends.
    pub(super) fn end(&self) -> u64 {
        self.entries.last().map_or(0, Entry::end)
    }
}

/// Reads all records. What is wrong in one doesn't keep those after it from being found, as long as its size can be right;
/// whatever is found is proved by its digest.
pub(super) fn scan(file: &File) -> io::Result<Scan> {
    let bytes = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut scan, mut at, mut content) = (Scan::default(), 0, Vec::new());
    loop {
        scan.rest = bytes.saturating_sub(at);
        if scan.rest < HEADER as u64 {
            return Ok(scan);
        }
        let mut header = [0; HEADER];
        reader.read_exact(&mut header)?;
        let header = Header::decode(&header);
        let offset = at + HEADER as u64;
        let (Ok(start), true) = (u32::try_from(offset), header.size <= MAX_RECORD && header.size <= bytes - offset)
        else {
            return Ok(scan);
        };
        content.resize(header.size as usize, 0);
        reader.read_exact(&mut content)?;
        if Digest::of(&content) == header.digest {
            let (size, seconds) = (header.size as u32, header.seconds);
            scan.entries.push(Entry { digest: header.digest, offset: start, size, seconds });
        } else {
            scan.damaged.push((header.digest, offset));
        }
        at = offset + header.size;
    }
}
