//! What tells one state of a file from another without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::Stat;

use crate::mode::MODE_BITS;

/// The state of a file. One that was written to, replaced or moved has another; the system's clock permitting, see
/// [`cache`](crate::snapshot).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) mode: u32,
    pub(crate) size: u64,
    /// When its content was last changed; anyone can set it.
    pub(crate) modified: Time,
    /// When the content or anything else about it was last changed; only the system's clock sets it.
    pub(crate) changed: Time,
}

/// A time since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

// === impl Stamp ===

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode() & MODE_BITS,
            size: metadata.size(),
            modified: Time { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 },
            changed: Time { seconds: metadata.ctime(), nanos: metadata.ctime_nsec() as u32 },
        }
    }
}

impl From<&Stat> for Stamp {
    // The types of these fields differ between platforms.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "not everywhere")]
    fn from(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            mode: u32::from(stat.st_mode) & MODE_BITS,
            size: stat.st_size as u64,
            modified: Time { seconds: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 },
            changed: Time { seconds: stat.st_ctime as i64, nanos: stat.st_ctime_nsec as u32 },
        }
    }
}
