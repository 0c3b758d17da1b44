//! The runner's image in a service's registry: to import it takes a second of both processors, and nearly every journey has a
//! service of its own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// From here on a file is content, which nobody writes again.
const CONTENT: u64 = 1 << 20;

/// What the first service with usual settings had in its registry when it was ready.
static FIRST: OnceLock<PathBuf> = OnceLock::new();

/// Keeps what a new service has imported into its registry, for those after it. Only where somebody removes it afterwards.
pub(crate) fn keep(registry: &Path) {
    let Some(parent) = std::env::var_os("SLIPWAY_JOURNEYS_DIR") else { return };
    FIRST.get_or_init(|| {
        let kept = Path::new(&parent).join("imported");
        // Whole, or not at all.
        let part = kept.with_extension("part");
        copy(registry, &part).and_then(|()| fs::rename(&part, &kept)).expect("keep what was imported");
        kept
    });
}

/// Gives it to a service that has not been started yet.
pub(crate) fn give(registry: &Path) {
    if let Some(kept) = FIRST.get() {
        copy(kept, registry).expect("bring what was imported");
    }
}

/// Content is shared, which makes it free; everything else is small, and written over.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    // As slipwayd makes them.
    DirBuilder::new().recursive(true).mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
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
