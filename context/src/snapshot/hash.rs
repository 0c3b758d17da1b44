//! The content of one file at one moment, with little memory whatever its size.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::BorrowedFd;
use std::path::Path;

use crate::chunk::{self, ChunkList, MAX_CHUNK};
use crate::digest::Digest;
use crate::walk::{Root, Stamp, WalkError};

/// What a file holds, and the state it was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Of its bytes, or of its chunk list.
    pub(super) digest: Digest,
    pub(super) stamp: Stamp,
    /// The encoded chunk list of a file that is kept in chunks.
    pub(super) chunks: Option<Box<[u8]>>,
}

/// Reads files one after another; its buffers are used again.
#[derive(Debug, Default)]
pub(super) struct ContentReader {
    whole: Vec<u8>,
    chunked: Vec<u8>,
}

// === impl ContentReader ===

impl ContentReader {
    /// The content of a file in an open directory.
    pub(super) fn read(&mut self, root: &Root, directory: BorrowedFd<'_>, path: &Path) -> Result<Content, WalkError> {
        let mut file = root.open_in(directory, path)?;
        // A file that is being written is read once more; if it still changes, nobody knows what was meant.
        for _ in 0..2 {
            match self.read_once(&mut file) {
                Ok(Some(content)) => return Ok(content),
                Ok(None) => {}
                Err(source) => return Err(WalkError::Read { path: root.full(path), source }),
            }
        }
        Err(WalkError::Changed { path: root.full(path) })
    }

    /// `None` if it changed meanwhile or is no regular file.
    fn read_once(&mut self, file: &mut File) -> io::Result<Option<Content>> {
        let before = file.metadata()?;
        if !before.is_file() {
            return Ok(None);
        }
        let stamp = Stamp::from(&before);
        let (digest, chunks) = if stamp.size <= MAX_CHUNK.into() {
            let Some(bytes) = read_whole(file, stamp.size as usize, &mut self.whole)? else { return Ok(None) };
            (Digest::of(bytes), None)
        } else {
            file.seek(SeekFrom::Start(0))?;
            let chunks = chunk::cut(file, &mut self.chunked)?;
            let list = ChunkList::new(chunks).map_err(|_| io::ErrorKind::FileTooLarge)?;
            if list.size() != stamp.size {
                return Ok(None);
            }
            let list = list.encode();
            (Digest::of(&list), Some(list.into_boxed_slice()))
        };
        let unchanged = stamp == Stamp::from(&file.metadata()?);
        Ok(unchanged.then_some(Content { digest, stamp, chunks }))
    }
}

/// All bytes of a small file; `None` if it has not `size` of them.
fn read_whole<'b>(file: &mut File, size: usize, buffer: &'b mut Vec<u8>) -> io::Result<Option<&'b [u8]>> {
    if buffer.is_empty() {
        // One more, to see that a file has grown.
        buffer.resize(MAX_CHUNK as usize + 1, 0);
    }
    file.seek(SeekFrom::Start(0))?;
    let mut length = 0;
    while length <= size {
        match file.read(&mut buffer[length..=size]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((length == size).then_some(&buffer[..size]))
}
