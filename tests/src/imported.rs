//! The runner's image in a service's registry: to import it takes a second of both processors, and nearly every journey has a
//! service of its own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// From here on a file is content, which nobody writes again.
const CONTENT: u64 = 1 << 20;

/// What the first service with usual settings had in its registry when it was ready, if that could be kept.
static FIRST: OnceLock<Option<PathBuf>> = OnceLock::new();

/// Keeps what a new service has imported into its registry, for those after it. Only where somebody removes it afterwards.
pub(crate) fn keep(registry: &Path) {
    let Some(parent) = std::env::var_os("SLIPWAY_JOURNEYS_DIR") else { return };
    FIRST.get_or_init(|| {
        let kept = Path::new(&parent).join("imported");
        // Whole, or not at all: then each service imports its own.
        let copied = copy(registry, &kept);
        if copied.is_err() {
            let _ = fs::remove_dir_all(&kept);
        }
        copied.is_ok().then_some(kept)
    });
}

/// Gives it to a service that has not been started yet.
pub(crate) fn give(registry: &Path) {
    if let Some(Some(kept)) = FIRST.get() {
        copy(kept, registry).expect("bring what was imported");
    }
}

/// Content is shared, which makes it free; everything else is small, and written over. Uploads that have ended are still being
/// removed by the registry.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    // As slipwayd makes them.
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_name() == "_uploads" {
            continue;
        }
        let (kind, to) = (entry.metadata()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to)?;
        } else if kind.len() >= CONTENT {
            fs::hard_link(entry.path(), to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
