//! The upload's record stream (`UploadRequest` in `context.proto`): digest, size, seconds and content, one after another.

use sha2::{Digest as _, Sha256};
use slipway_context::Digest;

use super::blobs::{BlobError, Blobs};
use super::pack::writer::PackWriter;
use super::pack::{HEADER, Header, MAX_RECORD};

/// The largest decompressed frame.
pub const MAX_FRAME: usize = 1 << 20;

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A frame is no zstd frame, or too large.
    #[error("upload: a frame is not zstd or has more than {MAX_FRAME} bytes: {0}")]
    Frame(std::io::Error),
    /// A frame that isn't compressed is too large.
    #[error("upload: a frame has {0} bytes, more than {MAX_FRAME}")]
    FrameSize(usize),
    /// A record's blob.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The stream ended inside a record.
    #[error("upload: the stream ends inside a record")]
    Truncated,
}

/// What has been made to last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sealed {
    /// Blobs, those included that were there before.
    pub blobs: u64,
    /// Bytes of their contents.
    pub bytes: u64,
}

/// Stores a stream of frames. Blobs that were complete stay when a later one fails, and when it is dropped.
#[derive(Debug)]
pub struct Upload {
    blobs: Blobs,
    /// Made for the first record that has to be stored.
    pack: Option<PackWriter>,
    header: Vec<u8>,
    current: Option<Record>,
    stored: Vec<(Digest, u64, bool)>,
    /// Since the last seal.
    unsealed: Sealed,
}

/// The record that is coming in.
#[derive(Debug)]
struct Record {
    header: Header,
    left: u64,
    hasher: Sha256,
    /// It is here already: only its digest is checked.
    known: bool,
}

impl Upload {
    /// Into this namespace.
    pub fn new(blobs: Blobs) -> Self {
        Self {
            blobs,
            pack: None,
            header: Vec::with_capacity(HEADER),
            current: None,
            stored: Vec::new(),
            unsealed: Sealed::default(),
        }
    }

    /// Takes what one frame holds. After an error the stream can't go on.
    pub fn frame(&mut self, frame: &[u8]) -> Result<(), UploadError> {
        if frame.len() > MAX_FRAME {
            return Err(UploadError::FrameSize(frame.len()));
        }
        let taken = self.take(frame);
        if let Err(error) = &taken {
            self.give_up(matches!(error, UploadError::Blob(BlobError::Pack { .. })));
        }
        taken
    }

    /// Whether everything so far was complete records.
    pub fn between_records(&self) -> bool {
        self.current.is_none() && self.header.is_empty()
    }

    /// The blobs that were complete since it was last asked, sealed or not: their sizes, and whether they were not there
    /// before.
    pub fn take_stored(&mut self) -> Vec<(Digest, u64, bool)> {
        std::mem::take(&mut self.stored)
    }

    /// Makes everything since the last seal outlive a power cut, and visible to every process. Only between records.
    pub fn seal(&mut self) -> Result<Sealed, UploadError> {
        if !self.between_records() {
            return Err(UploadError::Truncated);
        }
        self.seal_pack()?;
        Ok(std::mem::take(&mut self.unsealed))
    }

    /// The same for the complete records, in the middle of one that isn't: that one goes on.
    pub fn seal_complete(&mut self) -> Result<(), UploadError> {
        let Some(pack) = self.pack.as_mut().filter(|pack| !pack.is_empty()) else { return Ok(()) };
        let open = pack.take_open()?;
        self.seal_pack()?;
        if let Some((header, content)) = open {
            let mut pack = PackWriter::create(self.blobs.catalog().dirs())?;
            pack.begin(header)?;
            pack.append(&content)?;
            self.pack = Some(pack);
        }
        Ok(())
    }

    fn take(&mut self, mut rest: &[u8]) -> Result<(), UploadError> {
        while !rest.is_empty() {
            if self.current.is_none() {
                let (now, later) = rest.split_at(rest.len().min(HEADER - self.header.len()));
                self.header.extend_from_slice(now);
                rest = later;
                let Ok(header) = self.header.as_slice().try_into() else { break };
                let header = Header::decode(header);
                self.header.clear();
                self.begin(header)?;
            }
            if let Some(record) = &mut self.current {
                let (now, later) = rest.split_at(rest.len().min(usize::try_from(record.left).unwrap_or(usize::MAX)));
                record.hasher.update(now);
                record.left -= now.len() as u64;
                rest = later;
                if let (Some(pack), false) = (&mut self.pack, record.known) {
                    pack.append(now)?;
                }
            }
            if let Some(record) = self.current.take_if(|record| record.left == 0) {
                self.complete(record)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, header: Header) -> Result<(), UploadError> {
        let Header { digest, size, .. } = header;
        if size > MAX_RECORD {
            return Err(BlobError::Size { digest, bytes: size, expected: MAX_RECORD }.into());
        }
        let known = self.blobs.has(&digest);
        if !known {
            if self.pack.as_ref().is_some_and(PackWriter::is_full) {
                self.seal_pack()?;
            }
            let pack = match self.pack.take() {
                Some(pack) => pack,
                None => PackWriter::create(self.blobs.catalog().dirs())?,
            };
            self.pack.insert(pack).begin(header)?;
        }
        self.current = Some(Record { header, left: size, hasher: Sha256::new(), known });
        Ok(())
    }

    fn complete(&mut self, record: Record) -> Result<(), UploadError> {
        let Header { digest, size, .. } = record.header;
        let actual = Digest::from_bytes(record.hasher.finalize().into());
        if actual != digest {
            return Err(BlobError::Damaged { digest, actual }.into());
        }
        if let (Some(pack), false) = (&mut self.pack, record.known) {
            pack.commit();
        }
        self.stored.push((digest, size, !record.known));
        self.unsealed.blobs += 1;
        self.unsealed.bytes += size;
        Ok(())
    }

    fn seal_pack(&mut self) -> Result<(), BlobError> {
        let Some(pack) = self.pack.take() else { return Ok(()) };
        if let Some(pack) = pack.seal()?
            && let Err(error) = self.blobs.catalog().reload()
        {
            // It is there; who asks for it will look again.
            tracing::warn!(%pack, %error, "can't look for packs");
        }
        Ok(())
    }

    /// After an error: what is complete stays; when it was the pack that failed, what is complete in its file.
    fn give_up(&mut self, pack_failed: bool) {
        self.current = None;
        self.header.clear();
        let Some(pack) = &mut self.pack else { return };
        if (if pack_failed { pack.salvage() } else { pack.abort() }).is_err() {
            self.pack = None;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Err(error) = self.seal_pack() {
            tracing::warn!(%error, "can't keep what a cut upload has sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::{blobs, record};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_survive_any_framing(
            contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
            size in 1usize..200,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let blobs = blobs(dir.path());
            let mut upload = Upload::new(blobs.clone());
            let stream: Vec<u8> = contents.iter().flat_map(|content| record(content)).collect();
            for frame in stream.chunks(size) {
                upload.frame(frame).unwrap();
            }
            let bytes = contents.iter().map(|content| content.len() as u64).sum();
            prop_assert_eq!(upload.seal().unwrap(), Sealed { blobs: contents.len() as u64, bytes });
            prop_assert_eq!(upload.take_stored().len(), contents.len());
            for content in &contents {
                prop_assert_eq!(&blobs.read_all(&Digest::of(content), 300).unwrap(), content);
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let dir = tempfile::tempdir().unwrap();
            let mut upload = Upload::new(blobs(dir.path()));
            let _ = upload.frame(&bytes);
        }
    }

    #[test]
    fn a_cut_stream_and_too_large_a_frame_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut upload = Upload::new(blobs.clone());
        upload.frame(&record(b"abc")[..50]).unwrap();
        assert!(!upload.between_records());
        assert!(matches!(upload.seal(), Err(UploadError::Truncated)));
        assert!(matches!(Upload::new(blobs).frame(&vec![0; MAX_FRAME + 1]), Err(UploadError::FrameSize(_))));
    }

    #[test]
    fn a_cut_upload_keeps_what_was_complete() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut upload = Upload::new(blobs.clone());
        upload.frame(&record(b"first")).unwrap();
        upload.frame(&record(b"second")[..52]).unwrap();
        assert!(!blobs.has(&Digest::of(b"first")), "not sealed yet");
        drop(upload);
        assert!(blobs.has(&Digest::of(b"first")));
        assert!(!blobs.has(&Digest::of(b"second")));
    }

    #[test]
    fn what_is_complete_is_sealed_in_the_middle_of_a_record_which_goes_on() {
        let large: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
        let stream = [record(b"first"), record(&large), record(b"last")].concat();
        for cut in [0, 20, 53, 60, 101, 120, 300_000, 600_000, stream.len() - 3, stream.len()] {
            let dir = tempfile::tempdir().unwrap();
            let blobs = blobs(dir.path());
            let mut upload = Upload::new(blobs.clone());
            upload.frame(&stream[..cut]).unwrap();
            upload.seal_complete().unwrap();
            assert_eq!(blobs.has(&Digest::of(b"first")), cut >= 53, "{cut}");
            assert_eq!(blobs.has(&Digest::of(&large)), cut >= 700_101, "{cut}");
            upload.frame(&stream[cut..]).unwrap();
            assert_eq!(upload.seal().unwrap().blobs, 3);
            assert_eq!(blobs.read_all(&Digest::of(&large), 1 << 20).unwrap(), large, "{cut}");
            assert_eq!(blobs.read_all(&Digest::of(b"last"), 10).unwrap(), b"last");
        }
    }

    #[test]
    fn wrong_content_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut upload = Upload::new(blobs.clone());
        let mut wrong = record(&vec![7; 500_000]);
        *wrong.last_mut().unwrap() ^= 1;
        upload.frame(&record(b"first")).unwrap();
        let error = upload.frame(&wrong).unwrap_err();
        let UploadError::Blob(BlobError::Damaged { digest, .. }) = error else { panic!("{error}") };
        assert_eq!(digest, Digest::of(&vec![7; 500_000]));
        assert_eq!(upload.seal().unwrap(), Sealed { blobs: 1, bytes: 5 });
        assert!(blobs.has(&Digest::of(b"first")));
        assert!(!blobs.has(&digest));
        let mut huge = record(b"");
        huge[32..40].copy_from_slice(&(MAX_RECORD + 1).to_be_bytes());
        let error = Upload::new(blobs).frame(&huge).unwrap_err();
        assert!(matches!(error, UploadError::Blob(BlobError::Size { .. })), "{error}");
    }

    #[test]
    fn an_upload_goes_on_after_a_seal_and_stores_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = blobs(dir.path());
        let mut upload = Upload::new(blobs.clone());
        upload.frame(&record(b"first")).unwrap();
        assert_eq!(upload.seal().unwrap(), Sealed { blobs: 1, bytes: 5 });
        upload.frame(&[record(b"first"), record(b"two")].concat()).unwrap();
        assert_eq!(upload.seal().unwrap(), Sealed { blobs: 2, bytes: 8 });
        upload.frame(&record(b"two")).unwrap();
        assert_eq!(upload.seal().unwrap(), Sealed { blobs: 1, bytes: 3 });
        drop(upload);
        let packs = &blobs.catalog().now().packs;
        assert_eq!(packs.iter().map(|pack| pack.entries.len()).collect::<Vec<_>>(), [1, 1]);
    }
}
