//! How much room caches take, and when they were last of use.
//!
//! The modification time of a cache is when it was last of use, to the day: reading one that is older renews it. So what is
//! scanned every week stays, changed or not, and what nobody scans any more goes. Several may do this at once: nobody
//! depends on a file that was in the listing, and whoever lists the same files takes the same ones away.

use std::fs::{self, DirEntry, File, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a cache that nobody uses is kept.
const KEPT: Duration = Duration::from_hours(24 * 30);

/// How exactly it is known when one was last of use: a scan seldom costs more than a look at the clock.
const EXACT: Duration = Duration::from_hours(24);

/// How long somebody may take to write one. What is older and no cache is what a killed process left.
const WRITTEN: Duration = Duration::from_hours(1);

/// How much the caches of a folder may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// Some hundred projects; or as many bytes as the largest cache may have, which is five million files.
pub(super) const ROOM: Room = Room { files: 256, bytes: super::MAX_CACHE };

struct Found {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// Notes that a cache was of use.
pub(super) fn mark_used(file: &File, metadata: &Metadata) {
    let now = SystemTime::now();
    let known = metadata.modified().is_ok_and(|used| now.duration_since(used).is_ok_and(|ago| ago <= EXACT));
    if !known {
        // In somebody's read-only folder nobody takes it away either.
        let _ = file.set_modified(now);
    }
}

impl Room {
    /// Takes away what is too much: what was not of use for long, then whatever finds no room beside what was of use later.
    /// `own` stays, and so does what somebody is writing.
    pub(super) fn make(self, own: &Path) {
        let Some(dir) = own.parent() else { return };
        let now = SystemTime::now();
        let age = |used: SystemTime| now.duration_since(used).unwrap_or_default();
        let mut found: Vec<_> =
            fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| Found::new(&entry)).collect();
        found.sort_unstable_by(|a, b| b.used.cmp(&a.used).then_with(|| a.path.cmp(&b.path)));
        let (mut files, mut bytes) = (0, 0_u64);
        let (mine, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.path == own);
        for Found { used, bytes: size, path } in mine.into_iter().chain(others) {
            let with = size.saturating_add(bytes);
            let kept = if is_cache(&path) {
                age(used) <= KEPT && files < self.files && with <= self.bytes
            } else if age(used) <= WRITTEN {
                continue;
            } else {
                false
            };
            if kept || path == own {
                (files, bytes) = (files + 1, with);
            } else {
                // Somebody else may have done it.
                let _ = fs::remove_file(path);
            }
        }
    }
}

impl Found {
    fn new(entry: &DirEntry) -> Option<Self> {
        let metadata = entry.metadata().ok().filter(Metadata::is_file)?;
        Some(Self { used: metadata.modified().ok()?, bytes: metadata.len(), path: entry.path() })
    }
}

/// Whether that is how a cache is called; while one is written it has another name.
fn is_cache(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.len() == 2 * super::DIGEST && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
