//! One transfer: three parts that never wait for each other in a circle.
//!
//! - a task reads BuildKit's packets at once and queues the ids it asks for (4 bytes each, unbounded on purpose: a request
//!   that is left unread is what h2 ends the connection for, see `buildkit::WINDOW`);
//! - a thread walks the tree and sends a stat per entry;
//! - another sends contents in the order in which they were asked for.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use slipway_context::Digest;
use slipway_context::follow::FilterRequest;
use slipway_context::mode::{FileType, go_file_mode};
use slipway_context::tree::{MAX_ENCODED, MerkleTree, Node, TreeLimits, TreeWalk};
use slipway_context::{Chunk, ChunkList};
use tokio::sync::{mpsc, oneshot};
use tonic::{Status, Streaming};

use super::Local;
use crate::store::pack::LAST_SECOND;
use crate::store::{BlobError, Blobs};

/// Bytes of content in one data packet.
const DATA: usize = 64 << 10;
/// Modification time of symlinks, which have no content of their own: 1980-01-01, which every archive format can hold.
const SYMLINK_SECONDS: i64 = 315_532_800;

type Sender = mpsc::Sender<Result<Packet, Status>>;

/// What to send.
pub(super) struct Transfer {
    pub(super) blobs: Blobs,
    pub(super) local: Local,
    pub(super) wanted: FilterRequest,
    pub(super) sent: Arc<AtomicU64>,
}

/// Contents by the ids of their stats. The walk adds them before BuildKit can know their ids.
type Contents = Arc<Mutex<Vec<(u32, Content)>>>;

#[derive(Debug, Clone)]
enum Content {
    Blob(Digest),
    /// A chunk list, and the size of its file.
    Chunks(Digest, u64),
    Local,
}

/// Starts the transfer's tasks; they end when it is complete or the call is gone.
pub(super) fn start(transfer: Transfer, mut requests: Streaming<Packet>, packets: Sender) {
    let contents: Contents = Arc::default();
    let (ids, wanted) = mpsc::unbounded_channel::<u32>();
    let (finish, finished) = oneshot::channel::<()>();
    tokio::spawn(async move {
        while let Ok(Some(packet)) = requests.message().await {
            match packet.r#type() {
                PacketType::PacketReq => {
                    if ids.send(packet.id).is_err() {
                        break;
                    }
                }
                PacketType::PacketFin => {
                    let _ = finish.send(());
                    break;
                }
                PacketType::PacketErr => {
                    tracing::debug!(error = %String::from_utf8_lossy(&packet.data), "BuildKit ended a file transfer");
                    break;
                }
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
    });
    let (walk_contents, walk_packets) = (contents.clone(), packets.clone());
    let transfer = Arc::new(transfer);
    let walked = transfer.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = walk(&walked, &walk_contents, &walk_packets) {
            fail(&walk_packets, &error);
        }
    });
    let content_packets = packets.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = send_contents(&transfer, &contents, wanted, &content_packets) {
            fail(&content_packets, &error);
        }
    });
    tokio::spawn(async move {
        // BuildKit says FIN when it has everything it asked for; the answer ends the call, once no part holds `packets`.
        if finished.await.is_ok() {
            let _ = packets.send(Ok(packet(PacketType::PacketFin, 0, Vec::new()))).await;
        }
    });
}

/// Why a part ended early; nothing is left to say when the call is gone.
enum Ended {
    CallGone,
    Failed(String),
}

fn fail(packets: &Sender, ended: &Ended) {
    if let Ended::Failed(message) = ended {
        tracing::warn!(error = %message, "can't send the context");
        let _ = packets.blocking_send(Err(Status::internal(message.clone())));
    }
}

fn failed(error: impl std::fmt::Display) -> Ended {
    Ended::Failed(error.to_string())
}

fn packet(kind: PacketType, id: u32, data: Vec<u8>) -> Packet {
    Packet { r#type: kind.into(), id, data, stat: None }
}

fn send(packets: &Sender, packet: Packet) -> Result<(), Ended> {
    packets.blocking_send(Ok(packet)).map_err(|_| Ended::CallGone)
}

fn walk(transfer: &Transfer, contents: &Contents, packets: &Sender) -> Result<(), Ended> {
    let mut next_id = 0;
    let mut stat = |stat: Stat, content: Option<Content>| {
        if let Some(content) = content {
            contents.lock().map_err(failed)?.push((next_id, content));
        }
        next_id += 1;
        send(packets, Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() })
    };
    match &transfer.local {
        Local::File { name, path, digest } => {
            let metadata = std::fs::metadata(path).map_err(failed)?;
            let mod_time = times(metadata.mtime(), digest);
            let file =
                Stat { path: name.clone(), mode: 0o755, size: metadata.len() as i64, mod_time, ..Stat::default() };
            stat(file, Some(Content::Local))?;
        }
        Local::Tree(root) | Local::Narrowed { root, .. } => {
            let tree = MerkleTree { root: *root, store: transfer.blobs.clone() };
            let filter = transfer.wanted.resolve(&tree).map_err(failed)?;
            for entry in TreeWalk::new(&tree, &filter, TreeLimits::default().entries).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let (file_type, mode) = (entry.entry.node.file_type(), entry.entry.mode);
                let mut found = Stat { path: entry.path, mode: go_file_mode(file_type, mode), ..Stat::default() };
                let mut content = None;
                match entry.entry.node {
                    Node::File { digest, size, chunked } => {
                        let (_, seconds) = transfer.blobs.stat(&digest).map_err(|error| lost(transfer, &error))?;
                        found.size = size as i64;
                        found.mod_time = times(seconds, &digest);
                        content = Some(if chunked { Content::Chunks(digest, size) } else { Content::Blob(digest) });
                    }
                    Node::Directory { digest } => {
                        let (_, seconds) = transfer.blobs.stat(&digest).map_err(|error| lost(transfer, &error))?;
                        found.mod_time = times(seconds, &digest);
                    }
                    Node::Symlink { target } => {
                        found.mod_time = times(SYMLINK_SECONDS, &Digest::of(target.as_bytes()));
                        found.linkname = target;
                    }
                }
                debug_assert!(file_type != FileType::File || content.is_some());
                stat(found, content)?;
            }
        }
    }
    // A stat packet without a stat: the walk is complete.
    send(packets, packet(PacketType::PacketStat, 0, Vec::new()))
}

/// Nanoseconds since 1970: the fixed whole seconds, and some 30 bits of the content's digest below them.
fn times(seconds: i64, digest: &Digest) -> i64 {
    let bytes = digest.as_bytes();
    let nanos = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) % 1_000_000_000;
    // A time that is too late must not cost the bits of the content.
    seconds.clamp(0, LAST_SECOND) * 1_000_000_000 + i64::from(nanos)
}

fn send_contents(
    transfer: &Transfer,
    contents: &Contents,
    mut wanted: mpsc::UnboundedReceiver<u32>,
    packets: &Sender,
) -> Result<(), Ended> {
    let mut buffer = vec![0; DATA];
    while let Some(id) = wanted.blocking_recv() {
        let content = {
            let contents = contents.lock().map_err(failed)?;
            let at = contents.binary_search_by_key(&id, |(id, _)| *id);
            // Found: only regular files may be asked for, and their stats have been sent.
            at.ok().map(|at| contents[at].1.clone())
        };
        match (content, &transfer.local) {
            (Some(Content::Blob(digest)), _) => {
                let mut file = transfer.blobs.read(&digest).map_err(|error| lost(transfer, &error))?;
                send_bytes(transfer, id, &mut file, &mut buffer, packets)?;
            }
            (Some(Content::Chunks(digest, size)), _) => {
                let list = transfer.blobs.read_all(&digest, MAX_ENCODED as u64);
                let list = list.map_err(|error| lost(transfer, &error))?;
                for Chunk { digest, size } in ChunkList::decode(&list, size).map_err(failed)?.chunks() {
                    let mut file = transfer.blobs.read(digest).map_err(|error| lost(transfer, &error))?;
                    if send_bytes(transfer, id, &mut file, &mut buffer, packets)? != u64::from(*size) {
                        return Err(Ended::Failed(format!("chunk {digest} is damaged")));
                    }
                }
            }
            (Some(Content::Local), Local::File { path, .. }) => {
                let mut file = File::open(path).map_err(failed)?;
                send_bytes(transfer, id, &mut file, &mut buffer, packets)?;
            }
            _ => return Err(Ended::Failed(format!("BuildKit asked for entry {id}, which is no file"))),
        }
        // An empty packet ends the file.
        send(packets, packet(PacketType::PacketData, id, Vec::new()))?;
    }
    Ok(())
}

/// A blob of a tree that was complete: should it be missing, nobody may believe that the tree is.
fn lost(transfer: &Transfer, error: &BlobError) -> Ended {
    if matches!(error, BlobError::Missing(_)) {
        transfer.blobs.mark_lost();
    }
    failed(error)
}

/// Sends all of a file as it is read, and says how much that was.
fn send_bytes(
    transfer: &Transfer,
    id: u32,
    file: &mut impl Read,
    buffer: &mut [u8],
    packets: &Sender,
) -> Result<u64, Ended> {
    let mut total = 0;
    loop {
        let n = file.read(buffer).map_err(failed)?;
        if n == 0 {
            return Ok(total);
        }
        total += n as u64;
        transfer.sent.fetch_add(n as u64, Ordering::Relaxed);
        send(packets, packet(PacketType::PacketData, id, buffer[..n].to_vec()))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(blobs: &Blobs, content: &[u8]) -> Digest {
        crate::store::tests::put(blobs, &[content]);
        Digest::of(content)
    }

    /// What is sent when BuildKit asks for one file.
    fn sent(blobs: &Blobs, content: Content) -> Result<Vec<Packet>, String> {
        let local = Local::Tree(Digest::of(b""));
        let wanted = FilterRequest::default();
        let transfer = Transfer { blobs: blobs.clone(), local, wanted, sent: Arc::default() };
        let (ids, asked) = mpsc::unbounded_channel();
        ids.send(7).unwrap();
        drop(ids);
        let (packets, mut sent) = mpsc::channel(64);
        let contents = Arc::new(Mutex::new(vec![(7, content)]));
        match send_contents(&transfer, &contents, asked, &packets) {
            Ok(()) => {}
            Err(Ended::Failed(message)) => return Err(message),
            Err(Ended::CallGone) => return Err("the call is gone".to_owned()),
        }
        drop(packets);
        Ok(std::iter::from_fn(|| sent.blocking_recv()).map(Result::unwrap).collect())
    }

    #[test]
    fn a_file_in_chunks_is_sent_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), &"dev".parse().unwrap()).unwrap();
        let parts = [vec![1; DATA + 5], b"two".to_vec(), vec![1; DATA + 5]];
        let chunks = parts.iter().map(|part| Chunk { digest: put(&blobs, part), size: part.len() as u32 });
        let list = ChunkList::new(chunks.collect()).unwrap();
        let content = Content::Chunks(put(&blobs, &list.encode()), list.size());
        let packets = sent(&blobs, content.clone()).unwrap();
        assert!(packets.iter().all(|packet| packet.id == 7 && packet.data.len() <= DATA));
        let (end, before) = packets.split_last().unwrap();
        assert!(end.data.is_empty() && before.iter().all(|packet| !packet.data.is_empty()));
        assert_eq!(before.iter().flat_map(|packet| packet.data.clone()).collect::<Vec<_>>(), parts.concat());

        let whole = sent(&blobs, Content::Blob(Digest::of(b"two"))).unwrap();
        assert_eq!(whole.iter().map(|packet| packet.data.as_slice()).collect::<Vec<_>>(), [&b"two"[..], b""]);

        blobs.quarantine(&Digest::of(b"two")).unwrap();
        assert!(sent(&blobs, content).unwrap_err().contains("is missing"));
        let wrong = Content::Chunks(Digest::of(&list.encode()), 1);
        assert!(sent(&blobs, wrong).unwrap_err().contains("adds up to"));
    }

    #[test]
    fn contents_differ_by_their_times_however_late_these_are() {
        const IN_2300: i64 = 10_413_792_000;
        for seconds in [IN_2300, i64::MAX, LAST_SECOND, 0, -1, i64::MIN] {
            let [one, other] = [b"one".as_slice(), b"other"].map(|content| times(seconds, &Digest::of(content)));
            assert_ne!(one, other, "{seconds}");
            assert_eq!(one / 1_000_000_000, other / 1_000_000_000);
        }
    }

    #[test]
    fn what_should_be_there_and_is_not_makes_trees_be_checked_again() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), &"dev".parse().unwrap()).unwrap();
        assert!(!blobs.has_damage());
        assert!(sent(&blobs, Content::Blob(Digest::of(b"never sent"))).is_err());
        assert!(blobs.has_damage());
    }
}
