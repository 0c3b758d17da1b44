//! The build context for BuildKit (`moby.filesync.v1.FileSync`, fsutil's `Packet`), straight from the store.
//!
//! BuildKit compares size and time with what it received before under the same shared key and asks for what differs. It is
//! told times that follow the content: the whole seconds are fixed by a content's first upload to the namespace, the
//! nanoseconds are taken from its digest. So equal bytes never travel twice, and changed bytes always do.

mod sender;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::moby::filesync::packet::file_sync_server;
use futures::Stream;
use slipway_context::Digest;
use slipway_context::dockerfile::ContextPaths;
use slipway_context::follow::FilterRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::store::Blobs;

/// Packets on their way to BuildKit; a data packet has at most 64 KiB.
const QUEUE: usize = 64;

/// A directory that BuildKit may read.
#[derive(Debug, Clone)]
pub enum Local {
    /// A tree in the store.
    Tree(Digest),
    /// A tree in the store that was narrowed to what these paths lead to; what leads elsewhere is refused.
    Narrowed {
        /// The tree.
        root: Digest,
        /// The paths, clean and relative.
        paths: Arc<[String]>,
    },
    /// One executable file of ours.
    File {
        /// Its name in the directory.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// The digest of its content.
        digest: Digest,
    },
}

impl Local {
    /// The context of a build.
    pub fn context(root: Digest, narrowed_to: &[String]) -> Self {
        if narrowed_to.is_empty() { Self::Tree(root) } else { Self::Narrowed { root, paths: narrowed_to.into() } }
    }
}

/// Serves directories by name. Cheap to clone: clones share the counter.
#[derive(Debug, Clone)]
pub struct FileSync {
    blobs: Blobs,
    locals: Arc<BTreeMap<String, Local>>,
    /// The local whose contents count as sent context.
    counted: Arc<str>,
    sent: Arc<AtomicU64>,
    /// Why a transfer was refused, the first time.
    refused: Arc<OnceLock<String>>,
}

impl FileSync {
    /// Serves these directories; `counted` is the one that [`FileSync::sent`] is about.
    pub fn new(blobs: Blobs, locals: BTreeMap<String, Local>, counted: &str) -> Self {
        Self { blobs, locals: Arc::new(locals), counted: counted.into(), sent: Arc::default(), refused: Arc::default() }
    }

    /// Bytes of file contents that BuildKit has asked for, without the ignore file that it always reads first.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Why a transfer was refused, if one was: BuildKit wanted what is not there.
    pub fn refused(&self) -> Option<String> {
        self.refused.get().cloned()
    }
}

type Packets = Pin<Box<dyn Stream<Item = Result<Packet, Status>> + Send>>;

#[tonic::async_trait]
impl file_sync_server::FileSync for FileSync {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let metadata = request.metadata();
        let name = values(metadata, "dir-name").into_iter().next().unwrap_or_default();
        let Some(local) = self.locals.get(&name).cloned() else {
            return Err(Status::not_found(format!("no directory {name}")));
        };
        let wanted = FilterRequest {
            include_patterns: values(metadata, "include-patterns"),
            exclude_patterns: values(metadata, "exclude-patterns"),
            follow_paths: values(metadata, "followpaths"),
        };
        let local = match local {
            Local::Narrowed { root, paths } => {
                if let Some(asked) = refusal(&paths, &wanted) {
                    let message = format!(
                        "{asked}: the Dockerfile uses more of its context than could be told beforehand; \
                         build again with SLIPWAY_NARROW=false, which sends all of it"
                    );
                    return Err(Status::failed_precondition(self.refused.get_or_init(|| message).clone()));
                }
                Local::Tree(root)
            }
            local => local,
        };
        let counts = *name == *self.counted && wanted.follow_paths != [".dockerignore"];
        let sent = if counts { self.sent.clone() } else { Arc::default() };
        let (packets, answer) = mpsc::channel(QUEUE);
        let transfer = sender::Transfer { blobs: self.blobs.clone(), local, wanted, sent };
        sender::start(transfer, request.into_inner(), packets);
        Ok(Response::new(Box::pin(ReceiverStream::new(answer))))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("TarStream"))
    }
}

/// What of a request a narrowed tree can't answer: a path outside of what it was narrowed to, or all.
fn refusal(paths: &[String], wanted: &FilterRequest) -> Option<String> {
    // Asked for before the Dockerfile is read; whether it is there was decided by who narrowed.
    if wanted.follow_paths == [".dockerignore"] {
        return None;
    }
    if wanted.follow_paths.is_empty() || !wanted.include_patterns.is_empty() {
        return Some("the whole context".to_owned());
    }
    wanted.follow_paths.iter().find(|asked| !ContextPaths::covers(paths, asked)).cloned()
}

/// A key's values; with `<key>-encoded: 1` each is query-escaped (BuildKit, `session/filesync`: `decodeOpts`).
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let encoded = metadata.get(format!("{key}-encoded")).is_some_and(|value| value == "1");
    let texts = metadata.get_all(key).into_iter().filter_map(|value| value.to_str().ok());
    texts.map(|text| if encoded { query_unescape(text) } else { text.to_owned() }).collect()
}

/// Go's `url.QueryUnescape`; bytes that are no UTF-8 are replaced, since no path of a snapshot has any.
fn query_unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrowed_tree_answers_for_what_it_was_narrowed_to() {
        let paths = ["src".to_owned(), "*.go".to_owned()];
        let refused = |follow: &[&str], include: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
            let (follow_paths, include_patterns) = (texts(follow), texts(include));
            refusal(&paths, &FilterRequest { follow_paths, include_patterns, exclude_patterns: Vec::new() })
        };
        assert_eq!(refused(&["src", "src/a", "*.go"], &[]), None);
        assert_eq!(refused(&[".dockerignore"], &[]), None);
        assert_eq!(refused(&["src", "other"], &[]).as_deref(), Some("other"));
        assert_eq!(refused(&[], &[]).as_deref(), Some("the whole context"));
        assert_eq!(refused(&["src"], &["x"]).as_deref(), Some("the whole context"));
    }

    #[test]
    fn escaped_values_are_decoded() {
        let mut metadata = MetadataMap::new();
        metadata.append("followpaths", "a%2Fb+c%C3%A9%".parse().unwrap());
        assert_eq!(values(&metadata, "followpaths"), ["a%2Fb+c%C3%A9%"]);
        metadata.insert("followpaths-encoded", "1".parse().unwrap());
        assert_eq!(values(&metadata, "followpaths"), ["a/b cé%"]);
    }
}
