//! An archive from the service: goes on where a connection broke, and proved by its digest.

use std::io::{self, Read};
use std::time::Instant;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use slipway_context::Digest;
use slipway_proto::v1::{BuildExported, ForgetExportRequest, ReadArtifactsRequest, ReadExportRequest};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::client::{Backoff, Client, Patience, SHORT_CALL, is_transient, timed};

/// Pieces between the connection and who takes them; each is 256 KiB.
const QUEUE: usize = 16;

/// Which archive of a job.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A build's.
    Export { service: String, index: u32 },
    /// What a test has left.
    Artifacts { test: String },
}

/// What a build has made. Then the service need not keep it.
pub(super) async fn fetch_export(
    client: &Client,
    job: &str,
    export: &BuildExported,
    take: impl FnOnce(&mut dyn Read) -> Result<()> + Send + 'static,
) -> Result<()> {
    let BuildExported { service, index, bytes, digest, .. } = export.clone();
    fetch(client, job, What::Export { service: service.clone(), index }, (bytes, digest), take).await?;
    let request = ForgetExportRequest { job: job.to_owned(), service, index };
    if let Err(status) = client.jobs().forget_export(timed(request, SHORT_CALL)).await {
        // It does so by itself some time.
        tracing::info!(%status, "the service keeps the archive");
    }
    Ok(())
}

/// Gives the archive of so many bytes and this digest to `take`, which reads it to its end: reading fails there if it is not what
/// the service announced.
pub(crate) async fn fetch(
    client: &Client,
    job: &str,
    what: What,
    announced: (u64, String),
    take: impl FnOnce(&mut dyn Read) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (pieces, queue) = mpsc::channel::<io::Result<Vec<u8>>>(QUEUE);
    let taking =
        tokio::task::spawn_blocking(move || take(&mut Archive { queue, piece: Vec::new(), read: 0, ended: false }));
    let sending = async {
        let sent = send(client, job, &what, announced, &pieces).await;
        // Only this says that all of it has come; an interrupted command leaves it out.
        let end = sent.as_ref().map(|()| Vec::new()).map_err(|error| io::Error::other(error.to_string()));
        let _ = pieces.send(end).await;
        drop(pieces);
        sent
    };
    let (taken, sent) = tokio::join!(taking, sending);
    // Why it did not come says more than that it could not be taken.
    sent?;
    taken.context("take the archive")?
}

/// What comes over the connection.
enum Stream {
    Export(Streaming<slipway_proto::v1::ReadExportResponse>),
    Artifacts(Streaming<slipway_proto::v1::ReadArtifactsResponse>),
}

impl Stream {
    async fn open(client: &Client, job: &str, what: &What, offset: u64) -> Result<Self, Status> {
        let job = job.to_owned();
        Ok(match what.clone() {
            What::Export { service, index } => {
                let request = ReadExportRequest { job, service, index, offset };
                Self::Export(client.jobs().read_export(request).await?.into_inner())
            }
            What::Artifacts { test } => {
                let request = ReadArtifactsRequest { job, test, offset };
                Self::Artifacts(client.jobs().read_artifacts(request).await?.into_inner())
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, Status> {
        Ok(match self {
            Self::Export(stream) => stream.message().await?.map(|piece| piece.data),
            Self::Artifacts(stream) => stream.message().await?.map(|piece| piece.data),
        })
    }
}

/// Sends pieces on until all are there, or nobody takes them any more.
async fn send(
    client: &Client,
    job: &str,
    what: &What,
    (bytes, announced): (u64, String),
    pieces: &mpsc::Sender<io::Result<Vec<u8>>>,
) -> Result<()> {
    let (mut offset, mut hash) = (0, Sha256::new());
    let (mut trouble, mut backoff) = (None, Backoff::new());
    while offset < bytes {
        let before = offset;
        let reading = async {
            let mut stream = Stream::open(client, job, what, offset).await?;
            while let Some(piece) = stream.next().await? {
                offset += piece.len() as u64;
                hash.update(&piece);
                if piece.is_empty() {
                    continue;
                }
                if pieces.send(Ok(piece)).await.is_err() {
                    return Ok(false);
                }
            }
            Ok::<_, Status>(true)
        };
        match reading.await {
            Ok(true) if offset == before => {
                return Err(client.malformed("an archive that is shorter than announced").into());
            }
            Ok(true) => {}
            // Who takes it knows why no more is wanted.
            Ok(false) => return Ok(()),
            Err(status) if is_transient(&status) => {
                if offset > before {
                    (trouble, backoff) = (None, Backoff::new());
                }
                if trouble.get_or_insert_with(Instant::now).elapsed() > Patience::RESTART.0 {
                    return Err(client.error(&status).into());
                }
                tracing::info!(%status, offset, "the connection broke; going on");
                tokio::time::sleep(backoff.next()).await;
            }
            Err(status) => return Err(client.error(&status).into()),
        }
    }
    let digest = Digest::from_bytes(hash.finalize().into()).to_string();
    anyhow::ensure!(digest == announced, "it came as {digest}, not {announced}");
    Ok(())
}

/// What has come, as a file to be read.
struct Archive {
    /// An empty piece is the end.
    queue: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    read: usize,
    ended: bool,
}

impl Read for Archive {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            // Whoever sends it was interrupted.
            let cut = || Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            (self.piece, self.read) = (self.queue.blocking_recv().unwrap_or_else(cut)?, 0);
            self.ended = self.piece.is_empty();
        }
        let count = (self.piece.len() - self.read).min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_interrupted_is_no_end() {
        let read = |pieces: Vec<io::Result<Vec<u8>>>| {
            let (sender, queue) = mpsc::channel(8);
            for piece in pieces {
                sender.try_send(piece).unwrap();
            }
            drop(sender);
            let mut text = String::new();
            Archive { queue, piece: Vec::new(), read: 0, ended: false }.read_to_string(&mut text).map(|_| text)
        };
        assert_eq!(read(vec![Ok(b"a".to_vec()), Ok(b"bc".to_vec()), Ok(Vec::new())]).unwrap(), "abc");
        assert_eq!(read(vec![Ok(b"a".to_vec())]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read(vec![Ok(b"a".to_vec()), Err(io::Error::other("x"))]).is_err());
    }
}
