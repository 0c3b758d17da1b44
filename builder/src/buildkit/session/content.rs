//! Stores of blobs that BuildKit reads caches from, and leaves them in (containerd's content service over the session;
//! BuildKit, `session/content` and `cache/remotecache/local`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use slipway_context::Digest;
use slipway_proto::content as api;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

mod folder;
mod layout;

pub use folder::{Budget, Folder};
pub use layout::Layout;

/// Which store a call is for.
const STORE: &str = "buildkit-attachable-store-id";
/// BuildKit's kind of a store for caches, before the name that the cache's `src` or `dest` gives.
const LOCAL: &str = "local:";
/// Bytes of one piece that is read.
const PIECE: usize = 1 << 20;
/// Pieces on their way.
const QUEUE: usize = 4;

type Stream<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// The stores of one session, by name.
#[derive(Debug, Clone, Default)]
pub struct Content {
    stores: Arc<BTreeMap<String, Store>>,
}

/// One of them.
#[derive(Debug, Clone)]
pub enum Store {
    /// A client's, as it was sent: nothing is written there.
    Layout(Layout),
    /// One that the engine fills.
    Folder(Arc<Folder>),
}

impl Content {
    /// Those that caches name as their `src` or `dest`.
    pub fn new(stores: BTreeMap<String, Store>) -> Self {
        Self { stores: Arc::new(stores) }
    }

    fn store<T>(&self, request: &Request<T>) -> Result<&Store, Status> {
        let name = request.metadata().get(STORE).and_then(|name| name.to_str().ok());
        let store = name.and_then(|name| self.stores.get(name.strip_prefix(LOCAL)?));
        store.ok_or_else(|| Status::not_found("there is no such store"))
    }
}

impl Store {
    fn size(&self, digest: &Digest) -> Result<u64, Status> {
        match self {
            Self::Layout(layout) => layout.size(digest),
            Self::Folder(folder) => folder.size(digest),
        }
    }

    /// Gives a part of a blob in pieces, until `take` wants no more.
    fn read(&self, digest: &Digest, part: Part, take: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Status> {
        match self {
            Self::Layout(layout) => layout.read(digest, part, take),
            Self::Folder(folder) => folder.read(digest, part, take),
        }
    }
}

/// A part of a blob, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    offset: u64,
    size: u64,
}

impl Part {
    /// As it is asked for, of a blob of this size.
    fn of(request: &api::ReadContentRequest, whole: u64) -> Result<Self, Status> {
        let offset = u64::try_from(request.offset).unwrap_or_default();
        let rest = whole.checked_sub(offset).ok_or_else(|| Status::out_of_range("it is shorter than that"))?;
        let size = u64::try_from(request.size).ok().filter(|size| *size > 0).map_or(rest, |size| size.min(rest));
        Ok(Self { offset, size })
    }

    /// What of the next `len` bytes belongs to it; those are behind us afterwards.
    fn next(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX).min(len);
        self.offset -= start as u64;
        let end = start + usize::try_from(self.size).unwrap_or(usize::MAX).min(len - start);
        self.size -= (end - start) as u64;
        start..end
    }
}

fn digest(text: &str) -> Result<Digest, Status> {
    text.parse().map_err(|_| Status::invalid_argument(format!("`{}` is no digest", text.escape_debug())))
}

fn failed(error: impl std::fmt::Display) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl api::content_server::Content for Content {
    type ReadStream = ReceiverStream<Result<api::ReadContentResponse, Status>>;
    type WriteStream = Stream<api::WriteContentResponse>;

    async fn info(&self, request: Request<api::InfoRequest>) -> Result<Response<api::InfoResponse>, Status> {
        let (store, name) = (self.store(&request)?.clone(), request.get_ref().digest.clone());
        let digest = digest(&name)?;
        let size = tokio::task::spawn_blocking(move || store.size(&digest)).await.map_err(failed)??;
        let info = api::Info { digest: name, size: size as i64, ..api::Info::default() };
        Ok(Response::new(api::InfoResponse { info: Some(info) }))
    }

    async fn read(&self, request: Request<api::ReadContentRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let store = self.store(&request)?.clone();
        let request = request.into_inner();
        let digest = digest(&request.digest)?;
        let (pieces, queue) = mpsc::channel(QUEUE);
        tokio::task::spawn_blocking(move || {
            let read = || {
                let part = Part::of(&request, store.size(&digest)?)?;
                let mut offset = part.offset as i64;
                store.read(&digest, part, &mut |bytes| {
                    bytes.chunks(PIECE).all(|data| {
                        let piece = api::ReadContentResponse { offset, data: data.to_vec() };
                        offset += data.len() as i64;
                        pieces.blocking_send(Ok(piece)).is_ok()
                    })
                })
            };
            if let Err(status) = read() {
                tracing::warn!(blob = %digest, %status, "can't give a cache's blob");
                let _ = pieces.blocking_send(Err(status));
            }
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }

    async fn status(&self, request: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        self.store(&request)?;
        // What a stream has begun ends with it.
        Err(Status::not_found("nothing of that has been written"))
    }

    async fn write(
        &self,
        request: Request<Streaming<api::WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let Store::Folder(folder) = self.store(&request)? else {
            return Err(Status::permission_denied("this store is only read"));
        };
        let (folder, mut requests) = (folder.clone(), request.into_inner());
        let (answers, queue) = mpsc::channel(QUEUE);
        let (pieces, received) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                if pieces.send(request).await.is_err() {
                    break;
                }
            }
        });
        tokio::task::spawn_blocking(move || folder.take(received, &answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }

    async fn abort(&self, request: Request<api::AbortRequest>) -> Result<Response<()>, Status> {
        self.store(&request)?;
        Ok(Response::new(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_from_pieces() {
        let request = |offset, size| api::ReadContentRequest { digest: String::new(), offset, size };
        let cut = |offset, size| {
            let mut part = Part::of(&request(offset, size), 10).unwrap();
            [4, 4, 2].map(|len| part.next(len))
        };
        assert_eq!(cut(0, 0), [0..4, 0..4, 0..2]);
        assert_eq!(cut(5, 0), [4..4, 1..4, 0..2]);
        assert_eq!(cut(2, 3), [2..4, 0..1, 0..0]);
        assert_eq!(cut(10, 7), [4..4, 4..4, 2..2]);
        assert_eq!(cut(-1, 99), [0..4, 0..4, 0..2]);
        assert!(Part::of(&request(11, 0), 10).is_err());
    }
}
