//! What the service acknowledged last: a guess at what it has, so that a small change needs no question before it is sent.
//!
//! One file for each service, namespace and root in the user's cache directory, `slipway/synced/<32 hex digits>`: the line
//! [`MAGIC`], the first 8 bytes of each blob's digest, sorted, then the SHA-256 of all that. A file that is not so is not
//! believed, and what is believed is checked by the service anyway.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use slipway_context::{Digest, Hasher};

use super::blobs::Blobs;
use crate::roots::{Tree, is_dockerfile};

const MAGIC: &[u8] = b"slipway synced 1\n";
const WORD: usize = 8;
const SUM: usize = 32;
/// Blobs in one file: 8 MB of them.
const MOST_BLOBS: usize = 1 << 20;
/// Files; the oldest go first.
const MOST_FILES: usize = 64;

/// Where the memory of one service and namespace is.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    dir: Option<PathBuf>,
    server: String,
    namespace: String,
}

/// Blobs that the service should have.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known(Vec<[u8; WORD]>);

impl Known {
    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is remembered.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.0.binary_search(&word(digest)).is_ok()
    }
}

impl Memory {
    /// In this cache directory; without one nothing is remembered.
    pub(crate) fn new(cache: Option<PathBuf>, server: &str, namespace: &str) -> Self {
        let dir = cache.map(|cache| cache.join("synced"));
        Self { dir, server: server.to_owned(), namespace: namespace.to_owned() }
    }

    /// What is remembered of these trees, as they were.
    pub(super) fn load(&self, blobs: &Blobs) -> Known {
        let mut known = Vec::new();
        for tree in blobs.trees() {
            let Some(path) = self.path(tree) else { continue };
            match fs::read(&path) {
                Ok(bytes) => {
                    if let Some(words) = decode(&bytes) {
                        known.extend(words);
                    } else {
                        tracing::info!(path = %path.display(), "a damaged file of the sync's memory is dropped");
                        let _ = fs::remove_file(&path);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::info!(path = %path.display(), %error, "can't read the sync's memory"),
            }
        }
        known.sort_unstable();
        known.dedup();
        Known(known)
    }

    /// The service has all of these trees.
    pub(super) fn save(&self, blobs: &Blobs) {
        for tree in blobs.trees() {
            let Some(path) = self.path(tree) else { continue };
            let mut own = Blobs::default();
            own.add(tree);
            let mut words: Vec<_> = own.all().map(|item| word(&item.digest)).collect();
            if words.len() > MOST_BLOBS {
                continue;
            }
            words.sort_unstable();
            if let Err(error) = write(&path, &encode(&words)) {
                tracing::info!(path = %path.display(), %error, "can't write the sync's memory");
            }
        }
    }

    /// The same, for trees of which nothing is remembered yet.
    pub(crate) fn save_new(&self, mut blobs: Blobs) {
        // Those of Dockerfiles go with the request.
        blobs.retain(|tree| !is_dockerfile(tree) && self.path(tree).is_some_and(|path| !path.exists()));
        self.save(&blobs);
    }

    fn path(&self, tree: &Tree) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        let place = fs::canonicalize(&tree.dir).unwrap_or_else(|_| tree.dir.clone());
        let mut hasher = Hasher::default();
        // The name says which rules apply. One that no longer fits costs a question, nothing else.
        for part in [self.server.as_str(), &self.namespace, &place.to_string_lossy(), &tree.name] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Some(dir.join(hasher.finish().hex().get(..32).unwrap_or_default()))
    }
}

fn word(digest: &Digest) -> [u8; WORD] {
    let mut word = [0; WORD];
    word.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
    word
}

fn encode(words: &[[u8; WORD]]) -> Vec<u8> {
    let mut bytes = [MAGIC, words.as_flattened()].concat();
    let sum = Digest::of(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<[u8; WORD]>> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM)?)?;
    let words = body.strip_prefix(MAGIC)?;
    if words.len() > MOST_BLOBS * WORD || Digest::of(body).as_bytes() != sum {
        return None;
    }
    let (words, rest) = words.as_chunks();
    rest.is_empty().then(|| words.to_vec())
}

/// Complete or not at all; other processes may read and write the same file.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    let mut files: Vec<_> = fs::read_dir(dir)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort_unstable();
    for (_, old) in files.iter().rev().skip(MOST_FILES) {
        let _ = fs::remove_file(old);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use slipway_context::{Rules, ScanOptions, scan};

    use super::*;

    proptest! {
        #[test]
        fn a_damaged_file_is_not_believed(
            words in proptest::collection::vec(any::<[u8; WORD]>(), 0..50), at: prop::sample::Index, bit in 0..8u8, cut: prop::sample::Index,
        ) {
            let bytes = encode(&words);
            prop_assert_eq!(decode(&bytes), Some(words));
            let mut flipped = bytes.clone();
            flipped[at.index(bytes.len())] ^= 1 << bit;
            prop_assert_eq!(decode(&flipped), None);
            prop_assert_eq!(decode(&bytes[..cut.index(bytes.len())]), None);
        }
    }

    #[test]
    fn each_service_namespace_and_root_has_its_own() {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join("a"), "content").unwrap();
        let tree = |name: &str| {
            let scan = scan(dir.path(), &Rules::none(), &ScanOptions::default()).unwrap();
            let mut blobs = Blobs::default();
            blobs.add(&Arc::new(Tree::complete(name.to_owned(), dir.path().to_owned(), scan)));
            blobs
        };
        let memory = |server: &str, namespace: &str| Memory::new(Some(cache.path().to_owned()), server, namespace);
        let first = memory("http://a", "dev");
        assert!(first.load(&tree("context:app")).is_empty());
        first.save(&tree("context:app"));
        let known = first.load(&tree("context:app"));
        assert!(known.has(&Digest::of(b"content")) && !known.has(&Digest::of(b"other")));
        for other in [memory("http://b", "dev"), memory("http://a", "prod")] {
            assert!(other.load(&tree("context:app")).is_empty());
        }
        assert!(first.load(&tree("deploy")).is_empty());
        for number in 0..MOST_FILES + 5 {
            first.save(&tree(&number.to_string()));
        }
        assert_eq!(fs::read_dir(cache.path().join("synced")).unwrap().count(), MOST_FILES);
        assert!(Memory::new(None, "http://a", "dev").load(&tree("context:app")).is_empty());
    }
}
