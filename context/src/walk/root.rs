//! The one directory that is read: everything below it is opened without following a symlink.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Stamp, WalkError};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

// Not to wait for a writer if a fifo has taken the file's place.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// An open directory that paths are relative to.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

/// An entry of a directory.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) name: OsString,
    /// An error is kept until it is known whether the entry is wanted.
    pub(crate) mode: Result<u32, Errno>,
    pub(crate) kind: ListedKind,
}

#[derive(Debug, Clone)]
pub(crate) enum ListedKind {
    File(Stamp),
    Directory,
    Symlink(Result<OsString, Errno>),
    Special(&'static str),
}

// === impl Root ===

impl Root {
    /// Opens a directory. It may itself be a symlink to one.
    pub(crate) fn open(path: &Path) -> Result<Self, WalkError> {
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { path: path.to_owned(), fd }),
            Err(error) => Err(WalkError::Root { path: path.to_owned(), source: error.into() }),
        }
    }

    /// A path below the root, for messages.
    pub(crate) fn full(&self, path: &Path) -> PathBuf {
        self.path.join(path)
    }

    /// What is in a directory, in byte order.
    #[cfg(test)]
    pub(super) fn list(&self, path: &Path) -> Result<Vec<Listed>, WalkError> {
        Ok(self.list_in(self.open_directory(path)?, path)?.0)
    }

    /// What is in a directory that was just opened, in byte order; and the directory, still open. What has gone since it was
    /// read isn't there.
    pub(crate) fn list_in(&self, fd: OwnedFd, path: &Path) -> Result<(Vec<Listed>, Dir), WalkError> {
        let error = |error| self.error(path, error);
        let mut directory = Dir::new(fd).map_err(error)?;
        let mut entries = Vec::new();
        while let Some(entry) = directory.read() {
            let entry = entry.map_err(error)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                entries.push((OsStr::from_bytes(name.to_bytes()).to_owned(), entry.file_type()));
            }
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let fd = directory.fd().map_err(error)?;
        let listed = entries.into_iter().map(|(name, file_type)| Listed::new(fd, name, file_type));
        let listed = listed.filter(|entry| !entry.has_gone()).collect();
        Ok((listed, directory))
    }

    /// Opens a directory below the root, component by component.
    pub(crate) fn open_directory(&self, path: &Path) -> Result<OwnedFd, WalkError> {
        // Opened by name even for the root, for a fresh read position.
        let mut directory = self.open_at(self.fd.as_fd(), OsStr::new("."), DIRECTORY, path)?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(WalkError::Escapes { path: path.to_owned() });
            };
            directory = self.open_at(directory.as_fd(), name, DIRECTORY, path)?;
        }
        Ok(directory)
    }

    /// Opens a directory in its parent, which [`Root::open_directory`] or this gave.
    pub(crate) fn open_directory_in(&self, parent: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, WalkError> {
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(WalkError::Escapes { path: path.to_owned() });
        };
        self.open_at(parent, name, DIRECTORY, path)
    }

    /// What is at a path now; no symlink on the way is followed, nor one that it is.
    pub(crate) fn look_at(&self, path: &Path) -> Result<Listed, WalkError> {
        let parent = self.open_directory(path.parent().unwrap_or(Path::new("")))?;
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(WalkError::Escapes { path: path.to_owned() });
        };
        Ok(Listed::new(parent.as_fd(), name.to_owned(), FileType::Unknown))
    }

    /// Opens a file in a directory that [`Root::open_directory`] gave. The caller checks what it is.
    pub(crate) fn open_in(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<File, WalkError> {
        let Some(Component::Normal(name)) = path.components().next_back() else {
            return Err(WalkError::Escapes { path: path.to_owned() });
        };
        self.open_at(directory, name, FILE, path).map(File::from)
    }

    /// Opens a regular file below the root.
    pub(crate) fn open_file(&self, path: &Path) -> Result<File, WalkError> {
        let directory = self.open_directory(path.parent().unwrap_or(Path::new("")))?;
        let file = self.open_in(directory.as_fd(), path)?;
        match file.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(file),
            Ok(_) => Err(WalkError::Changed { path: self.full(path) }),
            Err(source) => Err(WalkError::Read { path: self.full(path), source }),
        }
    }

    /// The error for an entry that could not be read.
    pub(crate) fn error(&self, path: &Path, error: Errno) -> WalkError {
        let path = self.full(path);
        match error {
            Errno::NOENT => WalkError::Vanished { path },
            error if is_changed(error) => WalkError::Changed { path },
            error => WalkError::Read { path, source: io::Error::from(error) },
        }
    }

    fn open_at(&self, at: BorrowedFd<'_>, name: &OsStr, flags: OFlags, path: &Path) -> Result<OwnedFd, WalkError> {
        rustix::fs::openat(at, name, flags, Mode::empty()).map_err(|error| self.error(path, error))
    }
}

/// Whether an entry was listed as one thing and turned out to be another: a symlink, or no directory.
fn is_changed(error: Errno) -> bool {
    matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::NXIO)
}

// === impl Listed ===

impl Listed {
    /// Whether it was gone when it was looked at.
    fn has_gone(&self) -> bool {
        matches!(self.mode, Err(Errno::NOENT)) || matches!(self.kind, ListedKind::Symlink(Err(Errno::NOENT)))
    }

    fn new(directory: BorrowedFd<'_>, name: OsString, hint: FileType) -> Self {
        match rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let stamp = Stamp::from(&stat);
                let kind = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => ListedKind::File(stamp),
                    FileType::Directory => ListedKind::Directory,
                    FileType::Symlink => ListedKind::Symlink(
                        rustix::fs::readlinkat(directory, &name, Vec::new())
                            .map(CString::into_bytes)
                            .map(OsString::from_vec),
                    ),
                    other => ListedKind::Special(special_name(other)),
                };
                Self { name, mode: Ok(stamp.mode), kind }
            }
            Err(error) => {
                let file = || ListedKind::File(Stamp::default());
                let kind = if hint == FileType::Directory { ListedKind::Directory } else { file() };
                Self { name, mode: Err(error), kind }
            }
        }
    }
}

// === impl ListedKind ===

impl ListedKind {
    /// What it is called, if no context can hold it.
    pub(crate) fn special(&self) -> Option<&'static str> {
        match self {
            Self::Special(name) => Some(name),
            _ => None,
        }
    }
}

fn special_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Socket => "socket",
        FileType::Fifo => "fifo",
        FileType::BlockDevice => "block device",
        FileType::CharacterDevice => "character device",
        _ => "special file",
    }
}
