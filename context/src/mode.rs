//! Mode bits: the ones a snapshot keeps, and how Go (and so `BuildKit`'s file sync) writes them.

/// The bits of `st_mode` that a snapshot keeps: permissions, setuid, setgid and sticky.
pub const MODE_BITS: u32 = 0o7777;

/// Mode of every symlink in a snapshot. Linux has no other; elsewhere it would depend on the umask.
pub const SYMLINK_MODE: u32 = 0o777;

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_ISVTX: u32 = 0o1000;

const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_SETUID: u32 = 1 << 23;
const GO_SETGID: u32 = 1 << 22;
const GO_STICKY: u32 = 1 << 20;

/// What kind of entry a mode belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

/// Go's `os.FileMode` for an entry: what `Stat.mode` holds in `BuildKit`'s file sync.
pub fn go_file_mode(file_type: FileType, mode: u32) -> u32 {
    let kind = match file_type {
        FileType::File => 0,
        FileType::Directory => GO_DIRECTORY,
        FileType::Symlink => GO_SYMLINK,
    };
    let special = [(S_ISUID, GO_SETUID), (S_ISGID, GO_SETGID), (S_ISVTX, GO_STICKY)];
    let special = special.iter().filter(|(bit, _)| mode & bit != 0).fold(0, |all, (_, go)| all | go);
    kind | special | (mode & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_writes_them() {
        let cases = [
            (FileType::File, 0o644, 0o644),
            (FileType::File, 0o4755, 1 << 23 | 0o755),
            (FileType::File, 0o2755, 1 << 22 | 0o755),
            (FileType::Directory, 0o755, 1 << 31 | 0o755),
            (FileType::Directory, 0o1777, 1 << 31 | 1 << 20 | 0o777),
            (FileType::Symlink, 0o777, 1 << 27 | 0o777),
            (FileType::File, 0o7000, 1 << 23 | 1 << 22 | 1 << 20),
            (FileType::File, 0o100_644, 0o644),
        ];
        for (file_type, mode, go) in cases {
            assert_eq!(go_file_mode(file_type, mode), go, "{file_type:?} {mode:o}");
        }
    }
}
