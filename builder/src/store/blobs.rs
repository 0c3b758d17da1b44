//! Contents and directory nodes of one namespace, by SHA-256.
//!
//! Every namespace has a folder of its own, so that what one has uploaded can't be read, named or noticed by another. A
//! blob's modification time on disk is the time that BuildKit is told for its content: the first upload fixes it.

use std::fs::{self, File, FileTimes};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use slipway_context::Digest;

use crate::names::Namespace;

/// What goes wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk said no.
    #[error("{operation} blob {digest}: {source}")]
    Io {
        /// What we did.
        operation: &'static str,
        /// To which blob.
        digest: Digest,
        /// Why it failed.
        source: io::Error,
    },
    /// It was never uploaded to this namespace.
    #[error("blob {0} is missing")]
    Missing(Digest),
    /// It is not what it says it is.
    #[error("blob {digest} has the content of {actual}")]
    Damaged {
        /// The name it was given.
        digest: Digest,
        /// The digest of its content.
        actual: Digest,
    },
    /// It has another size than announced, or one that can't be right.
    #[error("blob {digest}: {bytes} bytes where {expected} were announced")]
    Size {
        /// Which blob.
        digest: Digest,
        /// Bytes seen.
        bytes: u64,
        /// Bytes announced or allowed.
        expected: u64,
    },
}

/// The blobs of one namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    /// The namespace's blobs under this data directory.
    pub fn open(data_dir: &Path, namespace: &Namespace) -> io::Result<Self> {
        let dir = data_dir.join("blobs").join(namespace.as_str());
        fs::create_dir_all(dir.join("tmp"))?;
        Ok(Self { dir })
    }

    /// Whether the namespace has it. What a power cut left empty does not count.
    pub fn has(&self, digest: &Digest) -> bool {
        fs::metadata(self.path(digest)).is_ok_and(|metadata| metadata.len() > 0 || *digest == Digest::of(b""))
    }

    /// Takes a damaged one away, so that it is asked for again.
    pub fn remove(&self, digest: &Digest) -> Result<(), BlobError> {
        match fs::remove_file(self.path(digest)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(BlobError::Io { operation: "remove", digest: *digest, source })
            }
            _ => Ok(()),
        }
    }

    /// Size in bytes and time in whole seconds since 1970.
    pub fn stat(&self, digest: &Digest) -> Result<(u64, i64), BlobError> {
        let metadata = fs::metadata(self.path(digest)).map_err(|source| missing_or(source, "stat", digest))?;
        Ok((metadata.len(), std::os::unix::fs::MetadataExt::mtime(&metadata)))
    }

    /// Opens it for reading.
    pub fn read(&self, digest: &Digest) -> Result<File, BlobError> {
        File::open(self.path(digest)).map_err(|source| missing_or(source, "open", digest))
    }

    /// Reads a small one (a directory node) whole.
    pub fn read_all(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let io = |source| BlobError::Io { operation: "read", digest: *digest, source };
        let file = self.read(digest)?;
        let bytes = file.metadata().map_err(io)?.len();
        if bytes > limit {
            return Err(BlobError::Size { digest: *digest, bytes, expected: limit });
        }
        let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.take(limit).read_to_end(&mut content).map_err(io)?;
        Ok(content)
    }

    /// Begins to write one of `size` bytes; see [`NewBlob`].
    pub fn create(&self, digest: Digest, size: u64, seconds: i64) -> Result<NewBlob, BlobError> {
        let io = |source| BlobError::Io { operation: "create", digest, source };
        let file = tempfile::NamedTempFile::new_in(self.dir.join("tmp")).map_err(io)?;
        let (file, path) = file.into_parts();
        let target = self.path(&digest);
        // The buffer spares small blobs a write per frame.
        let file = BufWriter::with_capacity(usize::try_from(size.min(64 << 10)).unwrap_or(0), file);
        Ok(NewBlob { digest, size, seconds, written: 0, hasher: Sha256::new(), file, path, target })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.dir.join(&hex[..2]).join(&hex[2..])
    }
}

fn missing_or(source: io::Error, operation: &'static str, digest: &Digest) -> BlobError {
    match source.kind() {
        io::ErrorKind::NotFound => BlobError::Missing(*digest),
        _ => BlobError::Io { operation, digest: *digest, source },
    }
}

/// A blob that is being written: under a temporary name until its digest is proved.
#[derive(Debug)]
pub struct NewBlob {
    digest: Digest,
    size: u64,
    seconds: i64,
    written: u64,
    hasher: Sha256,
    file: BufWriter<File>,
    path: tempfile::TempPath,
    target: PathBuf,
}

impl NewBlob {
    /// Adds bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let io = |source| BlobError::Io { operation: "write", digest: self.digest, source };
        self.written += bytes.len() as u64;
        if self.written > self.size {
            return Err(BlobError::Size { digest: self.digest, bytes: self.written, expected: self.size });
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(io)
    }

    /// Verifies it and gives it its name. `true` when it was not there before; one that was keeps its time.
    pub fn commit(self) -> Result<bool, BlobError> {
        let digest = self.digest;
        let io = |source| BlobError::Io { operation: "store", digest, source };
        if self.written != self.size {
            return Err(BlobError::Size { digest, bytes: self.written, expected: self.size });
        }
        let actual = Digest::from_bytes(<[u8; 32]>::from(self.hasher.finalize()));
        if actual != digest {
            return Err(BlobError::Damaged { digest, actual });
        }
        let file = self.file.into_inner().map_err(|error| io(error.into_error()))?;
        file.set_times(FileTimes::new().set_modified(time(self.seconds))).map_err(io)?;
        if let Some(parent) = self.target.parent() {
            fs::create_dir_all(parent).map_err(io)?;
        }
        match self.path.persist_noclobber(&self.target) {
            Ok(()) => Ok(true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(io(error.error)),
        }
    }
}

/// Whole seconds since 1970, within what file systems hold.
fn time(seconds: i64) -> SystemTime {
    const LAST: u64 = 16_000_000_000; // ext4 ends in the year 2446.
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0).min(LAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(content: &[u8]) -> Digest {
        Digest::from_bytes(<[u8; 32]>::from(Sha256::digest(content)))
    }

    fn open(dir: &Path, namespace: &str) -> Blobs {
        Blobs::open(dir, &namespace.parse().unwrap()).unwrap()
    }

    fn put(blobs: &Blobs, content: &[u8], seconds: i64) -> bool {
        let mut blob = blobs.create(digest(content), content.len() as u64, seconds).unwrap();
        blob.write(content).unwrap();
        blob.commit().unwrap()
    }

    #[test]
    fn the_first_upload_fixes_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(dir.path(), "dev");
        assert!(put(&blobs, b"content", 1000));
        assert!(!put(&blobs, b"content", 2000));
        assert_eq!(blobs.stat(&digest(b"content")).unwrap(), (7, 1000));
        assert_eq!(blobs.read_all(&digest(b"content"), 7).unwrap(), b"content");
    }

    #[test]
    fn a_namespace_sees_only_what_it_uploaded() {
        let dir = tempfile::tempdir().unwrap();
        put(&open(dir.path(), "one"), b"secret", 0);
        let other = open(dir.path(), "two");
        assert!(!other.has(&digest(b"secret")));
        assert!(matches!(other.read(&digest(b"secret")), Err(BlobError::Missing(_))));
        assert!(put(&other, b"secret", 5), "it has to upload it itself");
    }

    #[test]
    fn wrong_content_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = open(dir.path(), "dev");
        let mut blob = blobs.create(digest(b"right"), 5, 0).unwrap();
        blob.write(b"wrong").unwrap();
        assert!(matches!(blob.commit(), Err(BlobError::Damaged { .. })));
        let mut blob = blobs.create(digest(b"right"), 5, 0).unwrap();
        blob.write(b"rig").unwrap();
        assert!(matches!(blob.commit(), Err(BlobError::Size { .. })));
        let mut blob = blobs.create(digest(b"right"), 5, 0).unwrap();
        assert!(matches!(blob.write(b"right and more"), Err(BlobError::Size { .. })));
        drop(blob);
        assert!(!blobs.has(&digest(b"right")));
        assert_eq!(fs::read_dir(dir.path().join("blobs/dev/tmp")).unwrap().count(), 0, "no leftovers");
    }
}
