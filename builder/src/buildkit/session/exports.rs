//! Archives that BuildKit sends back (`moby.filesync.v1`, `FileSend`): the results of exporters other than `image`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bollard_buildkit_proto::moby::filesync::v1 as api;
use sha2::{Digest as _, Sha256};
use slipway_context::Digest;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use crate::private_file::{create_private, create_private_dir};

/// Which exporter an archive is of: its index among the solve's.
const EXPORTER_ID: &str = "buildkit-attachable-exporter-id";
/// Messages between the connection and the disk; each is up to 3 MiB.
const QUEUE: usize = 4;

/// Where archives go.
#[derive(Debug, Clone, Default)]
pub struct Exports {
    files: Arc<BTreeMap<usize, PathBuf>>,
    limit: u64,
    written: Arc<Mutex<BTreeMap<usize, Written>>>,
}

/// An archive that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Its length.
    pub bytes: u64,
    /// Of all of it.
    pub digest: Digest,
}

impl Exports {
    /// The archive of each exporter, by its index among the solve's, goes to a file of at most `limit` bytes, whose
    /// folder is made.
    pub fn new(files: BTreeMap<usize, PathBuf>, limit: u64) -> Self {
        Self { files: Arc::new(files), limit, written: Arc::default() }
    }

    /// What the engine sent for an exporter, once the solve has ended.
    pub fn written(&self, exporter: usize) -> Option<Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(&exporter).copied()
    }
}

#[tonic::async_trait]
impl api::file_send_server::FileSend for Exports {
    type DiffCopyStream = tokio_stream::Empty<Result<api::BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<api::BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let id = request.metadata().get(EXPORTER_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        // Engines that have one exporter at a time name none.
        let only = || self.files.keys().next().filter(|_| self.files.len() == 1).copied();
        let found = id.or_else(only).and_then(|id| Some((id, self.files.get(&id)?.clone())));
        let Some((id, path)) = found else { return Err(Status::not_found("nobody asked for that archive")) };
        let (pieces, queue) = mpsc::channel(QUEUE);
        let (limit, file) = (self.limit, path.clone());
        let writing = tokio::task::spawn_blocking(move || write(&file, limit, queue));
        let mut stream = request.into_inner();
        let received = async {
            while let Some(message) = stream.message().await? {
                if pieces.send(message.data).await.is_err() {
                    break; // It says below why it takes no more.
                }
            }
            drop(pieces);
            Ok::<_, Status>(())
        };
        let received = received.await;
        let written = writing.await.map_err(|error| Status::internal(error.to_string()))?;
        let written = written.map_err(|error| Status::resource_exhausted(format!("keep the archive: {error}")));
        let written = received.and(written).inspect_err(|_| {
            // A part of it is of no use, and may be large.
            let _ = std::fs::remove_file(&path);
        })?;
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(id, written);
        Ok(Response::new(tokio_stream::empty()))
    }
}

fn write(path: &std::path::Path, limit: u64, mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<Written> {
    path.parent().map_or(Ok(()), create_private_dir)?;
    let mut file: File = create_private(path)?;
    let (mut bytes, mut hash) = (0, Sha256::new());
    while let Some(piece) = queue.blocking_recv() {
        bytes += piece.len() as u64;
        if bytes > limit {
            return Err(io::Error::other(format!("it has more than the {limit} bytes of jobs.max_export_bytes")));
        }
        hash.update(&piece);
        file.write_all(&piece)?;
    }
    Ok(Written { bytes, digest: Digest::from_bytes(hash.finalize().into()) })
}
