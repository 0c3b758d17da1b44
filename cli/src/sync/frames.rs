//! Records packed back to back, cut into frames.

use slipway_context::Digest;

/// Bytes in a frame before compression. The protocol allows twice as much; smaller ones keep a slow link busy with less under
/// way, which is what a cut connection loses.
pub(super) const FRAME: usize = 256 << 10;

/// Whoever took the frames is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// A piece of the sequence of records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// Contents' bytes of the records that have begun by its end, since the beginning of the call.
    pub(super) begun: u64,
    /// The same, of those that are complete.
    pub(super) complete: u64,
}

/// Takes records and gives frames to `sink`. No more than one frame is held.
pub(super) struct Frames<S> {
    frame: Frame,
    left: u64,
    sink: S,
}

impl<S: FnMut(Frame) -> Result<(), Gone>> Frames<S> {
    /// No frame yet; records of so many contents' bytes went before in the same call.
    pub(super) fn new(before: u64, sink: S) -> Self {
        Self { frame: Frame { bytes: Vec::new(), begun: before, complete: before }, left: 0, sink }
    }

    /// Begins a record: `size` bytes of content must follow.
    pub(super) fn record(&mut self, digest: &Digest, size: u64, seconds: i64) -> Result<(), Gone> {
        let header = [digest.as_bytes().as_slice(), &size.to_be_bytes(), &seconds.to_be_bytes()].concat();
        // An empty content is complete with the last byte of its header.
        let (most, last) = header.split_at(header.len() - 1);
        self.put(most)?;
        self.left = size;
        self.frame.begun += size;
        self.put(last)
    }

    /// Adds bytes of a record.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.frame.bytes.len()));
            self.left = self.left.saturating_sub(now.len() as u64);
            if self.left == 0 {
                self.frame.complete = self.frame.begun;
            }
            self.put(now)?;
            bytes = later;
        }
        Ok(())
    }

    /// Gives what is left.
    pub(super) fn finish(mut self) -> Result<(), Gone> {
        if self.frame.bytes.is_empty() { Ok(()) } else { self.flush() }
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.frame.bytes.len()));
            if self.frame.bytes.capacity() == 0 {
                self.frame.bytes.reserve_exact(FRAME);
            }
            self.frame.bytes.extend_from_slice(now);
            bytes = later;
            if self.frame.bytes.len() == FRAME {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Gone> {
        let next = Frame { bytes: Vec::new(), begun: self.frame.begun, complete: self.frame.complete };
        (self.sink)(std::mem::replace(&mut self.frame, next))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(contents: &[Vec<u8>], before: u64) -> Vec<Frame> {
        let mut packed = Vec::new();
        let mut frames = Frames::new(before, |frame| {
            packed.push(frame);
            Ok(())
        });
        for content in contents {
            frames.record(&Digest::of(content), content.len() as u64, -5).unwrap();
            frames.write(content).unwrap();
        }
        frames.finish().unwrap();
        packed
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(prop_oneof![0..100_usize, FRAME - 100..FRAME + 100, 0..FRAME * 3], 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn records_come_out_as_they_went_in(sizes in sizes(), before in 0..5_u64) {
            let contents: Vec<Vec<u8>> = sizes.iter().map(|size| (0..*size).map(|n| (n % 251) as u8).collect()).collect();
            let frames = pack(&contents, before);
            let stream = frames.iter().flat_map(|frame| frame.bytes.iter().copied()).collect::<Vec<u8>>();
            let (mut rest, mut ends) = (stream.as_slice(), Vec::new());
            for content in &contents {
                let (header, more) = rest.split_at(48);
                prop_assert_eq!(Digest::try_from(&header[..32]).unwrap(), Digest::of(content));
                prop_assert_eq!(&header[32..40], &(content.len() as u64).to_be_bytes());
                prop_assert_eq!(&header[40..], &(-5i64).to_be_bytes());
                let (body, more) = more.split_at(content.len());
                prop_assert_eq!(body, content.as_slice());
                rest = more;
                ends.push((stream.len() - rest.len(), content.len() as u64));
            }
            prop_assert!(rest.is_empty());
            // What each frame says of itself is what a reader has after it.
            let mut at = 0;
            for (number, frame) in frames.iter().enumerate() {
                prop_assert!(frame.bytes.len() == FRAME || number + 1 == frames.len());
                at += frame.bytes.len();
                let complete: u64 = ends.iter().filter(|(end, _)| *end <= at).map(|(_, size)| size).sum();
                prop_assert_eq!(frame.complete, before + complete);
                prop_assert!(frame.begun >= frame.complete);
            }
        }
    }
}
