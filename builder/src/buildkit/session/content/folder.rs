//! A folder that the engine fills with blobs, each a file of its digest's name.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use slipway_context::Digest;
use slipway_proto::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use tokio::sync::mpsc;
use tonic::Status;

use super::{PIECE, Part, failed};
use crate::private_file::{create_private, create_private_dir};

pub(crate) type Answers = mpsc::Sender<Result<WriteContentResponse, Status>>;

/// Bytes that may still be written, by all folders that share it.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    written: AtomicU64,
}

impl Budget {
    /// So many in all.
    pub fn new(limit: u64) -> Self {
        Self { limit, written: AtomicU64::new(0) }
    }

    fn take(&self, bytes: u64) -> Result<(), Status> {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limit {
            return Ok(());
        }
        let message = format!("the build's caches have more than the {} bytes of jobs.max_export_bytes", self.limit);
        Err(Status::resource_exhausted(message))
    }
}

/// One folder; it is removed with this.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    budget: Arc<Budget>,
    /// Names of what is being written.
    next: AtomicU64,
    blobs: Mutex<Vec<Digest>>,
}

impl Folder {
    /// One that is made when there is something to write: at this path nobody else has or will have anything.
    pub fn new(path: PathBuf, budget: Arc<Budget>) -> Self {
        Self { path, budget, next: AtomicU64::new(0), blobs: Mutex::default() }
    }

    /// The complete blobs, as they came: what refers to others comes after them.
    pub fn blobs(&self) -> Vec<Digest> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets one of them: its room on the disk is needed.
    pub fn remove(&self, digest: &Digest) -> io::Result<()> {
        fs::remove_file(self.place(digest))
    }

    /// One of them.
    pub fn open(&self, digest: &Digest) -> io::Result<File> {
        File::open(self.place(digest))
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.hex())
    }

    pub(super) fn size(&self, digest: &Digest) -> Result<u64, Status> {
        fs::metadata(self.place(digest)).map(|metadata| metadata.len()).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Status::not_found(format!("{digest} is not there")),
            _ => failed(error),
        })
    }

    pub(super) fn read(&self, digest: &Digest, part: Part, take: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), Status> {
        let mut file = self.open(digest).map_err(failed)?;
        file.seek(SeekFrom::Start(part.offset)).map_err(failed)?;
        let (mut file, mut buffer) = (file.take(part.size), vec![0; PIECE]);
        loop {
            let len = file.read(&mut buffer).map_err(failed)?;
            if len == 0 || !take(&buffer[..len]) {
                return Ok(());
            }
        }
    }

    /// One blob, until it is committed or given up. Blocks.
    pub(crate) fn take(&self, mut requests: mpsc::Receiver<WriteContentRequest>, answers: &Answers) {
        let mut write = None;
        while let Some(request) = requests.blocking_recv() {
            let answer = match &mut write {
                Some(write) => self.answer(write, &request),
                None => Write::begin(self).and_then(|begun| self.answer(write.insert(begun), &request)),
            };
            let ends = answer.as_ref().map_or(true, |answer| answer.action() == WriteAction::Commit);
            if answers.blocking_send(answer).is_err() || ends {
                break;
            }
        }
    }

    fn answer(&self, write: &mut Write, request: &WriteContentRequest) -> Result<WriteContentResponse, Status> {
        if request.total > 0 {
            write.total = request.total;
        }
        if !request.expected.is_empty() {
            let expected = super::digest(&request.expected)?;
            if self.place(&expected).exists() {
                return Err(Status::already_exists(format!("{expected} is there")));
            }
            write.expected = Some(expected);
        }
        let action = request.action();
        if action != WriteAction::Stat {
            write.add(self, request)?;
        }
        let mut answer = WriteContentResponse {
            action: action.into(),
            started_at: Some(write.began.into()),
            updated_at: Some(SystemTime::now().into()),
            offset: write.bytes as i64,
            total: write.total,
            digest: String::new(),
        };
        if action == WriteAction::Commit {
            answer.digest = write.commit(self)?.to_string();
        }
        Ok(answer)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Where it can't be removed, who cleans up removes it later.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "can't remove a cache's blobs");
    }
}

/// A blob that is not complete; what has been written of it goes with this.
struct Write {
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
    total: i64,
    expected: Option<Digest>,
    began: SystemTime,
}

impl Write {
    fn begin(folder: &Folder) -> Result<Self, Status> {
        let path = folder.path.join(format!("{}.part", folder.next.fetch_add(1, Ordering::Relaxed)));
        create_private_dir(&folder.path).map_err(failed)?;
        let file = create_private(&path).map_err(failed)?;
        let (hash, began) = (Sha256::new(), SystemTime::now());
        Ok(Self { path, file, hash, bytes: 0, total: 0, expected: None, began })
    }

    fn add(&mut self, folder: &Folder, request: &WriteContentRequest) -> Result<(), Status> {
        if request.offset == 0 && self.bytes > 0 && request.action() == WriteAction::Write {
            self.file.set_len(0).and_then(|()| self.file.rewind()).map_err(failed)?;
            (self.hash, self.bytes) = (Sha256::new(), 0);
        }
        if request.data.is_empty() {
            return Ok(());
        }
        if u64::try_from(request.offset).ok() != Some(self.bytes) {
            return Err(Status::out_of_range(format!("the next byte is number {}", self.bytes)));
        }
        let len = request.data.len() as u64;
        folder.budget.take(len)?;
        self.file.write_all(&request.data).map_err(|error| Status::resource_exhausted(error.to_string()))?;
        self.hash.update(&request.data);
        self.bytes += len;
        Ok(())
    }

    /// Its name is what it is.
    fn commit(&mut self, folder: &Folder) -> Result<Digest, Status> {
        if self.total > 0 && self.total.cast_unsigned() != self.bytes {
            return Err(Status::failed_precondition(format!("{} bytes, not {}", self.bytes, self.total)));
        }
        let digest = Digest::from_bytes(std::mem::take(&mut self.hash).finalize().into());
        if let Some(expected) = self.expected.filter(|expected| *expected != digest) {
            return Err(Status::failed_precondition(format!("it is {digest}, not {expected}")));
        }
        let mut blobs = folder.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        if blobs.contains(&digest) {
            return Err(Status::already_exists(format!("{digest} is there")));
        }
        fs::rename(&self.path, folder.place(&digest)).map_err(failed)?;
        blobs.push(digest);
        Ok(digest)
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        // Gone, where it was committed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: WriteAction, offset: i64, data: &[u8]) -> WriteContentRequest {
        WriteContentRequest { action: action.into(), offset, data: data.to_vec(), ..WriteContentRequest::default() }
    }

    /// What is said to these requests.
    fn said(folder: &Folder, requests: Vec<WriteContentRequest>) -> Vec<Result<WriteContentResponse, Status>> {
        let (sender, received) = mpsc::channel(16);
        for request in requests {
            sender.try_send(request).unwrap();
        }
        drop(sender);
        let (answers, mut queue) = mpsc::channel(16);
        folder.take(received, &answers);
        drop(answers);
        std::iter::from_fn(|| queue.blocking_recv()).collect()
    }

    #[test]
    fn a_blob_is_written_in_pieces_and_proved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let folder = Folder::new(path.clone(), Arc::new(Budget::new(100)));
        let digest = Digest::of(b"hello");
        let stat = WriteContentRequest { total: 5, expected: digest.to_string(), ..request(WriteAction::Stat, 0, b"") };
        let pieces = vec![
            stat.clone(),
            request(WriteAction::Write, 0, b"wrong"),
            request(WriteAction::Write, 0, b"hel"),
            request(WriteAction::Write, 3, b"l"),
            request(WriteAction::Commit, 4, b"o"),
            request(WriteAction::Write, 5, b"after the end"),
        ];
        let answers: Vec<_> = said(&folder, pieces).into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().map(|answer| answer.offset).collect::<Vec<_>>(), [0, 5, 3, 4, 5]);
        assert!(answers[0].started_at.is_some() && answers[0].total == 5);
        assert_eq!(answers[4].digest, digest.to_string());
        assert_eq!((folder.size(&digest).unwrap(), folder.blobs()), (5, vec![digest]));
        let mut read = Vec::new();
        let mut take = |bytes: &[u8]| {
            read.extend_from_slice(bytes);
            true
        };
        folder.read(&digest, Part { offset: 1, size: 3 }, &mut take).unwrap();
        assert_eq!(read, b"ell");
        // It is there; and what did not end leaves nothing.
        assert_eq!(said(&folder, vec![stat]).remove(0).unwrap_err().code(), tonic::Code::AlreadyExists);
        said(&folder, vec![request(WriteAction::Write, 0, b"half")]);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("x"), Arc::new(Budget::new(10)));
        let refused = |requests| said(&folder, requests).pop().unwrap().unwrap_err();
        let other = Digest::of(b"other").to_string();
        let expected = WriteContentRequest { expected: other, ..request(WriteAction::Commit, 0, b"hello") };
        let total = WriteContentRequest { total: 4, ..request(WriteAction::Commit, 0, b"hello") };
        for (requests, code, message) in [
            (vec![expected], tonic::Code::FailedPrecondition, "it is sha256:2cf24d"),
            (vec![total], tonic::Code::FailedPrecondition, "5 bytes, not 4"),
            (vec![request(WriteAction::Write, 3, b"x")], tonic::Code::OutOfRange, "number 0"),
            (vec![request(WriteAction::Write, 0, b"x")], tonic::Code::ResourceExhausted, "more than the 10 bytes"),
        ] {
            let status = refused(requests);
            assert!(status.code() == code && status.message().contains(message), "{status}");
        }
        assert_eq!(folder.blobs(), []);
        let beside = Folder::new(dir.path().join("y"), folder.budget.clone());
        let refused = said(&beside, vec![request(WriteAction::Write, 0, b"x")]).pop().unwrap().unwrap_err();
        assert!(refused.message().contains("the build's caches have more"), "{refused}");
    }
}
