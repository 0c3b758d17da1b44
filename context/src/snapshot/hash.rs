//! Hashing many files on a few threads, with little memory whatever their size.

use std::fs::{File, Metadata};
use std::io::{Seek as _, SeekFrom};
use std::num::NonZero;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::digest::{Digest, Hasher};
use crate::walk::{Root, WalkError};

/// Bytes read at a time, a thread.
const BUFFER: usize = 128 * 1024;

/// Files a thread takes at a time: neighbours, so that their directory is opened once.
const BATCH: usize = 16;

/// A file's content at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hashed {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) mtime_seconds: i64,
}

/// The content of every file, in the order given. Of several errors, the one of the first file that has one.
pub(super) fn hash_files(root: &Root, files: &[&str], threads: Option<usize>) -> Result<Vec<Hashed>, WalkError> {
    let processors = || thread::available_parallelism().map_or(2, NonZero::get).clamp(2, 8);
    let threads = threads.unwrap_or_else(processors).clamp(1, files.len().div_ceil(BATCH).max(1));
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut worker = Worker { root, directory: None, buffer: vec![0; BUFFER] };
        let mut results = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = files.get(start..files.len().min(start + BATCH)).filter(|batch| !batch.is_empty()) else {
                break;
            };
            for (at, file) in batch.iter().enumerate() {
                let result = worker.hash(Path::new(file));
                if result.is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
                results.push((start + at, result));
            }
        }
        results
    };
    let mut results = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut results = work();
        for other in others {
            match other.join() {
                Ok(more) => results.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

struct Worker<'r> {
    root: &'r Root,
    /// The directory of the last file.
    directory: Option<(PathBuf, OwnedFd)>,
    buffer: Vec<u8>,
}

// === impl Worker ===

impl Worker<'_> {
    fn hash(&mut self, path: &Path) -> Result<Hashed, WalkError> {
        let full = || self.root.full(path);
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.directory.as_ref().is_none_or(|(open, _)| open != parent) {
            self.directory = Some((parent.to_owned(), self.root.open_directory(parent)?));
        }
        let Some((_, directory)) = &self.directory else { return Err(WalkError::Changed { path: full() }) };
        let mut file = self.root.open_in(directory.as_fd(), path)?;
        // A file that is being written is read once more; if it still changes, nobody knows what was meant.
        for _ in 0..2 {
            match hash_once(&mut file, &mut self.buffer) {
                Ok(Some(hashed)) => return Ok(hashed),
                Ok(None) => {}
                Err(source) => return Err(WalkError::Read { path: full(), source }),
            }
        }
        Err(WalkError::Changed { path: full() })
    }
}

/// The content of a file; `None` if it changed meanwhile or is no regular file.
fn hash_once(file: &mut File, buffer: &mut [u8]) -> std::io::Result<Option<Hashed>> {
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Hasher::default();
    let size = hasher.update_from(file, buffer)?;
    let after = file.metadata()?;
    let unchanged = size == after.len() && stamp(&before) == stamp(&after);
    Ok(unchanged.then(|| Hashed { digest: hasher.finish(), size, mtime_seconds: after.mtime() }))
}

fn stamp(metadata: &Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}
