//! One pass over a stream.

use std::borrow::Cow;

use aho_corasick::automaton::StateID;

use crate::MASK;
use crate::patterns::Patterns;

/// Line ends in a row that a pattern goes on after.
const MAX_BREAKS: u8 = 2;

/// Where a pass is. All positions are in what is held back, with the next piece after it.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    state: Option<StateID>,
    held: Vec<u8>,
    /// What was found and is not told yet: it may turn out to be part of something that began before it. In order, apart.
    found: Vec<(usize, usize)>,
    breaks: u8,
}

impl Scan {
    pub(crate) fn push(&mut self, patterns: &Patterns, bytes: &[u8], out: &mut Vec<u8>) {
        let old = self.held.len();
        let text = if old == 0 {
            Cow::Borrowed(bytes)
        } else {
            self.held.extend_from_slice(bytes);
            Cow::Owned(std::mem::take(&mut self.held))
        };
        let mut told = 0;
        let mut state = self.state.unwrap_or(patterns.start());
        let mut at = old;
        while at < text.len() {
            if state == patterns.start() {
                at = patterns.next_beginning(&text, at);
            }
            let Some(byte) = text.get(at).copied() else { break };
            at += 1;
            if patterns.is_break(byte) {
                self.breaks += 1;
                if self.breaks > MAX_BREAKS || !patterns.goes_on(state) {
                    (state, self.breaks) = (patterns.start(), 0);
                }
                continue;
            }
            self.breaks = 0;
            state = patterns.next(state, byte);
            if let Some(length) = patterns.found(state) {
                told = self.add(patterns.back(&text[..at], length), at, told);
            }
        }
        self.state = Some(state);
        let open = patterns.back(&text, patterns.depth(state)).unwrap_or(0);
        let ready = self.found.iter().take_while(|(start, _)| *start <= open).count();
        for (start, end) in self.found.drain(..ready) {
            out.extend_from_slice(&text[told..start]);
            out.extend_from_slice(MASK.as_bytes());
            told = end;
        }
        let rest = told.max(open);
        out.extend_from_slice(&text[told..rest]);
        for (start, end) in &mut self.found {
            (*start, *end) = (*start - rest, *end - rest);
        }
        self.held = match text {
            Cow::Borrowed(text) => text[rest..].to_vec(),
            Cow::Owned(mut text) => {
                text.drain(..rest);
                text
            }
        };
    }

    /// Something was found. Without a beginning it overlaps with what is masked already; gives up to where that goes.
    fn add(&mut self, start: Option<usize>, end: usize, told: usize) -> usize {
        let mut from = start.unwrap_or(0);
        while let Some((before, _)) = self.found.pop_if(|(_, before)| *before > from) {
            from = from.min(before);
        }
        if start.is_none() || from < told {
            return end;
        }
        self.found.push((from, end));
        told
    }

    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let Self { held, found, .. } = std::mem::take(self);
        let mut told = 0;
        for (start, end) in found {
            out.extend_from_slice(&held[told..start]);
            out.extend_from_slice(MASK.as_bytes());
            told = end;
        }
        out.extend_from_slice(&held[told..]);
    }

    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }
}
