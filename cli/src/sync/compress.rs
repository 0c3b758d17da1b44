//! Compressing frames, as well as there is time for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use slipway_proto::SYNC_HISTORY;
use slipway_proto::v1::sync_request::Kind;
use zstd::zstd_safe::{CCtx, CParameter, compress_bound};

use super::frames::FRAME;

/// From what keeps up with a local service to what a slow link has time for. Source code, in frames of
/// [`super::frames::FRAME`], one core: 3.8 times smaller, then 4.5 at 350 MB/s, 6.1 at 130, 7.2 at 35. The fast ones gain
/// next to nothing by looking back.
const LEVELS: [Step; 4] = [
    Step { zstd: -1, looks_back: false },
    Step { zstd: 1, looks_back: false },
    Step { zstd: 3, looks_back: true },
    Step { zstd: 7, looks_back: true },
];
/// zstd's smallest window, as the power of two (`ZSTD_WINDOWLOG_MIN`).
const LEAST_WINDOW: u32 = 10;
/// The first frames' level.
const FIRST: usize = 1;
/// What gets no smaller than this, in hundredths, is sent as it is.
const WORTH_IT: usize = 97;
/// Frames between two looks at who waits for whom.
const PERIOD: u32 = 6;

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// zstd's level.
    zstd: i32,
    /// Whether to look for repetitions of what the frames before held.
    looks_back: bool,
}

/// Frames of one call, as far back as the next one may refer.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Arc<Vec<u8>>>);

/// A frame's bytes, and those of the frames before it, oldest first.
#[derive(Debug)]
pub(super) struct Work {
    bytes: Arc<Vec<u8>>,
    before: Vec<Arc<Vec<u8>>>,
}

impl History {
    /// Takes the next frame.
    pub(super) fn next(&mut self, bytes: Vec<u8>) -> Work {
        let work = Work { bytes: Arc::new(bytes), before: self.0.iter().map(Arc::clone).collect() };
        if self.0.len() == SYNC_HISTORY / FRAME {
            self.0.pop_front();
        }
        self.0.push_back(Arc::clone(&work.bytes));
        work
    }
}

/// The level that the frames to come are compressed with.
#[derive(Debug)]
pub(super) struct Level {
    at: AtomicUsize,
    /// The last frame did not get smaller: the next one will hardly do, so it gets a fast try.
    hopeless: AtomicBool,
}

impl Default for Level {
    fn default() -> Self {
        Self { at: AtomicUsize::new(FIRST), hopeless: AtomicBool::new(false) }
    }
}

impl Level {
    fn now(&self) -> Step {
        let [least, _, looking_back, _] = LEVELS;
        let step = LEVELS.get(self.at.load(Ordering::Relaxed)).copied().unwrap_or(least);
        match self.hopeless.load(Ordering::Relaxed) {
            false => step,
            // What can't be compressed may come again.
            true if step.looks_back => looking_back,
            true => least,
        }
    }

    fn step(&self, up: bool) {
        let at = self.at.load(Ordering::Relaxed);
        let next = if up { (at + 1).min(LEVELS.len() - 1) } else { at.saturating_sub(1) };
        self.at.store(next, Ordering::Relaxed);
    }

    /// The frame as it is sent.
    pub(super) fn compress(&self, work: Work) -> Kind {
        let step = self.now();
        let mut prefix = Vec::new();
        if step.looks_back {
            work.before.iter().for_each(|frame| prefix.extend_from_slice(frame));
        }
        let compressed = compress(&work.bytes, &prefix, step.zstd);
        let compressed = compressed.filter(|compressed| compressed.len() * 100 < work.bytes.len() * WORTH_IT);
        self.hopeless.store(compressed.is_none(), Ordering::Relaxed);
        compressed.map_or_else(|| Kind::RawFrame(Arc::unwrap_or_clone(work.bytes)), Kind::ZstdFrame)
    }
}

/// One zstd frame; nothing for want of memory.
fn compress(bytes: &[u8], prefix: &[u8], level: i32) -> Option<Vec<u8>> {
    let mut context = CCtx::try_create()?;
    context.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    if !prefix.is_empty() {
        // Far enough to reach the prefix's beginning from the frame's end.
        let window = (prefix.len() + bytes.len()).next_power_of_two().ilog2();
        context.set_parameter(CParameter::WindowLog(window.max(LEAST_WINDOW))).ok()?;
        context.ref_prefix(prefix).ok()?;
    }
    let mut compressed = Vec::with_capacity(compress_bound(bytes.len()));
    context.compress2(&mut compressed, bytes).ok()?;
    Some(compressed)
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

    use zstd::zstd_safe::DCtx;

    fn noise(seed: u64, bytes: usize) -> Vec<u8> {
        let next = |state: &mut u64| {
            *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            Some((*state >> 56) as u8)
        };
        (0..bytes).scan(seed, |state, _| next(state)).collect()
    }

    fn decompress(kind: Kind, before: &[u8]) -> Vec<u8> {
        match kind {
            Kind::RawFrame(bytes) => bytes,
            Kind::ZstdFrame(bytes) => {
                let (mut context, mut held) = (DCtx::create(), Vec::with_capacity(1 << 20));
                context.ref_prefix(&before[before.len().saturating_sub(SYNC_HISTORY)..]).unwrap();
                context.decompress(&mut held, &bytes).unwrap();
                drop(context);
                held
            }
            Kind::Open(_) | Kind::Check(_) => panic!("no frame"),
        }
    }

    #[test]
    fn what_gets_no_smaller_is_sent_as_it_is() {
        let level = Level::default();
        let noise = noise(7, 100_000);
        assert_eq!(level.compress(History::default().next(noise.clone())), Kind::RawFrame(noise));
        let text = vec![b'a'; 1000];
        let Kind::ZstdFrame(compressed) = level.compress(History::default().next(text.clone())) else {
            panic!("not compressed")
        };
        assert_eq!(decompress(Kind::ZstdFrame(compressed), &[]), text);
    }

    #[test]
    fn a_frame_refers_to_the_mebibyte_before_it_and_comes_out_as_it_went_in() {
        let (level, mut history, mut stream) = (Level::default(), History::default(), Vec::new());
        (0..3).for_each(|_| level.step(true));
        let first = noise(1, FRAME);
        // The first frame's bytes come again when it is just within reach, then once more when it is not.
        let frames: Vec<Vec<u8>> = [1, 2, 3, 4, 1, 5, 6, 7, 8, 1].map(|seed| noise(seed, FRAME)).into();
        for (number, frame) in frames.iter().enumerate() {
            let kind = level.compress(history.next(frame.clone()));
            assert_eq!(matches!(kind, Kind::ZstdFrame(_)), number == 4, "{number}");
            if let Kind::ZstdFrame(bytes) = &kind {
                assert!(bytes.len() < 1000 && *frame == first, "{}", bytes.len());
            }
            assert_eq!(decompress(kind, &stream), *frame);
            stream.extend_from_slice(frame);
        }
    }

    #[test]
    fn small_frames_may_refer_to_small_ones() {
        let (level, mut history) = (Level::default(), History::default());
        (0..3).for_each(|_| level.step(true));
        let words = noise(1, 100);
        level.compress(history.next(words.clone()));
        let again = level.compress(history.next(words.clone()));
        assert!(matches!(&again, Kind::ZstdFrame(frame) if frame.len() < 50), "{again:?}");
        assert_eq!(decompress(again, &words), words);
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
            level.now().zstd
        };
        assert_eq!(run(2, 1), 1, "neither waits for long: it stays");
        assert_eq!(run(20, 1), 7);
        assert_eq!(run(1, 5), -1);
    }
}
