//! Contents and directory nodes of one namespace, by SHA-256.
//!
//! Every namespace has packs of its own ([`super::pack`]), so that what one has uploaded can't be read, named or noticed by
//! another. With a blob goes the time that BuildKit is told for its content: the first upload fixes it.
//!
//! Whatever is read is proved by its digest first. A blob that turns out to be another one is marked, and from then on no
//! process believes it: it is missing until it is uploaded again.

use std::io::{self, Cursor};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use slipway_context::Digest;

use super::catalog::Catalog;
use super::pack::{Dirs, Entry, Pack, PackId, index};
use crate::names::Namespace;

/// Catalogues that a process keeps open.
const MAX_OPEN: usize = 64;
/// Blobs in all catalogues that a process keeps open, some 64 bytes each; the one that was asked for last stays whatever its size.
const MAX_KNOWN: usize = 500_000;
/// How often a reader looks again after what it was reading has moved.
const ATTEMPTS: usize = 8;

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
    /// The disk said no to a whole pack.
    #[error("{operation} pack {pack}: {source}")]
    Pack {
        /// What we did.
        operation: &'static str,
        /// To which pack.
        pack: PackId,
        /// Why it failed.
        source: io::Error,
    },
    /// It was never uploaded to this namespace.
    #[error("blob {0} is missing")]
    Missing(Digest),
    /// It is not what it says it is.
    #[error("blob {digest} is damaged: its content is that of {actual}")]
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

/// The blobs of one namespace. Cheap to clone, and to open again: a process shares what it knows of a namespace's packs.
#[derive(Debug, Clone)]
pub struct Blobs {
    catalog: Arc<Catalog>,
}

impl Blobs {
    /// The namespace's blobs under this data directory, as they are when the first is asked for.
    pub fn open(data_dir: &Path, namespace: &Namespace) -> io::Result<Self> {
        static OPEN: Mutex<Vec<Arc<Catalog>>> = Mutex::new(Vec::new());
        let dirs = Dirs::new(data_dir.join("blobs").join(namespace.as_str()));
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = match open.iter().position(|catalog| *catalog.dirs() == dirs) {
            Some(at) => open.remove(at),
            None => Arc::new(Catalog::open(dirs)?),
        };
        open.push(catalog.clone());
        while open.len() > 1
            && (open.len() > MAX_OPEN || open.iter().map(|catalog| catalog.known()).sum::<usize>() > MAX_KNOWN)
        {
            open.remove(0);
        }
        drop(open);
        catalog.look_again();
        Ok(Self { catalog })
    }

    /// The same without sharing: everything is read from the disk, as another process would.
    pub(super) fn open_alone(data_dir: &Path, namespace: &Namespace) -> io::Result<Self> {
        let catalog = Arc::new(Catalog::open(Dirs::new(data_dir.join("blobs").join(namespace.as_str())))?);
        catalog.refresh()?;
        Ok(Self { catalog })
    }

    /// Whether the namespace has it.
    pub fn has(&self, digest: &Digest) -> bool {
        self.catalog.find(digest, &[]).is_some()
    }

    /// Size in bytes and time in whole seconds since 1970.
    pub fn stat(&self, digest: &Digest) -> Result<(u64, i64), BlobError> {
        let (_, entry) = self.catalog.find(digest, &[]).ok_or(BlobError::Missing(*digest))?;
        Ok((u64::from(entry.size), entry.seconds))
    }

    /// Its content, proved. No blob is larger than [`MAX_RECORD`](super::pack::MAX_RECORD).
    pub fn read(&self, digest: &Digest) -> Result<Cursor<Vec<u8>>, BlobError> {
        self.read_all(digest, super::pack::MAX_RECORD).map(Cursor::new)
    }

    /// Its content, proved, if it has at most `limit` bytes.
    pub fn read_all(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        // Copies that were tried, and what was wrong with the last one.
        let (mut tried, mut wrong) = (Vec::new(), None);
        for _ in 0..ATTEMPTS {
            let Some((pack, entry)) = self.catalog.find(digest, &tried) else { break };
            let bytes = u64::from(entry.size);
            if bytes > limit {
                return Err(BlobError::Size { digest: *digest, bytes, expected: limit });
            }
            match self.read_copy(&pack, &entry) {
                Ok(content) => return Ok(content),
                Err(BlobError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    // Compaction has moved it.
                    self.catalog.reload().map_err(|source| BlobError::Io {
                        operation: "find",
                        digest: *digest,
                        source,
                    })?;
                }
                Err(error) => {
                    tried.push(pack.id);
                    wrong = Some(error);
                }
            }
        }
        Err(wrong.unwrap_or(BlobError::Missing(*digest)))
    }

    /// The content of a blob in one pack, proved; a copy that is damaged is marked.
    pub(super) fn read_copy(&self, pack: &Pack, entry: &Entry) -> Result<Vec<u8>, BlobError> {
        let digest = entry.digest;
        let mut content = vec![0; entry.size as usize];
        let read =
            self.catalog.file(pack.id).and_then(|file| file.read_exact_at(&mut content, u64::from(entry.offset)));
        let actual = Digest::of(&content);
        let error = match read {
            Ok(()) if actual == digest => return Ok(content),
            Ok(()) => BlobError::Damaged { digest, actual },
            Err(source) => {
                // A pack that is cut off, and a disk that can't read what it has, don't get better.
                let lasting = source.kind() == io::ErrorKind::UnexpectedEof
                    || source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
                let error = BlobError::Io { operation: "read", digest, source };
                if !lasting {
                    return Err(error);
                }
                error
            }
        };
        tracing::error!(blob = %digest, pack = %pack.id, %error, "blob {digest} in pack {} is damaged", pack.id);
        self.mark(&digest, pack.id);
        Err(error)
    }

    /// Takes a damaged one away, so that it is asked for again.
    pub fn quarantine(&self, digest: &Digest) -> Result<(), BlobError> {
        while let Some((pack, _)) = self.catalog.find(digest, &[]) {
            let marked = self.catalog.mark(digest, pack.id);
            marked.map_err(|source| BlobError::Io { operation: "mark", digest: *digest, source })?;
        }
        Ok(())
    }

    /// Whether anything in the namespace was found to be damaged, and is not cleaned away yet.
    pub fn has_damage(&self) -> bool {
        self.newest_damage().is_some()
    }

    /// When the newest damage was marked. What was checked before that may not be complete any more.
    pub fn newest_damage(&self) -> Option<SystemTime> {
        let newest = self.catalog.newest_damage().unwrap_or_else(|error| {
            tracing::error!(dir = %self.catalog.dirs().root().display(), %error, "can't look for marks of damage");
            Some(SystemTime::now())
        });
        // Who is told of damage doesn't find what is damaged.
        self.catalog.look_again();
        newest
    }

    /// Bytes of all packs.
    pub fn bytes(&self) -> u64 {
        self.look();
        self.catalog.now().packs.iter().map(|pack| pack.bytes).sum()
    }

    /// Marks that something is missing which should be there, so that trees are checked again.
    pub fn mark_lost(&self) {
        if let Err(error) = index::mark_lost(self.catalog.dirs(), PackId::new()) {
            tracing::error!(%error, "can't mark what is lost");
        }
    }

    fn mark(&self, digest: &Digest, pack: PackId) {
        if let Err(error) = self.catalog.mark(digest, pack) {
            tracing::error!(blob = %digest, %pack, %error, "can't mark a damaged blob");
        }
    }

    /// Looks for packs and marks of others.
    pub(super) fn look(&self) {
        if let Err(error) = self.catalog.refresh() {
            tracing::warn!(dir = %self.catalog.dirs().root().display(), %error, "can't look for packs");
        }
    }

    pub(super) fn catalog(&self) -> &Catalog {
        &self.catalog
    }
}
