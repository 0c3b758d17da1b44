//! Reading an OCI image layout that is packed in a tar, as `BuildKit`'s `type=oci` exporter writes it.
//!
//! The archive is scanned once for where each blob lies; contents are read in place afterwards, so that an archive of any size
//! needs only its table of contents in memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use oci_spec::image::{Descriptor, ImageIndex, ImageManifest};

use super::{BlobSet, MANIFEST_LIMIT, OCI_INDEX, is_index, is_manifest};
use crate::digest::Digest;
use crate::error::ArchiveError;

const MAX_ENTRIES: usize = 100_000;
const MAX_MANIFESTS: usize = 1000;
const INDEX: &str = "index.json";

/// Where a blob's bytes lie in the archive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// An image's manifest or index that is to be pushed.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) digest: Digest,
    pub(super) media_type: String,
}

/// A scanned archive and all that pushing its image takes.
#[derive(Debug)]
pub(super) struct OciArchive {
    pub(super) path: PathBuf,
    spans: HashMap<Digest, Span>,
    /// `index.json` itself, when it is what gets pushed.
    index: Option<(Digest, Bytes)>,
    /// Configurations and layers.
    pub(super) blobs: BlobSet,
    /// Manifests and indexes, each after those it refers to; the last is the image.
    pub(super) nodes: Vec<Node>,
}

// === impl OciArchive ===

impl OciArchive {
    /// Scans an archive and checks that everything its image refers to is there. Blocks.
    pub(super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let mut file = File::open(path).map_err(io_error("open the file"))?;
        let (spans, index) = scan(&mut file)?;
        let index_bytes = read_span(&mut file, INDEX, index)?;
        let mut archive = Self { path: path.to_owned(), spans, index: None, blobs: BTreeMap::new(), nodes: Vec::new() };
        let index: ImageIndex = parse(INDEX, &index_bytes)?;
        let mut seen = HashSet::new();
        match index.manifests().as_slice() {
            [] => return Err(ArchiveError::Empty),
            [image] => archive.visit(&mut file, image, &mut seen)?,
            several => {
                for descriptor in several {
                    archive.visit(&mut file, descriptor, &mut seen)?;
                }
                let digest = Digest::of(&index_bytes);
                archive.index = Some((digest.clone(), index_bytes));
                archive.nodes.push(Node { digest, media_type: OCI_INDEX.to_owned() });
            }
        }
        if archive.nodes.is_empty() {
            return Err(ArchiveError::Empty);
        }
        Ok(archive)
    }

    /// Where a blob lies.
    pub(super) fn span(&self, digest: &Digest) -> Result<Span, ArchiveError> {
        self.spans.get(digest).copied().ok_or_else(|| ArchiveError::MissingBlob(digest.clone()))
    }

    /// A manifest's bytes, checked against its digest. Blocks.
    pub(super) fn manifest_bytes(&self, digest: &Digest) -> Result<Bytes, ArchiveError> {
        match &self.index {
            Some((index, bytes)) if index == digest => Ok(bytes.clone()),
            _ => {
                let mut file = File::open(&self.path).map_err(io_error("open the file"))?;
                self.verified(&mut file, digest)
            }
        }
    }

    /// Puts what a descriptor refers to before the descriptor itself.
    fn visit(
        &mut self,
        file: &mut File,
        descriptor: &Descriptor,
        seen: &mut HashSet<Digest>,
    ) -> Result<(), ArchiveError> {
        let digest = digest_of(descriptor)?;
        let media_type = descriptor.media_type().to_string();
        // Content addresses make cycles impossible; what is reached twice is pushed once.
        if !seen.insert(digest.clone()) {
            return Ok(());
        }
        if seen.len() > MAX_MANIFESTS {
            return Err(ArchiveError::TooMany { what: "manifests", limit: MAX_MANIFESTS });
        }
        if is_index(&media_type) {
            let index: ImageIndex = parse(digest.as_str(), &self.verified(file, &digest)?)?;
            for child in index.manifests() {
                self.visit(file, child, seen)?;
            }
        } else if is_manifest(&media_type) {
            let manifest: ImageManifest = parse(digest.as_str(), &self.verified(file, &digest)?)?;
            for blob in std::iter::once(manifest.config()).chain(manifest.layers()) {
                self.need_blob(blob)?;
            }
        } else {
            return self.need_blob(descriptor);
        }
        self.nodes.push(Node { digest, media_type });
        Ok(())
    }

    fn need_blob(&mut self, descriptor: &Descriptor) -> Result<(), ArchiveError> {
        let digest = digest_of(descriptor)?;
        match self.span(&digest) {
            Ok(span) => {
                self.blobs.insert(digest, span.size);
                Ok(())
            }
            // Layers that may not be distributed are fetched from where their URLs say.
            Err(_) if descriptor.urls().as_ref().is_some_and(|urls| !urls.is_empty()) => Ok(()),
            Err(missing) => Err(missing),
        }
    }

    fn verified(&self, file: &mut File, digest: &Digest) -> Result<Bytes, ArchiveError> {
        let bytes = read_span(file, digest.as_str(), self.span(digest)?)?;
        let actual = Digest::of(&bytes);
        if actual == *digest { Ok(bytes) } else { Err(ArchiveError::Damaged { expected: digest.clone(), actual }) }
    }
}

/// The spans of all blobs, and that of `index.json`.
fn scan(file: &mut File) -> Result<(HashMap<Digest, Span>, Span), ArchiveError> {
    let mut magic = [0; 4];
    let read = file.read(&mut magic).map_err(io_error("read the start"))?;
    if magic[..read].starts_with(&[0x1f, 0x8b]) || magic[..read].starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(ArchiveError::Compressed);
    }
    file.rewind().map_err(io_error("read the start"))?;

    let mut spans = HashMap::new();
    let mut index = None;
    let mut tar = tar::Archive::new(file);
    for (count, entry) in tar.entries_with_seek().map_err(io_error("list the entries"))?.enumerate() {
        if count >= MAX_ENTRIES {
            return Err(ArchiveError::TooMany { what: "entries", limit: MAX_ENTRIES });
        }
        let entry = entry.map_err(io_error("list the entries"))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let span = Span { offset: entry.raw_file_position(), size: entry.size() };
        let path = entry.path_bytes();
        let Ok(path) = std::str::from_utf8(&path) else { continue };
        let path = path.strip_prefix("./").unwrap_or(path);
        if path == INDEX {
            index = Some(span);
        } else if let Some(hex) = path.strip_prefix("blobs/sha256/")
            && let Ok(digest) = format!("sha256:{hex}").parse()
        {
            spans.insert(digest, span);
        }
    }
    index.map(|index| (spans, index)).ok_or(ArchiveError::NoIndex)
}

fn read_span(file: &mut File, what: &str, span: Span) -> Result<Bytes, ArchiveError> {
    if span.size > MANIFEST_LIMIT as u64 {
        return Err(ArchiveError::TooLarge { what: what.to_owned(), limit: MANIFEST_LIMIT as u64 });
    }
    let mut bytes = vec![0; span.size as usize];
    file.seek(SeekFrom::Start(span.offset))
        .and_then(|_| file.read_exact(&mut bytes))
        .map_err(io_error("read a manifest"))?;
    Ok(bytes.into())
}

fn parse<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ArchiveError> {
    serde_json::from_slice(bytes).map_err(|source| ArchiveError::Json { what: what.to_owned(), source })
}

fn digest_of(descriptor: &Descriptor) -> Result<Digest, ArchiveError> {
    let text = descriptor.digest().to_string();
    text.parse().map_err(|_| ArchiveError::Digest(text))
}

fn io_error(operation: &'static str) -> impl FnOnce(io::Error) -> ArchiveError {
    move |source| ArchiveError::Io { operation, source }
}
