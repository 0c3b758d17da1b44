//! Records packed back to back, cut into frames, each compressed on its own.

use std::io;

use slipway_context::Digest;
use zstd::bulk::Compressor;

/// Bytes in a frame before compression: the most that the protocol allows.
pub(super) const FRAME: usize = 1 << 20;
/// Fast: faster than most links, and a core is also wanted by the engine on a small machine.
const LEVEL: i32 = 1;

/// Whoever took the frames is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// Takes records and gives compressed frames to `sink`. No more than one frame is held.
pub(super) struct Frames<S> {
    buffer: Vec<u8>,
    compressor: Compressor<'static>,
    sink: S,
}

impl<S: FnMut(Vec<u8>) -> Result<(), Gone>> Frames<S> {
    /// No frame yet.
    pub(super) fn new(sink: S) -> io::Result<Self> {
        Ok(Self { buffer: Vec::with_capacity(FRAME), compressor: Compressor::new(LEVEL)?, sink })
    }

    /// Begins a record: `size` bytes of content must follow.
    pub(super) fn record(&mut self, digest: &Digest, size: u64, seconds: i64) -> Result<(), Gone> {
        self.write(digest.as_bytes())?;
        self.write(&size.to_be_bytes())?;
        self.write(&seconds.to_be_bytes())
    }

    /// Adds bytes of a record.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == FRAME {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Gives what is left.
    pub(super) fn finish(mut self) -> Result<(), Gone> {
        if self.buffer.is_empty() { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        // It fails only for want of memory: then the stream ends early, and the upload is tried again.
        let frame = self.compressor.compress(&self.buffer).map_err(|_| Gone)?;
        self.buffer.clear();
        (self.sink)(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut frames = Vec::new();
        let content: Vec<u8> = (0..FRAME * 2 + 17).map(|n| (n % 251) as u8).collect();
        let digest = Digest::of(&content);
        {
            let mut packed = Frames::new(|frame| {
                frames.push(frame);
                Ok(())
            })
            .unwrap();
            packed.record(&Digest::of(b""), 0, -5).unwrap();
            packed.record(&digest, content.len() as u64, 7).unwrap();
            packed.write(&content).unwrap();
            packed.finish().unwrap();
        }
        let raw: Vec<Vec<u8>> = frames.iter().map(|frame| zstd::bulk::decompress(frame, FRAME).unwrap()).collect();
        assert_eq!(raw.iter().map(Vec::len).collect::<Vec<_>>(), [FRAME, FRAME, 17 + 96]);
        let stream = raw.concat();
        assert_eq!(&stream[40..48], &(-5i64).to_be_bytes());
        assert_eq!(&stream[48..80], digest.as_bytes());
        assert_eq!(&stream[80..88], &(content.len() as u64).to_be_bytes());
        assert_eq!(&stream[96..], content);
    }
}
