//! Pieces of output without cutting characters apart.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use slipway_mask::{Masker, Masks};

/// Masks output, and holds an incomplete UTF-8 character back until its rest comes, per stream.
#[derive(Debug)]
pub struct Pieces<K> {
    masks: Masks,
    streams: HashMap<K, Stream>,
}

#[derive(Debug)]
struct Stream {
    /// None where nothing is masked: then what comes is taken as it is.
    masker: Option<Masker>,
    incomplete: Vec<u8>,
}

impl<K: Eq + Hash> Pieces<K> {
    /// Nothing yet; these are not to be seen.
    pub fn new(masks: &Masks) -> Self {
        Self { masks: masks.clone(), streams: HashMap::new() }
    }

    /// What can be told now; maybe nothing.
    pub fn add(&mut self, stream: K, bytes: &[u8]) -> Vec<u8> {
        let masks = &self.masks;
        let stream = self
            .streams
            .entry(stream)
            .or_insert_with(|| Stream { masker: (!masks.is_empty()).then(|| masks.masker()), incomplete: Vec::new() });
        let mut all = std::mem::take(&mut stream.incomplete);
        match &mut stream.masker {
            Some(masker) => masker.push(bytes, &mut all),
            None => all.extend_from_slice(bytes),
        }
        stream.incomplete = all.split_off(all.len() - incomplete_end(&all));
        all
    }

    /// What is left of a stream that has ended.
    pub fn end(&mut self, stream: &K) -> Vec<u8> {
        let Some(Stream { masker, incomplete: mut rest }) = self.streams.remove(stream) else { return Vec::new() };
        if let Some(mut masker) = masker {
            masker.finish(&mut rest);
        }
        rest
    }

    /// Streams that have not ended.
    pub fn open(&self) -> Vec<K>
    where
        K: Clone,
    {
        self.streams.keys().cloned().collect()
    }
}

/// The end of what something has said.
#[derive(Debug, Default)]
pub struct Tail(VecDeque<u8>);

impl Tail {
    /// How much of it a failure repeats, in bytes.
    const MOST: usize = 2048;

    /// More of it.
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.extend(&bytes[bytes.len().saturating_sub(Self::MOST)..]);
        self.0.drain(..self.0.len().saturating_sub(Self::MOST));
    }

    /// From the beginning of a line when it was cut.
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let cut = bytes.len() >= Self::MOST;
        let start = if cut { bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1) } else { 0 };
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }
}

/// How many bytes at the end begin a character that is not complete.
fn incomplete_end(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let length = match bytes[bytes.len() - back] {
            0b1000_0000..=0b1011_1111 => continue,
            0b1100_0000..=0b1101_1111 => 2,
            0b1110_0000..=0b1110_1111 => 3,
            0b1111_0000..=0b1111_0111 => 4,
            _ => return 0,
        };
        return if length > back { back } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_arrive_whole() {
        let text = "aé€😀z".as_bytes();
        for size in 1..text.len() {
            let mut pieces = Pieces::new(&Masks::default());
            let mut all = Vec::new();
            for piece in text.chunks(size) {
                let told = pieces.add(1, piece);
                assert!(std::str::from_utf8(&told).is_ok(), "{told:?}");
                all.extend(told);
            }
            all.extend(pieces.end(&1));
            assert_eq!(all, text);
        }
    }

    #[test]
    fn other_bytes_are_not_held_for_long() {
        let mut pieces = Pieces::new(&Masks::default());
        assert_eq!(pieces.add(1, b"\xff\xfe"), b"\xff\xfe");
        assert_eq!(pieces.add(1, b"a\xe2"), b"a");
        assert_eq!(pieces.add(1, b"b"), b"\xe2b");
        assert_eq!(pieces.add(1, b"c\xf0\x9f"), b"c");
        assert_eq!(pieces.end(&1), b"\xf0\x9f");
    }

    #[test]
    fn each_stream_is_masked_for_itself_and_ends_with_all_of_it() {
        let mut pieces = Pieces::new(&Masks::of(["grün ist die Hoffnung"]));
        assert_eq!(pieces.add(1, b"> gr"), b"> ");
        assert_eq!(pieces.add(2, b"grow\n"), b"grow\n");
        assert_eq!(pieces.add(1, "ün ist die Hoffnung €".as_bytes().split_at(22).0), b"*** ");
        assert_eq!(pieces.add(1, &"€".as_bytes()[1..]), "€".as_bytes());
        assert_eq!(pieces.add(1, "grün ist\n".as_bytes().split_at(9).0), b"");
        assert_eq!(pieces.end(&1), "grün ist".as_bytes());
        assert!(pieces.end(&1).is_empty() && pieces.end(&2).is_empty());
    }

    #[test]
    fn a_tail_begins_with_a_line() {
        let mut tail = Tail::default();
        tail.add(b"one\ntwo");
        assert_eq!(tail.text(), "one\ntwo");
        for n in 0..1000 {
            tail.add(format!("line {n}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.starts_with("line ") && text.ends_with("line 999\n") && text.len() <= Tail::MOST, "{text}");
        tail.add(&[b'x'; 5000]);
        assert_eq!(tail.text().len(), Tail::MOST, "one long line");
    }
}
