//! Caches in folders of the client's: OCI image layouts (OCI image specification, `image-layout.md`). One that is read was sent
//! with the contexts; one that is written is a result of the build, which the client fetches.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use slipway_context::Digest;

use crate::buildkit::session::content::Folder;
use crate::buildkit::session::exports::Written;
use crate::private_file::create_private;

/// The largest manifest that is read.
const MAX_MANIFEST: u64 = 4 << 20;
/// Says which version the layout has.
const MARKER: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The annotation that names one manifest among those of a layout.
const NAME: &str = "org.opencontainers.image.ref.name";

/// One that is written.
#[derive(Debug)]
pub(in super::super) struct LocalCache {
    /// Among the results of the build.
    pub(in super::super) index: usize,
    /// What the client calls it, in its folder.
    pub(super) tag: String,
    /// Where the engine leaves its blobs.
    pub(super) folder: Arc<Folder>,
    /// What the client gets.
    pub(super) archive: PathBuf,
}

impl LocalCache {
    /// Makes an archive of what the engine has left; nothing, if it left nothing. Blocks.
    pub(in super::super) fn pack(&self) -> io::Result<Option<Written>> {
        let blobs = self.folder.blobs();
        // It refers to the others, so it came last.
        let Some(manifest) = blobs.last() else { return Ok(None) };
        let packed = self.write(&blobs, manifest);
        if packed.is_err() {
            // A part of it is of no use, and may be large.
            let _ = std::fs::remove_file(&self.archive);
        }
        packed.map(Some)
    }

    fn write(&self, blobs: &[Digest], manifest: &Digest) -> io::Result<Written> {
        let index = index(&self.folder, manifest, &self.tag)?;
        let out = Hashing { file: create_private(&self.archive)?, hash: Sha256::new(), bytes: 0 };
        let mut archive = tar::Builder::new(out);
        let mut add = |name: &Path, size: u64, content: &mut dyn io::Read| {
            let mut header = tar::Header::new_ustar();
            header.set_size(size);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, content)
        };
        for (name, text) in [("oci-layout", MARKER.as_bytes()), ("index.json", index.as_slice())] {
            add(Path::new(name), text.len() as u64, &mut &*text)?;
        }
        for blob in blobs {
            let mut file = self.folder.open(blob)?;
            let size = file.metadata()?.len();
            add(&Path::new("blobs/sha256").join(blob.hex()), size, &mut file)?;
        }
        let Hashing { hash, bytes, .. } = archive.into_inner()?;
        Ok(Written { bytes, digest: Digest::from_bytes(hash.finalize().into()) })
    }
}

/// The `index.json` of a layout with this manifest alone.
fn index(folder: &Folder, manifest: &Digest, tag: &str) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    folder.open(manifest)?.take(MAX_MANIFEST).read_to_end(&mut text)?;
    let parsed: serde_json::Value = serde_json::from_slice(&text)?;
    let media_type = parsed.get("mediaType").and_then(serde_json::Value::as_str);
    let media_type = media_type.ok_or_else(|| io::Error::other("the engine's manifest of it has no media type"))?;
    let descriptor = serde_json::json!({
        "mediaType": media_type,
        "digest": manifest.to_string(),
        "size": text.len(),
        "annotations": { NAME: tag },
    });
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    });
    Ok(serde_json::to_vec(&index)?)
}

/// A file, and what has been written to it.
struct Hashing {
    file: File,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
