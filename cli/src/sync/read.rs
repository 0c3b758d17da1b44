//! Reads blobs, makes sure that they still are what they were when their digests were taken, and packs them.

use std::io::{self, Read};

use slipway_context::{Digest, Hasher};

use super::SyncError;
use super::blobs::{Blobs, Item};
use super::frames::{Frame, Frames, Gone};

/// A content that fits is checked before any of it is sent; room for a byte too many.
const BUFFER: usize = (2 << 20) + 1;

/// Why not everything was packed.
#[derive(Debug)]
pub(super) enum ReadError {
    /// A file.
    Sync(SyncError),
    /// The frames are not wanted any more.
    Gone,
}

impl From<Gone> for ReadError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Gives blobs to `sink`, packed into frames. `before`: contents' bytes that the call has seen already.
pub(super) fn read(
    blobs: &Blobs,
    items: &[Item],
    before: u64,
    sink: impl FnMut(Frame) -> Result<(), Gone>,
) -> Result<(), ReadError> {
    let mut frames = Frames::new(before, sink);
    let mut buffer = Vec::new();
    for item in items {
        if item.node {
            frames.record(&item.digest, item.size, item.seconds)?;
            frames.write(blobs.node(item))?;
            continue;
        }
        let mut content = blobs.open(item).map_err(ReadError::Sync)?;
        if buffer.is_empty() {
            buffer = vec![0; BUFFER];
        }
        pack(&mut frames, item, &mut content, &mut buffer).map_err(|error| match error {
            ContentError::Changed => ReadError::Sync(SyncError::Changed { path: blobs.path(item) }),
            ContentError::Read(source) => ReadError::Sync(SyncError::Read { path: blobs.path(item), source }),
            ContentError::Gone => ReadError::Gone,
        })?;
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

fn pack<S>(frames: &mut Frames<S>, item: &Item, content: &mut impl Read, buffer: &mut [u8]) -> Result<(), ContentError>
where
    S: FnMut(Frame) -> Result<(), Gone>,
{
    if item.size < buffer.len() as u64 {
        let length = fill(content, buffer)?;
        let content = buffer.get(..length).unwrap_or_default();
        if length as u64 != item.size || Digest::of(content) != item.digest {
            return Err(ContentError::Changed);
        }
        frames.record(&item.digest, item.size, item.seconds)?;
        return Ok(frames.write(content)?);
    }
    frames.record(&item.digest, item.size, item.seconds)?;
    let (mut hasher, mut left) = (Hasher::default(), item.size);
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
    if hasher.finish() == item.digest { Ok(()) } else { Err(ContentError::Changed) }
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

    use slipway_context::{Rules, ScanOptions, scan};

    use super::*;
    use crate::roots::Tree;

    #[test]
    fn small_and_large_files_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        for size in [0, 5, BUFFER - 1, BUFFER, BUFFER * 2 + 3] {
            let path = dir.path().join("file");
            fs::write(&path, vec![b'x'; size]).unwrap();
            let scan = scan(dir.path(), &Rules::none(), &ScanOptions::default()).unwrap();
            let mut blobs = Blobs::default();
            blobs.add(&Arc::new(Tree::complete("t".to_owned(), dir.path().to_owned(), scan)));
            let packed = || read(&blobs, &blobs.items(|_| true), 0, |_| Ok(()));
            assert!(packed().is_ok(), "{size}");
            for changed in [vec![b'x'; size + 1], vec![b'y'; size]] {
                if changed.len() == size && size == 0 {
                    continue;
                }
                // What is behind the end of a file is not part of what was scanned, and only small files are looked at there.
                let unseen = changed.len() > size && changed.len() > 2 << 20;
                fs::write(&path, changed).unwrap();
                let result = packed();
                let named =
                    matches!(&result, Err(ReadError::Sync(SyncError::Changed { path })) if path.ends_with("file"));
                assert_eq!(named, !unseen, "{size}");
            }
            fs::remove_file(&path).unwrap();
            assert!(matches!(packed(), Err(ReadError::Sync(SyncError::Changed { .. }))), "{size}");
        }
    }
}
