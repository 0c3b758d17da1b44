//! Files that only slipwayd may read.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a directory, and those above it, for this user alone.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a file (mode 0600), or empties the one that is there.
pub(crate) fn create_private(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes a file (mode 0600) under a temporary name and renames it: readers see the old content or the new one.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = beside(path, "tmp");
    let written = (|| {
        // A leftover of a process that had this id might have other permissions.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // The error that counts is the first one.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// A name beside it that nobody else has now, in this process or another.
fn beside(path: &Path, extension: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.{extension}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

/// The bytes of a file that the first who asks writes with what `make` gives; all others get the same.
pub(crate) fn read_or_create<const N: usize>(path: &Path, make: impl Fn() -> [u8; N]) -> io::Result<[u8; N]> {
    loop {
        match std::fs::read(path) {
            Ok(bytes) => {
                let found = bytes.as_slice().try_into();
                let wrong = |_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display()));
                return found.map_err(wrong);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let temporary = beside(path, "new");
        write_private(&temporary, &make())?;
        // Unlike a rename it leaves alone what another one has made meanwhile.
        let linked = std::fs::hard_link(&temporary, path);
        std::fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_at_once_one_decides() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("key");
            let ask = &|value: u8| read_or_create(&path, || [value; 32]).unwrap();
            let found: Vec<[u8; 32]> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|value| scope.spawn(move || ask(value))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(found.iter().all(|value| *value == found[0]));
        }
    }

    #[test]
    fn the_first_one_decides() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert_eq!(read_or_create(&path, || [1; 32]).unwrap(), [1; 32]);
        assert_eq!(read_or_create(&path, || [2; 32]).unwrap(), [1; 32]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::write(&path, "short").unwrap();
        let error = read_or_create(&path, || [2; 32]).unwrap_err();
        assert!(error.to_string().contains("key is damaged"), "{error}");
    }
}
