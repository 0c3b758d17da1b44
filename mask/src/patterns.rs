//! What is looked for, as an automaton.

use std::collections::BTreeSet;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;

/// After so many characters of a pattern its text may go on on another line. Fewer are at the end of many a line.
const GOES_ON_AFTER: usize = 4;

pub(crate) struct Patterns {
    automaton: NFA,
    start: StateID,
    /// Of each state, how long the beginning of a pattern is that the text ends with. Sorted by state.
    depths: Vec<(StateID, u32)>,
    /// The bytes that patterns begin with.
    begins: [bool; 256],
    /// The pairs of bytes, a bit each: most of a text is passed by with these.
    pairs: Box<[u64]>,
    /// Whether line ends in the midst of a pattern count for nothing.
    over_lines: bool,
}

/// They can't be looked for.
#[derive(Debug)]
pub(crate) struct Unbuildable;

impl Patterns {
    /// None for none.
    pub(crate) fn new(patterns: &BTreeSet<Vec<u8>>, over_lines: bool) -> Result<Option<Self>, Unbuildable> {
        if patterns.is_empty() {
            return Ok(None);
        }
        let automaton = NFA::new(patterns).map_err(|_| Unbuildable)?;
        let start = automaton.start_state(Anchored::No).map_err(|_| Unbuildable)?;
        let mut depths = vec![(start, 0)];
        let (mut begins, mut pairs) = ([false; 256], vec![0_u64; 1 << 10].into_boxed_slice());
        for pattern in patterns {
            let mut state = start;
            for (depth, byte) in (1..).zip(pattern) {
                state = automaton.next_state(Anchored::No, state, *byte);
                depths.push((state, depth));
            }
            if let Some(first) = pattern.first() {
                begins[usize::from(*first)] = true;
            }
            if let [first, second, ..] = pattern.as_slice() {
                let (word, bit) = pair(*first, *second);
                pairs[word] |= bit;
            }
        }
        depths.sort_unstable();
        depths.dedup();
        Ok(Some(Self { automaton, start, depths, begins, pairs, over_lines }))
    }

    pub(crate) fn start(&self) -> StateID {
        self.start
    }

    /// Where the next pattern may begin, from here on.
    pub(crate) fn next_beginning(&self, text: &[u8], from: usize) -> usize {
        let rest = &text[from..];
        let may_begin = |two: &[u8]| {
            let (word, bit) = pair(two[0], two[1]);
            self.pairs[word] & bit != 0
        };
        match (rest.windows(2).position(may_begin), rest.last()) {
            (Some(at), _) => from + at,
            (None, Some(last)) if self.begins[usize::from(*last)] => text.len() - 1,
            (None, _) => text.len(),
        }
    }

    pub(crate) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    /// The longest pattern that ends here, in bytes.
    pub(crate) fn found(&self, state: StateID) -> Option<usize> {
        if !self.automaton.is_special(state) || !self.automaton.is_match(state) {
            return None;
        }
        let lengths = 0..self.automaton.match_len(state);
        lengths.map(|index| self.automaton.pattern_len(self.automaton.match_pattern(state, index))).max()
    }

    /// How many bytes at the end of the text may still become a pattern.
    pub(crate) fn depth(&self, state: StateID) -> usize {
        let at = self.depths.binary_search_by_key(&state, |(known, _)| *known);
        at.ok().and_then(|at| self.depths.get(at)).map_or(0, |(_, depth)| *depth as usize)
    }

    /// Whether this byte ends a line that patterns can go on after.
    pub(crate) fn is_break(&self, byte: u8) -> bool {
        self.over_lines && is_line_end(byte)
    }

    /// Whether what the text ends with so far may go on on the next line.
    pub(crate) fn goes_on(&self, state: StateID) -> bool {
        self.depth(state) >= GOES_ON_AFTER
    }

    /// Where the last `count` bytes of the text begin, line ends between them not counted; none: before its beginning.
    pub(crate) fn back(&self, text: &[u8], count: usize) -> Option<usize> {
        if !self.over_lines || count == 0 {
            return text.len().checked_sub(count);
        }
        let counted = text.iter().enumerate().rev().filter(|(_, byte)| !is_line_end(**byte));
        counted.take(count).map(|(at, _)| at).nth(count - 1)
    }
}

/// Where the bit of a pair is: every pattern has one.
fn pair(first: u8, second: u8) -> (usize, u64) {
    (usize::from(first) << 2 | usize::from(second >> 6), 1 << (second & 63))
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
