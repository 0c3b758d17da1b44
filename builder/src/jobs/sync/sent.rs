//! What has been sent for a job, over all calls of its sync and across restarts: the file `sent` in the job's folder.
//!
//! Records of 40 bytes: digest, and size as `u64`, big-endian. A torn one at the end doesn't count.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

use slipway_context::Digest;

use crate::jobs::spec::JobDir;

const NAME: &str = "sent";
const RECORD: usize = 40;

/// Notes what arrives.
#[derive(Debug)]
pub(super) struct Sent(File);

impl Sent {
    /// Goes on after what was noted before.
    pub(super) fn open(dir: &JobDir) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(dir.path().join(NAME))?;
        let whole = file.metadata()?.len() / RECORD as u64 * RECORD as u64;
        file.set_len(whole)?;
        Ok(Self(file))
    }

    /// Notes blobs with their sizes.
    pub(super) fn add(&mut self, blobs: &[(Digest, u64)]) -> io::Result<()> {
        let records =
            blobs.iter().flat_map(|(digest, size)| digest.as_bytes().iter().copied().chain(size.to_be_bytes()));
        let records: Vec<u8> = records.collect();
        if records.is_empty() { Ok(()) } else { self.0.write_all(&records) }
    }
}

/// Everything that was noted, each blob once.
pub(super) fn read(dir: &JobDir) -> io::Result<HashMap<Digest, u64>> {
    let bytes = match std::fs::read(dir.path().join(NAME)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let record = |record: &[u8]| {
        let (digest, size) = record.split_at_checked(32)?;
        Some((Digest::try_from(digest).ok()?, u64::from_be_bytes(size.try_into().ok()?)))
    };
    Ok(bytes.chunks_exact(RECORD).filter_map(record).collect())
}

/// The blobs that were noted.
pub(in crate::jobs) fn sent_for(dir: &JobDir) -> io::Result<impl Iterator<Item = Digest> + use<>> {
    Ok(read(dir)?.into_keys())
}

/// Forgets it: the figures have been told.
pub(super) fn remove(dir: &JobDir) {
    // Nothing depends on it any more, and the folder goes one day.
    let _ = std::fs::remove_file(dir.path().join(NAME));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::JobId;

    #[test]
    fn what_was_sent_is_counted_once_and_survives_a_crash() {
        let data = tempfile::tempdir().unwrap();
        let dir = JobDir::new(data.path(), JobId::new());
        assert!(read(&dir).unwrap().is_empty());
        std::fs::create_dir_all(dir.path()).unwrap();
        let (a, b) = ((Digest::of(b"a"), 1), (Digest::of(b"bb"), 2));
        Sent::open(&dir).unwrap().add(&[a, b]).unwrap();
        let file = dir.path().join(NAME);
        File::options().append(true).open(&file).unwrap().write_all(b"torn").unwrap();
        Sent::open(&dir).unwrap().add(&[b]).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().len(), 120);
        assert_eq!(read(&dir).unwrap(), HashMap::from([a, b]));
        remove(&dir);
        assert!(read(&dir).unwrap().is_empty());
    }
}
