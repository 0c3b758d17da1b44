//! Decompressing a call's frames: each may refer to what the ones before it held.

use std::io::{Error, ErrorKind};

use slipway_proto::SYNC_HISTORY;
use zstd::zstd_safe::{DCtx, get_error_name};

use super::Message;
use crate::store::upload::{MAX_FRAME, UploadError};

/// What a frame may refer to, and room for one frame after it.
const ROOM: usize = SYNC_HISTORY + MAX_FRAME;

/// What the call's frames held so far, as much of it as a frame may refer to.
#[derive(Debug, Default)]
pub(super) struct Unpack {
    /// [`ROOM`] from the first frame on: all the memory that a call takes for this.
    room: Box<[u8]>,
    /// So much of it is taken; the last frame is its end.
    taken: usize,
}

impl Unpack {
    /// What a frame holds.
    pub(super) fn frame(&mut self, message: &Message) -> Result<&[u8], UploadError> {
        if self.room.is_empty() {
            self.room = vec![0; ROOM].into();
        }
        if self.taken > SYNC_HISTORY {
            self.room.copy_within(self.taken - SYNC_HISTORY..self.taken, 0);
            self.taken = SYNC_HISTORY;
        }
        let (history, rest) = self.room.split_at_mut(self.taken);
        let bytes = match message {
            Message::Zstd(frame) => decompress(frame, history, rest).map_err(UploadError::Frame)?,
            Message::Raw(frame) if frame.len() > MAX_FRAME => return Err(UploadError::FrameSize(frame.len())),
            Message::Raw(frame) => {
                rest[..frame.len()].copy_from_slice(frame);
                frame.len()
            }
            Message::Check => 0,
        };
        self.taken += bytes;
        Ok(&rest[..bytes])
    }
}

fn decompress(frame: &[u8], history: &[u8], room: &mut [u8]) -> Result<usize, Error> {
    let context = DCtx::try_create();
    let mut context = context.ok_or_else(|| Error::from(ErrorKind::OutOfMemory))?;
    let failed = |code| Error::other(get_error_name(code));
    context.ref_prefix(history).map_err(failed)?;
    context.decompress(&mut room[..MAX_FRAME], frame).map_err(failed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

    use super::*;

    /// As a client does it that refers to the last `prefix` bytes.
    fn compress(bytes: &[u8], before: &[u8], prefix: usize) -> Message {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(22)).unwrap();
        context.ref_prefix(&before[before.len().saturating_sub(prefix)..]).unwrap();
        let mut frame = Vec::with_capacity(compress_bound(bytes.len()));
        context.compress2(&mut frame, bytes).unwrap();
        drop(context);
        Message::Zstd(frame)
    }

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some((*state >> 56) as u8)
        };
        (0..bytes).scan(seed, |state, _| next(state)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Few seeds, so that frames repeat others, near and far.
        #[test]
        fn frames_come_out_as_they_went_in(
            frames in proptest::collection::vec((0..3_u64, 0..MAX_FRAME, any::<bool>(), 0..=SYNC_HISTORY), 0..8),
        ) {
            let (mut unpack, mut stream) = (Unpack::default(), Vec::new());
            for (seed, size, raw, prefix) in frames {
                let bytes = noise(seed, size);
                let message = if raw { Message::Raw(bytes.clone()) } else { compress(&bytes, &stream, prefix) };
                prop_assert!(unpack.frame(&message).unwrap() == bytes.as_slice());
                prop_assert!(unpack.room.len() <= 2 << 20);
                stream.extend_from_slice(&bytes);
            }
        }

        #[test]
        fn anything_else_is_an_error_or_bytes(frame in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut unpack = Unpack::default();
            let _ = unpack.frame(&Message::Zstd([[0x28, 0xB5, 0x2F, 0xFD].as_slice(), &frame].concat()));
            prop_assert!(unpack.frame(&Message::Raw(frame.clone())).unwrap() == frame.as_slice());
        }
    }

    #[test]
    fn a_frame_that_refers_to_what_another_call_sent_is_an_error() {
        let first = noise(1, 100_000);
        // Another copy of it: zstd looks away where the two are the same memory.
        let message = compress(&first, &first.clone(), SYNC_HISTORY);
        assert!(matches!(&message, Message::Zstd(frame) if frame.len() < 1000));
        assert!(matches!(Unpack::default().frame(&message), Err(UploadError::Frame(_))));
    }

    #[test]
    fn what_is_too_large_is_not_held() {
        for large in [Message::Raw(vec![0; MAX_FRAME + 1]), compress(&vec![0; MAX_FRAME + 1], &[], 0)] {
            let mut unpack = Unpack::default();
            unpack.frame(&large).unwrap_err();
            assert_eq!(unpack.taken, 0);
        }
    }
}
