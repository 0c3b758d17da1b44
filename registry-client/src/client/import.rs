//! Pushing the image of an OCI archive.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures::Stream;
use oci_client::errors::{OciDistributionError, Result as OciResult};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::RegistryClient;
use super::archive::{OciArchive, Span};
use super::blobs::Blobs;
use crate::auth::Auth;
use crate::digest::Digest;
use crate::error::{ArchiveError, RegistryError};
use crate::reference::ImageRef;

/// How much of a blob is in memory at once.
const CHUNK: usize = 128 << 10;

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image's digest.
    pub digest: Digest,
    /// Blobs that the registry lacked.
    pub pushed_blobs: usize,
    /// Bytes of those.
    pub pushed_bytes: u64,
    /// Blobs that the registry had.
    pub skipped_blobs: usize,
}

impl RegistryClient {
    /// Pushes the image of an OCI image layout in a tar file (what `BuildKit`'s `type=oci` writes) to `target`: under its tag,
    /// or under its own digest when `target` has none.
    ///
    /// An `index.json` with one descriptor means that image or index; one with several is pushed as an index itself.
    /// Blobs are streamed from the file and checked against their digests; those that the registry has are left out.
    pub async fn import_oci_archive(
        &self,
        path: &Path,
        target: &ImageRef,
        auth: &Auth,
    ) -> Result<Imported, RegistryError> {
        let archive_error = |source| RegistryError::Archive { path: path.to_owned(), source };
        let archive = {
            let path = path.to_owned();
            blocking(move || OciArchive::open(&path)).await.map(Arc::new).map_err(archive_error)?
        };
        let scope = format!("repository:{}:pull,push", target.repository());
        let blobs = Blobs::new(&self.transport, target, scope, auth).await?;

        let mut pushed = (0, 0);
        let mut skipped_blobs = 0;
        for (digest, &size) in &archive.blobs {
            if blobs.exists(digest).await? {
                skipped_blobs += 1;
                continue;
            }
            let span = archive.span(digest).map_err(archive_error)?;
            push_blob(&blobs, path, digest, span).await?;
            pushed = (pushed.0 + 1, pushed.1 + size);
        }

        let mut image = None;
        for (position, node) in archive.nodes.iter().enumerate() {
            let bytes = {
                let (archive, digest) = (Arc::clone(&archive), node.digest.clone());
                blocking(move || archive.manifest_bytes(&digest)).await.map_err(archive_error)?
            };
            let last = position + 1 == archive.nodes.len();
            let reference = match target.tag() {
                Some(tag) if last => target.with_tag(tag.clone()),
                _ => target.with_digest(node.digest.clone()),
            };
            self.put_manifest(&reference, &node.media_type, bytes, auth).await?;
            image = Some(node.digest.clone());
        }
        let digest = image.ok_or_else(|| archive_error(ArchiveError::Empty))?;
        Ok(Imported { digest, pushed_blobs: pushed.0, pushed_bytes: pushed.1, skipped_blobs })
    }
}

async fn push_blob(blobs: &Blobs, path: &Path, digest: &Digest, span: Span) -> Result<(), RegistryError> {
    let archive_error = |source| RegistryError::Archive { path: path.to_owned(), source };
    let io_error = |source| archive_error(ArchiveError::Io { operation: "read a blob", source });
    let mut file = tokio::fs::File::open(path).await.map_err(io_error)?;
    file.seek(SeekFrom::Start(span.offset)).await.map_err(io_error)?;
    // The HTTP client wraps what the stream says beyond recognition, so the finding goes past it.
    let damage = Arc::new(OnceLock::new());
    let content = checked(
        ReaderStream::with_capacity(file.take(span.size), CHUNK),
        digest.clone(),
        span.size,
        Arc::clone(&damage),
    );
    let result = blobs.push(digest, span.size, content).await;
    match damage.get() {
        Some(actual) => {
            Err(archive_error(ArchiveError::Damaged { expected: digest.clone(), actual: Digest::clone(actual) }))
        }
        None => result,
    }
}

/// Passes a blob's chunks on, but the last one only if the whole has the right digest: a damaged blob never becomes complete.
fn checked<S>(
    chunks: S,
    expected: Digest,
    size: u64,
    damage: Arc<OnceLock<Digest>>,
) -> impl Stream<Item = OciResult<Bytes>> + Send + 'static
where
    S: Stream<Item = std::io::Result<Bytes>> + Send + Unpin + 'static,
{
    use futures::StreamExt as _;
    let state = (chunks, Sha256::new(), 0u64);
    futures::stream::unfold(Some(state), move |state| {
        let (expected, damage) = (expected.clone(), Arc::clone(&damage));
        async move {
            let (mut chunks, mut hash, mut seen) = state?;
            let chunk = match chunks.next().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(OciDistributionError::IoError(error)), None)),
            };
            hash.update(&chunk);
            seen += chunk.len() as u64;
            if seen < size {
                return Some((Ok(chunk), Some((chunks, hash, seen))));
            }
            let actual = Digest::from_hash(hash);
            if actual == expected {
                return Some((Ok(chunk), None));
            }
            let _ = damage.set(actual);
            let problem = OciDistributionError::GenericError(Some("the blob is damaged".to_owned()));
            Some((Err(problem), None))
        }
    })
}

/// Runs archive reads where blocking is allowed.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(ArchiveError::Io { operation: "read the archive", source: std::io::Error::other(error) })
    })
}
