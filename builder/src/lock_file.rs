//! Files that are locked (`flock(2)`) as long as their holder lives: what several processes of one machine share.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use slipway_context::Digest;

/// Locks the file of this name in a folder, which is made; none if somebody else has it.
pub(crate) fn try_lock(locks: &Path, name: &str) -> io::Result<Option<File>> {
    fs::create_dir_all(locks)?;
    let path = path(locks, name);
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Its holder before us may have removed it meanwhile: then it locks nothing.
        if fs::metadata(&path).is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino())) {
            return Ok(Some(file));
        }
    }
}

/// Where the file of a name is. Names may be of any length and hold anything.
pub(crate) fn path(locks: &Path, name: &str) -> PathBuf {
    locks.join(Digest::of(name.as_bytes()).hex())
}
