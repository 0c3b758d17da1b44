//! One upload: a thread reads, checks and packs; the connection takes the frames as fast as it can, and no faster.

use std::io::{self, Read};

use slipway_context::{Digest, Hasher, WalkError};
use slipway_proto::v1::UploadRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::blobs::{Blob, BlobKind};
use super::frames::{FRAME, Frames, Gone};
use super::{Client, Status, SyncError, is_transient};

/// Frames that are ready before the connection wants them.
const READ_AHEAD: usize = 4;

/// Sends blobs. `Some`: the connection broke before the end, and another try is worth it.
pub(super) async fn upload(client: &Client, job: &str, blobs: Vec<Blob>) -> Result<Option<Status>, SyncError> {
    let (sender, receiver) = mpsc::channel(READ_AHEAD);
    let first = UploadRequest { job: job.to_owned(), frame: Vec::new() };
    let packing = tokio::task::spawn_blocking(move || pack(&blobs, first, &sender));
    let answer = client.context().upload(ReceiverStream::new(receiver)).await;
    // With the call over, its receiver is gone too: the thread can't be waiting to send.
    match packing.await {
        Ok(Err(PackError::Sync(error))) => return Err(error),
        Ok(Ok(()) | Err(PackError::Gone)) => {}
        Err(panicked) => return Err(SyncError::Panicked(panicked)),
    }
    match answer {
        Ok(_) => Ok(None),
        Err(status) if is_transient(&status) => Ok(Some(status)),
        Err(status) => Err(client.error(&status).into()),
    }
}

enum PackError {
    Sync(SyncError),
    Gone,
}

impl From<Gone> for PackError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

fn pack(blobs: &[Blob], first: UploadRequest, sender: &mpsc::Sender<UploadRequest>) -> Result<(), PackError> {
    sender.blocking_send(first).map_err(|_| PackError::Gone)?;
    let sink = |frame| sender.blocking_send(UploadRequest { job: String::new(), frame }).map_err(|_| Gone);
    let mut frames = Frames::new(sink).map_err(|_| PackError::Gone)?;
    let mut buffer = vec![0; FRAME];
    for blob in blobs {
        match blob.kind {
            BlobKind::Node { seconds } => {
                let bytes = blob.tree.scan.nodes().get(&blob.digest).map(AsRef::as_ref).unwrap_or_default();
                frames.record(&blob.digest, bytes.len() as u64, seconds)?;
                frames.write(bytes)?;
            }
            BlobKind::File { seconds } => {
                let content = blob.tree.scan.open(&blob.digest);
                let path = || blob.path();
                let mut content = content.map_err(|error| match error {
                    WalkError::Read { source, .. } => PackError::Sync(SyncError::Read { path: path(), source }),
                    _ => PackError::Sync(SyncError::Changed { path: path() }),
                })?;
                let content = content.as_mut().ok_or_else(|| PackError::Sync(SyncError::Changed { path: path() }))?;
                pack_content(&mut frames, blob, seconds, content, &mut buffer).map_err(|error| match error {
                    ContentError::Changed => PackError::Sync(SyncError::Changed { path: path() }),
                    ContentError::Read(source) => PackError::Sync(SyncError::Read { path: path(), source }),
                    ContentError::Gone => PackError::Gone,
                })?;
            }
        }
    }
    Ok(frames.finish()?)
}

#[derive(Debug)]
enum ContentError {
    Changed,
    Read(io::Error),
    Gone,
}

impl From<Gone> for ContentError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<io::Error> for ContentError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// Packs a file's bytes, and makes sure that they still are what they were when their digest was taken.
fn pack_content<S>(
    frames: &mut Frames<S>,
    blob: &Blob,
    seconds: i64,
    content: &mut impl Read,
    buffer: &mut [u8],
) -> Result<(), ContentError>
where
    S: FnMut(Vec<u8>) -> Result<(), Gone>,
{
    if blob.size < buffer.len() as u64 {
        // A small file is checked before any of it is sent. The buffer has room for a byte too many.
        let length = fill(content, buffer)?;
        let content = buffer.get(..length).unwrap_or_default();
        if length as u64 != blob.size || Digest::of(content) != blob.digest {
            return Err(ContentError::Changed);
        }
        frames.record(&blob.digest, blob.size, seconds)?;
        return Ok(frames.write(content)?);
    }
    frames.record(&blob.digest, blob.size, seconds)?;
    let (mut hasher, mut left) = (Hasher::default(), blob.size);
    while left > 0 {
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let length = fill(content, buffer.get_mut(..wanted).unwrap_or_default())?;
        if length == 0 {
            return Err(ContentError::Changed);
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        hasher.update(bytes);
        frames.write(bytes)?;
        left -= length as u64;
    }
    if hasher.finish() == blob.digest { Ok(()) } else { Err(ContentError::Changed) }
}

/// Reads until the buffer is full or the content ends.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match content.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use slipway_context::chunk::MAX_CHUNK;
    use slipway_context::{Rules, ScanOptions, scan};

    use super::*;
    use crate::roots::Tree;
    use crate::sync::Blobs;

    #[test]
    fn small_and_large_files_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 5, FRAME - 1, FRAME, FRAME * 2 + 3] {
            let path = dir.path().join("file");
            fs::write(&path, vec![b'x'; size]).unwrap();
            let scan = scan(dir.path(), &Rules::none(), &ScanOptions::default()).unwrap();
            let mut blobs = Blobs::default();
            blobs.add(&Arc::new(Tree::complete("t".to_owned(), dir.path().to_owned(), scan)));
            let all: Vec<Blob> = blobs.digests().map(|digest| blobs.get(digest).unwrap().clone()).collect();
            let packed = || {
                let (sender, mut receiver) = mpsc::channel(READ_AHEAD + 1);
                let first = UploadRequest { job: "j".to_owned(), frame: Vec::new() };
                let result = pack(&all, first, &sender);
                assert_eq!(receiver.try_recv().unwrap().job, "j");
                result
            };
            assert!(packed().is_ok(), "{size}");
            for changed in [vec![b'x'; size + 1], vec![b'y'; size]] {
                if changed.len() == size && size == 0 {
                    continue;
                }
                // What is behind the last chunk of a large file is not part of what was scanned, and isn't looked at.
                let unseen = changed.len() > size && size as u64 > u64::from(MAX_CHUNK);
                fs::write(&path, changed).unwrap();
                let result = packed();
                let named =
                    matches!(&result, Err(PackError::Sync(SyncError::Changed { path })) if path.ends_with("file"));
                assert_eq!(named, !unseen, "{size}");
            }
            fs::remove_file(&path).unwrap();
            assert!(matches!(packed(), Err(PackError::Sync(SyncError::Changed { .. }))), "{size}");
        }
    }
}
