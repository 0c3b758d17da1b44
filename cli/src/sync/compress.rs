//! Compressing frames, as well as there is time for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use slipway_proto::v1::sync_request::Kind;

use super::frames::Frame;

/// zstd's levels, from the one that keeps up with a local service to the one that a slow link has time for. Source code, in
/// frames of [`super::frames::FRAME`], one core: 4.7 times smaller at 284 MB/s, 5.5 at 163, 5.9 at 106, 6.6 at 66. The levels
/// above take much longer for a hundredth of the bytes.
const LEVELS: [i32; 4] = [-1, 1, 3, 7];
/// The first frames' level.
const FIRST: usize = 1;
/// What gets no smaller than this, in hundredths, is sent as it is.
const WORTH_IT: usize = 97;
/// Frames between two looks at who waits for whom.
const PERIOD: u32 = 6;

/// The level that the frames to come are compressed with.
#[derive(Debug)]
pub(super) struct Level {
    at: AtomicUsize,
    /// The last frame did not get smaller: the next one will hardly do, so it gets the fastest try.
    hopeless: AtomicBool,
}

impl Default for Level {
    fn default() -> Self {
        Self { at: AtomicUsize::new(FIRST), hopeless: AtomicBool::new(false) }
    }
}

impl Level {
    fn now(&self) -> i32 {
        let at = if self.hopeless.load(Ordering::Relaxed) { 0 } else { self.at.load(Ordering::Relaxed) };
        LEVELS.get(at).copied().unwrap_or(1)
    }

    fn step(&self, up: bool) {
        let at = self.at.load(Ordering::Relaxed);
        let next = if up { (at + 1).min(LEVELS.len() - 1) } else { at.saturating_sub(1) };
        self.at.store(next, Ordering::Relaxed);
    }

    /// The frame as it is sent.
    pub(super) fn compress(&self, frame: Frame) -> Kind {
        let bytes = frame.bytes;
        // It fails only for want of memory.
        let compressed = zstd::bulk::compress(&bytes, self.now()).ok();
        let compressed = compressed.filter(|compressed| compressed.len() * 100 < bytes.len() * WORTH_IT);
        self.hopeless.store(compressed.is_none(), Ordering::Relaxed);
        compressed.map_or_else(|| Kind::RawFrame(bytes), Kind::ZstdFrame)
    }
}

/// Who waits for whom.
#[derive(Debug, Default)]
pub(super) struct Balance {
    frames: u32,
    for_link: Duration,
    for_frames: Duration,
}

impl Balance {
    /// The connection was not ready for a frame that was.
    pub(super) fn waited_for_link(&mut self, time: Duration) {
        self.for_link += time;
    }

    /// The connection was ready, and no frame was.
    pub(super) fn waited_for_frames(&mut self, time: Duration) {
        self.for_frames += time;
    }

    /// A frame was sent: the level may change.
    pub(super) fn sent(&mut self, level: &Level) {
        self.frames += 1;
        if self.frames < PERIOD {
            return;
        }
        if self.for_link > self.for_frames * 8 {
            level.step(true);
        } else if self.for_frames > self.for_link {
            level.step(false);
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: Vec<u8>) -> Frame {
        Frame { bytes, ..Frame::default() }
    }

    #[test]
    fn what_gets_no_smaller_is_sent_as_it_is() {
        let level = Level::default();
        let noise: Vec<u8> = (0..100_000u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as u8).collect();
        let noise: Vec<u8> = noise
            .iter()
            .scan(7u64, |state, byte| {
                *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(u64::from(*byte) + 1);
                Some((*state >> 40) as u8)
            })
            .collect();
        assert_eq!(level.compress(frame(noise.clone())), Kind::RawFrame(noise));
        let text = vec![b'a'; 1000];
        let Kind::ZstdFrame(compressed) = level.compress(frame(text.clone())) else { panic!("not compressed") };
        assert_eq!(zstd::bulk::decompress(&compressed, 1000).unwrap(), text);
    }

    #[test]
    fn a_slow_link_gets_a_higher_level_and_a_fast_one_the_lowest() {
        let level = Level::default();
        let run = |link: u64, frames: u64| {
            let mut balance = Balance::default();
            for _ in 0..PERIOD * 10 {
                balance.waited_for_link(Duration::from_millis(link));
                balance.waited_for_frames(Duration::from_millis(frames));
                balance.sent(&level);
            }
            level.now()
        };
        assert_eq!(run(2, 1), 1, "neither waits for long: it stays");
        assert_eq!(run(20, 1), 7);
        assert_eq!(run(1, 5), -1);
    }
}
