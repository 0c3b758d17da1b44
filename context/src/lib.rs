//! Build contexts, from ignore rules to snapshots: what the CLI sends and what the service gives to `BuildKit`.
//!
//! ```text
//! CLI:      directory ─ rules ─ walk ─ filter ─► scan ─► digests, then the contents that are missing
//! service:  encoded directories ─ check ─► store ─► MerkleTree ─ FilterRequest ─► TreeWalk ─► BuildKit's file sync
//! ```
//!
//! Both ends share one filter, which decides as fsutil and moby's patternmatcher do. Nothing here does network or async;
//! the service calls it from blocking tasks.
//!
//! | module | does |
//! |---|---|
//! | [`pattern`] | one list of patterns against one path |
//! | [`ignorefile`] | the lines of `.dockerignore` |
//! | [`oktetoignore`] | the sections of `.oktetoignore` |
//! | [`rules`] | finds the ignore files of a context and reads them |
//! | [`filter`] | which entries of a tree are in, entry by entry |
//! | [`follow`] | what COPY sources lead to, for `followpaths` |
//! | [`walk`] | a directory on disk, filtered |
//! | [`snapshot`] | a directory on disk as a snapshot: [`scan`], [`scan_dockerfile`] |
//! | [`chunk`] | pieces of large files |
//! | [`tree`] | directories of a snapshot: encoding, checking, walking |
//! | [`digest`] | SHA-256 names |
//! | [`dockerfile`] | what a Dockerfile needs: paths of its context, base images |
//! | [`mode`] | mode bits, here and in Go |
//! | [`warning`] | what is worth saying but stops nothing |

pub mod chunk;
pub mod digest;
pub mod dockerfile;
pub mod filter;
pub mod follow;
pub mod ignorefile;
pub mod mode;
pub mod oktetoignore;
pub mod pattern;
pub mod rules;
pub mod snapshot;
pub mod tree;
pub mod walk;
pub mod warning;

pub use chunk::{Chunk, ChunkList, InvalidChunkList};
pub use digest::{Digest, Hasher, InvalidDigest};
pub use filter::{Filter, FilterError, FilterWalk, Verdict};
pub use follow::{FilterRequest, FollowError};
pub use oktetoignore::Section;
pub use rules::{OktetoContext, Rules, RulesError};
pub use snapshot::{
    Content, NodeBlob, PathEntry, PathNode, Paths, Scan, ScanOptions, Source, Totals, find_dockerfile, scan,
    scan_dockerfile,
};
pub use tree::{Directory, Entry, InvalidDirectory, MerkleTree, Node, TreeEntry, TreeWalk};
pub use walk::WalkError;
pub use warning::Warning;
