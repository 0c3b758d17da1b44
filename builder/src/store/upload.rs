//! The upload's record stream (`UploadRequest` in `context.proto`): digest, size, seconds and content, one after another.

use slipway_context::Digest;

use super::blobs::{BlobError, Blobs, NewBlob};

/// The largest decompressed frame.
pub const MAX_FRAME: usize = 1 << 20;
const HEADER: usize = 32 + 8 + 8;

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A frame is no zstd frame, or too large.
    #[error("upload: a frame is not zstd or has more than {MAX_FRAME} bytes: {0}")]
    Frame(std::io::Error),
    /// A record's blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The stream ended inside a record.
    #[error("upload: the stream ends inside a record")]
    Truncated,
}

/// Stores a stream of frames. Blobs that were complete stay when a later one fails.
#[derive(Debug)]
pub struct Upload {
    blobs: Blobs,
    header: Vec<u8>,
    current: Option<(NewBlob, u64)>,
    stored: Vec<(Digest, u64, bool)>,
    digest: Digest,
    size: u64,
}

impl Upload {
    /// Into this namespace.
    pub fn new(blobs: Blobs) -> Self {
        let digest = Digest::from_bytes([0; 32]);
        Self { blobs, header: Vec::with_capacity(HEADER), current: None, stored: Vec::new(), digest, size: 0 }
    }

    /// Takes one compressed frame.
    pub fn zstd_frame(&mut self, compressed: &[u8]) -> Result<(), UploadError> {
        let frame = zstd::bulk::decompress(compressed, MAX_FRAME).map_err(UploadError::Frame)?;
        self.records(&frame)
    }

    /// Takes one frame that is not compressed.
    pub fn raw_frame(&mut self, frame: &[u8]) -> Result<(), UploadError> {
        if frame.len() > MAX_FRAME {
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("it has {}", frame.len()));
            return Err(UploadError::Frame(error));
        }
        self.records(frame)
    }

    /// Whether the last record is complete.
    pub fn between_records(&self) -> bool {
        self.current.is_none() && self.header.is_empty()
    }

    /// Makes what is complete visible.
    pub fn seal(&mut self) -> Result<(), UploadError> {
        Ok(())
    }

    /// The blobs that were complete since the last time, their sizes, and whether they were not there before.
    pub fn take_stored(&mut self) -> Vec<(Digest, u64, bool)> {
        std::mem::take(&mut self.stored)
    }

    fn records(&mut self, mut rest: &[u8]) -> Result<(), UploadError> {
        while !rest.is_empty() {
            if self.current.is_none() {
                let (now, later) = rest.split_at(rest.len().min(HEADER - self.header.len()));
                self.header.extend_from_slice(now);
                rest = later;
                if self.header.len() < HEADER {
                    break;
                }
                self.begin()?;
            }
            if let Some((blob, left)) = &mut self.current {
                let (now, later) = rest.split_at(rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX)));
                blob.write(now)?;
                *left -= now.len() as u64;
                rest = later;
            }
            self.finish_blob()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), UploadError> {
        let mut digest = [0; 32];
        digest.copy_from_slice(&self.header[..32]);
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.header[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        self.digest = Digest::from_bytes(digest);
        self.size = number(32);
        let seconds = number(40) as i64;
        self.current = Some((self.blobs.create(self.digest, self.size, seconds)?, self.size));
        self.header.clear();
        Ok(())
    }

    fn finish_blob(&mut self) -> Result<(), UploadError> {
        if let Some((blob, _)) = self.current.take_if(|(_, left)| *left == 0) {
            let new = blob.commit()?;
            self.stored.push((self.digest, self.size, new));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    fn digest(content: &[u8]) -> Digest {
        Digest::from_bytes(<[u8; 32]>::from(Sha256::digest(content)))
    }

    fn record(content: &[u8]) -> Vec<u8> {
        let mut record = Sha256::digest(content).to_vec();
        record.extend_from_slice(&(content.len() as u64).to_be_bytes());
        record.extend_from_slice(&7i64.to_be_bytes());
        record.extend_from_slice(content);
        record
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_survive_any_framing(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            size in 1usize..200,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let blobs = Blobs::open(dir.path(), &"dev".parse().unwrap()).unwrap();
            let mut upload = Upload::new(blobs.clone());
            let stream: Vec<u8> = contents.iter().flat_map(|content| record(content)).collect();
            for frame in stream.chunks(size) {
                upload.zstd_frame(&zstd::bulk::compress(frame, 1).unwrap()).unwrap();
            }
            prop_assert!(upload.between_records());
            prop_assert_eq!(upload.take_stored().len(), contents.len());
            for content in &contents {
                prop_assert_eq!(&blobs.read_all(&digest(content), 300).unwrap(), content);
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            let mut upload = Upload::new(Blobs::open(dir.path(), &"dev".parse().unwrap()).unwrap());
            let _ = upload.raw_frame(&bytes);
            let _ = upload.zstd_frame(&zstd::bulk::compress(&bytes, 1).unwrap());
        }
    }

    #[test]
    fn a_cut_stream_and_a_bomb_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(dir.path(), &"dev".parse().unwrap()).unwrap();
        let mut upload = Upload::new(blobs.clone());
        upload.zstd_frame(&zstd::bulk::compress(&record(b"abc")[..50], 1).unwrap()).unwrap();
        assert!(!upload.between_records());
        let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 1).unwrap();
        assert!(matches!(Upload::new(blobs).zstd_frame(&bomb), Err(UploadError::Frame(_))));
    }
}
