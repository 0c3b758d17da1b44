//! Directories of a snapshot: a Merkle tree in which a directory's digest stands for all that is beneath it.
//!
//! # Encoding
//!
//! A directory is encoded as the 16 bytes `slipway-dir-v1\n\0`, then one record for each entry, in ascending byte order
//! of names. Numbers are big-endian.
//!
//! | field | bytes |
//! |---|---|
//! | kind: `f` file, `c` file in chunks, `d` directory, `l` symlink | 1 |
//! | mode | 2 |
//! | length of the name, 1 to 255 | 1 |
//! | name, UTF-8 | as said |
//! | `f`: size, then digest of the content | 8 + 32 |
//! | `c`: size, then digest of the encoded [chunk list](crate::chunk) | 8 + 32 |
//! | `d`: digest of the encoded directory | 32 |
//! | `l`: length of the target, then the target, UTF-8 | 2 + as said |
//!
//! No field can be written in two ways, so equal directories have equal bytes and only those.

use crate::digest::Digest;
use crate::mode::{FileType, MODE_BITS};

mod check;
mod diff;
mod encoding;
mod read;
#[cfg(test)]
mod tests;
mod walk;

pub use check::{CheckError, CheckedTree, TreeLimits, check};
pub use diff::{Change, ChangeKind, Diff, diff};
pub(crate) use read::Kept;
pub use read::{DirectoryStore, MerkleTree};
pub use walk::{TreeEntry, TreeWalk, TreeWalkError};

/// Longest name of an entry, in bytes: what Linux can hold.
pub const MAX_NAME: usize = 255;

/// Longest path of an entry, in bytes.
pub const MAX_PATH: usize = 4095;

/// Longest symlink target, in bytes.
pub const MAX_TARGET: usize = 4095;

/// Longest encoded directory or chunk list, in bytes: room for some 400,000 files, or for a file of some 450 GB.
pub const MAX_ENCODED: usize = 32 << 20;

/// One directory of a snapshot.
///
/// Always valid: names in order and proper, modes and sizes in bounds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    entries: Vec<Entry>,
}

/// An entry of a [`Directory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name: not empty, without `/` or NUL, neither `.` nor `..`.
    pub name: String,
    /// Permissions, setuid, setgid and sticky bits, as in `st_mode`.
    pub mode: u32,
    /// What it is.
    pub node: Node,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Digest of its bytes, or of its encoded chunk list.
        digest: Digest,
        /// How many bytes it has.
        size: u64,
        /// Whether it is kept in chunks.
        chunked: bool,
    },
    /// A directory.
    Directory {
        /// Digest of its encoding.
        digest: Digest,
    },
    /// A symlink.
    Symlink {
        /// Where it points: anything but empty. It is never followed by us.
        target: String,
    },
}

/// Why something is no directory of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirectory {
    /// The bytes aren't those of a directory at all.
    #[error("not an encoded directory")]
    Magic,
    /// The bytes end in the middle of an entry.
    #[error("an encoded directory is cut off")]
    Truncated,
    /// An entry is of no known kind.
    #[error("a directory entry has the unknown kind {kind}")]
    Kind {
        /// The byte that should tell.
        kind: u8,
    },
    /// A name or target isn't UTF-8.
    #[error("a directory entry's name or target is not UTF-8")]
    Utf8,
    /// A name is empty, too long, holds `/` or NUL, or is `.` or `..`.
    #[error("{name:?} is no name for a directory entry")]
    Name {
        /// The name.
        name: String,
    },
    /// A name does not come after the one before it.
    #[error("directory entry {name:?} is out of order or appears twice")]
    Order {
        /// The second name.
        name: String,
    },
    /// A mode has bits that a snapshot doesn't keep.
    #[error("directory entry {name:?} has mode {mode:o}")]
    Mode {
        /// The entry.
        name: String,
        /// Its mode.
        mode: u32,
    },
    /// A size doesn't fit the 63 bits that every file system has.
    #[error("directory entry {name:?} has size {size}")]
    Size {
        /// The entry.
        name: String,
        /// Its size.
        size: u64,
    },
    /// A symlink target is empty, too long, or holds NUL.
    #[error("symlink {name:?} has no valid target")]
    Target {
        /// The entry.
        name: String,
    },
    /// It is too large.
    #[error("an encoded directory is larger than {} MiB", MAX_ENCODED >> 20)]
    TooLarge,
}

// === impl Directory ===

impl Directory {
    /// A directory of these entries, which have to be sorted by the bytes of their names.
    pub fn new(entries: Vec<Entry>) -> Result<Self, InvalidDirectory> {
        let mut last = "";
        let mut size = encoding::MAGIC.len();
        for entry in &entries {
            entry.validate()?;
            if entry.name.as_str() <= last {
                return Err(InvalidDirectory::Order { name: entry.name.clone() });
            }
            last = &entry.name;
            size += entry.encoded_len();
        }
        if size > MAX_ENCODED {
            return Err(InvalidDirectory::TooLarge);
        }
        Ok(Self { entries })
    }

    /// The entries, in byte order of their names.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a name.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        self.entries.get(at)
    }

    /// The digest of the encoding, which is the digest of everything in it.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

// === impl Entry ===

impl Entry {
    fn validate(&self) -> Result<(), InvalidDirectory> {
        let Self { name, mode, node } = self;
        let length = name.len();
        if length == 0 || length > MAX_NAME || name.contains(['/', '\0']) || name == "." || name == ".." {
            return Err(InvalidDirectory::Name { name: name.chars().take(MAX_NAME).collect() });
        }
        if mode & !MODE_BITS != 0 {
            return Err(InvalidDirectory::Mode { name: name.clone(), mode: *mode });
        }
        match node {
            Node::File { size, .. } if i64::try_from(*size).is_err() => {
                Err(InvalidDirectory::Size { name: name.clone(), size: *size })
            }
            Node::Symlink { target } if target.is_empty() || target.len() > MAX_TARGET || target.contains('\0') => {
                Err(InvalidDirectory::Target { name: name.clone() })
            }
            _ => Ok(()),
        }
    }
}

// === impl Node ===

impl Node {
    /// What it is, without its content.
    pub fn file_type(&self) -> FileType {
        match self {
            Self::File { .. } => FileType::File,
            Self::Directory { .. } => FileType::Directory,
            Self::Symlink { .. } => FileType::Symlink,
        }
    }
}
