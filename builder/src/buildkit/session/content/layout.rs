//! A client's OCI image layout (OCI image specification, `image-layout.md`), as a tree among its namespace's blobs.

use slipway_context::tree::{MAX_ENCODED, MerkleTree, Node};
use slipway_context::{ChunkList, Digest};
use tonic::Status;

use super::{Part, failed};
use crate::store::{BlobError, Blobs};

/// One layout.
#[derive(Debug, Clone)]
pub struct Layout {
    tree: MerkleTree<Blobs>,
}

impl Layout {
    /// The tree with this root.
    pub fn new(root: Digest, blobs: Blobs) -> Self {
        Self { tree: MerkleTree { root, store: blobs } }
    }

    fn blobs(&self) -> &Blobs {
        &self.tree.store
    }

    /// Where a blob is: the digest of its file or of that's chunk list, its size, and which of the two.
    fn find(&self, digest: &Digest) -> Result<(Digest, u64, bool), Status> {
        let node = self.tree.node(&format!("blobs/sha256/{}", digest.hex())).map_err(failed)?;
        match node {
            Some(Node::File { digest: found, size, chunked }) if chunked || found == *digest => {
                Ok((found, size, chunked))
            }
            _ => Err(Status::not_found(format!("{digest} is not in the cache's folder"))),
        }
    }

    pub(super) fn size(&self, digest: &Digest) -> Result<u64, Status> {
        self.find(digest).map(|(_, size, _)| size)
    }

    pub(super) fn read(
        &self,
        digest: &Digest,
        mut part: Part,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<(), Status> {
        let (found, size, chunked) = self.find(digest)?;
        let chunks = if chunked {
            let list = self.blobs().read_all(&found, MAX_ENCODED as u64).map_err(|error| self.lost(&error))?;
            let list = ChunkList::decode(&list, size).map_err(failed)?;
            list.chunks().iter().map(|chunk| (chunk.digest, chunk.size as usize)).collect()
        } else {
            vec![(found, usize::try_from(size).map_err(failed)?)]
        };
        for (chunk, len) in chunks {
            let wanted = part.next(len);
            if wanted.is_empty() {
                continue;
            }
            let content = self.blobs().read(&chunk).map_err(|error| self.lost(&error))?.into_inner();
            let wanted = content.get(wanted).ok_or_else(|| failed(format!("chunk {chunk} is damaged")))?;
            if !take(wanted) {
                break;
            }
        }
        Ok(())
    }

    /// A blob of a tree that was complete: should it be missing, nobody may believe that the tree is.
    fn lost(&self, error: &BlobError) -> Status {
        if matches!(error, BlobError::Missing(_)) {
            self.blobs().mark_lost();
        }
        failed(error)
    }
}
