//! After a crash: packs that were being written are cut after their last sound record and sealed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use super::catalog::names;
use super::pack::writer::publish;
use super::pack::{Dirs, PackId, scan};

/// Looks through what earlier services left in all namespaces under this data directory. Nobody else may write there.
pub fn recover(data_dir: &Path) -> io::Result<()> {
    let blobs = data_dir.join("blobs");
    if !blobs.is_dir() {
        return Ok(());
    }
    for namespace in names(&blobs)? {
        let dirs = Dirs::new(blobs.join(&namespace));
        if !dirs.root().is_dir() {
            continue;
        }
        dirs.create()?;
        for name in names(&dirs.tmp())? {
            let path = dirs.tmp().join(&name);
            if let Some(id) = PackId::from_file_name(&name, "pack") {
                match recover_pack(&dirs, &path, id) {
                    Ok(blobs) => {
                        tracing::info!(pack = %id, %namespace, blobs, "kept {blobs} blobs of a pack that was not sealed");
                    }
                    // What it holds was promised to nobody.
                    Err(error) => tracing::warn!(pack = %id, %namespace, %error, "can't seal an unfinished pack"),
                }
            }
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "can't remove what a crash left");
            }
        }
        // An index got its name, and its pack did not.
        for name in names(&dirs.packs())? {
            if let Some(id) = PackId::from_file_name(&name, "idx")
                && !dirs.pack(id).exists()
            {
                fs::remove_file(dirs.index(id))?;
            }
        }
    }
    Ok(())
}

/// The number of blobs that were kept.
fn recover_pack(dirs: &Dirs, path: &Path, id: PackId) -> Result<usize, Box<dyn std::error::Error>> {
    let file: File = OpenOptions::new().read(true).write(true).open(path)?;
    let found = scan(&file)?;
    let (blobs, end) = (found.entries.len(), found.end());
    if blobs > 0 {
        file.set_len(end)?;
        publish(dirs, id, &file, end, found.entries)?;
    }
    Ok(blobs)
}
