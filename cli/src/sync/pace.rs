//! How much may be under way: enough to keep the link busy, and not much more, since a cut connection loses it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::frames::Frame;

/// One more frame may always go while less than this is under way.
const LEAST: usize = 256 << 10;
/// Until the link is known.
const FIRST: usize = 4 << 20;
/// The service's window for one call.
const MOST: usize = 16 << 20;
/// What the link carries in this time may be under way however short its round trip is: the service writes it to a disk.
const AHEAD: Duration = Duration::from_millis(10);
/// But no more than this: it is memory.
const AHEAD_MOST: f64 = (1 << 20) as f64;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Pace {
    frames: VecDeque<UnderWay>,
    bytes: usize,
    /// Contents' bytes that the service has confirmed, those that are complete with the last frame, and those that it began.
    stored: u64,
    complete: u64,
    begun: u64,
    /// Bytes on the wire that were confirmed.
    delivered: usize,
    /// Bytes in a second that the link has shown to carry.
    rate: f64,
    /// The shortest time from a frame to its confirmation.
    shortest: Option<Duration>,
}

#[derive(Debug)]
struct UnderWay {
    begun: u64,
    bytes: usize,
    sent: Instant,
    delivered: usize,
}

impl Pace {
    /// Another call begins: nothing is under way. Of the link the same is believed, so that this call does not fill its buffers
    /// first, for which frames would have to be made faster than small.
    pub(super) fn begin_call(&mut self) {
        *self = Self { rate: self.rate, shortest: self.shortest, ..Self::default() };
    }

    /// Whether one more frame may go.
    pub(super) fn may_send(&self) -> bool {
        // The service can't confirm half a record.
        self.bytes < self.window() || self.stored >= self.complete
    }

    /// A frame has gone, as so many bytes.
    pub(super) fn sent(&mut self, begun: u64, complete: u64, bytes: usize, now: Instant) {
        (self.begun, self.complete) = (begun, complete);
        self.bytes += bytes;
        self.frames.push_back(UnderWay { begun, bytes, sent: now, delivered: self.delivered });
    }

    /// The service has so many contents' bytes.
    pub(super) fn stored(&mut self, bytes: u64, now: Instant) {
        self.stored = self.stored.max(bytes);
        while let Some(frame) = self.frames.front().filter(|frame| frame.begun <= self.stored) {
            self.bytes = self.bytes.saturating_sub(frame.bytes);
            self.delivered += frame.bytes;
            let time = now.duration_since(frame.sent).max(Duration::from_micros(100));
            let rate = (self.delivered - frame.delivered) as f64 / time.as_secs_f64();
            // An estimate that has become too high fades.
            self.rate = rate.max(self.rate * 0.95);
            self.shortest = Some(self.shortest.map_or(time, |shortest| shortest.min(time)));
            self.frames.pop_front();
        }
    }

    /// Contents' bytes of all records so far, complete or not.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    fn window(&self) -> usize {
        let Some(shortest) = self.shortest else { return FIRST };
        // What the link holds, and a quarter of that on its way to it.
        let held = self.rate * shortest.as_secs_f64() * 1.25;
        let ahead = (self.rate * AHEAD.as_secs_f64()).min(AHEAD_MOST);
        (held.max(ahead) as usize).clamp(LEAST, MOST)
    }
}

impl Frame {
    /// Figures for [`Pace::sent`].
    pub(super) fn marks(&self) -> (u64, u64) {
        (self.begun, self.complete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compressed, and as it is.
    const FRAMES: [usize; 2] = [40_000, 262_144];

    /// Sends as fast as it may over a link of this rate and round trip; the most that was under way, and the seconds, as
    /// multiples of the least that is possible.
    fn simulate(rate: f64, trip: Duration, frame: usize) -> (usize, f64) {
        let frames = (rate * 10.0) as u64 / frame as u64;
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut now, mut free, mut arriving, mut most) = (start, start, VecDeque::new(), 0);
        for number in 1..=frames {
            while !pace.may_send() {
                let (at, stored) = arriving.pop_front().unwrap();
                now = at;
                pace.stored(stored, now);
            }
            free = free.max(now) + Duration::from_secs_f64(frame as f64 / rate);
            arriving.push_back((free + trip, number * 1000));
            pace.sent(number * 1000, number * 1000, frame, now);
            most = most.max(if number > frames / 2 { pace.bytes } else { 0 });
        }
        let best = (frame as u64 * frames) as f64 / rate + trip.as_secs_f64();
        (most, (free + trip).duration_since(start).as_secs_f64() / best)
    }

    #[test]
    fn a_slow_link_is_busy_with_little_under_way() {
        for frame in FRAMES {
            let (most, slower) = simulate(6_250_000.0, Duration::from_millis(40), frame);
            assert!(most <= 400_000 + 2 * frame, "{most}");
            assert!(slower < 1.02, "{slower}");
        }
    }

    #[test]
    fn a_long_fat_link_gets_what_it_holds() {
        for frame in FRAMES {
            let (_, slower) = simulate(60_000_000.0, Duration::from_millis(100), frame);
            assert!(slower < 1.1, "{slower}");
        }
    }

    #[test]
    fn a_link_without_a_round_trip_never_waits_for_one() {
        let (most, slower) = simulate(400_000_000.0, Duration::from_micros(500), FRAMES[1]);
        assert!((1 << 20..2 << 20).contains(&most), "{most}");
        assert!(slower < 1.01, "{slower}");
    }

    #[test]
    fn the_next_call_knows_the_link() {
        let under_way = |pace: &mut Pace| {
            let sent = (1..).take_while(|number| {
                let may = pace.may_send();
                pace.sent(number * 1000, number * 1000, FRAMES[0], Instant::now());
                may
            });
            sent.count() * FRAMES[0]
        };
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(under_way(&mut Pace::default()) >= FIRST, "nothing is known");
        for number in 1..100_u32 {
            let sent = start + number * Duration::from_micros(6400);
            pace.sent(u64::from(number), u64::from(number), FRAMES[0], sent);
            pace.stored(u64::from(number), sent + Duration::from_millis(50));
        }
        pace.sent(100, 100, FRAMES[0], start);
        pace.begin_call();
        assert_eq!(pace.begun(), 0);
        let known = under_way(&mut pace);
        assert!((LEAST..LEAST * 2).contains(&known), "{known}");
    }

    #[test]
    fn a_record_larger_than_the_window_goes_through() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        pace.sent(10, 10, 1000, now);
        pace.stored(10, now);
        for _ in 0..100 {
            assert!(pace.may_send());
            pace.sent(1 << 30, 10, MOST, now);
        }
        pace.sent(1 << 30, 1 << 30, MOST, now);
        assert!(!pace.may_send(), "the end of it is waited for");
        pace.stored(1 << 30, now);
        assert!(pace.may_send());
    }
}
