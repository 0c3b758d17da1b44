//! Caches in folders of the client's: OCI image layouts (OCI image specification, `image-layout.md`). One that is read was sent
//! with the contexts; one that is written is a result of the build, which the client fetches.

use std::fs::File;
use std::io::{self, BufWriter, IntoInnerError, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use slipway_context::Digest;
use tokio_util::sync::CancellationToken;

use crate::buildkit::session::content::Folder;
use crate::buildkit::session::exports::Written;
use crate::private_file::{create_private, create_private_dir};

/// The largest manifest that is read.
const MAX_MANIFEST: u64 = 4 << 20;
/// Bytes that are written at a time.
const BUFFER: usize = 1 << 20;
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
    /// Makes an archive of what the engine has left; nothing, if that is not complete. Blocks.
    pub(in super::super) fn pack(&self, cancel: &CancellationToken) -> io::Result<Option<Written>> {
        let blobs = self.folder.blobs();
        // It refers to the others, so it came last.
        let Some(last) = blobs.last() else { return Ok(None) };
        let Some(index) = self.index(last, &blobs)? else { return Ok(None) };
        let packed = self.write(&blobs, &index, cancel);
        if packed.is_err() {
            // A part of it is of no use, and may be large.
            let _ = std::fs::remove_file(&self.archive);
        }
        packed.map(Some)
    }

    /// The `index.json` of a layout with this manifest alone; nothing, if it is none or refers to what is not there: an engine that
    /// may fail to write a cache (`ignore-error`) stops anywhere.
    fn index(&self, manifest: &Digest, blobs: &[Digest]) -> io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        self.folder.open(manifest)?.take(MAX_MANIFEST).read_to_end(&mut text)?;
        let Ok(parsed) = serde_json::from_slice::<Manifest>(&text) else { return Ok(None) };
        let parts = parsed.config.iter().chain(&parsed.layers).chain(&parsed.manifests);
        let mut parts = parts.map(|part| part.digest.parse::<Digest>());
        if !parts.all(|part| part.is_ok_and(|part| blobs.contains(&part))) {
            return Ok(None);
        }
        let descriptor = serde_json::json!({
            "mediaType": parsed.media_type,
            "digest": manifest.to_string(),
            "size": text.len(),
            "annotations": { NAME: self.tag },
        });
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [descriptor],
        });
        Ok(Some(serde_json::to_vec(&index)?))
    }

    fn write(&self, blobs: &[Digest], index: &[u8], cancel: &CancellationToken) -> io::Result<Written> {
        self.archive.parent().map_or(Ok(()), create_private_dir)?;
        let file = create_private(&self.archive)?;
        let out = BufWriter::with_capacity(BUFFER, Hashing { file, hash: Sha256::new(), bytes: 0, cancel });
        let mut archive = tar::Builder::new(out);
        let mut add = |name: &Path, size: u64, content: &mut dyn io::Read| {
            let mut header = tar::Header::new_ustar();
            header.set_size(size);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, content)
        };
        for (name, text) in [("oci-layout", MARKER.as_bytes()), ("index.json", index)] {
            add(Path::new(name), text.len() as u64, &mut &*text)?;
        }
        for blob in blobs {
            let mut file = self.folder.open(blob)?;
            let size = file.metadata()?.len();
            add(&Path::new("blobs/sha256").join(blob.hex()), size, &mut file)?;
            // Not all of it twice on the disk.
            self.folder.remove(blob)?;
        }
        let Hashing { hash, bytes, .. } = archive.into_inner()?.into_inner().map_err(IntoInnerError::into_error)?;
        Ok(Written { bytes, digest: Digest::from_bytes(hash.finalize().into()) })
    }
}

/// What is looked at of a manifest or an index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    media_type: String,
    config: Option<Part>,
    #[serde(default)]
    layers: Vec<Part>,
    #[serde(default)]
    manifests: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    digest: String,
}

/// A file, and what has been written to it.
struct Hashing<'c> {
    file: File,
    hash: Sha256,
    bytes: u64,
    cancel: &'c CancellationToken,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use slipway_proto::content::{WriteAction, WriteContentRequest};

    use super::*;
    use crate::buildkit::session::content::Budget;

    /// A cache whose folder has these blobs, as they came.
    fn cache(dir: &Path, blobs: &[&[u8]]) -> LocalCache {
        let folder = Folder::new(dir.join("blobs"), Arc::new(Budget::new(1 << 20)));
        for blob in blobs {
            let (asked, answered) = (tokio::sync::mpsc::channel(1), tokio::sync::mpsc::channel(1));
            let action = WriteAction::Commit.into();
            let commit = WriteContentRequest { action, data: blob.to_vec(), ..WriteContentRequest::default() };
            asked.0.try_send(commit).unwrap();
            folder.take(asked.1, &answered.0);
        }
        LocalCache { index: 0, tag: "main".to_owned(), folder: Arc::new(folder), archive: dir.join("a/archive") }
    }

    fn manifest(parts: &[&[u8]]) -> Vec<u8> {
        let digests = parts.iter().map(|part| serde_json::json!({"digest": Digest::of(part).to_string()}));
        serde_json::json!({"mediaType": "m", "layers": digests.collect::<Vec<_>>()}).to_string().into_bytes()
    }

    #[test]
    fn an_archive_is_a_layout_with_the_last_blob_as_its_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest(&[b"layer"]);
        let cache = cache(dir.path(), &[b"layer", &manifest]);
        let written = cache.pack(&CancellationToken::new()).unwrap().unwrap();
        let archive = std::fs::read(dir.path().join("a/archive")).unwrap();
        assert_eq!((written.bytes, written.digest), (archive.len() as u64, Digest::of(&archive)));
        let mut archive = tar::Archive::new(archive.as_slice());
        let mut names = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let name = entry.path().unwrap().display().to_string();
            assert!(
                name != "index.json" || text.contains(&Digest::of(&manifest).to_string()) && text.contains("\"main\"")
            );
            names.push(name);
        }
        let blob = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
        assert_eq!(names, ["oci-layout", "index.json", &blob(b"layer"), &blob(&manifest)]);
    }

    #[test]
    fn what_is_not_complete_is_no_cache() {
        let manifest = manifest(&[b"layer", b"missing"]);
        for blobs in [&[][..], &[b"layer".as_slice()], &[b"layer", b"{}"], &[b"layer", &manifest]] {
            let dir = tempfile::tempdir().unwrap();
            let cache = cache(dir.path(), blobs);
            assert!(cache.pack(&CancellationToken::new()).unwrap().is_none(), "{blobs:?}");
            assert!(!cache.archive.exists());
        }
    }

    #[test]
    fn a_job_that_is_cancelled_leaves_no_part_of_an_archive() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path(), &[b"layer", &manifest(&[b"layer"])]);
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(cache.pack(&cancel).is_err());
        assert!(!cache.archive.exists());
    }
}
