//! The bytes of a directory; the format is described in [`tree`](super).

use super::{Directory, Entry, InvalidDirectory, MAX_ENCODED, Node};
use crate::digest::Digest;

pub(super) const MAGIC: &[u8; 16] = b"slipway-dir-v1\n\0";

const FILE: u8 = b'f';
const CHUNKED: u8 = b'c';
const DIRECTORY: u8 = b'd';
const SYMLINK: u8 = b'l';

// === impl Directory ===

impl Directory {
    /// The bytes that stand for this directory.
    pub fn encode(&self) -> Vec<u8> {
        let size = self.entries.iter().map(Entry::encoded_len).sum::<usize>() + MAGIC.len();
        let mut bytes = Vec::with_capacity(size);
        bytes.extend(MAGIC);
        self.entries.iter().for_each(|entry| entry.encode(&mut bytes));
        bytes
    }

    /// Reads bytes from anywhere: whatever they hold, the result is a valid directory that encodes to the same bytes, or
    /// an error. Needs a few times the memory of the bytes at most.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidDirectory> {
        if bytes.len() > MAX_ENCODED {
            return Err(InvalidDirectory::TooLarge);
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(InvalidDirectory::Magic)?;
        let mut entries: Vec<Entry> = Vec::new();
        while !rest.is_empty() {
            let entry = Entry::decode(&mut rest)?;
            // Checked at once, so that nothing invalid adds up.
            entry.validate()?;
            if entries.last().is_some_and(|last| last.name >= entry.name) {
                return Err(InvalidDirectory::Order { name: entry.name });
            }
            entries.push(entry);
        }
        Ok(Self { entries })
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn encoded_len(&self) -> usize {
        let node = match &self.node {
            Node::File { .. } => 8 + 32,
            Node::Directory { .. } => 32,
            Node::Symlink { target } => 2 + target.len(),
        };
        1 + 2 + 1 + self.name.len() + node
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.push(match self.node {
            Node::File { chunked: false, .. } => FILE,
            Node::File { chunked: true, .. } => CHUNKED,
            Node::Directory { .. } => DIRECTORY,
            Node::Symlink { .. } => SYMLINK,
        });
        // None of these is cut: a `Directory` holds valid entries only.
        bytes.extend((self.mode as u16).to_be_bytes());
        bytes.push(self.name.len() as u8);
        bytes.extend(self.name.as_bytes());
        match &self.node {
            Node::File { digest, size, .. } => {
                bytes.extend(size.to_be_bytes());
                bytes.extend(digest.as_bytes());
            }
            Node::Directory { digest } => bytes.extend(digest.as_bytes()),
            Node::Symlink { target } => {
                bytes.extend((target.len() as u16).to_be_bytes());
                bytes.extend(target.as_bytes());
            }
        }
    }

    fn decode(rest: &mut &[u8]) -> Result<Self, InvalidDirectory> {
        let [kind] = take(rest)?;
        let mode = u16::from_be_bytes(take(rest)?).into();
        let [length] = take(rest)?;
        let name = take_text(rest, length.into())?;
        let node = match kind {
            FILE | CHUNKED => {
                let size = u64::from_be_bytes(take(rest)?);
                Node::File { size, digest: Digest::from_bytes(take(rest)?), chunked: kind == CHUNKED }
            }
            DIRECTORY => Node::Directory { digest: Digest::from_bytes(take(rest)?) },
            SYMLINK => {
                let length = u16::from_be_bytes(take(rest)?);
                Node::Symlink { target: take_text(rest, length.into())? }
            }
            kind => return Err(InvalidDirectory::Kind { kind }),
        };
        Ok(Self { name, mode, node })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], InvalidDirectory> {
    let (taken, left) = rest.split_first_chunk().ok_or(InvalidDirectory::Truncated)?;
    *rest = left;
    Ok(*taken)
}

fn take_text(rest: &mut &[u8], length: usize) -> Result<String, InvalidDirectory> {
    let (taken, left) = rest.split_at_checked(length).ok_or(InvalidDirectory::Truncated)?;
    *rest = left;
    std::str::from_utf8(taken).map(str::to_owned).map_err(|_| InvalidDirectory::Utf8)
}
