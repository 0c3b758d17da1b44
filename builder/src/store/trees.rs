//! Trees of directory nodes in a namespace's blobs.

use std::sync::Arc;

use slipway_context::Digest;
use slipway_context::tree::{self, CheckError, CheckedTree, Directory, DirectoryStore, InvalidDirectory, TreeLimits};

use super::blobs::{BlobError, Blobs};

/// Why a directory node can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It can't be read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// It is no directory.
    #[error("directory {digest}: {source}")]
    Invalid {
        /// The node.
        digest: Digest,
        /// What is wrong.
        source: InvalidDirectory,
    },
}

impl DirectoryStore for Blobs {
    type Error = DirectoryError;

    fn directory(&self, digest: &Digest) -> Result<Arc<Directory>, DirectoryError> {
        let bytes = self.read_all(digest, tree::MAX_ENCODED as u64)?;
        let directory =
            Directory::decode(&bytes).map_err(|source| DirectoryError::Invalid { digest: *digest, source })?;
        Ok(Arc::new(directory))
    }
}

/// Why a tree can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// It is not what a tree should be.
    #[error("{0}")]
    Invalid(#[from] CheckError<BlobError>),
    /// A content can't be read, or has another size than the tree says.
    #[error(transparent)]
    Blob(#[from] BlobError),
}

/// A tree, and what the namespace lacks of it.
#[derive(Debug)]
pub struct Checked {
    /// What it holds.
    pub tree: CheckedTree,
    /// Directory nodes, chunk lists and contents that are missing.
    pub missing: Vec<Digest>,
}

/// Checks a whole tree, contents by presence and size. What is beneath a missing node can't be known.
pub fn check(blobs: &Blobs, root: &Digest) -> Result<Checked, TreeError> {
    let fetch = |digest: &Digest| match blobs.read_all(digest, tree::MAX_ENCODED as u64) {
        Err(BlobError::Missing(_)) => Ok(None),
        bytes => bytes.map(Some),
    };
    let tree = tree::check(root, &TreeLimits::default(), fetch)?;
    let mut missing = tree.missing_nodes.clone();
    for (digest, size) in &tree.contents {
        match blobs.stat(digest) {
            Ok((bytes, _)) if bytes == *size => {}
            // Verified when it was written, so either the disk lost bytes or the tree lies: it has to be sent again either way.
            Ok(_) => {
                blobs.remove(digest)?;
                missing.push(*digest);
            }
            Err(BlobError::Missing(_)) => missing.push(*digest),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Checked { tree, missing })
}
